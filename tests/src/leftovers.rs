//! Whether a plugin left anything behind.
//!
//! Every child of a test gets the test's scratch directory as its `TMPDIR`, and so do its own
//! children; a process is therefore known by its environment, whoever started it and whoever its
//! parent is now.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};
use tempfile::TempDir;

use crate::cli::files_below;

/// A killed process is gone within milliseconds; this is for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before looking again at what the system does not announce.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A directory of one test. Dropping it waits for what is ending, and fails the test over a process, a socket or a
/// program of ours that stays.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// When there is no room for it.
    pub fn new() -> io::Result<Self> {
        tempfile::Builder::new().prefix("portcullis-test").tempdir().map(Self)
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            expect_nothing_left(self.path());
        }
    }
}

fn expect_nothing_left(scratch: &Path) {
    expect_no_process(scratch);
    let until = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = files_below(scratch).into_iter().filter(|p| is_socket(p) || is_apart(p)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "files are left: {left:?}");
        // Whoever reaps a child removes its sockets, a moment later and on another thread.
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// Waits for what is ending and panics over a process that stays.
///
/// # Panics
///
/// Over a process that is left.
pub fn expect_no_process(scratch: &Path) {
    let until = Instant::now() + PATIENCE;
    while let Some(pid) = processes(scratch).first().copied() {
        let left = until.saturating_duration_since(Instant::now());
        assert!(wait_for_end(pid, left), "process {pid:?} is left: {}", command_line(pid));
    }
}

fn processes(scratch: &Path) -> Vec<Pid> {
    let marker = [b"TMPDIR=", scratch.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let numbers = fs::read_dir("/proc").expect("/proc is readable").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| belongs(*pid, &marker)).collect()
}

/// A zombie has no environment, and it is its parent's to reap.
fn belongs(pid: Pid, marker: &[u8]) -> bool {
    let environ = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    environ.windows(marker.len()).any(|window| window == marker)
}

fn wait_for_end(pid: Pid, left: Duration) -> bool {
    let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1))
}

fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Returns whether it is the program of a component in a process of its own, which is removed once it runs.
fn is_apart(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"portcullis-apart-"))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}
