//! A running plugin, for as long as it is one.
//!
//! It is the same whether we started the plugin or only attached to it. What differs is who sees to its end, and what
//! becomes of it when this is dropped: see `supervised.rs` and `attach.rs`.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::ending::{Asked, Ending};
use crate::task::Task;
use crate::{
    Address, Broker, Certificate, Channel, Handshake, Health, PingError, ReflectionError, ServiceList, Sink,
    Standing, TlsSession, broker, controller, health, reflection, stdio,
};

/// How long the request to end may take, however long the grace is.
const REQUEST: Duration = Duration::from_secs(2);

/// How long a killed process is waited for. It takes a millisecond, unless the kernel is stuck.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// A running plugin that we are connected to.
///
/// Dropping it kills a plugin that we started, at once and without the grace that [`stop`](Self::stop) gives. A plugin
/// that we [attached](crate::Attach) to is left alone. Methods may be called concurrently.
#[derive(Debug)]
pub struct Connection {
    handshake: Handshake,
    channel: Channel,
    broker: Broker,
    message_limit: usize,
    hold: Box<dyn Hold>,
    session: Option<TlsSession>,
    streams: [watch::Receiver<Standing>; 2],
    /// Whether somebody who stops it has given up waiting for its last prints.
    impatient: watch::Sender<bool>,
    _tasks: [Task; 2],
}

/// The hold on a plugin's process, which is our child or was there before us.
pub(super) trait Hold: fmt::Debug + Send + Sync {
    /// Returns the id of the process.
    fn pid(&self) -> u32;

    /// Returns a handle by which to wait for its end.
    fn gone(&self) -> Gone;

    /// Returns the private directory that it was told to have its sockets in, if we started it.
    fn socket_dir(&self) -> Option<&Path>;

    /// Tells whether it is under test, so that we must not end it.
    fn is_under_test(&self) -> bool;

    /// Returns the end of what it wrote to its standard error, as far as we read that.
    fn last_words(&self) -> String;

    /// Notes that it was asked to end.
    fn request(&self);

    /// Sends it SIGTERM, unless it is under test.
    fn terminate(&self);

    /// Kills it, unless it is under test.
    fn kill(&self);
}

/// Kills a process that has not ended, and returns how it ended.
pub(super) async fn end(hold: &dyn Hold) -> Exit {
    let gone = hold.gone();
    if let Some(exit) = gone.exit() {
        return exit;
    }
    hold.kill();
    let stuck = |_elapsed| Exit { requested: true, stderr: hold.last_words(), ..Exit::default() };
    timeout(AFTER_KILL, gone.wait()).await.unwrap_or_else(stuck)
}

impl Connection {
    /// Opens a connection with the streams that all of them have.
    pub(super) fn open(
        hold: Box<dyn Hold>,
        handshake: Handshake,
        channel: Channel,
        broker: Broker,
        sink: Arc<dyn Sink>,
        message_limit: usize,
    ) -> Self {
        let (broker_task, broker_standing) = broker::open(&broker, channel.clone(), hold.pid());
        let (stdio_task, stdio_standing) = stdio::open(channel.clone(), message_limit, sink, hold.pid());
        Self {
            handshake,
            hold,
            message_limit,
            session: None,
            streams: [broker_standing, stdio_standing],
            impatient: watch::Sender::new(false),
            _tasks: [broker_task, stdio_task],
            broker,
            channel,
        }
    }

    /// Notes how the first link is encrypted.
    pub(super) fn encrypted_as(self, session: Option<TlsSession>) -> Self {
        Self { session, ..self }
    }

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

