//! Serving what was accepted.
//!
//! tonic's server would do, but for two things. It writes an answer and its trailers apart, so that the caller is woken
//! twice. And each call passes half a dozen layers of which none is needed here.

mod authority;
mod contained;
mod placement;
mod weighed;

use std::convert::Infallible;
use std::error::Error;
use std::future::{poll_fn, ready};
use std::io;
use std::pin::pin;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::Stream;
use http::{HeaderMap, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::service_fn;
use tower_service::Service as _;

use self::authority::Legible;
pub use self::contained::contained_stream;
use self::contained::{AnswerBody, contained, late};
pub(crate) use self::placement::Placement;
pub(crate) use self::weighed::Room;
use crate::channel::{FAULTS, GIVEN_UP, HEADER_LIST};
use crate::log::chain;
use crate::paced::Paced;
use crate::status::normalized;
use crate::timeout;
use crate::transport::{Tethered, gathered};

/// How much may have come on a connection that services have not read yet. A call has a window of its own, of a
/// megabyte; this is so much more that an unread call holds up no other, as in Go. Unread pieces of less than 256 bytes
/// cost what they lack of 256, and HTTP/2 ends a connection on which that comes to more than half of this. One call's
/// window full of the shortest messages costs less.
const CONNECTION_WINDOW: u32 = 128 << 20;

/// What calls may use, and where they run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// How many calls may be under way on one connection; the other side holds back further ones. `None` sets no such
    /// limit, for a trusted peer.
    pub(crate) calls: Option<u32>,
    /// What all connections share; a request that finds no room in it is refused.
    pub(crate) room: Option<Room>,
    pub(crate) placement: Placement,
}

/// Serves on every link, until there are no more or `signal` comes. Then nothing more is accepted, connections take no
/// more calls, and this waits until the calls under way have ended and the other side has closed.
pub(crate) async fn serve(
    links: impl Stream<Item = Tethered>,
    routes: Routes,
    terms: Terms,
    signal: impl Future<Output = ()>,
) {
    let answers = Answers { routes: routes.prepare(), terms };
    let (stop, stopped) = watch::channel(());
    {
        // What listens is gone before the wait for connections.
        let (mut links, mut signal) = (pin!(links), pin!(signal));
        loop {
            tokio::select! {
                () = &mut signal => break,
                link = links.next() => match link {
                    Some(link) => {
                        drop(tokio::spawn(connection(link, answers.clone(), stopped.clone())));
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

async fn connection(link: Tethered, answers: Answers, stopped: watch::Receiver<()>) {
    match serve_one(link, answers, stopped).await {
        Ok(()) => {}
        Err(error) if was_closed(&error) => tracing::debug!("the other side has closed a connection"),
        Err(error) => tracing::debug!(error = chain(&error), "a connection ended"),
    }
}

/// Returns whether a connection ended because the other side had closed it: our last bytes then reach nobody.
fn was_closed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Serves on one link. It takes no more calls once `stopped` is set, or its sender is dropped.
async fn serve_one(
    link: Tethered,
    answers: Answers,
    mut stopped: watch::Receiver<()>,
) -> Result<(), hyper::Error> {
    let (link, mut turns) = gathered(Legible::new(link));
    let calls = answers.terms.calls;
    let mut builder = Builder::new(answers.terms.placement.clone());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(GIVEN_UP)
        // A trusted peer is not punished for faults.
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
        turns.end(cx);
        ended
    })
    .await
}

/// Answers the calls of a connection, each within its deadline, even if the service panics or is late.
#[derive(Clone)]
struct Answers {
    routes: Routes,
    terms: Terms,
}

impl hyper::service::Service<http::Request<Incoming>> for Answers {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let until = timeout::of(request.headers()).map(|limit| timeout::end(Instant::now(), limit));
        let mut routes = self.routes.clone();
        let called = request.uri().clone();
        let under_way = self.terms.placement.count(called.path());
        let request = request.map(Paced);
        let weighed = match &self.terms.room {
            Some(room) => room.weigh(request).map(|(request, held)| (request, Some(held))),
            None => Ok((request.map(Body::new), None)),
        };
        Box::pin(async move {
            let answer = timeout::answering(until, async {
                match weighed {
                    // Routes are always ready.
                    Ok((request, _held)) => routes.call(request).await,
                    Err(refused) => Ok(refused.into_http()),
                }
            });
            let answer = contained(answer);
            let answer = match until {
                None => answer.await,
                Some(until) => {
                    timeout_at(until, answer).await.unwrap_or_else(|_elapsed| Ok(late().into_http()))
                }
            };
            answer.map(|mut answer| {
                name_what_is_unknown(answer.headers_mut(), &called);
                normalize(answer.headers_mut());
                answer.map(|body| AnswerBody::new(body, until, under_way))
            })
        })
    }
}

/// Adds that whatever else is called is refused in Go's words.
pub(crate) fn or_unknown(routes: Routes) -> Routes {
    let unknown = service_fn(|request: http::Request<_>| {
        let path = request.uri().path();
        let message = match path.strip_prefix('/').unwrap_or(path).rsplit_once('/') {
            Some((service, _method)) => format!("unknown service {service}"),
            None => format!("malformed method name: {path:?}"),
        };
        ready(Ok::<_, Infallible>(Status::unimplemented(message).into_http::<Body>()))
    });
    routes.into_axum_router().fallback_service(unknown).into()
}

/// Names the method that a service does not have, in Go's words. tonic's own status does not name it.
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

/// Gives an answer the code that grpc-go has for the same failure; see [`normalized`].
fn normalize(answer: &mut HeaderMap) {
    if let Some(status) = Status::from_header_map(answer) {
        let (found, right) = (status.code(), normalized(status).code());
        if found != right {
            answer.insert(Status::GRPC_STATUS, (right as i32).into());
        }
    }
}

#[cfg(test)]
mod tests;
