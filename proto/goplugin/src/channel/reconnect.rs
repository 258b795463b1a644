//! The connection that a channel's calls go over, and what each call needs on it.
//!
//! tonic's own channel is a queue in front of a worker in front of the connection, for endpoints that are many
//! or far away. Ours is one, and a hop from task to task is what a small call costs most; here a call is handed to
//! HTTP/2 by the task that makes it.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io};

use http::header::{HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::TimeoutExpired;
use tonic::body::Body as TonicBody;

use super::ENDED;
use super::exchange::{Incoming, Sender, Unanswered};
use crate::lock::lock;
use crate::log::chain;
use crate::task::Task;
use crate::transport::{Ended, Link, Route, Tethered};

/// Why a call got no answer, in the words of whoever found out.
pub(super) type Failure = Box<dyn StdError + Send + Sync>;

/// The one connection behind a channel and its clones: opened by the first call, unless it was begun before that, and anew
/// by the next call once it was lost.
pub(super) struct Reconnect {
    /// What calls say that they are made by.
    scheme: Scheme,
    open: Mutex<Option<Sender>>,
    /// Held while a connection is being opened, so that one is opened for all who wait.
    opening: tokio::sync::Mutex<Opening>,
}

/// How often a call is made again that a peer has refused. grpc-go does so once, and waits for the peer's limits before
/// that. A guess.
const REFUSALS: usize = 3;

/// For how long at most no connection is opened after one could not be. grpc-go's first pause is as long.
const LONGEST_REST: Duration = Duration::from_secs(1);

struct Opening {
    /// The first link, which may be the only one that there ever is. A call that is dropped while it opens does not
    /// lose it: HTTP/2 begins without waiting, because its first bytes wait in memory.
    first: Option<Link>,
    route: Route,
    ended: Ended,
    /// The last attempt, if it failed.
    failed: Option<Failed>,
}

/// An attempt to open a connection that failed.
struct Failed {
    why: Unopened,
    /// Calls that began before this share the failure: they have waited for it, or would wait as long for the next.
    until: Instant,
}

/// Why a connection could not be opened, for all who waited for it.
#[derive(Clone, Debug)]
struct Unopened(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no connection could be opened")
    }
}

impl StdError for Unopened {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

impl Reconnect {
    /// Makes one of `link`, and of what `route` leads to once that is lost.
    pub(super) fn new(link: Link, route: Route, ended: Ended) -> Arc<Self> {
        let scheme = if route.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        let opening = Opening { first: Some(link), route, ended, failed: None };
        Arc::new(Self { scheme, open: Mutex::default(), opening: opening.into() })
    }

    /// Begins HTTP/2 over the first link. It does not wait for the other side.
    pub(super) async fn begin(self: &Arc<Self>) {
        // The first bytes wait in memory, so this does not fail. If it did, the next call would try again.
        if let Err(error) = self.opened().await {
            tracing::debug!(error = chain(&*error), "a connection did not begin");
        }
    }

    /// Makes one call, and waits for the head of its answer until then. A call that its peer has not looked at is made
    /// again, as grpc-go does.
    pub(super) async fn call(
        self: &Arc<Self>,
        mut request: http::Request<TonicBody>,
        until: Option<Instant>,
    ) -> Result<http::Response<Incoming>, Failure> {
        address(&mut request, self.scheme.clone());
        let answer = async {
            let mut refusals = 0;
            loop {
                let sender = match self.sender() {
                    Some(sender) => sender,
                    None => self.opened().await?,
                };
                request = match sender.exchange(request).await {
                    Ok(answer) => return Ok(answer),
                    // As often as it takes: it has waited for others that were answered.
                    Err(Unanswered::Unsent(request)) => *request,
                    Err(Unanswered::Refused(request, _)) if refusals < REFUSALS => {
                        refusals += 1;
                        *request
                    }
                    Err(Unanswered::Refused(_, error) | Unanswered::Failed(error)) => return Err(error),
                };
            }
        };
        match until {
            None => answer.await,
            Some(until) => timeout_at(until, answer).await.unwrap_or_else(|_| Err(TimeoutExpired(()).into())),
        }
    }

