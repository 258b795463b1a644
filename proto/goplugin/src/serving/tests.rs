//! A server on one link, with clients of `h2` and with one that writes its frames itself.

use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use futures_util::stream;
use h2::client::ResponseFuture;
use http::header::CONTENT_LENGTH;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tonic::Code;

use super::*;
use crate::transport::{Link, Socket};

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(60);

/// How many calls a connection takes at a time.
const CALLS: usize = 7;

/// What a call comes to.
type Answer = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

/// A service whose calls come to what the function makes of them.
#[derive(Clone)]
struct Application(Arc<dyn Fn(http::Request<Body>) -> Answer + Send + Sync>);

impl Application {
    /// Makes one that does not look at what it is asked.
    fn routes(answer: fn() -> Answer) -> Routes {
        Self::looking(move |_request| answer())
    }

    fn looking(answer: impl Fn(http::Request<Body>) -> Answer + Send + Sync + 'static) -> Routes {
        Routes::new(Self(Arc::new(answer)))
    }
}

impl tonic::server::NamedService for Application {
    const NAME: &'static str = "an.Application";
}

impl tower_service::Service<http::Request<Body>> for Application {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        (self.0)(request)
    }
}

/// What a body comes to.
type Come = Poll<Option<Result<Frame<Bytes>, Status>>>;

/// The body of an answer of which there is a half. What follows is said once that has left.
struct Halfway(Option<Bytes>, fn() -> Come);

impl Halfway {
    fn then(rest: fn() -> Come) -> Answer {
        let body = Body::new(Self(Some(Bytes::from_static(b"half")), rest));
        Box::pin(ready(Ok(http::Response::new(body))))
    }
}

impl http_body::Body for Halfway {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Come {
        match self.0.take() {
            Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
            None => (self.1)(),
        }
    }
}

type Requests = h2::client::SendRequest<Bytes>;

/// Returns our end of a connection, and what a server accepts for the other.
fn one_link() -> (UnixStream, impl Stream<Item = Tethered>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
    (ours, stream::iter([link]).chain(stream::pending()))
}

/// Does what `calling` does on one connection to `application`.
async fn on_a_connection<T>(
    application: fn() -> Answer,
    calling: impl FnOnce(Requests) -> LocalBoxFuture<'static, T>,
) -> T {
    on_a_connection_to(Application::routes(application), calling).await
}

async fn on_a_connection_to<T>(
    routes: Routes,
    calling: impl FnOnce(Requests) -> LocalBoxFuture<'static, T>,
) -> T {
    on_a_connection_within(None, routes, calling).await
}

async fn on_a_connection_within<T>(
    room: Option<Room>,
    routes: Routes,
    calling: impl FnOnce(Requests) -> LocalBoxFuture<'static, T>,
) -> T {
    let (ours, links) = one_link();
    let calling = async {
        let (requests, connection) = h2::client::handshake(ours).await.unwrap();
        tokio::spawn(connection);
        calling(requests).await
    };
    let terms = Terms { calls: u32::try_from(CALLS).ok(), room, ..Terms::default() };
    let serving = serve(links, routes, terms, pending());
    tokio::select! {
        came_of_it = tokio::time::timeout(LONG, calling) => came_of_it.expect("it is answered"),
        () = serving => panic!("nobody told it to end"),
    }
}

/// Calls what the application answers, and returns how many bytes came and the status after them.
async fn call(requests: &mut Requests) -> (usize, Status) {
    call_at("http://localhost/an.Application/Call", requests).await
}

async fn call_at(uri: &str, requests: &mut Requests) -> (usize, Status) {
    let request = http::Request::post(uri).header(timeout::HEADER, "1m");
    let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
    come_of(answer).await
}

async fn come_of(answer: ResponseFuture) -> (usize, Status) {
    let (head, mut body) = answer.await.unwrap().into_parts();
    let mut length = 0;
    while let Some(piece) = body.data().await {
        length += piece.unwrap().len();
    }
    let end = body.trailers().await.unwrap().unwrap_or(head.headers);
    (length, Status::from_header_map(&end).unwrap())
}