    /// Returns the certificate that the plugin showed in its handshake. There is one with AutoMTLS only.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Certificate> {
        self.handshake.certificate().cloned().map(Certificate::from)
    }

    /// Returns what the two sides of the first connection agreed on, if it is encrypted.
    #[must_use]
    pub fn tls_session(&self) -> Option<&TlsSession> {
        self.session.as_ref()
    }

    /// Returns the private directory that the plugin was told to have its sockets in, if we started it.
    #[must_use]
    pub fn socket_dir(&self) -> Option<&Path> {
        self.hold.socket_dir()
    }

    /// Returns the id of the plugin's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.hold.pid()
    }

    /// Returns the limit that [`Launch::message_limit`](crate::Launch::message_limit) set, for the caller's own clients.
    #[must_use]
    pub fn message_limit(&self) -> usize {
        self.message_limit
    }

    /// Asks the plugin whether it serves, and waits no longer than `limit`.
    pub async fn ping(&self, limit: Duration) -> Result<(), PingError> {
        health::ping(self.channel(), limit).await
    }

    /// Asks the plugin for the health of one of its services, and waits no longer than `limit`.
    ///
    /// [`ping`](Self::ping) asks for `plugin`; the empty name stands for the whole server.
    pub async fn health(&self, service: &str, limit: Duration) -> Result<Health, PingError> {
        health::check(self.channel(), service, limit).await
    }

    /// Asks the plugin which services it offers, by gRPC's server reflection, and waits no longer than `limit`.
    ///
    /// `None` if it has no reflection, which is no fault: nothing in go-plugin needs it.
    pub async fn services(&self, limit: Duration) -> Result<Option<ServiceList>, ReflectionError> {
        reflection::services(self.channel(), self.message_limit, limit).await
    }

    /// Returns the state of the two streams that the plugin should keep open for us, after it had `patience` to refuse
    /// them.
    ///
    /// A Go plugin answers only when it has something to say. So an open stream is one that was not refused yet, and
    /// this takes all of `patience` unless both were.
    pub async fn streams(&self, patience: Duration) -> Streams {
        let [mut broker, mut stdio] = self.streams.clone();
        let refused = async {
            for stream in [&mut broker, &mut stdio] {
                // A task that is gone says nothing more.
                let _gone = stream.wait_for(|standing| *standing != Standing::Open).await;
            }
        };
        let _open = timeout(patience, refused).await;
        let [broker, stdio] = &self.streams;
        Streams { broker: broker.borrow().clone(), stdio: stdio.borrow().clone() }
    }

    /// Returns a handle by which to wait for the plugin's end.
    #[must_use]
    pub fn gone(&self) -> Gone {
        self.hold.gone()
    }

    /// Kills the plugin at once, and does not wait for its end; see [`gone`](Self::gone).
    ///
    /// A plugin that is under [test](crate::Reattach::test) is never killed.
    pub fn kill(&self) {
        self.hold.kill();
    }

    /// Asks the plugin to end, gives it `grace` to do so, then kills it; returns how it ended.
    ///
    /// A plugin that does not know the request, as most that are not written in Go, gets SIGTERM instead.
    ///
    /// Stopping twice is the same as stopping once; of two calls at the same time, the shorter grace counts. With a
    /// grace of zero the plugin is killed without being asked. Its last prints reach the sink before this returns, if
    /// the sink has room for them within the grace. This takes no longer than the grace and what the kernel needs. A
    /// plugin that is under [test](crate::Reattach::test) is left alone; only the broker closes.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.stop_and_tell(grace).await.exit
    }

    /// Does the same as [`stop`](Self::stop), and returns how the plugin reacted.
    pub async fn stop_and_tell(&self, grace: Duration) -> Ending {
        let begin = Instant::now();
        let (asked, killed, exit) = self.ask_wait_kill(grace, crate::timeout::end(begin, grace)).await;
        Ending { asked, killed, exit, took: begin.elapsed() }
    }

    /// Returns how the plugin answered, whether it took a signal, and how it ended.
    async fn ask_wait_kill(&self, grace: Duration, until: Instant) -> (Asked, bool, Exit) {
        let gone = self.gone();
        if let Some(exit) = gone.exit() {
            self.printed(until).await;
            return (Asked::Not, false, exit);
        }
        if self.hold.is_under_test() {
            self.broker.close();
            return (Asked::Not, false, Exit { requested: true, ..Exit::default() });
        }
        self.hold.request();
        let asked = self.ask(grace).await;
        let terminated = asked == Asked::Absent;
        if terminated {
            // Without this it would hear nothing before it is killed. A plugin that can end in order does so by
            // SIGTERM.
            self.hold.terminate();
        }
        if let Ok(exit) = timeout_at(until, gone.wait()).await {
            self.printed(until).await;
            return (asked, terminated, exit);
        }
        tracing::debug!(pid = self.pid(), "the plugin did not end when asked, and is killed");
        self.impatient.send_replace(true);
        (asked, true, end(self.hold.as_ref()).await)
    }

    /// Asks the plugin to end, unless there is no time to.
    async fn ask(&self, grace: Duration) -> Asked {
        if grace.is_zero() {
            return Asked::Not;
        }
        self.broker.close();
        let asked = tokio::select! {
            // Either way it was asked, and only its end counts. If there is an answer as well, that is told.
            biased;
            answer = controller::ask_to_end(self.channel(), grace.min(REQUEST)) => answer,
            _ = self.gone().wait() => Asked::Cut,
        };
        tracing::debug!(pid = self.pid(), ?asked, "the plugin was asked to end");
        asked
    }

    /// Waits until the sink has everything that the ended plugin printed, or until `until`, or until somebody else
    /// gives up.
    ///
    /// That may be much: all of it has arrived by then, and is handed over as the sink has room.
    async fn printed(&self, until: Instant) {
        let [_broker, mut stdio] = self.streams.clone();
        // A task that is gone hands nothing over any more.
        let handed_over = async { drop(stdio.wait_for(|standing| *standing != Standing::Open).await) };
        let mut impatient = self.impatient.subscribe();
        let given_up = async { drop(impatient.wait_for(|impatient| *impatient).await) };
        tokio::select! {
            // If everything is handed over already, nobody has to give up.
            biased;
            () = handed_over => {}
            () = given_up => {}
            () = sleep_until(until) => { self.impatient.send_replace(true); }
        }
    }
}

/// The state of the two streams that a plugin keeps open for its host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Streams {
    /// The broker's stream, without which there are no calls in the other direction.
    pub broker: Standing,
    /// The stream that carries what the plugin prints.
    pub stdio: Standing,
}

/// Stops all of `connections` at the same time, each as [`Connection::stop`] does.
pub async fn stop_all<'a>(
    connections: impl IntoIterator<Item = &'a Connection>,
    grace: Duration,
) -> Vec<Exit> {
    join_all(connections.into_iter().map(|connection| connection.stop(grace))).await
}

/// A handle by which to wait for a plugin's end. Cheap to clone; it outlives the [`Connection`].
#[derive(Clone, Debug)]
pub struct Gone(pub(super) watch::Receiver<Option<Exit>>);

impl Gone {
    /// Waits for the end, and returns how the plugin ended.
    pub async fn wait(mut self) -> Exit {
        match self.0.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_default(),
            // The runtime that watched over it has ended, and a child with that.
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
    /// Its exit code or the signal it died of; `None` if it was not our child, or somebody else reaped it, as the
    /// kernel does where SIGCHLD is ignored.
    pub status: Option<ExitStatus>,
    /// Whether we had asked it to, or killed it.
    pub requested: bool,
    /// The end of what it wrote to its standard error, at most some kilobytes, with log entries made readable.
    pub stderr: String,
    /// Socket files that it left, and that we removed. Only known of a plugin that we started.
    pub sockets_left: Vec<PathBuf>,
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
