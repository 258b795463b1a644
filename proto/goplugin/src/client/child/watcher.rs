//! A process that outlives us by a moment, and kills the process groups of our children.
//!
//! The parent-death signal reaches the child that we started, but not the child's own children. When we
//! are killed ourselves, nobody is left to kill those. So while any child runs, a small process runs beside us:
//! the watcher. It reads the numbers of the groups from a socket whose other end only we hold. When that
//! stream ends we have ended, in whatever way; then it kills the groups that are left, and ends.
//!
//! It is a fork of us that never executes anything: a library has no program of its own that it could rely on. It
//! closes every descriptor but the socket, and gives up our memory, of which each page would be copied when we write to
//! it. It is a session of its own, so that nothing meant for our terminal or our process group reaches it, and blocks
//! all signals. Forking takes a fraction of a millisecond, or ten milliseconds in a process of a gigabyte. It happens
//! once for any number of children that overlap, while the first of them starts up.

mod memory;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::program::above;
use crate::lock::lock;

/// How many groups the watcher has room for, on its stack.
const ROOM: usize = 4096;

/// How far descriptors are closed one by one on a kernel older than 5.9, which cannot close them all.
const DESCRIPTORS: RawFd = 1 << 16;

/// How long it may take to read one number once the line is full. A guess: it does nothing else, and whoever starts or ends a
/// child waits for it meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

static WATCHER: Mutex<Option<Watcher>> = Mutex::new(None);

struct Watcher {
    groups: BTreeSet<i32>,
    line: UnixStream,
    process: Child,
}

/// Has the group that `leader` leads killed when we end.
pub(super) fn register(leader: Pid) -> io::Result<()> {
    let group = leader.as_raw_nonzero().get();
    let mut slot = lock(&WATCHER);
    let watcher = match slot.as_mut() {
        Some(watcher) => watcher,
        None => slot.insert(Watcher::start()?),
    };
    if watcher.groups.len() == ROOM {
        return Err(io::Error::other(format!("more than {ROOM} children at once")));
    }
    watcher.groups.insert(group);
    watcher.tell(group).or_else(|_unheard| watcher.replace())
}

/// Leaves the group alone from now on. It is called before the leader is reaped, after which the number
/// may be another's.
pub(super) fn release(leader: Pid) {
    let group = leader.as_raw_nonzero().get();
    let mut slot = lock(&WATCHER);
    let Some(watcher) = slot.as_mut() else { return };
    if watcher.groups.remove(&group) && watcher.tell(-group).is_err() && !watcher.groups.is_empty() {
        // Without another one, the others are left alone, too: the next that registers tries again.
        let _unwatched = watcher.replace();
    }
    if watcher.groups.is_empty()
        && let Some(watcher) = slot.take()
    {
        watcher.end();
    }
}

impl Watcher {
    #[expect(clippy::disallowed_methods, reason = "it is a child, and this file ends it")]
    #[expect(unsafe_code, reason = "the watcher is what runs between fork and an exec that never comes")]
    fn start() -> io::Result<Self> {
        let (line, other) = UnixStream::pair()?;
        // A watcher that was stopped reads nothing, and must not hold us up for ever.
        line.set_write_timeout(Some(PATIENCE))?;
        // The fork's first three are replaced before it watches.
        let other = above(other)?;
        // Never executed; the name would only appear in an error.
        let mut command = Command::new("/proc/self/exe");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let other_fd = other.as_raw_fd();
        // SAFETY: this runs in a fork of a process with other threads, where only async-signal-safe calls
        // may be made, and there it stays. `watch` makes system calls only, and what it changes is on its stack;
        // it takes no lock and cannot panic.
        // It ends with `_exit` and never returns to code that expects more of the process. `spawn`
        // returns all the same, because it waits for the end of a pipe of its own, which `watch` closes.
        unsafe { command.pre_exec(move || watch(other_fd)) };
        let process = command.spawn()?;
        drop(other);
        Ok(Self { groups: BTreeSet::new(), line, process })
    }

    /// Sends one number: a group to watch, or, negative, one to forget.
    fn tell(&self, group: i32) -> io::Result<()> {
        (&self.line).write_all(&group.to_ne_bytes())
    }

