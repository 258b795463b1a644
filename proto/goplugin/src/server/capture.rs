//! What the process prints by itself, on its way to the host.
//!
//! Standard output is a pipe to the host, which takes the handshake from it and throws the rest away. Go's plugins put
//! another pipe in its place once the line is printed, and so does this. The old one stays open, because a host may take its
//! end for the plugin's.

use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::time::timeout;

use super::output::Output;
use crate::task::Task;

/// How long the rest of what was printed may take. It takes a moment; a guess, and a child that has the pipe as its own
/// output may keep it open for longer than we live.
const REST: Duration = Duration::from_millis(20);

/// How much is read at once.
const READ: usize = 8 << 10;

/// A standard output that leads to the host. Dropping it gives the old one back.
#[derive(Debug)]
pub(super) struct Captured {
    original: OwnedFd,
    reading: Task,
}

impl Captured {
    /// Has everything that is printed from now on go to the host.
    pub(super) fn stdout(mut to: Output) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut reader = Receiver::from_owned_fd(reader.into())?;
        let mut stdout = io::stdout();
        stdout.flush()?;
        let original = stdout.as_fd().try_clone_to_owned()?;
        put_in_place_of_stdout(writer.as_fd())?;
        let reading = Task::spawn(async move {
            let mut bytes = vec![0; READ];
            while let Ok(length @ 1..) = reader.read(&mut bytes).await {
                // It never fails and never waits.
                let _written = to.write_all(bytes.get(..length).unwrap_or_default());
            }
        });
        Ok(Self { original, reading })
    }

    /// Gives the old output back, and waits for what was printed before.
    pub(super) async fn release(mut self) {
        self.restore();
        let _somebody_else_prints = timeout(REST, self.reading.finished()).await;
    }

    fn restore(&self) {
        // That nobody reads any more is no reason to fail.
        let _unread = io::stdout().flush();
        if let Err(error) = put_in_place_of_stdout(self.original.as_fd()) {
            tracing::debug!(error = &error as &dyn std::error::Error, "standard output cannot be given back");
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Makes the descriptor of standard output one for the same file as `file`.
#[expect(unsafe_code, reason = "the standard library has no call for it, and what it closes belongs to it")]
fn put_in_place_of_stdout(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are descriptors, and that of standard output stays one, of another file.
    match unsafe { libc::dup2(file.as_raw_fd(), libc::STDOUT_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
