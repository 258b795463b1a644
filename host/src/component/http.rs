//! HTTP on behalf of a guest: only to places that were granted.
//!
//! What counts is the authority that the request goes to in the end. It is taken from the request as it will be sent,
//! compared with the grants, and resolved once; the connection goes to the very address that was checked, so no second
//! answer of a resolver can lead elsewhere. A name has to resolve to a public address; only a grant of an address
//! itself leads into a private network. A redirect is an answer like any other: a guest that follows it makes another
//! request, which is checked anew.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use portcullis_contract::chain;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::component::clock::{Meter, timed};
use crate::component::state::Ground;
use crate::names::shown;

mod body;
mod reach;
mod requests;
mod target;
mod terse;

use body::{Capped, Paced};
use reach::first_of;
pub(crate) use requests::{Unsent, bound_requests};
use target::Target;
use terse::Terse;

/// The most requests of one store at a time. A guess; past it a guest is told that the limit is reached.
const CONNECTIONS: usize = 16;
/// The most lookups of names for one plugin at a time, abandoned ones included. A guess; too few, and a plugin that
/// needs many at once is slowed.
pub(crate) const LOOKUPS: usize = 16;
/// How long a connection may take when the guest does not say. A call's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most bytes of a response before its body. A guess: hardly any server sends as many, and a guest may keep a
/// thousand responses with a buffer of this size.
const HEAD: usize = 64 << 10;
/// The most bytes that a server may say before it answers: the head, interim answers, and what is read along with them.
const PREFACE: usize = 2 * HEAD;

/// The HTTP client of one store.
#[derive(Debug)]
pub(crate) struct Egress {
    ground: Arc<Ground>,
    meter: Arc<Meter>,
    connections: Option<Arc<Semaphore>>,
    pub(crate) unsent: Unsent,
}

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl Egress {
    pub(crate) fn new(ground: Arc<Ground>, meter: Arc<Meter>) -> Self {
        Self { ground, meter, connections: None, unsent: Unsent::default() }
    }

    /// Logs that a request is not sent, and what would have allowed it, if it was denied.
    fn refused(&self, to: &Uri, error: &Error) {
        let plugin = &self.ground.name;
        let Some((scheme, authority)) = to.scheme().zip(to.authority()) else { return };
        if !self.ground.warnings.one_more(plugin) {
            return;
        }
        if matches!(error, Error::HttpRequestDenied) {
            let asked = format!("{scheme}://{authority}");
            let asked: &str = &shown(&asked);
            let mut granted: Vec<_> = self.ground.grants.http.iter().map(ToString::to_string).collect();
            granted.push(asked.to_owned());
            let allow = format!("http = {granted:?}");
            tracing::warn!(%plugin, asked, allow, "HTTP request denied; the plugin's table in the policy can allow it");
        } else {
            // The part before the host may be a password.
            let asked: &str = &shown(authority.host());
            tracing::warn!(%plugin, asked, "no HTTP request: {error}");
        }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Sent,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Sent), Error>> + Send> {
        let target = match Target::new(request.uri(), &self.ground.grants) {
            Ok(target) => target,
            Err(error) => {
                self.refused(request.uri(), &error);
                return Box::new(std::future::ready(Err(error)));
            }
        };
        let connections = self.connections.get_or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS)));
        let Ok(permit) = Arc::clone(connections).try_acquire_owned() else {
            return Box::new(std::future::ready(Err(Error::ConnectionLimitReached)));
        };
        let (most, options) = (self.ground.limits.message, options.unwrap_or_default());
        let (ground, meter) = (Arc::clone(&self.ground), Arc::clone(&self.meter));
        let exchange = Exchange { target, most, options, permit, ground, meter: Arc::clone(&meter) };
        Box::new(charged(meter, exchange.run(request)))
    }

    // What becomes of a connection is logged with it, and of an answer here: the library does not say whose it is.

    fn p2_error_from_connect(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        let plugin = &self.ground.name;
        if self.ground.warnings.one_more(plugin) {
            tracing::warn!(%plugin, "no whole HTTP answer: {}", chain(error));
        }
        ErrorCode::HttpProtocolError
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        16 << 10
    }
}

