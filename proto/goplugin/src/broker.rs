//! The side channel for callbacks.
//!
//! Either side may offer a further gRPC server under a number, and the other connects to it. The number
//! travels inside an application's own message; where the server listens is announced over a stream
//! of its own, and nothing orders the two. So announcements are kept until somebody asks for them, and
//! who asks first waits (protocol spec 14).
//!
//! Both sides count their own numbers from 1. Equal numbers in opposite directions do not meet:
//! announcements that arrive are about servers of the plugin, and those that leave about ours.

mod announced;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, stream};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;

use self::announced::Announced;
use crate::Channel;
use crate::channel::{HEADER_LIST, normalize_answer};
use crate::client::Task;
use crate::transport::{Address, AddressError, Ended, Listener, SocketDir, Strays, Tethered, connect};
use crate::wire::ConnInfo;
use crate::wire::grpc_broker_client::GrpcBrokerClient;

/// How long a dial waits for the announcement. Go peers wait as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many of our announcements may wait for the plugin to read them. A guess; further ones wait in
/// their caller.
const OUTGOING: usize = 64;

/// How many connections a plugin may have to one server of ours. A guess, and one is what a plugin needs;
/// further ones wait to be accepted.
const CONNECTIONS: usize = 64;

/// How long an announcement can be. No address is nearly as long, and what is kept stays small.
const ANNOUNCEMENT: usize = 1024;

/// How long accepting rests when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// The host's end of the broker. Cheap to clone; all clones are one broker.
///
/// It closes when the connection to the plugin ends, or at once if the plugin has no broker. Everything
/// it serves ends with it.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    next: AtomicU32,
    outgoing: mpsc::Sender<ConnInfo>,
    announced: Mutex<Announced>,
    closed: watch::Sender<bool>,
    places: Places,
    ended: Ended,
}

/// Where sockets are.
pub(crate) struct Places {
    /// Ours.
    pub(crate) sockets: Arc<SocketDir>,
    /// The plugin's, that it may leave behind.
    pub(crate) strays: Arc<Strays>,
}

impl Broker {
    /// Opens the side channel in the background and returns the broker with the task that reads it.
    ///
    /// Never waits for the plugin: a Go plugin answers only when it has something to announce.
    pub(crate) fn open(channel: Channel, places: Places, ended: Ended) -> (Self, Task) {
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        let broker = Self(Arc::new(Shared {
            next: AtomicU32::new(1),
            outgoing,
            announced: Mutex::default(),
            closed: watch::Sender::new(false),
            places,
            ended,
        }));
        let closing = Closing(broker.clone());
        let task = Task::spawn(async move {
            let Closing(broker) = &closing;
            if let Err(status) = broker.read(channel, queue).await {
                tracing::debug!(code = ?status.code(), "the plugin's broker is not to be had, or no longer");
            }
        });
        (broker, task)
    }

