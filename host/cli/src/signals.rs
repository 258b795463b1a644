//! Signals that ask the command to end.
//!
//! A signal that was ignored when we were started stays ignored: `nohup` and background jobs of shells rely
//! on that. SIGCHLD is the exception, as nobody ignores it with us in mind. A signal that was blocked then is heard: a
//! program that reads its own from a descriptor may forget to give them back to what it starts. So are those by which the
//! engine learns of a guest's traps, and the runtime of the end of a child.
//!
//! One signal is enough, whatever the command is doing. The command may still say what it has done, but from then on it
//! waits only a moment for readers.

use std::future::pending;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGBUS, SIGCHLD, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGSEGV, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::exit::Exit;

/// How long a command that was asked to end waits for its output to be read. A guess: whoever reads at all has read all
/// that can be queued by then.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that ask the command to end. A command has one of these.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
    /// How the command ends because of the first signal.
    first: Option<Exit>,
    /// Whether the command has waited for a reader since, in vain.
    in_vain: bool,
}

impl Signals {
    /// Starts to listen. Until then each of these signals ends the process.
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

    /// Waits until the command should stop waiting for readers, and returns how it ends: at the next signal or, if one
    /// came already, after [`GRACE`]. Returns at once if that was in vain before.
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

/// Has the signals that we rely on reach this thread, and those that it starts, if they were blocked when we were started.
pub(crate) fn unblock() -> io::Result<()> {
    let needed = [SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGILL, SIGSEGV, SIGFPE, SIGBUS];
    Ok(SigSet::from_iter(needed).thread_unblock()?)
}

/// Has the kernel keep the exit status of children, which it does not where SIGCHLD was ignored when we were started.
pub(crate) fn keep_endings() -> io::Result<()> {
    // Listening once is enough: the signal stays handled.
    signal(SignalKind::child()).map(drop)
}

/// Has a file that grows past `ulimit -f` fail like a full disk, instead of ending us by SIGXFSZ.
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

/// Returns the ignored signals, one bit for each, from the text of `/proc/self/status`; none if it is not
/// understood.
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
