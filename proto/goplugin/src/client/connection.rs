//! A running plugin, for as long as it is one.
//!
//! One task, the monitor, waits for the child's process, and everything that ends with the plugin ends
//! there, in this order: calls and callbacks, what is left of the group, the pipes, the sockets; and
//! last, how it ended is told. The monitor ends by itself, because whoever lets go of the plugin kills it.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::child::{Child, Leash};
use super::output::{FirstLine, Tail, read_stderr, read_stdout};
use super::{Connected, Evidence, Launch};
use crate::broker::{Medium, Queue};
use crate::task::Task;
use crate::transport::{Ended, Place, Socket, SocketDir, Strays};
use crate::{Address, Broker, Channel, Handshake, PingError, broker, controller, health, stdio};

/// How long the request to end may take, however long the grace is.
const REQUEST: Duration = Duration::from_secs(2);

/// How long a killed process is waited for. It takes a millisecond, unless the kernel is stuck.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// A running plugin that we are connected to.
///
/// Dropping it kills the plugin at once, without the grace that [`stop`](Self::stop) gives. Every method
/// may be called at the same time as every other.
#[derive(Debug)]
pub struct Connection {
    handshake: Handshake,
    channel: Channel,
    broker: Broker,
    message_limit: usize,
    starting: Starting,
    _broker_task: Task,
    _stdio_task: Task,
}

impl Connection {
    /// Returns a channel for the caller's own clients.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Returns the broker, through which the plugin can call back.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Returns the version of the application's protocol that the plugin chose.
    #[must_use]
    pub fn negotiated_version(&self) -> u32 {
        self.handshake.version()
    }

    /// Returns where the plugin listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.handshake.address()
    }

    /// Returns the process id of the child that was started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.starting.leash.pid()
    }

    /// Returns the limit that [`Launch::message_limit`] set, for the caller's own clients.
    #[must_use]
    pub fn message_limit(&self) -> usize {
        self.message_limit
    }

    /// Asks the plugin whether it serves, and waits no longer than `limit`.
    pub async fn ping(&self, limit: Duration) -> Result<(), PingError> {
        health::ping(self.channel(), limit).await
    }

    /// Returns what tells of the plugin's end.
    #[must_use]
    pub fn gone(&self) -> Gone {
        self.starting.gone()
    }

    /// Kills the plugin at once. [`gone`](Self::gone) tells when it is.
    pub fn kill(&self) {
        self.starting.kill();
    }

    /// Asks the plugin to end, gives it `grace` to do so, then kills it; returns how it ended.
    ///
    /// Stopping twice is the same as stopping once; of two at the same time, the shorter grace counts. A
    /// grace of zero does not ask. It takes no longer than the grace and what the kernel needs.
    pub async fn stop(&self, grace: Duration) -> Exit {
        let gone = self.gone();
        if let Some(exit) = gone.exit() {
            return exit;
        }
        self.starting.requested.store(true, Ordering::Relaxed);
        let until = Instant::now() + grace;
        if !grace.is_zero() {
            self.broker.close();
            tokio::select! {
                // Either way the plugin was asked; its end is all that counts.
                () = controller::ask_to_end(self.channel(), grace.min(REQUEST)) => {}
                _ = gone.clone().wait() => {}
            }
        }
        if let Ok(exit) = timeout_at(until, gone.clone().wait()).await {
            return exit;
        }
        tracing::debug!(pid = self.pid(), "the plugin did not end when asked, and is killed");
        self.starting.end().await
    }
}

/// Stops all of `connections` at the same time, each as [`Connection::stop`] does.
pub async fn stop_all<'a>(
    connections: impl IntoIterator<Item = &'a Connection>,
    grace: Duration,
) -> Vec<Exit> {
    join_all(connections.into_iter().map(|connection| connection.stop(grace))).await
}

/// A child that is watched, and not yet a plugin. Dropping it kills the child.
#[derive(Debug)]
pub(super) struct Starting {
    leash: Arc<Leash>,
    launch_limit: usize,
    sink: SinkOf,
    sockets: Arc<SocketDir>,
    strays: Arc<Strays>,
    requested: Arc<AtomicBool>,
    ended: Ended,
    gone: Gone,
    tail: Tail,
}

type SinkOf = Arc<dyn crate::Sink>;

impl Starting {
    /// Watches `child`, and returns what its first line will come by.
    pub(super) fn watch(
        child: Child,
        launch: &Launch,
        sockets: Arc<SocketDir>,
    ) -> io::Result<(Self, oneshot::Receiver<FirstLine>)> {
        let Child { leash, stdout, stderr } = child;
        let (first, first_line) = oneshot::channel();
        let (has_ended, ended) = Ended::new();
        let (tell, told) = watch::channel(None);
        // Weakly, because a broker that somebody keeps must not keep the child.
        let of = Arc::downgrade(&leash);
        let starting = Self {
            leash: Arc::clone(&leash),
            launch_limit: launch.message_limit,
            sink: Arc::clone(&launch.sink),
            sockets: Arc::clone(&sockets),
            strays: Arc::new(Strays::new(move |pid| of.upgrade().is_some_and(|leash| leash.reaches(pid)))),
            requested: Arc::default(),
            ended: ended.clone(),
            gone: Gone(told),
            tail: Tail::default(),
        };
        let sink = Arc::clone(&launch.sink);
        let readers = [
            tokio::spawn(read_stdout(stdout, ended.clone(), first)),
            tokio::spawn(read_stderr(stderr, ended, launch.log_line_limit, sink, starting.tail.clone())),
        ];
        tokio::spawn(monitor(Watched {
            leash,
            has_ended,
            tell,
            readers,
            sockets,
            strays: Arc::clone(&starting.strays),
            requested: Arc::clone(&starting.requested),
            tail: starting.tail.clone(),
        }));
        Ok((starting, first_line))
    }