    /// Returns the next number. 0 is never among them.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        match self.0.next.fetch_add(1, Ordering::Relaxed) {
            0 => self.next_id(),
            id => id,
        }
    }

    /// Serves `routes` to the plugin under a new number, which [`Serving::id`] returns.
    pub async fn serve(&self, routes: Routes) -> Result<Serving, BrokerError> {
        self.serve_as(self.next_id(), routes).await
    }

    /// Serves `routes` to the plugin under a number that both sides know.
    ///
    /// The server listens before it is announced, and is announced before this returns. It ends when
    /// the returned [`Serving`] is dropped, or with the broker.
    pub async fn serve_as(&self, id: u32, routes: Routes) -> Result<Serving, BrokerError> {
        if *self.0.closed.borrow() || self.0.ended.has_come() {
            return Err(BrokerError::Closed);
        }
        let listener = Listener::bind(self.0.places.sockets.fresh()).map_err(BrokerError::Listen)?;
        let address = listener.address();
        let announcement = ConnInfo {
            service_id: id,
            network: address.network().to_owned(),
            address: address.to_string(),
            knock: None,
        };
        tokio::select! {
            // Closing wins: what would be announced then, nobody reads.
            biased;
            () = self.closed() => return Err(BrokerError::Closed),
            sent = self.0.outgoing.send(announcement) => sent.map_err(|_| BrokerError::Closed)?,
        }
        let (stop, stopped) = watch::channel(());
        let server = serve(listener, routes, self.clone(), stopped);
        Ok(Serving { id, _stop: stop, _task: Task::spawn(server) })
    }

    /// Connects to what the plugin serves under `id`.
    ///
    /// Waits 5 seconds for the plugin to announce it. Each announcement is good for one dial; the
    /// channel may be cloned and connects anew by itself.
    pub async fn dial(&self, id: u32) -> Result<Channel, BrokerError> {
        let announcement = self.announced().expect(id);
        let info = tokio::select! {
            info = timeout(PATIENCE, announcement) => info,
            () = self.closed() => return Err(BrokerError::Closed),
        };
        let info = match info {
            Ok(Ok(info)) => info,
            Ok(Err(_dropped)) => return Err(BrokerError::Closed),
            Err(_elapsed) => return Err(BrokerError::Unannounced { id }),
        };
        let address = Address::parse(&info.network, &info.address)
            .map_err(|source| BrokerError::Address { id, text: info.address, source })?;
        let socket = match timeout(PATIENCE, connect(&address)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        };
        match socket {
            Ok(socket) => {
                self.0.places.strays.note(&socket, &address);
                Ok(Channel::open(socket, address, self.0.ended.clone()))
            }
            Err(source) => Err(BrokerError::Connect { id, address, source }),
        }
    }

    /// Reads announcements until the stream ends.
    async fn read(&self, channel: Channel, queue: mpsc::Receiver<ConnInfo>) -> Result<(), Status> {
        let mut client = GrpcBrokerClient::new(channel);
        let mut stream = client.start_stream(ReceiverStream::new(queue)).await?.into_inner();
        while let Some(info) = stream.message().await? {
            // Knocks belong to multiplexing, which was not agreed on; they announce nothing.
            if info.knock.is_none() && info.network.len() + info.address.len() <= ANNOUNCEMENT {
                self.announced().arrived(info);
            } else {
                tracing::debug!(id = info.service_id, "the plugin announced what is no address");
            }
        }
        Ok(())
    }

    /// Ends everything that the broker serves and refuses what comes after.
    pub(crate) fn close(&self) {
        self.0.closed.send_replace(true);
        *self.announced() = Announced::default();
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut closed = self.0.closed.subscribe();
        async move { drop(closed.wait_for(|closed| *closed).await) }
    }

    fn announced(&self) -> MutexGuard<'_, Announced> {
        // The state is whole between any two statements; a panic elsewhere does not spoil it.
        self.0.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("next", &self.0.next).finish_non_exhaustive()
    }
}

/// Closes the broker when the task that reads announcements ends, in whatever way.
struct Closing(Broker);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A server of ours that the plugin may call. Dropping it ends the server and its connections.
#[derive(Debug)]
pub struct Serving {
    id: u32,
    /// What the connections watch, each a task of its own.
    _stop: watch::Sender<()>,
    _task: Task,
}

impl Serving {
    /// Returns the number to tell the plugin.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

async fn serve(listener: Listener, routes: Routes, broker: Broker, stopped: watch::Receiver<()>) {
    let closed = broker.closed();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let incoming = stream::unfold(listener, move |listener| {
        let (ended, closed, mut stopped) = (broker.0.ended.clone().wait(), broker.closed(), stopped.clone());
        let room = Arc::clone(&room);
        async move {
            // Nobody closes the semaphore; if somebody did, nothing more would be accepted.
            let place = room.acquire_owned().await.ok()?;
            let socket = accept(&listener).await;
            let over = async move {
                // Given back when the connection is dropped, which holds this future.
                let _place = place;
                tokio::select! {
                    () = ended => {}
                    () = closed => {}
                    // The sender never sends; this ends when it is dropped.
                    _ = stopped.changed() => {}
                }
            };
            Some((Ok::<_, io::Error>(Tethered::new(socket, over)), listener))
        }
    });
    let server = Server::builder()
        .http2_max_header_list_size(HEADER_LIST)
        .layer(tower::util::MapResponseLayer::new(normalize_answer))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, closed.map(drop));
    if let Err(error) = server.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a brokered server ended");
    }
}

/// Waits for the next connection, however often accepting fails.
async fn accept(listener: &Listener) -> crate::transport::Socket {
    loop {
        match listener.accept().await {
            Ok(socket) => return socket,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a callback cannot be accepted");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Why the broker could not help.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The plugin has no broker, or the connection to it has ended.
    #[error("broker closed")]
    Closed,
    /// The plugin announced nothing under this number in time.
    #[error("the plugin announced no server {id} within {PATIENCE:?}")]
    Unannounced {
        /// The number.
        id: u32,
    },
    /// The plugin announced an address that nobody can connect to.
    #[error("the address {text:?} of the plugin's server {id} cannot be used")]
    Address {
        /// The number.
        id: u32,
        /// The address.
        text: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// Nobody answers at the address that the plugin announced.
    #[error("cannot connect to the plugin's server {id} at {address}")]
    Connect {
        /// The number.
        id: u32,
        /// The address.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// We have no socket to offer.
    #[error("cannot listen for the plugin")]
    Listen(#[source] io::Error),
}
