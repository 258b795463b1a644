//! Serving what was accepted.
//!
//! tonic's server does the same, but for two things. It writes what comes before an answer's trailers, and then those: who
//! called is woken twice. And each call passes half a dozen layers of which none is needed here.

mod authority;
mod contained;

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use http::{HeaderMap, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout as limited;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use self::authority::Legible;
pub use self::contained::contained_stream;
use self::contained::{Contained, contained};
use crate::channel::{FAULTS, GIVEN_UP, HEADER_LIST, normalize_answer};
use crate::timeout;
use crate::transport::{Tethered, gathered};

/// How much may have come on a connection that services have not read yet. A call has a window of its own, of a megabyte; this is
/// so much more that one that is not read is in no other's way, as in Go. HTTP/2 also lets pieces of less than 256 bytes cost half of
/// it while they wait, each as much as it lacks of those, and ends the connection with more: that is more than the window of a call
/// comes to which is full of the shortest messages there are.
const CONNECTION_WINDOW: u32 = 128 << 20;

/// Serves on every link, until there are no more or `signal` comes. Then nothing more is accepted, connections take no more
/// calls, and this waits until those under way have ended and the other side has closed.
///
/// A connection takes that many `calls` of a stranger's at a time, or as many as the other side likes; it keeps further ones to
/// itself.
pub(crate) async fn serve(
    links: impl Stream<Item = io::Result<Tethered>>,
    routes: Routes,
    calls: Option<u32>,
    signal: impl Future<Output = ()>,
) {
    let answers = Answers(routes.prepare());
    let (stop, stopped) = watch::channel(());
    {
        // What listens is gone before the wait for connections.
        let (mut links, mut signal) = (pin!(links), pin!(signal));
        loop {
            tokio::select! {
                () = &mut signal => break,
                link = links.next() => match link {
                    Some(Ok(link)) => {
                        drop(tokio::spawn(connection(link, answers.clone(), calls, stopped.clone())));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(error = &error as &dyn Error, "a connection was not accepted");
                    }
                    None => break,
                },
            }
        }
    }
    drop(stopped);
    stop.send_replace(());
    stop.closed().await;
}

async fn connection(link: Tethered, answers: Answers, calls: Option<u32>, stopped: watch::Receiver<()>) {
    match serve_one(link, answers, calls, stopped).await {
        Ok(()) => {}
        Err(error) if was_closed(&error) => tracing::debug!("the other side has closed a connection"),
        Err(error) => tracing::debug!(error = &error as &dyn Error, "a connection ended"),
    }
}

/// Returns whether a connection ended because the other side was done with it: what is said last then finds nobody.
fn was_closed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Serves on one link. It takes no more calls when `stopped` says so, or is told nothing any more.
async fn serve_one(
    link: Tethered,
    answers: Answers,
    calls: Option<u32>,
    mut stopped: watch::Receiver<()>,
) -> Result<(), hyper::Error> {
    let (link, flush) = gathered(Legible::new(link));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(GIVEN_UP)
        // Who is no stranger means no harm.
        .max_local_error_reset_streams(calls.map(|_few| FAULTS))
        .max_concurrent_streams(calls)
        // Nobody looks at a date, and Go's servers send none.
        .auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(link), answers));
    let mut stopping = Some(Box::pin(async { drop(stopped.changed().await) }));
    poll_fn(|cx| {
        if stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
            stopping = None;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx);
        flush.poll(cx);
        ended
    })
    .await
}

/// What answers the calls of a connection, each within the time that it says it has, and whatever the service does.
#[derive(Clone)]
struct Answers(Routes);

impl hyper::service::Service<http::Request<Incoming>> for Answers {
    type Response = http::Response<Contained>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let limit =
            request.headers().get(timeout::HEADER).and_then(|value| timeout::parse(value.to_str().ok()?));
        let mut routes = self.0.clone();
        let called = request.uri().clone();
        Box::pin(async move {
            // Routes are always ready.
            let answer = contained(async { routes.call(request.map(Body::new)).await });
            let answer = match limit {
                None => answer.await,
                Some(limit) => limited(limit, answer).await.unwrap_or_else(|_elapsed| {
                    Ok(Status::new(Code::DeadlineExceeded, "Timeout expired").into_http())
                }),
            };
            answer.map(|mut answer| {
                name_what_is_unknown(answer.headers_mut(), &called);
                normalize_answer(answer).map(Contained::new)
            })
        })
    }
}

