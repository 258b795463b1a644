//! Connecting to a plugin that somebody else started.
//!
//! There is no handshake: what the line would have said is known. The plugin is not ours, so neither a failure nor
//! dropping the connection ends it. Stopping it does, unless it runs under a test.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;
use tokio::sync::watch;

use super::connection::Hold;
use super::{Connection, Exit, Gone};
use crate::broker::{Medium, Queue};
use crate::log::chain;
use crate::pidfd::watched;
use crate::sink::Contained;
use crate::timeout::within;
use crate::transport::{Ended, Place, Route, SocketDir, SocketDirError};
use crate::{Address, Broker, Channel, Discard, Handshake, Reattach, Sink};

/// How a running plugin is connected to. [`new`](Self::new) fills in what has a default.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The plugin.
    pub plugin: Reattach,
    /// How long connecting may take. 10 seconds by default.
    pub timeout: Duration,
    /// As [`Launch::message_limit`](crate::Launch::message_limit).
    pub message_limit: usize,
    /// Where the private directory for our own sockets is created; the system's temporary directory if `None`.
    pub socket_base: Option<PathBuf>,
    /// What takes its prints, unless another host does. Its log goes to whoever started it. [`Discard`] by default.
    pub sink: Arc<dyn Sink>,
}

impl Attach {
    /// Describes a connection to `plugin` with nothing but defaults.
    #[must_use]
    pub fn new(plugin: Reattach) -> Self {
        Self {
            plugin,
            timeout: Duration::from_secs(10),
            message_limit: 64 << 20,
            socket_base: None,
            sink: Arc::new(Discard),
        }
    }

    /// Connects to the plugin, if its process exists and it listens.
    ///
    /// A process that does not turn out to be the plugin is left alone. A Go plugin's broker is good for one host only:
    /// if there was another one, brokered calls fail.
    pub async fn connect(&self) -> Result<Connection, AttachError> {
        let Reattach { address, pid, version, test } = self.plugin.clone();
        // First: from here on another process that gets the same number is no danger.
        let process = Process::find(pid).map_err(|source| AttachError::Process { pid, source })?;
        let sockets = Arc::new(SocketDir::create(self.socket_base.as_deref(), None)?);
        let route = Route::to_address(address.clone(), None);
        let link = within(self.timeout, route.open()).await;
        let link = link.map_err(|source| AttachError::Connect { address: address.clone(), source })?;

        let (attached, ended) =
            Attached::watch(process, test).map_err(|source| AttachError::Process { pid, source })?;
        let medium = Medium::Sockets { place: Place::Private(sockets), strays: None };
        let broker = Broker::new(Queue::new(), medium, None, ended.clone());
        let channel = Channel::open(link, route, ended);
        let handshake = Handshake::known(version, address);
        let sink = Arc::new(Contained(Arc::clone(&self.sink)));
        Ok(Connection::open(Box::new(attached), handshake, channel, broker, sink, self.message_limit))
    }
}

/// Why there is no connection to a running plugin. The plugin itself is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no such process, or it cannot be watched.
    #[error("there is no process {pid} to attach to")]
    Process {
        /// Its number.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
    /// There is no place for our sockets.
    #[error(transparent)]
    Sockets(#[from] SocketDirError),
    /// There is no connection to its address.
    #[error("cannot connect to it at {address}")]
    Connect {
        /// The address.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

/// A process that is not our child. Its pidfd keeps this from meaning another process that gets the same number.
#[derive(Debug)]
struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    fn find(pid: u32) -> io::Result<Self> {
        // 0 would mean ourselves to some calls.
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd })
    }
}

/// The hold on a plugin that is not our child. Dropping it does nothing to the plugin.
#[derive(Debug)]
struct Attached {
    process: Process,
    test: bool,
    requested: Arc<AtomicBool>,
    gone: Gone,
}

impl Attached {
    fn watch(process: Process, test: bool) -> io::Result<(Self, Ended)> {
        let (has_ended, ended) = Ended::new();
        let (tell, told) = watch::channel(None);
        let requested = Arc::<AtomicBool>::default();
        let pidfd = watched(process.pidfd.try_clone()?)?;
        let asked = Arc::clone(&requested);
        // Owned by all who want to know, and ends with the last of them: handles and channels outlive the connection.
        tokio::spawn(async move {
            let unwatched = async { tokio::join!(tell.closed(), has_ended.closed()) };
            tokio::select! {
                ended = pidfd.readable() => if let Err(error) = ended {
                    tracing::warn!(error = chain(&error), "a plugin cannot be watched");
                },
                _ = unwatched => return,
            }
            has_ended.send_replace(true);
            // Only its parent learns how it ended.
            let exit = Exit { requested: asked.load(Ordering::Relaxed), ..Exit::default() };
            tell.send_replace(Some(exit));
        });
        Ok((Self { process, test, requested, gone: Gone(told) }, ended))
    }

    fn signal(&self, signal: Signal) {
        if !self.test {
            self.request();
            let _gone = pidfd_send_signal(&self.process.pidfd, signal);
        }
    }
}

impl Hold for Attached {
    fn pid(&self) -> u32 {
        self.process.pid
    }

    fn gone(&self) -> Gone {
        self.gone.clone()
    }

    fn socket_dir(&self) -> Option<&Path> {
        None
    }

    fn is_under_test(&self) -> bool {
        self.test
    }

    /// Its standard error goes to whoever started it.
    fn last_words(&self) -> String {
        String::new()
    }

    fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn kill(&self) {
        self.signal(Signal::KILL);
    }
}
