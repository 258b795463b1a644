//! Many connections over one socket.
//!
//! With multiplexing there is one socket between host and plugin, with a yamux session on it; each stream of the
//! session takes the place of a connection. The host is yamux's client, and dials the plugin's main server by opening a
//! stream. For every other stream either side first knocks, over the broker (protocol spec 15).
//!
//! At most three tasks take part. One drives the session, and hands inbound streams to the server that `knocks.rs`
//! chooses. One opens streams, one after the other, and receives the answers to its knocks. The broker's task reads
//! what arrives, so [`Mux::heard`] never waits.

mod driver;
#[cfg(test)]
mod fuzz;
mod knocks;
mod opener;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::{pending, ready};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use self::knocks::{Knocks, Ticket, Verdict};
use self::opener::{Ack, Opener, UNANSWERED};
pub(crate) use self::stream::Stream;
use crate::broker::Queue;
use crate::handshake::quote;
use crate::lock::lock;
use crate::task::Task;
use crate::transport::Socket;
use crate::wire::ConnInfo;
use crate::wire::conn_info::Knock;

/// How long a knock is waited on. Go peers wait as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// For how long we knock again after a refusal, and how long we pause before each time. Guesses: a Go peer needs
/// microseconds, and a busy machine makes them milliseconds.
const SETTLING: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// How long the first answer on a stream is waited for before the next one may be opened.
const ANSWER: Duration = Duration::from_secs(5);

/// How many streams may wait for the task of a server to accept them. A guess; further ones are reset.
const BACKLOG: usize = 64;

/// How many dials may wait for their turn. A guess; further ones wait in their caller.
const DIALS: usize = 64;

/// Which end of the session we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The side that connected the socket.
    Host,
    /// The side that accepted it; streams that nobody knocked for are for the main server.
    Plugin,
}

/// A session. Cheap to clone; it ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Mux(Arc<Session>);

struct Session {
    dials: mpsc::Sender<Dial>,
    acceptance: Arc<Acceptance>,
    acks: mpsc::Sender<Ack>,
    queue: Queue,
    ended: watch::Receiver<bool>,
    _driver: Task,
    _opener: Task,
}

/// The state that the broker and the session's driver share.
struct Acceptance {
    knocks: Mutex<Knocks<mpsc::Sender<Stream>>>,
    /// Told when a knock began to wait.
    held: Notify,
}

impl Acceptance {
    fn knocks(&self) -> MutexGuard<'_, Knocks<mpsc::Sender<Stream>>> {
        lock(&self.knocks)
    }
}

/// Somebody who wants a stream.
struct Dial {
    /// The server's number; the main one has none, and is not knocked for.
    id: Option<u32>,
    reply: oneshot::Sender<Result<Stream, DialError>>,
}

impl Mux {
    /// Begins a session over `socket`. Knocks go out by `queue`, which is the broker's as well.
    ///
    /// Also returns the streams that nobody knocked for; a host has none.
    pub(crate) fn new(socket: Socket, role: Role, queue: Queue) -> (Self, mpsc::Receiver<Stream>) {
        Self::over(ready(Some(socket)), role, queue, pending())
    }

    /// Begins a session over the socket that is still to come, if it does, and ends it with `until` at the latest.
    pub(crate) fn over(
        socket: impl Future<Output = Option<Socket>> + Send + 'static,
        role: Role,
        queue: Queue,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, mpsc::Receiver<Stream>) {
        let (main, unsolicited) = mpsc::channel(BACKLOG);
        let main = (role == Role::Plugin).then_some(main);
        let acceptance = Arc::new(Acceptance { knocks: Mutex::default(), held: Notify::new() });
        let (opens, wanted) = mpsc::channel(1);
        let (has_ended, ended) = watch::channel(false);
        let (dials, waiting) = mpsc::channel(DIALS);
        // Every answer that is to come has room.
        let (acks, heard) = mpsc::channel(UNANSWERED);
        let drive = {
            let (acceptance, queue) = (Arc::clone(&acceptance), queue.clone());
            async move {
                if let Some(socket) = socket.await {
                    driver::drive(socket, role, wanted, acceptance, main, queue).await;
                }
            }
        };
        let driver = {
            let acceptance = Arc::clone(&acceptance);
            Task::spawn(async move {
                let _over = Over { has_ended, acceptance };
                tokio::select! {
                    () = drive => {}
                    // The session ends with its socket, which is dropped here.
                    () = until => {}
                }
            })
        };
        let opener = Task::spawn(Opener::new(opens, heard, queue.clone()).run(waiting));
        let session = Session { dials, acceptance, acks, queue, ended, _driver: driver, _opener: opener };
        (Self(Arc::new(session)), unsolicited)
    }

