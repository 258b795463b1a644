//! The connection that a channel's calls go over, and what each call needs on it.
//!
//! tonic's own channel is a queue in front of a worker in front of the connection, for endpoints that are many
//! or far away. Ours is one, and a hop from task to task is what a small call costs most; here a call is handed to
//! HTTP/2 by the task that makes it.

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::timeout;
use tonic::TimeoutExpired;
use tonic::body::Body as TonicBody;

use super::{ENDED, HEADER_LIST};
use crate::transport::{Ended, Link, Route, Tethered};

/// Why a call came to no answer, as whoever found out calls it.
pub(super) type Failure = Box<dyn StdError + Send + Sync>;

type Sender = SendRequest<TonicBody>;

/// The one connection behind a channel and its clones: opened by the first call, and anew by the next call
/// once it was lost.
pub(super) struct Wire {
    open: Mutex<Option<Sender>>,
    /// Held while a connection is being opened, so that one is opened for all who wait.
    opening: tokio::sync::Mutex<Opening>,
}

struct Opening {
    first: Option<Link>,
    route: Route,
    ended: Ended,
}

impl Wire {
    /// Makes one of `link`, and of what `route` leads to once that is lost.
    pub(super) fn new(link: Link, route: Route, ended: Ended) -> Arc<Self> {
        let opening = Opening { first: Some(link), route, ended };
        Arc::new(Self { open: Mutex::default(), opening: opening.into() })
    }

    /// Makes one call, and waits for the head of its answer, no longer than its own deadline.
    pub(super) async fn call(
        &self,
        mut request: http::Request<TonicBody>,
    ) -> Result<http::Response<Incoming>, Failure> {
        address(&mut request);
        let limit = request.headers().get("grpc-timeout").and_then(duration);
        let answer = async {
            let mut sender = match self.sender() {
                Some(sender) => sender,
                None => self.opened().await?,
            };
            sender.send_request(request).await.map_err(Failure::from)
        };
        match limit {
            None => answer.await,
            Some(limit) => timeout(limit, answer).await.unwrap_or_else(|_| Err(TimeoutExpired(()).into())),
        }
    }

    /// Returns the connection if there is one.
    fn sender(&self) -> Option<Sender> {
        // The state is whole between any two statements; a panic elsewhere does not spoil it.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// Opens the connection, unless somebody else just has.
    async fn opened(&self) -> Result<Sender, Failure> {
        let mut opening = self.opening.lock().await;
        if let Some(sender) = self.sender() {
            return Ok(sender);
        }
        let link = match opening.first.take() {
            Some(link) => link,
            None if opening.ended.has_come() => {
                return Err(io::Error::new(io::ErrorKind::NotConnected, ENDED).into());
            }
            None => opening.route.open().await?,
        };
        let link = TokioIo::new(Tethered::new(link, opening.ended.clone().settle()));
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_LIST)
            .handshake(link)
            .await?;
        // It is owned by those who call: it ends with the last channel and the last answer. And it is
        // tethered to the plugin.
        tokio::spawn(async {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn StdError, "a connection ended");
            }
        });
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone());
        Ok(sender)
    }
}

/// Says where the call goes. The authority is never looked at; grpc-go only insists that there is one.
fn address(request: &mut http::Request<TonicBody>) {
    let path = request.uri().path_and_query().cloned();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("localhost"));
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    let agent = HeaderValue::from_static(concat!("portcullis-goplugin/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().entry(USER_AGENT).or_insert(agent);
}

/// Reads a deadline as gRPC writes it: up to eight digits, and a unit. What makes no sense is none; the
/// server will say so.
fn duration(text: &HeaderValue) -> Option<Duration> {
    let (number, unit) = text.to_str().ok()?.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &'static str, expected: Option<Duration>) {
        assert_eq!(duration(&HeaderValue::from_static(text)), expected, "{text:?}");
    }

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        check("2H", Some(Duration::from_secs(7200)));
        check("3M", Some(Duration::from_secs(180)));
        check("4S", Some(Duration::from_secs(4)));
        check("5m", Some(Duration::from_millis(5)));
        check("6u", Some(Duration::from_micros(6)));
        check("99999999n", Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn what_is_no_deadline_is_none() {
        for text in ["", "m", "5", "5x", "-5m", "123456789S", "1.5S"] {
            check(text, None);
        }
    }

    #[test]
    fn a_call_goes_to_the_path_that_it_names() {
        let mut request = http::Request::new(TonicBody::empty());
        *request.uri_mut() = Uri::from_static("/plugin.GRPCBroker/StartStream");
        address(&mut request);
        assert_eq!(request.uri(), "http://localhost/plugin.GRPCBroker/StartStream");
    }
}
