//! Serving what was accepted.
//!
//! tonic's server does the same, but for two things. It writes what comes before an answer's trailers, and then those: who
//! called is woken twice. And each call passes half a dozen layers of which none is needed here.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout as limited;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower_service::Service as _;

use crate::channel::{GIVEN_UP, HEADER_LIST, normalize_answer};
use crate::timeout;
use crate::transport::{Tethered, gathered};

/// Serves on every link, until there are no more or `signal` comes. Then nothing more is accepted, connections take no more
/// calls, and this waits until those under way have ended and the other side has closed.
///
/// A connection takes that many `calls` at a time, or as many as the other side likes; it keeps further ones to itself.
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
                        tracing::debug!(error = &error as &dyn std::error::Error, "a connection was not accepted");
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

/// Serves on one link. It takes no more calls when `stopped` says so, or is told nothing any more.
async fn connection(link: Tethered, answers: Answers, calls: Option<u32>, mut stopped: watch::Receiver<()>) {
    let (link, flush) = gathered(link);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(GIVEN_UP)
        .max_concurrent_streams(calls)
        // Nobody looks at a date, and Go's servers send none.
        .auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(link), answers));
    let mut stopping = Some(Box::pin(async { drop(stopped.changed().await) }));
    let served = poll_fn(|cx| {
        if stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
            stopping = None;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(cx);
        flush.poll(cx);
        ended
    });
    if let Err(error) = served.await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
    }
}

/// What answers the calls of a connection, each within the time that it says it has.
#[derive(Clone)]
struct Answers(Routes);

impl hyper::service::Service<http::Request<Incoming>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let limit =
            request.headers().get(timeout::HEADER).and_then(|value| timeout::parse(value.to_str().ok()?));
        // Routes are always ready.
        let answer = self.0.clone().call(request.map(Body::new));
        Box::pin(async move {
            let answer = match limit {
                None => answer.await,
                Some(limit) => limited(limit, answer).await.unwrap_or_else(|_elapsed| {
                    Ok(Status::new(Code::DeadlineExceeded, "Timeout expired").into_http())
                }),
            };
            answer.map(normalize_answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use futures_util::stream;
    use tokio::net::UnixStream;

    use super::*;
    use crate::transport::{Link, Socket};

    /// Generous: it is only ever waited out by a test that fails.
    const LONG: Duration = Duration::from_secs(60);

    /// A service that does not answer.
    #[derive(Clone)]
    struct Silent;

    impl tonic::server::NamedService for Silent {
        const NAME: &'static str = "a.Silent";
    }

    impl tower_service::Service<http::Request<Body>> for Silent {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Pending<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            pending()
        }
    }

    /// Who calls may not look at the time itself.
    #[tokio::test]
    async fn a_call_is_answered_when_its_time_is_over() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
        let links = stream::iter([Ok(link)]).chain(stream::pending());
        let calling = async {
            let (mut requests, connection) = h2::client::handshake(ours).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::post("http://localhost/a.Silent/Call").header(timeout::HEADER, "1m");
            let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
            answer.await.unwrap()
        };
        tokio::select! {
            answer = limited(LONG, calling) => {
                let answer = answer.expect("it is answered");
                let status = Status::from_header_map(answer.headers()).unwrap();
                assert_eq!(status.code(), Code::DeadlineExceeded);
            }
            () = serve(links, Routes::new(Silent), None, pending()) => panic!("nobody told it to end"),
        }
    }

    #[tokio::test]
    async fn a_connection_says_how_many_calls_it_takes_at_a_time() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let link = Tethered::new(Link::Plain(Socket::Unix(theirs)), pending());
        let links = stream::iter([Ok(link)]).chain(stream::pending());
        let calling = async {
            let (mut requests, connection) = h2::client::handshake(ours).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::post("http://localhost/a.Silent/Call").header(timeout::HEADER, "1m");
            let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
            // What it says of itself comes before every answer.
            answer.await.unwrap();
            requests.current_max_send_streams()
        };
        tokio::select! {
            most = limited(LONG, calling) => assert_eq!(most.expect("it is answered"), 7),
            () = serve(links, Routes::new(Silent), Some(7), pending()) => panic!("nobody told it to end"),
        }
    }
}