    /// Opens a stream to the server `id` of the other side, or to the plugin's main one.
    ///
    /// After a refusal it knocks again for a moment, as Go's own dialler does: a Go peer refuses between being told to
    /// serve a number and doing so.
    pub(crate) async fn dial(&self, id: Option<u32>) -> Result<Stream, DialError> {
        let settled = Instant::now() + SETTLING;
        loop {
            match self.dial_once(id).await {
                Err(DialError::Refused { .. }) if Instant::now() < settled => sleep(PAUSE).await,
                dialled => return dialled,
            }
        }
    }

    async fn dial_once(&self, id: Option<u32>) -> Result<Stream, DialError> {
        let (reply, opened) = oneshot::channel();
        self.0.dials.send(Dial { id, reply }).await.map_err(|_| DialError::Closed)?;
        opened.await.unwrap_or(Err(DialError::Closed))
    }

    /// Begins to serve `id` and returns its streams.
    pub(crate) async fn serve(&self, id: u32) -> Result<Streams, DialError> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        // First, because whoever is let in has to be told so, and before the next one is let in.
        let room = tokio::select! {
            room = self.0.queue.reserve() => room.map_err(|_| DialError::Closed)?,
            // Nobody sends the waiting messages any more.
            () = self.ended() => return Err(DialError::Closed),
        };
        let mut knocks = self.0.acceptance.knocks();
        if *self.0.ended.borrow() {
            return Err(DialError::Closed);
        }
        let (ticket, verdict) = knocks.serve(id, sender, Instant::now());
        if verdict == Verdict::Admit {
            room.send(answer(id, ""));
        }
        Ok(Streams { id, ticket, receiver, acceptance: Arc::clone(&self.0.acceptance) })
    }

    /// Takes what the other side said about `id`: a knock, or the answer to one of ours.
    pub(crate) fn heard(&self, id: u32, knock: Knock) {
        if knock.ack {
            let refused = (!knock.error.is_empty()).then(|| quote(&knock.error));
            let _one_of_a_flood = self.0.acks.try_send(Ack { id, refused });
            return;
        }
        // Where there is no room for an answer, nobody is let in.
        let Some(room) = self.0.queue.room() else { return };
        let mut knocks = self.0.acceptance.knocks();
        match knocks.knock(id, Instant::now()) {
            Verdict::Admit => room.send(answer(id, "")),
            Verdict::Hold => self.0.acceptance.held.notify_one(),
            Verdict::Refuse => room.send(answer(id, CROWDED)),
        }
    }

    /// Waits for the end of the session.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut ended = self.0.ended.clone();
        async move { drop(ended.wait_for(|ended| *ended).await) }
    }
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("ended", &*self.0.ended.borrow()).finish_non_exhaustive()
    }
}

const CROWDED: &str = "too many knocks at once";
const NOT_SERVED: &str = "nobody serves this number";

/// Returns the answer to a knock for `id`: it is admitted if `error` is empty.
fn answer(id: u32, error: &str) -> ConnInfo {
    let knock = Knock { knock: true, ack: true, error: error.to_owned() };
    ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() }
}

/// Ends everything that waits for the session when its driver ends, in whatever way.
struct Over {
    has_ended: watch::Sender<bool>,
    acceptance: Arc<Acceptance>,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.has_ended.send_replace(true);
        self.acceptance.knocks().clear();
    }
}

/// The streams to one server of ours. Dropping it ends the server.
pub(crate) struct Streams {
    id: u32,
    ticket: Ticket,
    receiver: mpsc::Receiver<Stream>,
    acceptance: Arc<Acceptance>,
}

impl Streams {
    /// Waits for the next one; `None` when the session has ended.
    pub(crate) async fn next(&mut self) -> Option<Stream> {
        self.receiver.recv().await
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.acceptance.knocks().withdraw(self.id, self.ticket);
    }
}

/// Why there is no stream.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
    /// Nobody answered the knock.
    #[error("no answer to the knock within {PATIENCE:?}")]
    Unanswered,
    /// The other side refused the knock.
    #[error("the knock was refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        let kind = match error {
            DialError::Closed => io::ErrorKind::NotConnected,
            DialError::Unanswered => io::ErrorKind::TimedOut,
            DialError::Refused { .. } => io::ErrorKind::ConnectionRefused,
        };
        Self::new(kind, error)
    }
}
