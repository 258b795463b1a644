//! Signals that ask the command to end.
//!
//! One that we were started to ignore stays ignored: `nohup`, and a shell that starts a job in the
//! background, say so in that way. Not so that of a child's end, by which nobody means us.
//!
//! One that comes is enough, whatever the command is about then. It may go on to tell what it has done; but from then on
//! it waits for nobody's reading longer than a moment.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::exit::Exit;

/// How long a command that was asked to end waits for who reads what it says. A guess: who reads at all has taken what may
/// wait by then.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that ask the command to end. There is one of this for each command.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    /// How the command ends because of the first that was returned.
    first: Option<Exit>,
    /// Whether somebody has been waited for since who does not read.
    in_vain: bool,
}

impl Signals {
    /// Starts to listen. Until then each of them ends the process by itself.
    pub(crate) fn listen(&mut self) -> io::Result<()> {
        let listen = |kind| (!is_ignored(kind)).then(|| signal(kind)).transpose();
        self.interrupt = listen(SignalKind::interrupt())?;
        self.terminate = listen(SignalKind::terminate())?;
        self.hang_up = listen(SignalKind::hangup())?;
        Ok(())
    }

    /// Waits for the next signal and returns how the command ends because of it.
    ///
    /// May be dropped at any time: a signal that was not returned comes again.
    pub(crate) async fn next(&mut self) -> Exit {
        let exit = tokio::select! {
            () = next(&mut self.interrupt) => Exit::Interrupted,
            () = next(&mut self.terminate) => Exit::Terminated,
            () = next(&mut self.hang_up) => Exit::HungUp,
        };
        self.first.get_or_insert(exit);
        exit
    }

    /// Returns how the command ends because of a signal when it has waited long enough for who reads: at the next one or, if
    /// one was returned already, after a moment. Once that was in vain, nobody is waited for any more.
    pub(crate) async fn patience(&mut self) -> Exit {
        let Some(exit) = self.first else { return self.next().await };
        if !self.in_vain {
            tokio::select! {
                _ = self.next() => {}
                () = sleep(GRACE) => {}
            }
            self.in_vain = true;
        }
        exit
    }
}

/// Has the kernel keep how a child ended until we ask. It does not for who was started to ignore that.
pub(crate) fn keep_endings() -> io::Result<()> {
    // Who has listened once does not ignore it any more.
    signal(SignalKind::child()).map(drop)
}

/// Has the kernel refuse to make a file larger than `ulimit -f` allows, as on a full disk. It would end us as well.
pub(crate) fn outlive_large_files() -> io::Result<()> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    if is_ignored(kind) { Ok(()) } else { signal(kind).map(drop) }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Returns whether we were started to ignore a signal.
fn is_ignored(kind: SignalKind) -> bool {
    static IGNORED: OnceLock<u64> = OnceLock::new();
    let read = || ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let all = *IGNORED.get_or_init(read);
    all & (1 << (kind.as_raw_value() - 1)) != 0
}

/// Returns the signals that are ignored, one bit for each, as the kernel tells of a process. A text
/// that is not understood ignores none.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_reads_is_waited_for_until_somebody_does_not() {
        let mut signals = Signals { first: Some(Exit::Interrupted), ..Signals::default() };
        for _ in 0..3 {
            assert!(timeout(GRACE / 2, signals.patience()).await.is_err(), "it is read by then");
        }
        assert_eq!(timeout(2 * GRACE, signals.patience()).await, Ok(Exit::Interrupted));
        assert_eq!(timeout(Duration::ZERO, signals.patience()).await, Ok(Exit::Interrupted));
    }

    #[test]
    fn ignored_signals_are_read_from_what_the_kernel_says() {
        assert_eq!(ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n"), 0x1003);
        assert_eq!(ignored("SigIgn:\tno number\n"), 0);
        assert_eq!(ignored(""), 0);
    }
}
