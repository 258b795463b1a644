//! What a listener of ours accepts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _, unfold};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Link, Listener, Socket, Tethered};
use crate::log::chain;
use crate::timeout::within;
use crate::tls::Tls;

/// How long a TLS handshake may take. The other side is a process on this machine; a guess.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Returns the links that `listener` accepts, no more than `room` of them at a time; further ones wait.
///
/// Each link is cut when the future that `over` makes for it is done. A TLS handshake that fails or is slow holds up no
/// other link. The stream ends when the listener accepts nothing more.
pub(crate) fn incoming<O>(
    listener: Listener,
    tls: Option<Tls>,
    room: usize,
    over: impl Fn() -> O + Send + 'static,
) -> impl Stream<Item = Tethered> + Send
where
    O: Future<Output = ()> + Send + Sync + 'static,
{
    let door = Door { listener, tls, room: Arc::new(Semaphore::new(room)) };
    unfold((door, FuturesUnordered::new()), move |(mut door, mut handshakes)| {
        let over = over();
        async move {
            loop {
                let (link, place) = tokio::select! {
                    Some(done) = handshakes.next(), if !handshakes.is_empty() => match done {
                        Ok(linked) => linked,
                        Err(error) => {
                            tracing::debug!(error = chain(&error), "a connection was not let in");
                            continue;
                        }
                    },
                    // If a handshake is done first, the connection that would be next is accepted then.
                    accepted = door.accept() => {
                        let (socket, place) = accepted?;
                        match door.tls.clone() {
                            None => (Link::Plain(socket), place),
                            Some(tls) => {
                                handshakes.push(handshake(tls, socket, place));
                                continue;
                            }
                        }
                    }
                };
                let over = async move {
                    // Given back when the connection is dropped, which holds this future.
                    let _place = place;
                    over.await;
                };
                return Some((Tethered::new(link, over).polite(), (door, handshakes)));
            }
        }
    })
}

struct Door {
    listener: Listener,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
}

impl Door {
    /// Waits for the next connection, and before that for room.
    async fn accept(&mut self) -> Option<(Socket, OwnedSemaphorePermit)> {
        // Nobody closes the semaphore; if somebody did, nothing more would be accepted.
        let place = Arc::clone(&self.room).acquire_owned().await.ok()?;
        self.listener.accept().await.map(|socket| (socket, place))
    }
}

async fn handshake(
    tls: Tls,
    socket: Socket,
    place: OwnedSemaphorePermit,
) -> io::Result<(Link, OwnedSemaphorePermit)> {
    Ok((within(HANDSHAKE, tls.accept(socket)).await?, place))
}
