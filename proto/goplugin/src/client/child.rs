//! The child process: how it begins, and that it ends.
//!
//! Three things hold, whatever happens. Dropping a child's [`Leash`] kills and reaps it. It does not outlive us: the
//! kernel kills it when our process ends, and the watcher kills the rest of its group. And no other process is ever
//! killed: the number of a process is not given to another before it is reaped, and the leash signals only until then.
//!
//! The kernel's parent-death signal is sent when the *thread* that started the child ends. So one thread
//! starts them all, and ends with the process.

mod program;
mod watcher;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, kill_process_group, pidfd_send_signal, waitid,
};
use tokio::sync::oneshot;

use self::program::Program;
use super::executable::Executable;
use super::{Environment, Stdin};
use crate::lock::lock;
use crate::pidfd::watched;

/// How often a start is tried again when the file is being written to, with [`BUSY_PAUSE`] between.
///
/// The program that wrote the file may have closed it: any child that it was starting meanwhile holds the descriptor
/// for a moment longer.
const BUSY_RETRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// How long a dropped leash waits for a killed process. It takes a millisecond; a process that the
/// kernel cannot interrupt is left to be reaped by init.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What a child is started with.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) executable: Executable,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Environment,
    /// Variables of the protocol: set whatever `environment` says, or taken away.
    pub(super) protocol: Vec<(OsString, Option<OsString>)>,
    pub(super) stdin: Stdin,
    pub(super) directory: Option<PathBuf>,
}

/// A child that has just been started.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) leash: Arc<Leash>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Starts a child. If this is dropped before it returns, the child is killed as soon as it exists.
pub(super) async fn spawn(order: Order) -> io::Result<Child> {
    let (reply, started) = oneshot::channel();
    // A reply that nobody waits for any more is dropped there, and the child with it; or there is none.
    on_spawner(move || {
        if !reply.is_closed() {
            drop(reply.send(start(order)));
        }
    })?;
    started.await.unwrap_or_else(|_panicked| Err(io::Error::other("starting the child panicked")))
}

/// Runs `job` on the thread that starts children, after the starts that wait there.
fn on_spawner(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

    let mut spawner = lock(&SPAWNER);
    let jobs = match spawner.take() {
        Some(jobs) => jobs,
        None => {
            let (jobs, queue) = mpsc::channel::<Job>();
            std::thread::Builder::new().name("goplugin-spawn".to_owned()).spawn(move || {
                for job in queue {
                    // If this thread ended, every child would be killed with it.
                    let _panicked = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
            jobs
        }
    };
    let sent = jobs.send(Box::new(job));
    *spawner = Some(jobs);
    sent.map_err(|_closed| io::Error::other("the thread that starts children is gone"))
}

type Job = Box<dyn FnOnce() + Send>;

fn start(order: Order) -> io::Result<Child> {
    let (program, outputs) = Program::of(&order)?;
    let mut retries = 0;
    let (pid, pidfd) = loop {
        match program.start() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && retries < BUSY_RETRIES => {
                retries += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            started => break started?,
        }
    };
    // From here on an error drops the leash, and with it the child.
    let leash = Leash::of(pid, pidfd, Reach::of(order.stdin))?;
    let [stdout, stderr] = outputs;
    Ok(Child { leash: Arc::new(leash), stdout, stderr })
}

/// The hold on a child. Dropping the last one kills the child and reaps it.
#[derive(Debug)]
pub(super) struct Leash {
    pid: Pid,
    pidfd: OwnedFd,
    reach: Reach,
    /// Whether the process is still there to be signalled, or how it ended.
    life: Mutex<Life>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The whole process group, which the child leads.
    Group,
    /// The child alone, which shares our group.
    Child,
}

impl Reach {
    /// Returns that of a child with such a stdin.
    fn of(stdin: Stdin) -> Self {
        match stdin {
            Stdin::Null => Self::Group,
            Stdin::Inherit => Self::Child,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Life {
    Unreaped,
    /// `None` if somebody else in this process reaped it.
    Reaped(Option<ExitStatus>),
}

impl Leash {
    fn of(pid: Pid, pidfd: OwnedFd, reach: Reach) -> io::Result<Self> {
        let leash = Self { pid, pidfd, reach, life: Mutex::new(Life::Unreaped) };
        if reach == Reach::Group {
            watcher::register(pid)?;
        }
        Ok(leash)
    }

    /// Returns the child's process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Tells whether the process `pid` is the child or one of its group.
    pub(super) fn reaches(&self, pid: i32) -> bool {
        let Some(pid) = Pid::from_raw(pid) else { return false };
        pid == self.pid || (self.reach == Reach::Group && getpgid(Some(pid)) == Ok(self.pid))
    }

    /// Kills the child and its group. Does nothing once the child was reaped.
    pub(super) fn kill(&self) {
        self.signal_unreaped(Signal::KILL);
    }

    /// Tells the child and its group to end, each in its own way. Does nothing once the child was reaped.
    pub(super) fn terminate(&self) {
        self.signal_unreaped(Signal::TERM);
    }

    /// Waits until the child has ended. It is not reaped by this.
    pub(super) async fn ended(&self) -> io::Result<()> {
        watched(self.pidfd.try_clone()?)?.readable().await.map(drop)
    }

    /// Reaps the child after it has ended and kills what is left of its group.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let mut life = self.life();
        if let Life::Reaped(status) = *life {
            return status;
        }
        // The leader's number is its group's, and both are taken until it is reaped.
        self.signal(Signal::KILL);
        if self.reach == Reach::Group {
            watcher::release(self.pid);
        }
        let status = wait(self.pidfd.as_fd());
        *life = Life::Reaped(status);
        status
    }

    fn signal_unreaped(&self, signal: Signal) {
        if let Life::Unreaped = *self.life() {
            self.signal(signal);
        }
    }

    fn signal(&self, signal: Signal) {
        // The only error left here is that there is nobody to signal.
        if self.reach == Reach::Group {
            let _gone = kill_process_group(self.pid, signal);
            // It has had this with its group, and may take a second SIGTERM for impatience.
            if signal == Signal::TERM && getpgid(Some(self.pid)) == Ok(self.pid) {
                return;
            }
        }
        // It may have moved to another group.
        let _gone = pidfd_send_signal(&self.pidfd, signal);
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        lock(&self.life)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Life::Reaped(_) = *self.life() {
            return;
        }
        self.kill();
        let timeout = Timespec { tv_sec: LAST_WAIT.as_secs().cast_signed(), tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // If a signal broke off the wait, the child would stay a zombie.
        if matches!(retry_on_intr(|| poll(&mut fds, Some(&timeout))), Ok(1)) {
            self.reap();
        }
    }
}

/// Reaps a process that has ended.
fn wait(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).ok()??;
    // As `wait` encodes it: the code in the second byte, or the signal in the first.
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, Some(signal)) => signal | if status.dumped() { 0x80 } else { 0 },
        (None, None) => return None,
    };
    Some(ExitStatus::from_raw(raw))
}