/// What is wrong is a length that a request says it has, and has not. The rest of a request that was answered early is as wrong.
#[tokio::test]
async fn calls_that_go_wrong_are_no_reason_to_end_others() {
    let silent = || -> Answer { Box::pin(pending()) };
    let calling = |mut requests: Requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            for _ in 0..1_200 {
                let request = http::Request::post("http://localhost/an.Application/Call");
                let request = request.header(CONTENT_LENGTH, 1).body(()).unwrap();
                let (answer, mut body) = requests.send_request(request, false).unwrap();
                body.send_data(Bytes::from_static(b"more than that"), true).unwrap();
                assert!(answer.await.is_err());
            }
            call(&mut requests).await
        })
    };
    let (_, status) = on_a_connection(silent, calling).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

/// A field of headers, as gRPC's C core writes it: both sides remember it from then on.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    [vec![0x40], text(name), text(value)].concat()
}

/// A call without a request: nothing but its headers.
fn headers(stream: u8, headers: &[u8]) -> Vec<u8> {
    let length = u8::try_from(headers.len()).unwrap();
    [&[0, 0, length, 1, 0x05, 0, 0, 0, stream][..], headers].concat()
}

/// Calls twice by this name, and fails if it is not answered.
async fn check_is_answered(authority: &str) {
    let refuses = || -> Answer { Box::pin(ready(Ok(Status::aborted("not now").into_http()))) };
    let first = [
        field(":path", "/an.Application/Call"),
        field(":authority", authority), // P-37
        vec![0x83, 0x86],
        field("content-type", "application/grpc"),
        field("te", "trailers"),
    ];
    // The same, of which the last field has number 62, and each before it the next one.
    let again = [0xc1, 0xc0, 0x83, 0x86, 0xbf, 0xbe];
    let said = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0, 0, 0, 4, 0, 0, 0, 0, 0],
        headers(1, &first.concat()),
        headers(3, &again),
    ];
    let (mut ours, links) = one_link();
    let calling = async {
        ours.write_all(&said.concat()).await.unwrap();
        let mut answered = Vec::new();
        while answered.len() < 2 {
            let mut head = [0; 9];
            ours.read_exact(&mut head).await.unwrap();
            let [high, middle, low, kind, .., stream] = head;
            let mut payload = vec![0; usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)];
            ours.read_exact(&mut payload).await.unwrap();
            assert_ne!(kind, 3, "call {stream} is reset");
            if kind == 1 {
                answered.push(stream);
            }
        }
        answered.sort_unstable();
        answered
    };
    let serving = serve(links, Application::routes(refuses), Terms::default(), pending());
    tokio::select! {
        answered = tokio::time::timeout(LONG, calling) => assert_eq!(answered.expect("it is answered"), [1, 3]),
        () = serving => panic!("nobody told it to end"),
    }
}

#[tokio::test]
async fn who_calls_us_by_the_path_of_our_socket_is_answered() {
    check_is_answered("tmp%2Fplugin1").await;
    check_is_answered("/tmp/10:30:00/[plugin]").await;
}

/// Reads no call to `Late` before another method was called, and answers with how much it was sent.
fn reader() -> Routes {
    let called = watch::Sender::new(false);
    Application::looking(move |request| {
        let called = called.clone();
        Box::pin(async move {
            let late = request.uri().path().ends_with("/Late");
            if late {
                drop(called.subscribe().wait_for(|called| *called).await);
            }
            let (mut body, mut length) = (request.into_body(), 0);
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                length += frame.unwrap().into_data().map_or(0, |piece| piece.len());
            }
            if !late {
                called.send_replace(true);
            }
            Ok(Status::aborted(length.to_string()).into_http())
        })
    })
}

/// Has a reader sent the same piece so many times.
async fn send(requests: &Requests, method: &str, piece: Bytes, times: usize) -> ResponseFuture {
    let request = http::Request::post(format!("http://localhost/an.Application/{method}")).body(()).unwrap();
    let mut requests = requests.clone().ready().await.unwrap();
    let (answer, mut body) = requests.send_request(request, false).unwrap();
    for _ in 0..times {
        body.send_data(piece.clone(), false).unwrap();
    }
    body.send_data(Bytes::new(), true).unwrap();
    // The connection's task, too, is to have its turn.
    for _ in 0..8 {
        yield_now().await;
    }
    answer
}

