//! A running plugin, for as long as it is one.
//!
//! It is the same whether we started the plugin or only came to it; what differs is who sees to its end, and
//! what becomes of it when we let go: see `starting.rs` and `attach.rs`.

use std::error::Error;
use std::fmt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::attach::Attached;
use super::starting::Starting;
use crate::task::Task;
use crate::{Address, Broker, Channel, Handshake, PingError, Sink, broker, controller, health, stdio};

/// How long the request to end may take, however long the grace is.
const REQUEST: Duration = Duration::from_secs(2);

/// A running plugin that we are connected to.
///
/// Dropping it kills a plugin that we started at once, without the grace that [`stop`](Self::stop) gives, and leaves
/// alone one that we [attached](crate::Attach) to. Every method may be called at the same time as every other.
#[derive(Debug)]
pub struct Connection {
    handshake: Handshake,
    channel: Channel,
    broker: Broker,
    message_limit: usize,
    life: Life,
    _broker_task: Task,
    _stdio_task: Task,
}

/// Who sees to a plugin's end.
#[derive(Debug)]
pub(super) enum Life {
    /// We do: it is our child.
    Child(Starting),
    /// Somebody else does; we watch.
    Attached(Attached),
}

impl Connection {
    /// Opens what every connection has.
    pub(super) fn open(
        life: Life,
        handshake: Handshake,
        channel: Channel,
        broker: Broker,
        sink: Arc<dyn Sink>,
        message_limit: usize,
    ) -> Self {
        Self {
            handshake,
            life,
            message_limit,
            _broker_task: broker::open(&broker, channel.clone()),
            _stdio_task: Task::spawn(stdio::drain(channel.clone(), message_limit, sink)),
            broker,
            channel,
        }
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

    /// Returns the id of the plugin's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.life {
            Life::Child(child) => child.pid(),
            Life::Attached(attached) => attached.pid(),
        }
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
        match &self.life {
            Life::Child(child) => child.gone(),
            Life::Attached(attached) => attached.gone(),
        }
    }

    /// Kills the plugin at once. [`gone`](Self::gone) tells when it is.
    ///
    /// A plugin that is under [test](crate::Reattach::test) is never killed.
    pub fn kill(&self) {
        match &self.life {
            Life::Child(child) => child.kill(),
            Life::Attached(attached) => attached.kill(),
        }
    }

    /// Asks the plugin to end, gives it `grace` to do so, then kills it; returns how it ended.
    ///
    /// Stopping twice is the same as stopping once; of two at the same time, the shorter grace counts. A
    /// grace of zero does not ask. It takes no longer than the grace and what the kernel needs. A plugin that
    /// is under [test](crate::Reattach::test) is left alone: it is only we who have done with it.
    pub async fn stop(&self, grace: Duration) -> Exit {
        let gone = self.gone();
        if let Some(exit) = gone.exit() {
            return exit;
        }
        match &self.life {
            Life::Child(child) => child.request(),
            Life::Attached(attached) if attached.is_under_test() => {
                self.broker.close();
                return Exit { requested: true, ..Exit::default() };
            }
            Life::Attached(attached) => attached.request(),
        }
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
        match &self.life {
            Life::Child(child) => child.end().await,
            Life::Attached(attached) => attached.end().await,
        }
    }
}

/// Stops all of `connections` at the same time, each as [`Connection::stop`] does.
pub async fn stop_all<'a>(
    connections: impl IntoIterator<Item = &'a Connection>,
    grace: Duration,
) -> Vec<Exit> {
    join_all(connections.into_iter().map(|connection| connection.stop(grace))).await
}

/// What tells of a plugin's end. Cheap to clone, and it outlives the [`Connection`].
#[derive(Clone, Debug)]
pub struct Gone(pub(super) watch::Receiver<Option<Exit>>);

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
