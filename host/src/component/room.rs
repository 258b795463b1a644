//! Room for the host's own files beside those of guests.
//!
//! What a guest has open is open in our process, whose limit it shares with every other guest and with the host: one that
//! used it up would keep all of them from starting a plugin, or from opening a socket. Nobody has to count who has how much
//! open. The kernel gives the lowest number that is free, so that where it gives a high one, as many are taken.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, getrlimit};

/// What part of the numbers no guest gets: a quarter. A guess: of the usual 1,024 it is enough for some thirty native
/// plugins, and a guest that opens hundreds of files at once is rare.
const OURS: u64 = 4;

/// Says whether the host has room beside a guest that has just been given this.
pub(crate) fn leaves_room(given: &impl AsRawFd) -> bool {
    let Some(most) = getrlimit(Resource::Nofile).current else { return true };
    u64::try_from(given.as_raw_fd()).is_ok_and(|number| number < most - most / OURS)
}
