//! The side channel for callbacks.
//!
//! Either side may offer a further gRPC server under a number, and the other side connects to it. The number
//! travels inside a message of the application; where the server listens is announced over a stream of the
//! broker, and nothing orders the two. So an announcement is kept until somebody dials, and a dial waits for
//! its announcement (protocol spec 14).
//!
//! Both sides count their own numbers from 1. Equal numbers in opposite directions do not clash:
//! announcements that arrive are about servers of the other side, and those that leave are about ours.
//!
//! Nothing here knows which side it is on. Messages come in by [`Broker::arrived`] and go out by
//! [`Broker::outgoing`]; whoever runs the stream connects them to it (for the host, `broker/host.rs`).

mod announced;
#[cfg(test)]
mod fuzz;
mod host;
mod outgoing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::service::Routes;

use self::announced::Announced;
pub(crate) use self::host::open;
pub(crate) use self::outgoing::{Outgoing, Queue};
use crate::Channel;
use crate::lock::lock;
use crate::mux::{DialError, Mux, PATIENCE as KNOCK_PATIENCE};
use crate::serving::{self, Room, Terms};
use crate::task::Task;
use crate::timeout::within;
use crate::tls::Tls;
use crate::transport::{Address, AddressError, Ended, Listener, Place, Route, Socket, Strays, incoming};
use crate::wire::ConnInfo;

/// How long a dial waits for the announcement. Go peers wait as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections the other side may have to one server of ours. A guess, and one is what it needs;
/// further ones wait to be accepted.
const CONNECTIONS: usize = 64;

/// How many calls the other side may have under way over one of them. A guess, far above what any plugin was seen to
/// need: a call beyond it waits for another to end.
const CALLS: u32 = 1024;

/// How long an announcement can be. No address is nearly as long, and what is kept stays small.
const ANNOUNCEMENT: usize = 1024;

/// One side's end of the broker. Cheap to clone; all clones are the same broker.
///
/// It closes when the connection to the other side ends; a host's also closes at once if the plugin has no
/// broker. Everything that it serves ends then.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    next: AtomicU32,
    queue: Queue,
    announced: Mutex<Announced>,
    closed: watch::Sender<bool>,
    medium: Medium,
    tls: Option<Tls>,
    ended: Ended,
}

/// How brokered connections are made.
#[derive(Clone, Debug)]
pub(crate) enum Medium {
    /// A socket for each server, and a connection to it for each dial.
    Sockets {
        /// Where ours are.
        place: Place,
        /// Remembers the other side's socket files, if they are to be removed when it ends.
        strays: Option<Arc<Strays>>,
    },
    /// A stream of the one session for each dial.
    Mux(Mux),
}

impl Broker {
    /// Creates a broker without a stream yet; its announcements wait.
    ///
    /// `queue` is a new one, and the session uses the same one if there is a session. `ended` comes when the other side
    /// is gone, or when we are about to end.
    pub(crate) fn new(queue: Queue, medium: Medium, tls: Option<Tls>, ended: Ended) -> Self {
        Self(Arc::new(Shared {
            next: AtomicU32::new(1),
            queue,
            announced: Mutex::default(),
            closed: watch::Sender::new(false),
            medium,
            tls,
            ended,
        }))
    }

