//! Signals that ask the command to end.
//!
//! One that we were started to ignore stays ignored: `nohup`, and a shell that starts a job in the
//! background, say so in that way.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// The signals that ask the command to end. While this exists none of them ends the process by itself.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    have_come: bool,
}

impl Signals {
    /// Starts to listen.
    pub(crate) fn new() -> io::Result<Self> {
        let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let listen = |kind: SignalKind| {
            let asks = ignored & (1 << (kind.as_raw_value() - 1)) == 0;
            asks.then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            have_come: false,
        })
    }

    /// Returns whether one was returned already.
    pub(crate) fn have_come(&self) -> bool {
        self.have_come
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
        self.have_come = true;
        exit
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns the signals that are ignored, one bit for each, as the kernel tells of a process. A text
/// that is not understood ignores none.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_what_the_kernel_says() {
        assert_eq!(ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n"), 0x1003);
        assert_eq!(ignored("SigIgn:\tno number\n"), 0);
        assert_eq!(ignored(""), 0);
    }
}
