//! The channel that calls go through, and the codes of its failures.
//!
//! tonic reports a lost connection as `Unknown`. Every peer of go-plugin expects `Unavailable`, by which callers
//! tell "the plugin is gone" from "the plugin refused". [`Channel`] corrects the code (protocol spec 29.3). It also refuses
//! an answer whose end is missing, and makes statuses legible that tonic could not read.

mod exchange;
mod framing;
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
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use thiserror::Error;
use tokio::time::Instant;
use tonic::body::Body as TonicBody;
use tonic::{Code, Status, TimeoutExpired};
use tower_service::Service;

use self::exchange::Incoming;
use self::framing::Framing;
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

    fn call(&mut self, mut request: http::Request<TonicBody>) -> Answer {
        let connection = Arc::clone(&self.0);
        let until = timeout::of_a_call(request.headers_mut());
        Answer(Box::pin(async move {
            let answer = connection.call(request, until).await;
            let mut answer = answer.map_err(|error| lost_by(until, error))?;
            // An answer that is a status alone has it here. What is no answer of gRPC's is told by its own code.
            mend_status(answer.headers_mut());
            let awaits_status = answer.status() == http::StatusCode::OK
                && !answer.headers().contains_key(Status::GRPC_STATUS);
            let framing = Framing::default();
            Ok(answer.map(|body| ChannelBody { body: Paced(body), framing, awaits_status, until }))
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
    framing: Framing,
    /// Whether a status has to come yet.
    awaits_status: bool,
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
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    self.framing.follow(piece);
                }
                if let Some(end) = frame.trailers_mut() {
                    self.awaits_status = false;
                    // tonic would drop what it has of a message without a word. Another status already says why.
                    if self.framing.is_inside_a_message() && is_success(end) {
                        return Poll::Ready(Some(Err(CutOff::InsideAMessage.into())));
                    }
                    mend_status(end);
                }
            }
            Some(Err(_)) => self.awaits_status = false,
            None if self.awaits_status => {
                self.awaits_status = false;
                let cut_off = if self.framing.is_inside_a_message() {
                    CutOff::InsideAMessage
                } else {
                    CutOff::WithoutAStatus
                };
                return Poll::Ready(Some(Err(cut_off.into())));
            }
            None => {}
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

/// Returns whether the end of an answer says that all went well.
fn is_success(end: &HeaderMap) -> bool {
    end.get(Status::GRPC_STATUS).is_some_and(|code| code == "0")
}

/// Makes the status at the end of an answer one that tonic can read: it panics over details that are not in base64, and
/// takes a message that is no text for a failure of its own, without the code that came with it.
fn mend_status(end: &mut HeaderMap) {
    let details = end.get(Status::GRPC_STATUS_DETAILS);
    if details.is_some_and(|details| FORGIVING.decode(details).is_err()) {
        end.remove(Status::GRPC_STATUS_DETAILS);
    }
    let Some(message) = end.get(Status::GRPC_MESSAGE) else { return };
    let bytes: Vec<u8> = percent_decode(message.as_bytes()).collect();
    if std::str::from_utf8(&bytes).is_err() {
        let text = String::from_utf8_lossy(&bytes);
        let mended = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
        // What is encoded can be written.
        if let Ok(mended) = mended.parse() {
            end.insert(Status::GRPC_MESSAGE, mended);
        }
    }
}

/// An answer whose end is missing, in grpc-go's words.
#[derive(Debug, Error)]
pub(crate) enum CutOff {
    #[error("unexpected EOF")]
    InsideAMessage,
    #[error("server closed the stream without sending trailers")]
    WithoutAStatus,
}

impl From<CutOff> for Status {
    fn from(cut_off: CutOff) -> Self {
        let mut status = Self::internal(cut_off.to_string());
        status.set_source(Arc::new(cut_off));
        status
    }
}

const ENDED: &str = "the plugin has ended";
// Either side calls the other over channels.
const REJECTED: &str = "the other side does not accept our certificate";
const LOST: &str = "the connection is lost";

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
    let innermost = successors(status.source(), |error| (*error).source()).last();
    let cause = innermost.map_or_else(|| status.message().to_owned(), ToString::to_string);
    let mut unavailable = Status::unavailable(format!("{LOST}: {cause}"));
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
    use http::HeaderName;
    use http::uri::PathAndQuery;
    use tokio::net::UnixStream;
    use tokio::sync::{oneshot, watch};
    use tokio::task::yield_now;
    use tokio::time;
    use tonic::client::Grpc;
    use tonic_prost::ProstCodec;

    use super::*;
    use crate::transport::Socket;
    use crate::{Address, is_cut_off, normalized};

    /// Returns a channel, the other end of its one connection, and what would end that.
    fn channel() -> (Channel, UnixStream, watch::Sender<bool>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let nowhere = Route::to_address(Address::Unix("/nobody/listens/here".into()), None);
        let (has_ended, ended) = Ended::new();
        (Channel::open(Link::Plain(Socket::Unix(ours)), nowhere, ended), theirs, has_ended)
    }

    /// Returns the end of an answer, in trailers.
    fn end(of: &[(HeaderName, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    /// Calls what answers with these bytes and this end, and with the end alone if there are no bytes. Returns what comes
    /// of a call with one answer, and of one with a stream of them.
    async fn answered(bytes: &'static [u8], end: HeaderMap) -> [Result<usize, Status>; 2] {
        let (channel, theirs, _has_ended) = channel();
        let serving = async {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            while let Some(call) = server.accept().await {
                let (request, mut respond) = call.unwrap();
                let mut head = http::Response::new(());
                if request.uri().path().ends_with("/Alone") && bytes.is_empty() {
                    head.headers_mut().clone_from(&end);
                    respond.send_response(head, true).unwrap();
                } else {
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(Bytes::from_static(bytes), end.is_empty()).unwrap();
                    if !end.is_empty() {
                        body.send_trailers(end.clone()).unwrap();
                    }
                }
            }
        };
        let calling = async {
            let mut client = Grpc::new(channel.clone());
            client.ready().await.unwrap();
            let (path, codec) =
                (PathAndQuery::from_static("/a.Service/Alone"), ProstCodec::<(), ()>::default());
            let one = client.unary(tonic::Request::new(()), path, codec).await.map(|_| 1);
            client.ready().await.unwrap();
            let (path, codec) =
                (PathAndQuery::from_static("/a.Service/Behind"), ProstCodec::<(), ()>::default());
            let several = async {
                let answers = client.server_streaming(tonic::Request::new(()), path, codec).await?;
                let (mut answers, mut count) = (answers.into_inner(), 0);
                while let Some(()) = answers.message().await? {
                    count += 1;
                }
                Ok(count)
            };
            [one, several.await]
        };
        tokio::select! {
            answered = calling => answered,
            () = serving => panic!("the server has ended"),
        }
    }

    /// Checks a status that comes alone, and behind the head of an answer.
    async fn check_status(of: &[(HeaderName, &str)], message: &str, details: &[u8]) {
        for answer in answered(b"", end(of)).await {
            let status = answer.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Aborted, message));
            assert_eq!(status.details(), details);
        }
    }

    #[tokio::test]
    async fn a_status_counts_also_if_nobody_can_read_all_of_it() {
        for (text, details) in [("AAE", &[0, 1][..]), ("AAE=,AAE=", b""), ("in plain words", b"")] {
            let end = [
                (Status::GRPC_STATUS, "10"),
                (Status::GRPC_MESSAGE, "not now"),
                (Status::GRPC_STATUS_DETAILS, text),
            ];
            check_status(&end, "not now", details).await;
        }
        for (text, message) in
            [("not%20now", "not now"), ("caf%C3%A9 100%", "café 100%"), ("caf%E9 %2525", "caf\u{fffd} %25")]
        {
            check_status(&[(Status::GRPC_STATUS, "10"), (Status::GRPC_MESSAGE, text)], message, b"").await;
        }
    }

    /// tonic alone would take what came before for all there is. grpc-go does not look at another status, and 1.81 takes
    /// an end inside a head for an orderly one.
    #[tokio::test]
    async fn an_answer_whose_end_is_missing_is_none_unless_its_status_says_why() {
        let outcomes = async |bytes, status: &[_]| {
            let answers = answered(bytes, end(status)).await;
            answers.map(|answer| {
                answer.map_err(|status| {
                    assert_eq!(is_cut_off(&status), status.code() == Code::Internal);
                    (status.code(), status.message().to_owned())
                })
            })
        };
        let [success, aborted] = ["0", "10"].map(|code| [(Status::GRPC_STATUS, code)]);
        for cut in [&b"\0\0\0\0\0\0\0"[..], b"\0\0\0\0\0\0\0\0\0\x02\x08"] {
            let unexpected = || Err((Code::Internal, "unexpected EOF".to_owned()));
            assert_eq!(outcomes(cut, &success).await, [unexpected(), unexpected()], "{cut:?}");
            let aborted = outcomes(cut, &aborted).await;
            assert_eq!(aborted, [(); 2].map(|()| Err((Code::Aborted, String::new()))), "{cut:?}");
            assert_eq!(outcomes(cut, &[]).await, [unexpected(), unexpected()], "{cut:?}");
        }
        let whole = b"\0\0\0\0\0";
        assert_eq!(outcomes(whole, &success).await, [Ok(1), Ok(1)]);
        let missing =
            || Err((Code::Internal, "server closed the stream without sending trailers".to_owned()));
        assert_eq!(outcomes(whole, &[]).await, [missing(), missing()]);
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
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "the connection is lost: broken pipe")
        );
        assert!(status.source().is_some());
    }

    #[test]
    fn the_end_of_one_call_keeps_its_name() {
        assert_eq!(lost(h2::Error::from(h2::Reason::CANCEL)).code(), Code::Cancelled);
        assert_eq!(lost(h2::Error::from(h2::Reason::INTERNAL_ERROR)).code(), Code::Internal);
    }
}
