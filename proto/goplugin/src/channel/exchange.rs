//! One call on an HTTP/2 connection: its request on the way out, its answer on the way in.
//!
//! hyper's client gives every call to a task of the connection's, and each body to another. Here the task that makes a
//! call writes its request and reads its answer, and one task moves bytes over the link. Only a request whose body is
//! still to come gets a task of its own.
//!
//! A call that the peer has not looked at comes back as it was, to be made again.

mod gate;

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::Extensions;
use http::request::Parts;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body as TonicBody;

use self::gate::{Entry, Gate, Place};
use super::reconnect::Failure;
use super::{FAULTS, GIVEN_UP, HEADER_LIST};
use crate::log::chain;
use crate::transport::gathered;

/// How much a peer may send on one stream before we have read it. A guess between a large message, which should not wait for
/// us, and what a call can fill memory with.
const STREAM_WINDOW: u32 = 2 << 20;

/// How much it may send on all streams. So much that it never binds: otherwise an answer that nobody reads yet would
/// hold up all others, which it does not in Go. How many there are is up to whoever makes the calls.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// What unread pieces of less than 256 bytes may cost; each costs what it lacks of 256. With more, HTTP/2 ends the
/// connection, where a plugin that prints short lines to a slow reader should only wait. So there is room for ten
/// streams whose windows are full of the shortest prints, of ten bytes.
const SMALL_PIECES: usize = 512 << 20;

/// The most bytes of a request that wait in memory for the peer to take them, besides its first piece; and the longest
/// request that is kept until the peer has looked at it.
const SEND_BUFFER: usize = 1 << 20;

/// How much of a first piece is handed over at once. A guess: a longer one gets a task.
const FIRST_PIECE: usize = 16 << 20;

/// How many calls leave before the peer has said how many it lets run at once: it would refuse those beyond that.
/// grpc-go waits with the first, too. What it waits for comes before any answer.
const UNTOLD: usize = 1;

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It has waited until the connection took no more calls.
    Unsent(Box<http::Request<TonicBody>>),
    /// The connection takes no more calls, or the peer says that it has not looked at this one.
    Refused(Box<http::Request<TonicBody>>, Failure),
    /// It may have been looked at, or cannot be sent again.
    Failed(Failure),
}

/// A caller's handle of a connection. The connection ends with the last handle and the last answer.
#[derive(Clone)]
pub(super) struct Sender {
    requests: SendRequest<Bytes>,
    closed: Arc<AtomicBool>,
    gate: Arc<Gate>,
}

impl Sender {
    /// Speaks HTTP/2 over a link.
    pub(super) async fn begin<L>(link: L) -> Result<Self, Failure>
    where
        L: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (link, mut turns) = gathered(link);
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNTOLD)
            .data_frame_budget(SMALL_PIECES)
            // Frames for a forgotten call are held against the plugin, and too many of them end the connection.
            .max_concurrent_reset_streams(GIVEN_UP)
            .max_local_error_reset_streams(Some(FAULTS))
            .max_header_list_size(HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(link)
            .await?;
        let closed = Arc::new(AtomicBool::new(false));
        let gate = Gate::new();
        let sender = Self { requests, closed: Arc::clone(&closed), gate: Arc::clone(&gate) };
        let looking = Arc::clone(&gate);
        let mut connection = Box::pin(connection);
        let connection = poll_fn(move |cx| {
            let ended = connection.as_mut().poll(cx);
            turns.end(cx);
            // It may have heard of another limit, or that there can be no more calls.
            looking.look_again();
            ended
        });
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "a connection ended");
            }
            closed.store(true, Ordering::Relaxed);
            gate.look_again();
        });
        Ok(sender)
    }

    /// Returns whether it is known that no further call can be made, even if those under way go on: the peer may have
    /// said that it takes no more, or the numbers of streams may be used up.
    pub(super) fn is_closed(&self) -> bool {
        // This handle is new, and only one that has just made a call may have to wait.
        let ready = self.requests.clone().ready().now_or_never();
        self.closed.load(Ordering::Relaxed) || ready.is_some_and(|ready| ready.is_err())
    }

    /// Sends a request once the peer has room for it, and waits for the head of its answer. Dropping either ends the
    /// call.
    pub(super) async fn exchange(
        &self,
        request: http::Request<TonicBody>,
    ) -> Result<http::Response<Incoming>, Unanswered> {
        let Some(entry) = self.enter().await else { return Err(Unanswered::Unsent(Box::new(request))) };
        let requests = match self.requests.clone().ready().await {
            Ok(requests) => requests,
            Err(error) => return Err(Unanswered::Refused(Box::new(request), error.into())),
        };
        let (mut head, body) = request.into_parts();
        // They mean nothing to HTTP/2.
        head.extensions = Extensions::new();
        let mut unsent = Some(body);
        send(requests, head.clone(), &mut unsent, entry).await.map_err(|error| match unsent {
            Some(body) if is_refusal(&*error) => {
                Unanswered::Refused(Box::new(http::Request::from_parts(head, body)), error)
            }
            _ => Unanswered::Failed(error),
        })
    }
}