    /// Has another one take over all groups: somebody killed this one, or stopped it.
    fn replace(&mut self) -> io::Result<()> {
        let new = Self { groups: self.groups.clone(), ..Self::start()? };
        std::mem::replace(self, new).end();
        self.groups.iter().try_for_each(|group| self.tell(*group))
    }

    /// Ends the watcher and reaps it, even if it was stopped. Nothing is left that it alone would watch.
    fn end(mut self) {
        // Its number is another's if somebody else has reaped it.
        if let Ok(None) = self.process.try_wait() {
            let _dead = self.process.kill();
        }
        let _reaped_by_somebody = self.process.wait();
        // Not before: it would kill the groups that it knows.
        drop(self.line);
    }
}

/// What the watcher does for as long as it lives.
#[expect(unsafe_code, reason = "these calls have no safe form that may be made after a fork")]
fn watch(line: RawFd) -> ! {
    const LINE: RawFd = 3;

    let mut groups = Groups { room: [0; ROOM], used: 0 };
    // SAFETY: all of these are system calls, or thin enough around one to be async-signal-safe. The
    // descriptors that are closed belong to this process alone, whose other owners of them do not run
    // any more: it has one thread, and this function never returns. It uses nothing of the memory that is given up,
    // and none of these calls needs what the C library keeps there.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::setsid();
        libc::dup2(line, LINE);
        if libc::syscall(libc::SYS_close_range, LINE + 1, RawFd::MAX, 0) != 0 {
            for fd in LINE + 1..DESCRIPTORS {
                libc::close(fd);
            }
        }
        // Not before `spawn` has returned, which a stop of all processes of the name would keep it from.
        libc::prctl(libc::PR_SET_NAME, c"goplugin-watch".as_ptr());
        memory::give_up();
        loop {
            let mut group: i32 = 0;
            let read = libc::read(LINE, (&raw mut group).cast(), size_of::<i32>());
            if read != size_of::<i32>().cast_signed() {
                // The end of the stream. Numbers are never torn: they are written whole, one by one.
                break;
            }
            groups.note(group);
        }
        for group in groups.all() {
            if let Some(leader) = Pid::from_raw(*group) {
                let _gone = kill_process_group(leader, Signal::KILL);
            }
        }
        libc::_exit(0)
    }
}

/// The groups that a watcher knows of. Nothing can be allocated where it is.
struct Groups {
    room: [i32; ROOM],
    used: usize,
}

impl Groups {
    /// Adds a group or, for a negative number, removes it.
    fn note(&mut self, group: i32) {
        if let Some(known) = self.all().iter().position(|known| *known == group.wrapping_neg()) {
            self.used -= 1;
            self.room.swap(known, self.used);
        } else if group > 0
            && let Some(free) = self.room.get_mut(self.used)
        {
            *free = group;
            self.used += 1;
        }
    }

    fn all(&self) -> &[i32] {
        self.room.get(..self.used).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::kill_process;

    use super::*;

    #[test]
    fn a_watcher_that_was_stopped_holds_nobody_up_and_is_replaced() {
        /// No system has as many processes.
        const NOBODY: i32 = i32::MAX;

        let mut watcher = Watcher::start().unwrap();
        kill_process(Pid::from_child(&watcher.process), Signal::STOP).unwrap();
        let unheard = (0..100_000).find_map(|_| watcher.tell(NOBODY).err()).unwrap();
        assert_eq!(unheard.kind(), io::ErrorKind::WouldBlock);
        // More than the line holds at a time.
        watcher.groups.extend(NOBODY - 2000..=NOBODY);
        watcher.replace().unwrap();
        watcher.end();
    }

    #[test]
    fn a_watcher_knows_whom_it_was_told_of_and_forgets_them() {
        let mut groups = Groups { room: [0; ROOM], used: 0 };
        for group in [3, 5, 7, -5, -4, -7, 9, 0] {
            groups.note(group);
        }
        assert_eq!(groups.all(), [3, 9]);
        for group in 10..=i32::try_from(ROOM + 10).expect("it is a small number") {
            groups.note(group);
        }
        assert_eq!(groups.all().len(), ROOM);
    }
}
