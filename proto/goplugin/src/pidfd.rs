//! The end of a process, waited for by its pidfd.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Returns a descriptor that becomes readable when the process of `pidfd` has ended. Needs a tokio runtime with I/O.
#[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor, which its type keeps")]
pub(crate) fn watched(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and stays the same descriptor until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}
