//! File descriptors that are kept for the host.
//!
//! What a guest has open is open in our process, and counts against the limit that all guests share with the host. A
//! guest that used it up would keep everybody from starting a plugin or opening a socket. Nothing has to be counted:
//! the kernel gives out the lowest free number, so a high one means that as many are taken.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, getrlimit};

/// The part of the limit that no guest gets: a quarter. A guess: of the usual 1,024 descriptors it is enough for some
/// thirty native plugins, and a guest that opens hundreds of files at once is rare.
const OURS: u64 = 4;

/// Returns whether a descriptor that a guest was given is not one of those kept for the host.
pub(crate) fn leaves_reserve(given: &impl AsRawFd) -> bool {
    let Some(most) = getrlimit(Resource::Nofile).current else { return true };
    u64::try_from(given.as_raw_fd()).is_ok_and(|number| number < most - most / OURS)
}
