//! The channel that calls go through, and the codes of its failures.
//!
//! tonic reports a lost connection as `Unknown`. Every peer of go-plugin expects `Unavailable`, by which callers
//! tell "the plugin is gone" from "the plugin refused". [`Channel`] corrects the code (protocol spec 29.3).

mod exchange;
mod reconnect;

use std::error::Error as StdError;
use std::fmt;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body as TonicBody;
use tonic::{Code, Status, TimeoutExpired};
use tower_service::Service;

use self::exchange::Incoming;
use self::reconnect::Reconnect;
use crate::identity::FORGIVING;
use crate::paced::Paced;
use crate::timeout;
use crate::tls::is_rejection;
use crate::transport::{Ended, Link, Route};

/// The largest trailers, in bytes. Go peers send long messages there; with the usual 16 KiB, one oversized status
/// would end the whole connection.
pub(crate) const HEADER_LIST: u32 = 16 << 20;

/// How many calls may be reset before the server has looked at them; with more, HTTP/2 ends the whole connection. The
/// usual 20 are good against strangers, but a host may well give up many at once. A client remembers as many that it
/// has given up, until what is on its way to them has come.
pub(crate) const GIVEN_UP: usize = 1 << 16;

/// How many faulty frames a peer may send in the life of a connection. A frame for a call that is over and forgotten
/// counts, too: a message that is too large is refused before all of it has left. At the usual 1024 a connection of
/// months would end, and every call on it, through no fault of theirs. Each frame costs some hundred bytes until the
/// peer has read that its call is over. A guess.
pub(crate) const FAULTS: usize = 1 << 16;

/// A channel to a plugin, for any tonic client: `SomeClient::new(channel)`.
///
/// It is cheap to clone, and all clones share one connection. If the connection is lost while the plugin
/// lives, the next call opens a new one. Calls under way then fail with [`Code::Unavailable`]. When the
/// plugin's process ends they fail at once; answers that it had sent before still arrive.
///
/// Deadlines and message limits are the caller's: tonic's clients refuse answers above 4 MiB unless
/// `max_decoding_message_size` says otherwise.
#[derive(Clone)]
pub struct Channel(Arc<Reconnect>);

impl Channel {
    /// Opens a channel over `link`, and over `route` once that link is lost. Nothing is sent before the first call.
    pub(crate) fn open(link: Link, route: Route, ended: Ended) -> Self {
        Self(Reconnect::new(link, route, ended))
    }