/// Says in Go's words what it is that is not served. What tonic generates says no more than that it is not.
fn name_what_is_unknown(answer: &mut HeaderMap, called: &Uri) {
    const UNIMPLEMENTED: &str = "12";

    if answer.get(Status::GRPC_STATUS).is_none_or(|code| code != UNIMPLEMENTED)
        || answer.contains_key(Status::GRPC_MESSAGE)
    {
        return;
    }
    let path = called.path().trim_start_matches('/');
    let (service, method) = path.rsplit_once('/').unwrap_or(("", path));
    let status = Status::unimplemented(format!("unknown method {method} for service {service}"));
    // What cannot be written is left out.
    let _unwritten = status.add_header(answer);
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::Pin;
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
    struct Application(fn() -> Answer);

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

        fn call(&mut self, _: http::Request<Body>) -> Answer {
            (self.0)()
        }
    }

    /// The body of an answer that breaks off: is it half over?
    struct Halfway(bool);

    impl http_body::Body for Halfway {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            match std::mem::replace(&mut self.0, true) {
                false => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half"))))),
                true => panic!("three"),
            }
        }
    }

    type Requests = h2::client::SendRequest<Bytes>;

    /// Returns our end of a connection, and what a server accepts for the other.
    fn one_link() -> (UnixStream, impl Stream<Item = io::Result<Tethered>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
        (ours, stream::iter([Ok(link)]).chain(stream::pending()))
    }

    /// Does what `calling` does on one connection to `application`.
    async fn on_a_connection<T>(
        application: fn() -> Answer,
        calling: impl FnOnce(Requests) -> LocalBoxFuture<'static, T>,
    ) -> T {
        on_a_connection_to(Routes::new(Application(application)), calling).await
    }

    async fn on_a_connection_to<T>(
        routes: Routes,
        calling: impl FnOnce(Requests) -> LocalBoxFuture<'static, T>,
    ) -> T {
        let (ours, links) = one_link();
        let calling = async {
            let (requests, connection) = h2::client::handshake(ours).await.unwrap();
            tokio::spawn(connection);
            calling(requests).await
        };
        let most = u32::try_from(CALLS).ok();
        let serving = serve(links, routes, most, pending());
        tokio::select! {
            came_of_it = limited(LONG, calling) => came_of_it.expect("it is answered"),
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

    #[tokio::test]
    async fn who_calls_us_by_the_path_of_our_socket_is_answered() {
        let refuses = || -> Answer { Box::pin(ready(Ok(Status::aborted("not now").into_http()))) };
        let first = [
            field(":path", "/an.Application/Call"),
            field(":authority", "tmp%2Fplugin1"), // P-37
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
                let mut payload =
                    vec![0; usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)];
                ours.read_exact(&mut payload).await.unwrap();
                assert_ne!(kind, 3, "call {stream} is reset");
                if kind == 1 {
                    answered.push(stream);
                }
            }
            answered.sort_unstable();
            answered
        };
        let serving = serve(links, Routes::new(Application(refuses)), None, pending());
        tokio::select! {
            answered = limited(LONG, calling) => assert_eq!(answered.expect("it is answered"), [1, 3]),
            () = serving => panic!("nobody told it to end"),
        }
    }

    /// Reads calls to one of its methods only when it is called by the other, and answers with how much it was sent.
    #[derive(Clone)]
    struct Reader(watch::Sender<bool>);

    impl Reader {
        fn routes() -> Routes {
            Routes::new(Self(watch::Sender::new(false)))
        }
    }

    impl tonic::server::NamedService for Reader {
        const NAME: &'static str = "a.Reader";
    }

    impl tower_service::Service<http::Request<Body>> for Reader {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Answer;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Answer {
            let Self(called) = self.clone();
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
        }
    }

    /// Has a reader sent the same piece so many times.
    async fn send(requests: &Requests, method: &str, piece: Bytes, times: usize) -> ResponseFuture {
        let request = http::Request::post(format!("http://localhost/a.Reader/{method}")).body(()).unwrap();
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
        for (_, status) in on_a_connection_to(Reader::routes(), calling).await {
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
        let answered = on_a_connection_to(Reader::routes(), calling).await;
        assert_eq!(answered, ["50000", "10"]);
    }

    /// Who calls may not look at the time itself.
    #[tokio::test]
    async fn a_call_is_answered_when_its_time_is_over() {
        let silent = || -> Answer { Box::pin(pending()) };
        let calling =
            |mut requests| -> LocalBoxFuture<'_, _> { Box::pin(async move { call(&mut requests).await }) };
        let (_, status) = on_a_connection(silent, calling).await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
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

    /// Who calls would keep the connection, and this would wait for the other side to close it.
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
            // Whatever it ends with: that it does is what is asked for, and that `requests` are still there.
            drop(connection.await);
            requests.ready().await.is_err()
        };
        let refuses = || -> Answer { Box::pin(ready(Ok(Status::aborted("not now").into_http()))) };
        let serving = serve(links, Routes::new(Application(refuses)), None, async { drop(signal.await) });
        let both = limited(LONG, async { tokio::join!(serving, calling) }).await;
        assert_eq!(both.expect("it ends"), ((), true));
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_fault() {
        let pair = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
            let (stop, stopped) = watch::channel(());
            let silent = || -> Answer { Box::pin(pending()) };
            let answers = Answers(Routes::new(Application(silent)).prepare());
            (ours, async move {
                let _stop = stop;
                limited(LONG, serve_one(link, answers, None, stopped)).await.expect("it ends")
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
        let halfway = || -> Answer { Box::pin(ready(Ok(http::Response::new(Body::new(Halfway(false)))))) };
        assert_eq!(told_of(halfway).await, (4, "panic: three".to_owned()));
    }

    #[tokio::test]
    async fn what_is_not_served_is_named() {
        // What an application says of itself is left as it is.
        let own =
            || -> Answer { Box::pin(ready(Ok(Status::unimplemented("not in this version").into_http()))) };
        let calling = |mut requests| -> LocalBoxFuture<'_, _> {
            Box::pin(async move {
                let (_, unknown) = call_at("http://localhost/a.Stranger/Wave", &mut requests).await;
                let (_, known) = call(&mut requests).await;
                [unknown, known].map(|status| (status.code(), status.message().to_owned()))
            })
        };
        let expected = ["unknown method Wave for service a.Stranger", "not in this version"];
        let expected = expected.map(|message| (Code::Unimplemented, message.to_owned()));
        assert_eq!(on_a_connection(own, calling).await, expected);
    }
}