#[tokio::test]
async fn calls_that_are_not_read_yet_are_in_no_others_way() {
    let calling = |requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            let (piece, mut answers) = (Bytes::from(vec![0; 1 << 20]), Vec::new());
            for method in ["Late", "Late", "Late", "Now"] {
                answers.push(come_of(send(&requests, method, piece.clone(), 1).await));
            }
            join_all(answers).await
        })
    };
    for (_, status) in on_a_connection_to(reader(), calling).await {
        assert_eq!(status.message(), (1 << 20).to_string());
    }
}

#[tokio::test]
async fn small_messages_wait_for_a_service_that_reads_them_late() {
    let calling = |requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            let piece = Bytes::from_static(b"0123456789");
            let late = come_of(send(&requests, "Late", piece.clone(), 5_000).await);
            let now = come_of(send(&requests, "Now", piece, 1).await);
            let ((_, late), (_, now)) = tokio::join!(late, now);
            [late, now].map(|status| status.message().to_owned())
        })
    };
    let answered = on_a_connection_to(reader(), calling).await;
    assert_eq!(answered, ["50000", "10"]);
}

#[tokio::test]
async fn who_reads_a_client_that_is_ahead_waits_now_and_then() {
    let reader = Application::looking(|request| {
        Box::pin(async move {
            // Until all of it has come.
            for _ in 0..64 {
                yield_now().await;
            }
            let (mut body, mut turns) = (request.into_body(), 0);
            poll_fn(|cx| {
                turns += 1;
                while let Some(frame) = std::task::ready!(Pin::new(&mut body).poll_frame(cx)) {
                    drop(frame.unwrap());
                }
                Poll::Ready(())
            })
            .await;
            Ok(Status::aborted(turns.to_string()).into_http())
        })
    });
    let calling = |requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            let answer = send(&requests, "Call", Bytes::from_static(b"piece"), 1_000).await;
            come_of(answer).await
        })
    };
    let (_, status) = on_a_connection_to(reader, calling).await;
    assert_eq!(status.code(), Code::Aborted);
    assert_ne!(status.message(), "1");
}

/// There is room for each of the large ones, but not for two of them at once.
#[tokio::test]
async fn requests_that_are_under_way_have_room_together_or_are_refused() {
    let (read, let_go) = (watch::Sender::new(false), watch::Sender::new(false));
    let mut is_read = read.subscribe();
    let keeper = Application::looking(move |request| {
        let (read, let_go) = (read.clone(), let_go.clone());
        Box::pin(async move {
            let is_last = request.uri().path().ends_with("/Last");
            let mut body = request.into_body();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if let Err(status) = frame {
                    return Ok(status.into_http());
                }
            }
            read.send_replace(true);
            if is_last {
                let_go.send_replace(true);
            }
            drop(let_go.subscribe().wait_for(|go| *go).await);
            Ok(Status::aborted("read").into_http())
        })
    });
    let calling = |requests: Requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            let (large, small) = (Bytes::from_static(&[0; 1_000]), Bytes::from_static(b"small"));
            let kept = send(&requests, "First", large.clone(), 1).await;
            drop(is_read.wait_for(|read| *read).await);
            let beyond = come_of(send(&requests, "Second", large.clone(), 1).await).await;
            let last = come_of(send(&requests, "Last", small, 1).await).await;
            let kept = come_of(kept).await;
            let again = come_of(send(&requests, "Last", large, 1).await).await;
            [beyond, last, kept, again].map(|(_, status)| status.code())
        })
    };
    let codes = on_a_connection_within(Some(Room::new(1_500)), keeper, calling).await;
    assert_eq!(codes, [Code::ResourceExhausted, Code::Aborted, Code::Aborted, Code::Aborted]);
}

/// Who calls may not look at the time itself.
#[tokio::test]
async fn a_call_is_answered_when_its_time_is_over() {
    let silent = || -> Answer { Box::pin(pending()) };
    let calling =
        |mut requests| -> LocalBoxFuture<'_, _> { Box::pin(async move { call(&mut requests).await }) };
    let (_, status) = on_a_connection(silent, calling).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let endless = || Halfway::then(|| Poll::Pending);
    let (length, status) = on_a_connection(endless, calling).await;
    assert_eq!((length, status.code()), (4, Code::DeadlineExceeded));
}