    /// Returns a new number for [`serve_as`](Self::serve_as), never 0.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        match self.0.next.fetch_add(1, Ordering::Relaxed) {
            0 => self.next_id(),
            id => id,
        }
    }

    /// Serves `routes` to the other side under a new number, which [`Serving::id`] returns.
    pub async fn serve(&self, routes: Routes) -> Result<Serving, BrokerError> {
        self.serve_as(self.next_id(), routes).await
    }

    /// Serves `routes` as [`serve`](Self::serve) does, and bounds the bytes of all requests under way together: a
    /// request that would exceed `most` is refused.
    ///
    /// Headers and messages count until the request is answered, so this is for services without streams. What services
    /// have not read yet does not count; that may be 128 MiB on each of 64 connections.
    pub async fn serve_within(&self, most: usize, routes: Routes) -> Result<Serving, BrokerError> {
        self.begin(self.next_id(), routes, Some(Room::new(most))).await
    }

    /// Serves `routes` to the other side under a number that both sides know.
    ///
    /// The server listens before it is announced, and is announced before this returns. It ends when
    /// the returned [`Serving`] is dropped, or with the broker.
    pub async fn serve_as(&self, id: u32, routes: Routes) -> Result<Serving, BrokerError> {
        self.begin(id, routes, None).await
    }

    async fn begin(&self, id: u32, routes: Routes, room: Option<Room>) -> Result<Serving, BrokerError> {
        if *self.0.closed.borrow() || self.0.ended.has_come() {
            return Err(BrokerError::Closed);
        }
        let listener = self.unless_closed(self.listen(id)).await??;
        let (stop, stopped) = watch::channel(());
        let server = serve(listener, routes, room, self.clone(), stopped);
        Ok(Serving { id, _stop: stop, _task: Task::spawn(server) })
    }

    /// Listens for a server of ours, and tells the other side where.
    async fn listen(&self, id: u32) -> Result<Listener, BrokerError> {
        match &self.0.medium {
            Medium::Sockets { place, .. } => {
                let listener = place.bind().map_err(BrokerError::Listen)?;
                let address = listener.address().map_err(BrokerError::Listen)?;
                self.0.queue.send(announcement(id, &address)).await.map_err(|_| BrokerError::Closed)?;
                Ok(listener)
            }
            // Nothing is announced: the dialler knocks.
            Medium::Mux(mux) => {
                mux.serve(id).await.map(Listener::Streams).map_err(|error| dialled(id, error))
            }
        }
    }

    /// Connects to what the other side serves under `id`.
    ///
    /// Waits 5 seconds for the other side to announce it or, with multiplexing, to let us in. Each
    /// announcement is good for one dial. The channel may be cloned, and reconnects by itself.
    pub async fn dial(&self, id: u32) -> Result<Channel, BrokerError> {
        match &self.0.medium {
            Medium::Sockets { strays, .. } => self.dial_announced(id, strays.as_deref()).await,
            Medium::Mux(mux) => self.dial_stream(id, mux).await,
        }
    }

    async fn dial_announced(&self, id: u32, strays: Option<&Strays>) -> Result<Channel, BrokerError> {
        let announcement = self.announced().expect(id);
        let info = match self.unless_closed(timeout(PATIENCE, announcement)).await? {
            Ok(Ok(info)) => info,
            Ok(Err(_dropped)) => return Err(BrokerError::Closed),
            Err(_elapsed) => return Err(BrokerError::Unannounced { id }),
        };
        let address = Address::parse(&info.network, &info.address)
            .map_err(|source| BrokerError::Address { id, text: info.address, source })?;
        let route = Route::to_address(address.clone(), self.0.tls.clone());
        let linked = within(PATIENCE, async {
            let socket = route.socket().await?;
            if let Some(strays) = strays {
                strays.note(&socket, &address);
            }
            route.secure(socket).await
        });
        let link = self.unless_closed(linked).await?;
        match link {
            Ok(link) => Ok(Channel::begin(link, route, self.0.ended.clone()).await),
            Err(source) => Err(BrokerError::Connect { id, address, source }),
        }
    }

    async fn dial_stream(&self, id: u32, mux: &Mux) -> Result<Channel, BrokerError> {
        let route = Route::to_server(mux.clone(), id, self.0.tls.clone());
        let linked = async {
            let stream = mux.dial(Some(id)).await.map_err(|error| dialled(id, error))?;
            let link = within(PATIENCE, route.secure(Socket::Stream(stream))).await;
            link.map_err(|source| BrokerError::Stream { id, source })
        };
        let link = self.unless_closed(linked).await??;
        Ok(Channel::begin(link, route, self.0.ended.clone()).await)
    }

    /// Takes one message of the other side. One that makes no sense is ignored.
    pub(crate) fn arrived(&self, info: ConnInfo) {
        let ConnInfo { service_id: id, network, address, knock } = &info;
        match (&self.0.medium, knock) {
            (Medium::Sockets { .. }, None) if network.len() + address.len() <= ANNOUNCEMENT => {
                self.announced().arrived(info);
            }
            (Medium::Mux(mux), Some(knock)) => mux.heard(*id, knock.clone()),
            _ => tracing::debug!(id, "a message of the broker makes no sense"),
        }
    }

    /// Returns the messages for the other side.
    ///
    /// The caller gets them from now on: an earlier stream whose connection was lost may not know that yet when the
    /// next one begins. If a later one is dropped the earlier goes on. They end when the broker closes.
    pub(crate) fn outgoing(&self) -> Outgoing {
        self.0.queue.outgoing(self.closed())
    }

    /// Ends everything that the broker serves, and refuses everything after that.
    pub(crate) fn close(&self) {
        self.0.closed.send_replace(true);
        *self.announced() = Announced::default();
    }

    /// Waits for `work`, unless the broker closes first: nobody would read a message after that.
    async fn unless_closed<T>(&self, work: impl Future<Output = T>) -> Result<T, BrokerError> {
        tokio::select! {
            biased;
            () = self.closed() => Err(BrokerError::Closed),
            done = work => Ok(done),
        }
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut closed = self.0.closed.subscribe();
        async move { drop(closed.wait_for(|closed| *closed).await) }
    }

    fn announced(&self) -> MutexGuard<'_, Announced> {
        lock(&self.0.announced)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("next", &self.0.next).finish_non_exhaustive()
    }
}