/// One request and its response.
struct Exchange {
    target: Target,
    /// The most bytes of one body.
    most: u64,
    options: RequestOptions,
    permit: OwnedSemaphorePermit,
    ground: Arc<Ground>,
    meter: Arc<Meter>,
}

impl Exchange {
    async fn run(self, request: Request<WasiBody>) -> Result<(Response<WasiBody>, Sent), Error> {
        let secured_as = match self.target.scheme == Scheme::HTTP {
            true => None,
            // A name that no certificate can have is not looked up either.
            false => Some(
                ServerName::try_from(self.target.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
            ),
        };
        // From the lookup of the name to the end of the handshake.
        let (begun, patience) = (Instant::now(), self.options.connect_timeout.unwrap_or(PATIENCE));
        let connected = timeout(patience, self.connect()).await.unwrap_or(Err(Error::ConnectionTimeout));
        let stream = connected.inspect_err(|error| self.unreached(error))?;
        let Some(name) = secured_as else { return self.exchange(stream, request).await };
        let secured =
            match timeout(patience.saturating_sub(begun.elapsed()), tls()?.connect(name, stream)).await {
                Ok(secured) => secured.map_err(Error::Tls),
                Err(_elapsed) => Err(Error::ConnectionTimeout),
            };
        let stream = secured.inspect_err(|error| self.unreached(error))?;
        self.exchange(stream, request).await
    }

    async fn connect(&self) -> Result<TcpStream, Error> {
        first_of(self.target.resolve(&self.ground.lookups).await?).await
    }

    /// Logs why a server is not reached.
    fn unreached(&self, error: &Error) {
        let plugin = &self.ground.name;
        if !self.ground.warnings.one_more(plugin) {
            return;
        }
        let to = self.target.granted_as().to_string();
        let asked: &str = &shown(&to);
        if matches!(error, Error::DestinationIpProhibited) {
            tracing::warn!(%plugin, asked,
                "HTTP request denied: the name has no public address; a policy can grant the address itself");
        } else {
            tracing::warn!(%plugin, asked, "no HTTP connection: {error}");
        }
    }

    async fn exchange<S>(
        self,
        stream: S,
        mut request: Request<WasiBody>,
    ) -> Result<(Response<WasiBody>, Sent), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // The server is told the authority that was checked, whatever the request says in its URI or its headers.
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() =
            Uri::builder().path_and_query(path).build().map_err(|_| Error::HttpRequestUriInvalid)?;
        let host = HeaderValue::from_str(&self.target.authority).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, host);
        let most = self.most;
        let request = request.map(|body| Capped { body, left: most, excess: Error::HttpRequestBodySize });

        let stream = Terse::new(stream, PREFACE);
        let preface = stream.left();
        let mut wire = http1::Builder::new();
        let (mut sender, connection) = wire.max_buf_size(HEAD).handshake(TokioIo::new(stream)).await?;
        let mut connection = Box::pin(connection);
        let patience = self.options.first_byte_timeout.unwrap_or(PATIENCE);
        let (response, open) = {
            let mut send = pin!(timeout(patience, sender.send_request(request)));
            let mut open = true;
            // Nothing moves unless the connection is polled. It may end before the response is taken; how does not
            // matter, for `send` says whether there is one.
            poll_fn(|cx| {
                open = open && connection.as_mut().poll(cx).is_pending();
                send.as_mut().poll(cx).map(|result| match result {
                    Ok(response) => Ok((response?, open)),
                    Err(_elapsed) => Err(Error::ConnectionReadTimeout),
                })
            })
            .await?
        };
        preface.lift();
        let (permit, meter, pause) = (self.permit, self.meter, self.options.between_bytes_timeout);
        let response = response.map(|body| {
            let body = Paced::new(body.map_err(Error::from), pause);
            Capped { body, left: most, excess: Error::HttpResponseBodySize }.boxed_unsync()
        });
        // A failure from here on shows in the body.
        let rest = async move {
            let _permit = permit;
            if open {
                drop(connection.await);
            }
            Ok::<_, Error>(())
        };
        Ok((response, Box::new(charged(meter, rest))))
    }
}

/// Runs work that another task does for a guest, and charges the guest with the processor time that it takes.
async fn charged<T>(meter: Arc<Meter>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let (polled, spent) = timed(|| work.as_mut().poll(cx));
        meter.add(spent);
        polled
    })
    .await
}

