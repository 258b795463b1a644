//! What ends a plugin.
//!
//! The host may ask for the end; so may a signal, the application, and the death of the process that started us. The
//! first of them is reported, and later ones change nothing.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::pidfd::watched;

/// How often to check whether the process that started us still exists, where the kernel has no pidfd for it.
const LOOK: Duration = Duration::from_secs(1);

/// Why a plugin ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Its host asked it to.
    Asked,
    /// Somebody sent it SIGTERM.
    Terminated,
    /// The process that had started it ended.
    Orphaned,
    /// The one connection of a multiplexing host was lost, and there cannot be another.
    Disconnected,
    /// The application, or a test, stopped it.
    Stopped,
    /// The application's own code panicked, and gave up.
    Broken,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "its host asked it to end",
            Self::Terminated => "it was told to end by SIGTERM",
            Self::Orphaned => "the process that started it has ended",
            Self::Disconnected => "its host's connection is lost",
            Self::Stopped => "it ended by itself",
            Self::Broken => "its own code panicked",
        })
    }
}

/// The end of a plugin, to be triggered or waited for. Clones mean the same end.
#[derive(Clone, Debug)]
pub(super) struct Ending(Arc<watch::Sender<Course>>);

/// How far a plugin is on its way to the end.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    end: Option<End>,
    /// Whether nobody finds it any more.
    is_hidden: bool,
}

impl Ending {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Course::default())))
    }

    /// Triggers the end, unless something has before.
    pub(super) fn bring(&self, end: End) {
        self.0.send_if_modified(|course| {
            let first = course.end.is_none();
            course.end.get_or_insert(end);
            first
        });
    }

    /// Waits for the end and returns how it came.
    pub(super) fn wait(&self) -> impl Future<Output = End> + Send + Sync + use<> {
        let (keep, mut course) = (Arc::clone(&self.0), self.0.subscribe());
        async move {
            let end = course.wait_for(|course| course.end.is_some()).await.ok().and_then(|course| course.end);
            drop(keep);
            // The sender lives as long as this future, so there is an end when it is over.
            end.unwrap_or(End::Stopped)
        }
    }

    /// Notes that the socket's file is gone.
    pub(super) fn hide(&self) {
        self.0.send_modify(|course| course.is_hidden = true);
    }

    /// Waits until the socket's file is gone.
    pub(super) async fn hidden(&self) {
        let mut course = self.0.subscribe();
        // The sender is ours, so there is no error.
        let _course = course.wait_for(|course| course.is_hidden).await;
    }
}

/// The signals that a plugin handles.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Installs handlers of the signals, for the rest of the process's life.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits until the process is told to end.
    ///
    /// Ctrl-C reaches a plugin only because it shares its host's terminal, and the host decides what it means.
    pub(super) async fn terminated(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.interrupt.recv() => tracing::trace!("a plugin leaves SIGINT to its host"),
                Some(()) = self.terminate.recv() => return,
                else => std::future::pending().await,
            }
        }
    }
}

/// The process that started us.
#[derive(Debug)]
pub(super) struct Starter {
    pid: Pid,
    /// What tells of its end. Older containers, and some sandboxes, refuse it to everybody.
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Starter {
    /// Finds it.
    ///
    /// If it is dead already, another process is our parent by now. That shows when nobody reads our line.
    pub(super) fn find() -> io::Result<Option<Self>> {
        // A process whose starter is in another namespace has none that it could name.
        let Some(pid) = getppid() else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::NOSYS | Errno::PERM) => return Ok(Some(Self { pid, pidfd: None })),
            Err(error) => return Err(error.into()),
        };
        if getppid() != Some(pid) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process that started this one has ended",
            ));
        }
        Ok(Some(Self { pid, pidfd: Some(watched(pidfd)?) }))
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        match &self.pidfd {
            Some(pidfd) => {
                if pidfd.readable().await.is_err() {
                    // The runtime is shutting down, and we with it.
                    std::future::pending().await
                }
            }
            // A process whose parent has ended gets another parent.
            None => {
                while getppid() == Some(self.pid) {
                    sleep(LOOK).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rustix::process::getpid;

    use super::*;
    use crate::kernel::without;

    #[tokio::test]
    async fn the_first_end_counts_and_reaches_everybody() {
        let ending = Ending::new();
        let early = ending.wait();
        assert_eq!(ending.wait().now_or_never(), None);
        ending.bring(End::Asked);
        ending.bring(End::Terminated);
        assert_eq!((early.await, ending.wait().await), (End::Asked, End::Asked));
    }

    #[tokio::test]
    async fn the_process_that_started_us_is_alive() {
        let starter = Starter::find().unwrap().unwrap();
        assert_eq!(starter.ended().now_or_never(), None);
    }

    #[test]
    fn where_the_kernel_does_not_tell_of_its_end_it_is_looked_for() {
        for refused in [Errno::NOSYS, Errno::PERM] {
            without(libc::SYS_pidfd_open, refused, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let starter = Starter::find().unwrap().unwrap();
                    assert_eq!(starter.ended().now_or_never(), None);
                    // As if that had not been our parent for long.
                    let gone = Starter { pid: getpid(), ..starter };
                    assert_eq!(gone.ended().now_or_never(), Some(()));
                });
            });
        }
    }
}