    /// Opens a channel in the same way, and begins HTTP/2 at once: the first call may come late or never.
    ///
    /// A server gives up on a connection that says nothing: grpc-go after two minutes. And the other side of a session
    /// learns of a stream by its first bytes; until then it would take the next stream for this one (protocol spec
    /// 15.6).
    pub(crate) async fn begin(link: Link, route: Route, ended: Ended) -> Self {
        let channel = Self::open(link, route, ended);
        channel.0.begin().await;
        channel
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Service<http::Request<TonicBody>> for Channel {
    type Response = http::Response<ChannelBody>;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<TonicBody>) -> Answer {
        let connection = Arc::clone(&self.0);
        Answer(Box::pin(async move {
            let limit = timeout::of(request.headers());
            let until = limit.map(|limit| timeout::end(Instant::now(), limit));
            let answer = connection.call(request, until).await;
            let mut answer = answer.map_err(|error| lost_by(until, error))?;
            // An answer that is a status alone has it here.
            forget_unreadable_details(answer.headers_mut());
            Ok(answer.map(|body| ChannelBody { body: Paced(body), until }))
        }))
    }
}

/// The future answer to a call.
pub struct Answer(Pin<Box<dyn Future<Output = Result<http::Response<ChannelBody>, Status>> + Send>>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Future for Answer {
    type Output = Result<http::Response<ChannelBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct ChannelBody {
    body: Paced<Incoming>,
    /// When the time of the call is over.
    until: Option<Instant>,
}

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let until = self.until;
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let mut frame = ready!(frame.map_err(|error| lost_by(until, error)));
        if let Some(Ok(frame)) = &mut frame
            && let Some(end) = frame.trailers_mut()
        {
            forget_unreadable_details(end);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Removes the details of a status from the end of an answer, if they are not in base64: tonic panics over them.
fn forget_unreadable_details(end: &mut HeaderMap) {
    let details = end.get(Status::GRPC_STATUS_DETAILS);
    if details.is_some_and(|details| FORGIVING.decode(details).is_err()) {
        end.remove(Status::GRPC_STATUS_DETAILS);
    }
}

const ENDED: &str = "the plugin has ended";
const REJECTED: &str = "the plugin does not accept our certificate";
const LOST: &str = "the connection to the plugin is lost";

/// Returns the status that grpc-go has for a failure of the transport.
///
/// This is only for what the transport itself reports. A status from the plugin is an answer, and passes in
/// trailers.
fn lost(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Status {
    let error = error.into();
    if is_rejection(error.as_ref()) {
        let mut unauthenticated = Status::unauthenticated(REJECTED);
        unauthenticated.set_source(Arc::from(error));
        return unauthenticated;
    }
    let whole = ends_connection(error.as_ref());
    let status = Status::from_error(error);
    if !whole && status.code() != Code::Unknown {
        return status;
    }
    let mut unavailable = Status::unavailable(LOST);
    unavailable.set_source(Arc::new(status));
    unavailable
}

/// Returns the status for a failure of a call whose time is over at `until`. A server resets a late call, and may do so
/// before our own clock says that it is late.
fn lost_by(until: Option<Instant>, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Status {
    let status = lost(error);
    let is_late = until.is_some_and(|until| until <= Instant::now());
    if is_late && status.code() == Code::Cancelled { lost(TimeoutExpired(())) } else { status }
}

/// Tells whether the whole connection failed. If it is the one call, its own code counts.
fn ends_connection(error: &(dyn StdError + 'static)) -> bool {
    let mut causes = successors(Some(error), |error| (*error).source());
    causes.any(|error| error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_go_away))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io;
    use std::pin::pin;
    use std::time::Duration;

    use futures_util::poll;
    use http::uri::PathAndQuery;
    use tokio::net::UnixStream;
    use tokio::sync::{oneshot, watch};
    use tokio::task::yield_now;
    use tokio::time;
    use tonic::client::Grpc;
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::transport::Socket;
    use crate::{Address, normalized};

    /// Returns a channel, the other end of its one connection, and what would end that.
    fn channel() -> (Channel, UnixStream, watch::Sender<bool>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let nowhere = Route::to_address(Address::Unix("/nobody/listens/here".into()), None);
        let (has_ended, ended) = Ended::new();
        (Channel::open(Link::Plain(Socket::Unix(ours)), nowhere, ended), theirs, has_ended)
    }

    /// Calls what answers with a status with these details, which comes alone or behind the head of an answer.
    async fn check_details(details: &str, expected: &[u8]) {
        let mut end = HeaderMap::new();
        for (name, value) in [
            (Status::GRPC_STATUS, "10"),
            (Status::GRPC_MESSAGE, "not now"),
            (Status::GRPC_STATUS_DETAILS, details),
        ] {
            end.insert(name, value.parse().unwrap());
        }
        let (channel, theirs, _has_ended) = channel();
        let serving = async {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            while let Some(call) = server.accept().await {
                let (request, mut respond) = call.unwrap();
                let mut head = http::Response::new(());
                if request.uri().path().ends_with("/Alone") {
                    head.headers_mut().clone_from(&end);
                    respond.send_response(head, true).unwrap();
                } else {
                    respond.send_response(head, false).unwrap().send_trailers(end.clone()).unwrap();
                }
            }
        };
        let calling = async {
            for path in ["/a.Service/Alone", "/a.Service/Behind"] {
                let mut client = Grpc::new(channel.clone());
                client.ready().await.unwrap();
                let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<(), ()>::default());
                let status = client.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
                assert_eq!((status.code(), status.message()), (Code::Aborted, "not now"));
                assert_eq!(status.details(), expected);
            }
        };
        tokio::select! {
            () = calling => {}
            () = serving => panic!("the server has ended"),
        }
    }

    #[tokio::test]
    async fn a_status_counts_also_if_nobody_can_read_its_details() {
        check_details("AAE", &[0, 1]).await;
        check_details("AAE=,AAE=", b"").await;
        check_details("in plain words", b"").await;
    }

    #[tokio::test]
    async fn who_reads_a_plugin_that_is_ahead_waits_now_and_then() {
        const PIECES: usize = 1_000;
        let (mut channel, theirs, _has_ended) = channel();
        let serving = async {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            let (_request, mut respond) = server.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            for _ in 0..PIECES {
                body.send_data(Bytes::from_static(b"piece"), false).unwrap();
            }
            body.send_trailers(HeaderMap::new()).unwrap();
            server.accept().await.is_some()
        };
        let calling = async {
            let answer = channel.call(http::Request::new(TonicBody::empty())).await;
            let mut body = answer.unwrap().into_body();
            // Until all of it has come.
            for _ in 0..64 {
                yield_now().await;
            }
            let mut reading = pin!(async {
                let mut read = 0;
                while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    read += usize::from(frame.unwrap().is_data());
                }
                read
            });
            assert!(poll!(&mut reading).is_pending());
            assert_eq!(reading.await, PIECES);
        };
        tokio::select! {
            () = calling => {}
            _ = serving => panic!("the server has ended"),
        }
    }

    /// As a server in Go does.
    #[tokio::test]
    async fn a_call_that_is_called_off_when_its_time_is_over_is_late() {
        let (mut channel, theirs, _has_ended) = channel();
        let (over, is_over) = oneshot::channel();
        let serving = async {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            let (_request, mut respond) = server.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            tokio::select! {
                over = is_over => over.unwrap(),
                _ = server.accept() => panic!("the connection has ended"),
            }
            body.send_reset(h2::Reason::CANCEL);
            server.accept().await.is_some()
        };
        let calling = async {
            let request = http::Request::builder().header(timeout::HEADER, "1H");
            let answer = channel.call(request.body(TonicBody::empty()).unwrap()).await;
            let mut body = answer.unwrap().into_body();
            time::pause();
            time::advance(Duration::from_secs(3600)).await;
            over.send(()).unwrap();
            let end = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            assert_eq!(normalized(end.unwrap().unwrap_err()).code(), Code::DeadlineExceeded);
        };
        tokio::select! {
            () = calling => {}
            _ = serving => panic!("the server has ended"),
        }
    }

    #[test]
    fn a_broken_transport_is_unavailable() {
        let status = lost(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((status.code(), status.message()), (Code::Unavailable, LOST));
        assert!(status.source().is_some());
    }

    #[test]
    fn the_end_of_one_call_keeps_its_name() {
        assert_eq!(lost(h2::Error::from(h2::Reason::CANCEL)).code(), Code::Cancelled);
        assert_eq!(lost(h2::Error::from(h2::Reason::INTERNAL_ERROR)).code(), Code::Internal);
    }
}
