//! Passes what the process itself prints to the host.
//!
//! Standard output is a pipe to the host, which takes the handshake from it and discards the rest. Go's plugins replace
//! it by another pipe once the line is printed. Here that is done before the services are made, because what makes them
//! may print, too, and the line goes to the old pipe. That stays open, because a host may take its end for the
//! plugin's.

use std::io::{self, ErrorKind, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::stdio::dup2_stdout;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::output::Output;
use crate::log::chain;

/// How long the rest of what was printed may take. It takes a moment; a guess, and a child that has the pipe as its own
/// output may keep it open for longer than we live.
pub(super) const REST: Duration = Duration::from_millis(20);

/// How long the last flush may wait for standard output, which somebody may have locked. A guess: what is not flushed
/// by then is lost, and a machine under load may take long to start the thread that flushes. Hosts kill after two
/// seconds.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// How much is read at once.
const READ: usize = 8 << 10;

/// The stack of the thread that reads. It needs little.
const STACK: usize = 64 << 10;

/// A standard output that leads to the host. Dropping it restores the old one.
#[derive(Debug)]
pub(super) struct Captured {
    original: OwnedFd,
    to: Output,
    /// Resolves when everything was read: the sender is dropped then.
    reading: oneshot::Receiver<()>,
}

impl Captured {
    /// Sends everything that is printed from now on to the host. Prints may block until the host reads, so the pipe is
    /// read on a thread of its own, which goes on while others block.
    pub(super) fn stdout(to: Output) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let original = io::stdout().as_fd().try_clone_to_owned()?;
        let (alive, reading) = oneshot::channel();
        let prints = to.clone();
        thread::Builder::new().name("prints".to_owned()).stack_size(STACK).spawn(move || {
            read(reader, &prints);
            drop(alive);
        })?;
        dup2_stdout(&writer)?;
        Ok(Self { original, to, reading })
    }

    /// Returns the old output.
    pub(super) fn original(&self) -> &OwnedFd {
        &self.original
    }

    /// Restores the old output, and waits so long for what was printed before.
    pub(super) async fn release(mut self, rest: Duration) {
        // A thread may be blocked in a print, and holds the lock of standard output until then.
        self.to.hurry();
        // It is no error that nobody reads any more, or that somebody keeps standard output locked.
        let _unread = timeout(TURN, spawn_blocking(|| io::stdout().flush())).await;
        self.restore();
        let _somebody_else_prints = timeout(rest, &mut self.reading).await;
    }

    fn restore(&self) {
        if let Err(error) = dup2_stdout(&self.original) {
            tracing::debug!(error = chain(&error), "standard output cannot be given back");
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.to.hurry();
        self.restore();
    }
}

/// Hands over what is printed, until nobody can print any more.
fn read(mut reader: PipeReader, to: &Output) {
    let mut bytes = vec![0; READ];
    loop {
        match reader.read(&mut bytes) {
            Ok(length @ 1..) => {
                to.wait_for_room();
                to.take(bytes.get(..length).unwrap_or_default());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
}