/// A server of ours that the other side may call. Dropping it ends the server and its connections.
#[derive(Debug)]
pub struct Serving {
    id: u32,
    /// Dropped to end the connections, each of which is a task of its own.
    _stop: watch::Sender<()>,
    _task: Task,
}

impl Serving {
    /// Returns the number to tell the other side.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

async fn serve(
    listener: Listener,
    routes: Routes,
    room: Option<Room>,
    broker: Broker,
    stopped: watch::Receiver<()>,
) {
    let over = {
        let broker = broker.clone();
        move || {
            let (ended, closed, mut stopped) =
                (broker.0.ended.clone().wait(), broker.closed(), stopped.clone());
            async move {
                tokio::select! {
                    () = ended => {}
                    () = closed => {}
                    // The sender never sends; this ends when it is dropped.
                    _ = stopped.changed() => {}
                }
            }
        }
    };
    let links = incoming(listener, broker.0.tls.clone(), CONNECTIONS, over);
    let terms = Terms { calls: Some(CALLS), room, ..Terms::default() };
    serving::serve(links, serving::or_unknown(routes), terms, broker.closed()).await;
}

/// Returns the message that tells the other side where the server `id` listens.
fn announcement(id: u32, address: &Address) -> ConnInfo {
    let (network, address) = (address.network().to_owned(), address.to_string());
    ConnInfo { service_id: id, network, address, knock: None }
}

fn dialled(id: u32, error: DialError) -> BrokerError {
    match error {
        DialError::Closed => BrokerError::Closed,
        DialError::Unanswered => BrokerError::Unanswered { id },
        DialError::Refused { reason } => BrokerError::Refused { id, reason },
    }
}

/// Why a server was not served or not reached over the broker.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The plugin has no broker, or the connection has ended.
    #[error("broker closed")]
    Closed,
    /// The other side announced nothing under this number in time.
    #[error("no server {id} was announced within {PATIENCE:?}")]
    Unannounced {
        /// The number.
        id: u32,
    },
    /// The other side announced an address that nobody can connect to.
    #[error("the address {text:?} that was announced for server {id} cannot be used")]
    Address {
        /// The number.
        id: u32,
        /// The address.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// There is no connection to the announced address, or the TLS handshake there failed.
    #[error("cannot connect to server {id} at {address}")]
    Connect {
        /// The number.
        id: u32,
        /// The address.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// The other side did not answer the knock for this number in time. Multiplexing only.
    #[error("nobody answered for server {id} within {KNOCK_PATIENCE:?}")]
    Unanswered {
        /// The number.
        id: u32,
    },
    /// The other side refused the knock. Multiplexing only.
    #[error("server {id} was refused: {reason}")]
    Refused {
        /// The number.
        id: u32,
        /// What it said.
        reason: String,
    },
    /// The stream to the server failed, or its TLS handshake did. Multiplexing only.
    #[error("cannot connect to server {id}")]
    Stream {
        /// The number.
        id: u32,
        /// Why not.
        source: io::Error,
    },
    /// We could not listen on a socket.
    #[error("cannot listen for callbacks")]
    Listen(#[source] io::Error),
}