    /// Returns the connection if there is one.
    fn sender(&self) -> Option<Sender> {
        let open = lock(&self.open);
        open.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// Has the connection opened, unless somebody else just has. Dropping the future gives that up.
    ///
    /// A task does it: a caller that is not looked at again, as a stream that nobody reads, would keep everybody else
    /// from it.
    async fn opened(self: &Arc<Self>) -> Result<Sender, Failure> {
        let (tell, opened) = oneshot::channel();
        let this = Arc::clone(self);
        let _opening = Task::spawn(async move {
            let _given_up = tell.send(this.open().await);
        });
        // It ends early only with its runtime, or by a panic, which has been told.
        opened.await.unwrap_or_else(|_ended| Err(io::Error::from(io::ErrorKind::NotConnected).into()))
    }

    async fn open(&self) -> Result<Sender, Failure> {
        let asked = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(sender) = self.sender() {
            return Ok(sender);
        }
        let sender = opening.attempt(asked).await?;
        *lock(&self.open) = Some(sender.clone());
        Ok(sender)
    }
}

impl Opening {
    /// Opens a connection for a call that asked for one then. Each call would otherwise wait anew, after all others, for
    /// a server that answers none of them: over a session, five seconds each. An attempt that its call gives up counts for
    /// nobody.
    async fn attempt(&mut self, asked: Instant) -> Result<Sender, Unopened> {
        let shared = self.failed.as_ref().filter(|failed| asked < failed.until && !self.ended.has_come());
        if let Some(failed) = shared {
            return Err(failed.why.clone());
        }
        let began = Instant::now();
        let error = match self.connect().await {
            Ok(sender) => return Ok(sender),
            Err(error) => error,
        };
        let (why, now) = (Unopened(error.into()), Instant::now());
        // One that fails at once may be tried at once.
        let until = now + (now - began).min(LONGEST_REST);
        self.failed = Some(Failed { why: why.clone(), until });
        Err(why)
    }

    /// Speaks HTTP/2 over the first link, or over what the route leads to.
    async fn connect(&mut self) -> Result<Sender, Failure> {
        let link = match self.first.take() {
            Some(link) => link,
            None => tokio::select! {
                // A descendant of the plugin may still hold its socket, and answer nobody.
                biased;
                () = self.ended.clone().wait() => {
                    return Err(io::Error::new(io::ErrorKind::NotConnected, ENDED).into());
                }
                link = self.route.open() => link?,
            },
        };
        Sender::begin(Tethered::new(link, self.ended.clone().settle())).await
    }
}

/// Says where the call goes. The authority is never looked at; grpc-go only insists that there is one. Kestrel refuses a call
/// whose scheme is not the link's.
fn address(request: &mut http::Request<TonicBody>, scheme: Scheme) {
    let path = request.uri().path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::from_static("localhost"));
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    let agent = HeaderValue::from_static(concat!("portcullis-goplugin/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().entry(USER_AGENT).or_insert(agent);
}

#[cfg(test)]
mod again;

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::Pin;

    use bytes::Bytes;
    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body::Body as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{UnixListener, UnixStream};
    use tokio::task::yield_now;

    use super::*;
    use crate::Address;
    use crate::broker::Queue;
    use crate::identity::{Identity, provider};
    use crate::mux::{Mux, PATIENCE, Role};
    use crate::transport::Socket;

    /// Generous: it is only ever waited out by a test that fails.
    const LONG: Duration = Duration::from_secs(60);

    /// Nothing is written to a socket that is full, so that the connection is on its way when the call is dropped.
    #[tokio::test]
    async fn a_first_call_that_is_dropped_leaves_the_link_to_the_next() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut filled = 0;
        ours.writable().await.unwrap();
        while let Ok(length) = ours.try_write(&[0; 4096]) {
            filled += length;
        }
        let nowhere = Address::Unix("/nobody/listens/here".into());
        let (_has_ended, ended) = Ended::new();
        let route = Route::to_address(nowhere, None);
        let connection = Reconnect::new(Link::Plain(Socket::Unix(ours)), route, ended);
        let mut dropped = Box::pin(connection.call(request(), None));
        assert!((&mut dropped).now_or_never().is_none());
        yield_now().await;
        // It does not wait meanwhile, so that no call can be dropped in the midst of it.
        assert!(lock(&connection.open).is_some());
        assert!((&mut dropped).now_or_never().is_none());
        drop(dropped);

        let mut theirs = theirs;
        theirs.read_exact(&mut vec![0; filled]).await.unwrap();
        let server = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
        let one = stream::iter([io::Result::Ok(theirs)]).chain(stream::pending());
        let serving = server.serve_with_incoming(one);
        let answer = tokio::select! {
            answer = connection.call(request(), None) => answer,
            ended = serving => panic!("the server has ended: {ended:?}"),
        };
        // What is answered does not matter: it came over the one link that there was.
        assert_eq!(answer.unwrap().status(), http::StatusCode::OK);
    }