/// Sends a request, and waits for the head of its answer. Afterwards `body` is there if all of it could be sent again.
async fn send(
    mut requests: SendRequest<Bytes>,
    head: Parts,
    body: &mut Option<TonicBody>,
    entry: Entry<'_>,
) -> Result<http::Response<Incoming>, Failure> {
    let Entry { place, late } = entry;
    // The end of a late request shows when there was room for it.
    let ends = late.is_none() && body.as_ref().is_none_or(Body::is_end_stream);
    let (answer, mut stream) = requests.send_request(http::Request::from_parts(head, ()), ends)?;
    drop(requests);
    let mut is_open = true;
    if let Some(turn) = late {
        // There is room for its body once there is for its head.
        stream.reserve_capacity(1);
        is_open = poll_fn(|cx| stream.poll_capacity(cx)).await.is_some();
        drop(turn);
    }
    let mut sending = None;
    // Why there is none, the answer says.
    if let Some(rest) = body.take_if(|_| is_open && !ends) {
        let mut upload = Upload::new(rest, stream);
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut upload).poll(cx))).await;
        *body = upload.whole.take().map(|whole| TonicBody::new(Whole(Some(whole))));
        match first {
            Poll::Ready(sent) => sent?,
            Poll::Pending => sending = Some(Sending(tokio::spawn(upload).abort_handle())),
        }
    }
    let answer = answer.await?;
    Ok(answer.map(|stream| Incoming { stream, data: true, sending, place: Some(place) }))
}

/// Returns whether the peer says that it has not looked at a call of which nothing has come back: it has refused it, or
/// it takes no more, and this one came after the last that it took.
fn is_refusal(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let error = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote());
    error.is_some_and(|error| error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// A request of one piece, which does not say beforehand that no other follows. tonic's do not, either.
pub(super) struct Whole(pub(super) Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|whole| Ok(Frame::data(whole))))
    }
}

/// A request that is still being sent. The call ends it.
#[derive(Debug)]
struct Sending(AbortHandle);

impl Sending {
    fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends the body of a request. It fails only if the body does. If the peer takes no more of it, that is no failure:
/// the answer may be there already, or will say why.
struct Upload {
    body: TonicBody,
    stream: SendStream<Bytes>,
    /// Whether there was a first piece, which is mostly the whole request. HTTP/2 has no room before it has sent the
    /// head, so that piece waits in its buffer: to wait here would take as much memory, and a task.
    begun: bool,
    /// What there is no room for yet.
    next: Bytes,
    /// What follows that, once it is known.
    behind: Poll<Option<Result<Frame<Bytes>, Status>>>,
    /// All of it, if the first piece was and is worth keeping.
    whole: Option<Bytes>,
}

impl Upload {
    fn new(body: TonicBody, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, begun: false, next: Bytes::new(), behind: Poll::Pending, whole: None }
    }

    /// Sends what there is room for; `None` when the peer takes no more.
    fn send(&mut self, piece: Bytes, last: bool) -> Option<()> {
        self.stream.send_data(piece, last).ok()
    }

    /// Asks what comes next, unless that is known.
    fn look(&mut self, cx: &mut Context<'_>) {
        if self.behind.is_pending() {
            self.behind = Pin::new(&mut self.body).poll_frame(cx);
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(), Status>>> {
        if !self.next.is_empty() {
            let room = if self.begun { self.stream.capacity() } else { FIRST_PIECE };
            if room == 0 {
                let room = ready!(self.stream.poll_capacity(cx));
                return Poll::Ready(room.and_then(Result::ok).map(|_| Ok(())));
            }
            let is_first = !std::mem::replace(&mut self.begun, true);
            let piece = self.next.split_to(self.next.len().min(room));
            let mut last = false;
            if self.next.is_empty() {
                // The last piece says that it is: a Go plugin may answer before another frame does, and then resets a
                // request that it takes to be unfinished.
                self.look(cx);
                last = matches!(self.behind, Poll::Ready(None));
                self.whole = (is_first && last && piece.len() <= SEND_BUFFER).then(|| piece.clone());
            }
            let sent = self.send(piece, last);
            if !self.next.is_empty() {
                // There is only as much room as was asked for, and for a first piece nobody has asked.
                self.stream.reserve_capacity(self.next.len());
            }
            return Poll::Ready(if last { None } else { sent.map(Ok) });
        }
        self.look(cx);
        match std::mem::replace(&mut self.behind, Poll::Pending) {
            // A peer that wants no more of it says so by a reset.
            Poll::Pending => self.stream.poll_reset(cx).map(|_reset| None),
            Poll::Ready(None) => {
                self.send(Bytes::new(), true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.next = frame.into_data().unwrap_or_default();
                if self.begun {
                    self.stream.reserve_capacity(self.next.len());
                }
                Poll::Ready(Some(Ok(())))
            }
            Poll::Ready(Some(Err(status))) => {
                self.stream.send_reset(Reason::CANCEL);
                Poll::Ready(Some(Err(status)))
            }
        }
    }
}

impl Future for Upload {
    type Output = Result<(), Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(step) = ready!(self.step(cx)) {
            step?;
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Incoming {
    stream: RecvStream,
    /// Whether there may be more of it before its trailers.
    data: bool,
    sending: Option<Sending>,
    /// Given up when the call is over.
    place: Option<Place>,
}

impl Incoming {
    fn end(&mut self) {
        // The peer counts a call whose request goes on.
        if self.sending.as_ref().is_none_or(Sending::is_over) {
            self.place = None;
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // What was read makes room for more. This fails if no more will come.
                    _ = self.stream.flow_control().release_capacity(bytes.len());
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => {
                    self.end();
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.data = false,
            }
        }
        // A reset after a whole answer only cancels the rest of the request, and is not seen here.
        let trailers = ready!(self.stream.poll_trailers(cx)).transpose();
        self.end();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

#[cfg(test)]
pub(super) mod tests;
