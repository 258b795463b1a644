//! The end of a command with a host: its plugins end, and what they printed is written.

use std::pin::pin;

use portcullis::Host;

use crate::exit::Exit;
use crate::signals::Signals;
use crate::stderr;

/// Waits for work with a host, and then ends the host's plugins. If a signal comes first, drops the work and returns
/// how the command ends.
pub(crate) async fn after<T>(
    work: impl Future<Output = T>,
    host: &Host,
    signals: &mut Signals,
) -> Result<T, Exit> {
    let done = tokio::select! {
        done = work => Ok(done),
        exit = signals.next() => Err(exit),
    };
    stop(host, signals).await;
    done
}

/// Ends every plugin: asks, waits, then kills. A signal meanwhile kills at once.
pub(crate) async fn stop(host: &Host, signals: &mut Signals) {
    let mut stopping = pin!(host.stop_all());
    tokio::select! {
        () = &mut stopping => {}
        _ = signals.next() => {
            tokio::join!(stopping, host.stop_all());
        }
    }
}

/// Waits for what plugins printed to be written. Returns how the command ends if a signal comes, or came, while nobody
/// reads it.
pub(crate) async fn printed(signals: &mut Signals) -> Option<Exit> {
    let written = stderr::end_prints()?;
    tokio::select! {
        _ = written => None,
        exit = signals.patience() => Some(exit),
    }
}