    #[tokio::test]
    async fn a_connection_that_takes_no_more_calls_is_followed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = async {
            let (link, _) = listener.accept().await.unwrap();
            let mut first = h2::server::handshake(link).await.unwrap();
            let (_request, mut respond) = first.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            first.graceful_shutdown();
            // It comes after the word that there can be no more calls.
            body.send_data(Bytes::from_static(b"more"), false).unwrap();
            tokio::join!(first.accept(), serve_one(&listener)).1
        };

        let route = Route::to_address(Address::Unix(path), None);
        let (_has_ended, ended) = Ended::new();
        let connection = Reconnect::new(route.open().await.unwrap(), route, ended);
        let client = async {
            let mut under_way = connection.call(request(), None).await.unwrap().into_body();
            let frame = poll_fn(|cx| Pin::new(&mut under_way).poll_frame(cx)).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "more");
            connection.call(request(), None).await.unwrap();
        };
        tokio::select! {
            () = client => {}
            () = server => panic!("the server has ended"),
        }
    }

    /// Answers one call on the next connection, and waits for its end.
    async fn serve_one(listener: &UnixListener) {
        let (link, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(link).await.unwrap();
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        respond.send_response(http::Response::new(()), true).unwrap();
        assert!(server.accept().await.is_none());
    }

    fn request() -> http::Request<TonicBody> {
        http::Request::new(TonicBody::empty())
    }

    /// Returns a connection whose first link is lost, so that the next call opens another.
    async fn lost(route: Route, ended: Ended) -> Arc<Reconnect> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = Reconnect::new(Link::Plain(Socket::Unix(ours)), route, ended);
        connection.begin().await;
        drop(theirs);
        while connection.sender().is_some() {
            yield_now().await;
        }
        connection
    }

    #[tokio::test]
    async fn a_call_that_is_not_looked_at_again_keeps_no_other_from_a_new_connection() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let route = Route::to_address(Address::Unix(path), None);
        let (_has_ended, ended) = Ended::new();
        let connection = lost(route, ended).await;

        let mut unread = Box::pin(connection.call(request(), None));
        assert!((&mut unread).now_or_never().is_none());
        tokio::select! {
            answer = tokio::time::timeout(LONG, connection.call(request(), None)) => {
                drop(answer.expect("it is kept from it").unwrap());
            }
            () = serve_one(&listener) => panic!("the server has ended"),
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_being_opened_is_given_up_when_the_plugin_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        // Nobody accepts what comes, as with a descendant that has inherited it.
        let _listener = UnixListener::bind(&path).unwrap();
        let tls = Identity::generate(provider()).unwrap().trusting(Vec::new()).unwrap();
        let route = Route::to_address(Address::Unix(path), Some(tls));
        let (has_ended, ended) = Ended::new();
        let connection = lost(route, ended).await;

        let mut call = Box::pin(connection.call(request(), None));
        assert!((&mut call).now_or_never().is_none());
        yield_now().await;
        has_ended.send_replace(true);
        let answer = tokio::time::timeout(LONG, call).await.expect("it is given up");
        assert_eq!(chain(&*answer.unwrap_err()), format!("no connection could be opened: {ENDED}"));
    }

    #[tokio::test]
    async fn what_fails_at_once_is_tried_again_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (_has_ended, ended) = Ended::new();
        let connection = lost(Route::to_address(Address::Unix(path.clone()), None), ended).await;
        assert!(connection.call(request(), None).await.is_err());
        let listener = UnixListener::bind(&path).unwrap();
        tokio::select! {
            answer = connection.call(request(), None) => drop(answer.unwrap()),
            () = serve_one(&listener) => panic!("the server has ended"),
        }
    }

    /// As with a host that has stopped the service that its plugin calls.
    #[tokio::test(start_paused = true)]
    async fn those_who_wait_for_one_connection_share_its_failure() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let queue = Queue::new();
        let (mux, _main) = Mux::new(Socket::Unix(ours), Role::Plugin, queue.clone());
        let mut knocks = queue.outgoing(pending());
        let (has_ended, ended) = Ended::new();
        let connection = lost(Route::to_server(mux, 7, None), ended).await;
        // Returns how long some calls at once take, of which none is answered.
        let take = async |calls: usize| {
            let begun = Instant::now();
            let calls = (0..calls).map(|_| connection.call(request(), None));
            for answer in join_all(calls).await {
                assert!(chain(&*answer.unwrap_err()).contains("no answer to the knock"));
            }
            begun.elapsed()
        };
        assert_eq!(take(6).await, PATIENCE);
        assert_eq!(take(2).await, Duration::ZERO);
        tokio::time::advance(LONGEST_REST).await;
        assert_eq!(take(3).await, PATIENCE);
        assert!(knocks.next().now_or_never().is_some() && knocks.next().now_or_never().is_some());
        assert!(knocks.next().now_or_never().is_none());
        has_ended.send_replace(true);
        let answer = connection.call(request(), None).await;
        assert!(chain(&*answer.unwrap_err()).contains(ENDED));
    }

    #[test]
    fn a_call_goes_to_the_path_that_it_names() {
        let mut request = http::Request::new(TonicBody::empty());
        *request.uri_mut() = Uri::from_static("/plugin.GRPCBroker/StartStream");
        address(&mut request, Scheme::HTTP);
        assert_eq!(request.uri(), "http://localhost/plugin.GRPCBroker/StartStream");
    }

    /// Go's servers do not look at it, and those of .NET call off what says it wrongly.
    #[tokio::test]
    async fn a_call_over_an_encrypted_link_says_so() {
        let tls = Identity::generate(provider()).unwrap().trusting(Vec::new()).unwrap();
        for (tls, expected) in [(None, "http"), (Some(tls), "https")] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let route = Route::to_address(Address::Unix("/nobody/listens/here".into()), tls);
            let (_has_ended, ended) = Ended::new();
            // Whoever opened it has encrypted it by now.
            let connection = Reconnect::new(Link::Plain(Socket::Unix(ours)), route, ended);
            let serving = async {
                let mut server = h2::server::handshake(theirs).await.unwrap();
                let (request, mut respond) = server.accept().await.unwrap().unwrap();
                respond.send_response(http::Response::new(()), true).unwrap();
                assert_eq!(request.uri().scheme_str(), Some(expected));
                server.accept().await.is_some()
            };
            tokio::select! {
                answer = connection.call(request(), None) => drop(answer.unwrap()),
                _ = serving => panic!("the server has ended"),
            }
        }
    }
}