    pub(super) fn gone(&self) -> Gone {
        self.gone.clone()
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// Remembers the plugin's socket, to be removed with the plugin.
    pub(super) fn connected(&self, socket: &Socket, address: &Address) {
        self.strays.note(socket, address);
    }

    /// Opens what every connection has, and makes a plugin of the child.
    pub(super) fn finish(self, connected: Connected) -> Connection {
        let Connected { handshake, channel, tls, mux } = connected;
        let (medium, queue) = match mux {
            Some((mux, queue)) => (Medium::Mux(mux), queue),
            None => {
                let place = Place::Private(Arc::clone(&self.sockets));
                (Medium::Sockets { place, strays: Some(Arc::clone(&self.strays)) }, Queue::new())
            }
        };
        let broker = Broker::new(queue, medium, tls, self.ended());
        let prints = stdio::drain(channel.clone(), self.launch_limit, Arc::clone(&self.sink));
        Connection {
            handshake,
            _broker_task: broker::open(&broker, channel.clone()),
            broker,
            message_limit: self.launch_limit,
            _stdio_task: Task::spawn(prints),
            starting: self,
            channel,
        }
    }

    /// Kills what is left of the child, and returns what it says when it is gone.
    pub(super) async fn end(&self) -> Exit {
        if let Some(exit) = self.gone.exit() {
            return exit;
        }
        self.kill();
        let stuck = |_elapsed| Exit { status: None, requested: true, stderr: self.tail.text() };
        timeout(AFTER_KILL, self.gone().wait()).await.unwrap_or_else(stuck)
    }

    /// Ends the child after it had `patience` to end by itself, and returns what it left to say.
    pub(super) async fn evidence(&self, patience: Duration) -> Option<Evidence> {
        match timeout(patience, self.gone().wait()).await {
            Ok(exit) if !exit.requested => Some(Evidence::Exit(exit)),
            _ => Some(self.end().await.stderr)
                .filter(|words| !words.trim().is_empty())
                .map(Evidence::LastWords),
        }
    }

    pub(super) fn kill(&self) {
        self.requested.store(true, Ordering::Relaxed);
        self.leash.kill();
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Watched {
    leash: Arc<Leash>,
    has_ended: watch::Sender<bool>,
    tell: watch::Sender<Option<Exit>>,
    readers: [JoinHandle<io::Result<()>>; 2],
    sockets: Arc<SocketDir>,
    strays: Arc<Strays>,
    requested: Arc<AtomicBool>,
    tail: Tail,
}

async fn monitor(watched: Watched) {
    let Watched { leash, has_ended, tell, readers, sockets, strays, requested, tail } = watched;
    if let Err(error) = leash.ended().await {
        // A child that cannot be watched is not kept; reaping then waits for the moment it takes.
        tracing::error!(error = &error as &dyn Error, "a child cannot be watched, and is killed");
        leash.kill();
    }
    let status = leash.reap();
    has_ended.send_replace(true);
    for reader in readers {
        match reader.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn Error, "a child's output cannot be read"),
            Err(error) => tracing::warn!(error = &error as &dyn Error, "a sink failed"),
        }
    }
    strays.remove();
    sockets.remove();
    let exit = Exit { status, requested: requested.load(Ordering::Relaxed), stderr: tail.text() };
    tell.send_replace(Some(exit));
}

/// What tells of a plugin's end. Cheap to clone, and it outlives the [`Connection`].
#[derive(Clone, Debug)]
pub struct Gone(watch::Receiver<Option<Exit>>);

impl Gone {
    /// Waits for the end and returns how it came.
    pub async fn wait(mut self) -> Exit {
        match self.0.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_default(),
            // The runtime that watched over it has ended, and the plugin with that.
            Err(_closed) => Exit::default(),
        }
    }

    /// Returns how the plugin ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match &*self.0.borrow() {
            Some(exit) => Some(exit.clone()),
            None => self.0.has_changed().is_err().then(Exit::default),
        }
    }
}

/// How a plugin ended.
#[derive(Clone, Debug, Default)]
pub struct Exit {
    /// Its exit code or the signal it died of; `None` if somebody else took that from us.
    pub status: Option<ExitStatus>,
    /// Whether we had asked it to, or killed it.
    pub requested: bool,
    /// The end of what it wrote to its standard error, some kilobytes at most and made readable.
    pub stderr: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("exit status unknown")?,
        }
        match self.stderr.trim() {
            words if !self.requested && !words.is_empty() => write!(f, "; its last words: {words}"),
            _ => Ok(()),
        }
    }
}

impl Error for Exit {}
