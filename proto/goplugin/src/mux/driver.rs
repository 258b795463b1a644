//! The task that drives a session.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::BufReader;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, ConnectionError, Mode};

use super::knocks::Inbound;
use super::{Acceptance, NOT_SERVED, Role, Stream, answer};
use crate::broker::Queue;
use crate::log::chain;
use crate::transport::Socket;

/// How many streams a session may have. The library ends the whole session at one more than its limit, which is 512 by
/// default; so this is a limit that nobody gets to. A guess.
const STREAMS: usize = 8192;

/// How much of a stream is kept until it is read: the protocol's first window, and no more.
const WINDOW: usize = 256 * 1024;

/// How much is read from the socket at once. A guess; frames have small headers, and are mostly small.
const CHUNK: usize = 64 * 1024;

/// Somebody who wants a new stream.
pub(super) type Open = oneshot::Sender<yamux::Stream>;

/// Drives the session until it ends. If this is dropped, so is the socket.
pub(super) async fn drive(
    socket: Socket,
    role: Role,
    mut wanted: mpsc::Receiver<Open>,
    acceptance: Arc<Acceptance>,
    main: Option<mpsc::Sender<Stream>>,
    queue: Queue,
) {
    let mode = match role {
        Role::Host => Mode::Client,
        Role::Plugin => Mode::Server,
    };
    let mut config = Config::default();
    // Together they leave every stream its window, and none more than that.
    config.set_max_connection_receive_window(None);
    config.set_max_num_streams(STREAMS);
    config.set_max_connection_receive_window(Some(STREAMS * WINDOW));
    let socket = BufReader::with_capacity(CHUNK, socket).compat();
    let mut connection = Connection::new(socket, config, mode);
    let mut waiting = None;
    loop {
        let next = tokio::select! {
            next = next_inbound(&mut connection, &mut wanted, &mut waiting) => next,
            // What was ready before is ready at the next turn.
            () = expiry(&acceptance) => {
                for id in acceptance.knocks().expire(Instant::now()) {
                    if let Some(room) = queue.room() {
                        room.send(answer(id, NOT_SERVED));
                    }
                }
                continue;
            }
        };
        match next {
            Next::Stream(stream) => take(stream, &acceptance, main.as_ref()),
            Next::Ended(error) => {
                if let Some(error) = error {
                    tracing::debug!(error = chain(&error), "a multiplexed session ended");
                }
                return;
            }
        }
    }
}

enum Next {
    Stream(yamux::Stream),
    Ended(Option<ConnectionError>),
}

/// Moves everything forward until a stream arrives, opening those that are wanted meanwhile.
async fn next_inbound(
    connection: &mut Connection<Compat<BufReader<Socket>>>,
    wanted: &mut mpsc::Receiver<Open>,
    waiting: &mut Option<Open>,
) -> Next {
    poll_fn(|cx| {
        loop {
            if waiting.is_none() {
                match wanted.poll_recv(cx) {
                    Poll::Ready(Some(open)) => *waiting = Some(open),
                    Poll::Ready(None) => return Poll::Ready(Next::Ended(None)),
                    Poll::Pending => {}
                }
            }
            if waiting.is_some() {
                match connection.poll_new_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        if let Some(open) = waiting.take() {
                            // If the caller has given up, the stream is dropped and so reset.
                            let _unwanted = open.send(stream);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Next::Ended(Some(error))),
                    Poll::Pending => {}
                }
            }
            return match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => Poll::Ready(Next::Stream(stream)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Next::Ended(Some(error))),
                Poll::Ready(None) => Poll::Ready(Next::Ended(None)),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await
}

/// Hands a stream to the server that it is for. If it cannot be, it is dropped and so reset; the next one is not taken
/// for it.
fn take(stream: yamux::Stream, acceptance: &Acceptance, main: Option<&mpsc::Sender<Stream>>) {
    let to = match acceptance.knocks().arrive(Instant::now()) {
        Inbound::For(to) => Some(to),
        Inbound::Unsolicited => main.cloned(),
        Inbound::Late => None,
    };
    let room = to.as_ref().and_then(|to| to.try_reserve().ok());
    if let Some(room) = room {
        room.send(Stream::inbound(stream));
    } else {
        tracing::debug!("a stream came that nobody accepts");
    }
}

/// Waits until a knock has waited for too long.
async fn expiry(acceptance: &Acceptance) {
    loop {
        let held = acceptance.held.notified();
        let next = acceptance.knocks().next_expiry();
        match next {
            None => held.await,
            Some(at) => {
                sleep_until(at).await;
                return;
            }
        }
    }
}