#[tokio::test]
async fn a_connection_says_how_many_calls_it_takes_at_a_time() {
    let silent = || -> Answer { Box::pin(pending()) };
    let most = on_a_connection(silent, |mut requests| {
        Box::pin(async move {
            // What it says of itself comes before every answer.
            call(&mut requests).await;
            requests.current_max_send_streams()
        })
    });
    assert_eq!(most.await, CALLS);
}

/// The caller keeps its end open, so the server must not wait for that to close.
#[tokio::test]
async fn when_it_is_to_end_connections_take_no_more_calls() {
    let (ours, links) = one_link();
    let (end, signal) = oneshot::channel::<()>();
    let calling = async {
        let (mut requests, connection) = h2::client::handshake(ours).await.unwrap();
        let connection = tokio::spawn(connection);
        let (_, status) = call(&mut requests).await;
        assert_eq!(status.code(), Code::Aborted);
        end.send(()).unwrap();
        // It has to end, with whatever outcome, while `requests` are still there.
        drop(connection.await);
        requests.ready().await.is_err()
    };
    let refuses = || -> Answer { Box::pin(ready(Ok(Status::aborted("not now").into_http()))) };
    let serving = serve(links, Application::routes(refuses), Terms::default(), async { drop(signal.await) });
    let both = tokio::time::timeout(LONG, async { tokio::join!(serving, calling) }).await;
    assert_eq!(both.expect("it ends"), ((), true));
}

#[tokio::test]
async fn an_end_is_told_from_a_fault() {
    let pair = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
        let (stop, stopped) = watch::channel(());
        let silent = || -> Answer { Box::pin(pending()) };
        let answers = Answers { routes: Application::routes(silent).prepare(), terms: Terms::default() };
        (ours, async move {
            let _stop = stop;
            tokio::time::timeout(LONG, serve_one(link, answers, stopped)).await.expect("it ends")
        })
    };

    let (ours, served) = pair();
    let speaking = async {
        let (_requests, connection) = h2::client::handshake(ours).await.unwrap();
        // It has said all that it says by itself.
        assert!(futures_util::poll!(pin!(connection)).is_pending());
    };
    let ((), end) = tokio::join!(speaking, served);
    assert!(end.as_ref().err().is_none_or(was_closed), "{end:?}");

    let (mut ours, served) = pair();
    ours.write_all(b"GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").await.unwrap();
    assert!(served.await.is_err_and(|fault| !was_closed(&fault)));
}

/// Calls what panics, on a connection that stays, and returns what it was told.
async fn told_of(application: fn() -> Answer) -> (usize, String) {
    on_a_connection(application, |mut requests| {
        Box::pin(async move {
            let (length, status) = call(&mut requests).await;
            let (_, again) = call(&mut requests).await;
            assert_eq!((status.code(), again.message()), (Code::Internal, status.message()));
            (length, status.message().to_owned())
        })
    })
    .await
}

#[tokio::test]
async fn a_panic_ends_one_call_and_says_why() {
    assert_eq!(told_of(|| panic!("number {}", 1)).await, (0, "panic: number 1".to_owned()));
    assert_eq!(told_of(|| Box::pin(async { panic!("two") })).await, (0, "panic: two".to_owned()));
    let halfway = || Halfway::then(|| panic!("three"));
    assert_eq!(told_of(halfway).await, (4, "panic: three".to_owned()));
}

#[tokio::test]
async fn what_is_not_served_is_named() {
    let application = Application::looking(|request| {
        let answer = match request.uri().path().rsplit('/').next() {
            // What an application says of itself is left as it is.
            Some("Bow") => Status::unimplemented("not in this version"),
            _ => Status::unimplemented(""),
        };
        Box::pin(ready(Ok(answer.into_http())))
    });
    let calling = |mut requests| -> LocalBoxFuture<'_, _> {
        Box::pin(async move {
            let mut told = Vec::new();
            for path in ["an.Application/Wave", "an.Application/Bow", "a.Stranger/Wave", "a.Stranger"] {
                let (_, status) = call_at(&format!("http://localhost/{path}"), &mut requests).await;
                assert_eq!(status.code(), Code::Unimplemented);
                told.push(status.message().to_owned());
            }
            told
        })
    };
    let expected = [
        "unknown method Wave for service an.Application",
        "not in this version",
        "unknown service a.Stranger",
        "malformed method name: \"/a.Stranger\"",
    ];
    assert_eq!(on_a_connection_to(or_unknown(application), calling).await, expected);
}