fn tls() -> Result<TlsConnector, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config).into());
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::ConfigurationError)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))).into())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use bytes::Bytes;
    use http_body_util::Full;
    use portcullis_contract::{BackendName, PluginName, PluginSpec};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::component::clock::Clock;
    use crate::fake::Log;

    fn ground() -> Arc<Ground> {
        let spec = PluginSpec::new(PluginName::new("p"), "p.wasm");
        let limits = spec.limits.resolve(BackendName::Component);
        Arc::new(Ground::new(&spec, limits, Vec::new(), Vec::new()))
    }

    fn exchange(options: RequestOptions) -> Exchange {
        let target =
            Target { scheme: Scheme::HTTP, host: "a".to_owned(), port: 80, authority: "a".to_owned() };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Exchange { target, most: 100, options, permit, ground: ground(), meter: meter() }
    }

    fn meter() -> Arc<Meter> {
        Arc::new(Meter::new(Arc::clone(Clock::start().unwrap().face())))
    }

    #[tokio::test]
    async fn what_is_done_for_a_guest_beside_it_counts_as_its_own() {
        const SOME: Duration = Duration::from_millis(5);
        let meter = meter();
        let work = async {
            for _ in 0..2 {
                let mut spent = Duration::ZERO;
                while spent < SOME {
                    spent += timed(|| std::hint::black_box((0..10_000_u64).sum::<u64>())).1;
                }
                tokio::task::yield_now().await;
            }
        };
        charged(Arc::clone(&meter), work).await;
        assert!(meter.used() >= 2 * SOME);
    }

    #[tokio::test]
    async fn a_name_that_no_certificate_can_have_is_not_looked_up() {
        let mut exchange = exchange(RequestOptions::default());
        (exchange.target.scheme, exchange.target.host) = (Scheme::HTTPS, "a..b".to_owned());
        let refused = exchange.run(Request::new(body(0))).await;
        assert!(matches!(refused, Err(Error::HttpRequestUriInvalid)));
    }

    #[test]
    fn a_server_that_is_not_reached_is_logged_with_whoever_asked_for_it() {
        let exchange = exchange(RequestOptions::default());
        for (error, said) in [
            (Error::DestinationIpProhibited, "HTTP request denied: the name has no public address"),
            (Error::DnsTimeout, "no HTTP connection: DNS lookup timed out"),
        ] {
            let logged = Log::of(|| exchange.unreached(&error)).concat();
            assert!(logged.contains(said) && logged.contains("plugin=p asked=\"http://a"), "{logged}");
        }
    }

    #[test]
    fn what_is_denied_is_logged_with_what_would_allow_it_and_without_a_password() {
        let egress = Egress::new(ground(), meter());
        let said = |uri: &'static str| {
            let uri = Uri::from_static(uri);
            let error = Target::new(&uri, &egress.ground.grants).unwrap_err();
            Log::of(|| egress.refused(&uri, &error)).concat()
        };
        let denied = said("https://api.example.com:8443/path");
        assert!(denied.contains(r#"http = [\"https://api.example.com:8443\"]"#), "{denied}");
        let mut spec = PluginSpec::new(PluginName::new("p"), "p.wasm");
        spec.grants.http = vec!["https://a.example".parse().unwrap()];
        let limits = spec.limits.resolve(BackendName::Component);
        let granted = Egress::new(Arc::new(Ground::new(&spec, limits, Vec::new(), Vec::new())), meter());
        let uri = Uri::from_static("https://b.example/");
        let beside = Log::of(|| granted.refused(&uri, &Error::HttpRequestDenied)).concat();
        assert!(beside.contains(r#"http = [\"https://a.example\", \"https://b.example\"]"#), "{beside}");
        let invalid = said("https://me:hunter2@api.example.com/path");
        assert!(invalid.contains("api.example.com") && !invalid.contains("hunter2"), "{invalid}");
        for _ in 0..100 {
            said("https://api.example.com/");
        }
        assert_eq!(said("https://api.example.com/"), "");
    }

    fn body(length: usize) -> WasiBody {
        let whole = Full::new(Bytes::from(vec![b'x'; length]));
        whole.map_err(|never: Infallible| match never {}).boxed_unsync()
    }

    /// Gets an answer of which no more comes than this, for a guest that waits so long for more.
    async fn answer(
        text: String,
        between_bytes_timeout: Option<Duration>,
    ) -> Result<(Response<WasiBody>, Sent), Error> {
        answer_to(body(0), text, between_bytes_timeout).await
    }

    /// Sends a body, and gets such an answer.
    async fn answer_to(
        sent: WasiBody,
        text: String,
        between_bytes_timeout: Option<Duration>,
    ) -> Result<(Response<WasiBody>, Sent), Error> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            assert!(theirs.read(&mut [0; 1024]).await.unwrap() > 0);
            theirs.write_all(text.as_bytes()).await.unwrap();
            pending::<()>().await;
        });
        let exchange = exchange(RequestOptions { between_bytes_timeout, ..RequestOptions::default() });
        exchange.exchange(ours, Request::new(sent)).await
    }

    /// Behind one address there may be servers of many names.
    #[tokio::test]
    async fn a_server_is_told_the_authority_that_was_granted_whatever_its_guest_says() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let request = Request::get("http://elsewhere.example/path?q=1").header(HOST, "elsewhere.example");
        let exchange = exchange(RequestOptions::default());
        let mut head = [0; 1024];
        let length = tokio::select! {
            _ = exchange.exchange(ours, request.body(body(0)).unwrap()) => panic!("nobody answers"),
            length = theirs.read(&mut head) => length.unwrap(),
        };
        let head = String::from_utf8_lossy(&head[..length]);
        assert!(head.starts_with("GET /path?q=1 HTTP/1.1\r\n") && head.contains("host: a\r\n"), "{head}");
        assert!(!head.contains("elsewhere"), "{head}");
    }

    #[tokio::test]
    async fn no_more_is_sent_and_answered_than_a_message_may_have() {
        let ok = |length: usize| {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length))
        };
        for (length, may) in [(100, true), (101, false)] {
            let (response, rest) = answer(ok(length), None).await.unwrap();
            tokio::spawn(Box::into_pin(rest));
            assert_eq!(response.into_body().collect().await.is_ok(), may, "{length}");
            assert_eq!(answer_to(body(length), ok(0), None).await.is_ok(), may, "{length}");
        }
    }

    async fn half_an_answer(between_bytes_timeout: Option<Duration>) -> Response<WasiBody> {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe".to_owned();
        let Ok((response, rest)) = answer(half, between_bytes_timeout).await else {
            panic!("there is half an answer");
        };
        tokio::spawn(Box::into_pin(rest));
        response
    }

    #[tokio::test]
    async fn an_answer_that_says_very_much_before_it_begins_is_none() {
        let head = |length: usize| {
            format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(length))
        };
        assert!(answer(head(HEAD / 2), None).await.is_ok());
        assert!(answer(head(2 * HEAD), None).await.is_err());
        let interim = |times: usize| format!("{}{}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(times), head(1));
        assert!(answer(interim(100), None).await.is_ok());
        assert!(answer(interim(10_000), None).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_logged_with_whoever_asked_for_it() {
        let Err(Error::Hyper(error)) = answer("hello\r\n\r\n".to_owned(), None).await else {
            panic!("that is no answer");
        };
        let logged = Log::of(|| drop(Egress::new(ground(), meter()).p2_error_from_hyper(&error))).concat();
        assert!(logged.contains("no whole HTTP answer: ") && logged.contains("plugin=p"), "{logged}");
    }

    /// The end of a connection that TLS does not announce is such a thing as well.
    #[tokio::test]
    async fn an_answer_is_one_whatever_comes_behind_it() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi, and what nobody announced".to_owned();
        let (response, rest) = answer(text, None).await.unwrap();
        tokio::spawn(Box::into_pin(rest));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_pauses_for_longer_than_its_guest_waits_breaks_off() {
        let mut hasty = half_an_answer(Some(Duration::from_secs(1))).await.into_body();
        let frame = hasty.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "he");
        let late = timeout(PATIENCE * 60, hasty.frame()).await.expect("it breaks off");
        assert!(matches!(late, Some(Err(Error::ConnectionReadTimeout))), "{late:?}");

        let mut patient = half_an_answer(None).await.into_body();
        patient.frame().await.unwrap().unwrap();
        assert!(timeout(PATIENCE * 60, patient.frame()).await.is_err());
    }
}
