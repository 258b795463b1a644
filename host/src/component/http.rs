//! HTTP on behalf of a guest: only to places that were granted.
//!
//! What counts is the authority that the request finally goes to. It is taken from the request as it
//! will be sent, compared with the grants, resolved once, and connected to at the very address that was
//! looked at, so that no second answer of a resolver can lead elsewhere. A name has to stand for a
//! public address; only a grant that names an address itself leads into a private network. Redirects
//! are answers like any other: a guest that follows one makes another request, which is judged anew.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use portcullis_contract::{Grants, HttpAuthority, PluginName};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// Requests of one store at a time. A guess; one too small is told to the guest as such.
const CONNECTIONS: usize = 16;
/// How long a connection may take when the guest does not say. A call's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The way out of one store.
#[derive(Debug)]
pub(crate) struct Egress {
    plugin: PluginName,
    grants: Arc<Grants>,
    /// The most bytes of one body.
    most: u64,
    connections: Option<Arc<Semaphore>>,
    /// Whether a denial was logged. One is enough: a guest could ask for ever.
    denied: bool,
}

type Sent = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl Egress {
    pub(crate) fn new(plugin: PluginName, grants: Arc<Grants>, most: u64) -> Self {
        Self { plugin, grants, most, connections: None, denied: false }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Sent,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Sent), Error>> + Send> {
        let target = match Target::new(request.uri(), &self.grants) {
            Ok(target) => target,
            Err(error) => {
                let first = !std::mem::replace(&mut self.denied, true);
                if first
                    && let Some((scheme, authority)) = request.uri().scheme().zip(request.uri().authority())
                {
                    tracing::warn!(plugin = %self.plugin, "no request to {scheme}://{authority}: {error}");
                }
                return Box::new(std::future::ready(Err(error)));
            }
        };
        let connections = self.connections.get_or_insert_with(|| Arc::new(Semaphore::new(CONNECTIONS)));
        let Ok(permit) = Arc::clone(connections).try_acquire_owned() else {
            return Box::new(std::future::ready(Err(Error::ConnectionLimitReached)));
        };
        let exchange = Exchange { target, most: self.most, options: options.unwrap_or_default(), permit };
        Box::new(exchange.run(request))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }
}

/// Where a request goes, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    scheme: Scheme,
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    /// What the header `Host` has to say.
    authority: String,
}

impl Target {
    /// Reads it from the request and compares it with the grants.
    fn new(uri: &Uri, grants: &Grants) -> Result<Self, Error> {
        let scheme = uri.scheme().ok_or(Error::HttpRequestUriInvalid)?.clone();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // What follows the host is no number of a port. Nothing follows where that is left out.
            None if authority.as_str() != authority.host() => return Err(Error::HttpRequestUriInvalid),
            None => default,
        };
        if !grants.allows_http(scheme.as_str(), host, port) {
            return Err(Error::HttpRequestDenied);
        }
        Ok(Self { scheme, host: host.to_owned(), port, authority: authority.as_str().to_owned() })
    }

    /// Resolves the host, once.
    async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        if self.host.eq_ignore_ascii_case("localhost") {
            let here: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(here.map(|address| SocketAddr::new(address, self.port)).into());
        }
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let unknown = |_| Error::DnsError { rcode: None, info_code: None };
        let found: Vec<_> = timeout(PATIENCE, tokio::net::lookup_host((self.host.as_str(), self.port)))
            .await
            .map_err(|_| Error::DnsTimeout)?
            .map_err(unknown)?
            .collect();
        if found.is_empty() {
            return Err(Error::DestinationNotFound);
        }
        let public: Vec<_> = found.into_iter().filter(|address| is_public(address.ip())).collect();
        if public.is_empty() { Err(Error::DestinationIpProhibited) } else { Ok(public) }
    }

    fn granted_as(&self) -> HttpAuthority {
        HttpAuthority { scheme: self.scheme.as_str().to_owned(), host: self.host.clone(), port: self.port }
    }
}

/// One request and its response.
struct Exchange {
    target: Target,
    most: u64,
    options: RequestOptions,
    permit: OwnedSemaphorePermit,
}

impl Exchange {
    async fn run(self, request: Request<WasiBody>) -> Result<(Response<WasiBody>, Sent), Error> {
        let patience = self.options.connect_timeout.unwrap_or(PATIENCE);
        let stream = timeout(patience, self.connect()).await.map_err(|_| Error::ConnectionTimeout)??;
        if self.target.scheme == Scheme::HTTP {
            return self.exchange(stream, request).await;
        }
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| Error::DnsError { rcode: None, info_code: None })?;
        let stream = timeout(patience, tls()?.connect(name, stream))
            .await
            .map_err(|_| Error::ConnectionTimeout)?
            .map_err(Error::Tls)?;
        self.exchange(stream, request).await
    }

    async fn connect(&self) -> Result<TcpStream, Error> {
        let mut last = Error::DestinationNotFound;
        for address in self.target.resolve().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Error::Connect(error),
            }
        }
        tracing::debug!(target: "portcullis::http", to = %self.target.granted_as(), "no connection: {last}");
        Err(last)
    }

    async fn exchange<S>(
        self,
        stream: S,
        mut request: Request<WasiBody>,
    ) -> Result<(Response<WasiBody>, Sent), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // The server is told the place that was judged, in both of the ways in which it can be told.
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() =
            Uri::builder().path_and_query(path).build().map_err(|_| Error::HttpRequestUriInvalid)?;
        let host = HeaderValue::from_str(&self.target.authority).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, host);
        let most = self.most;
        let request = request.map(|body| Capped { body, left: most, excess: Error::HttpRequestBodySize });

        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut connection = Box::pin(connection);
        let patience = self.options.first_byte_timeout.unwrap_or(PATIENCE);
        let response = {
            let mut send = pin!(timeout(patience, sender.send_request(request)));
            let mut open = true;
            // Nothing moves unless the connection is polled; it may end before the response is taken.
            poll_fn(|cx| {
                if open && let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    open = false;
                    if let Err(error) = ended {
                        return Poll::Ready(Err(Error::from(error)));
                    }
                }
                send.as_mut().poll(cx).map(|result| match result {
                    Ok(response) => Ok((response?, open)),
                    Err(_elapsed) => Err(Error::ConnectionReadTimeout),
                })
            })
            .await?
        };
        let (response, open) = response;
        let (permit, pause) = (self.permit, self.options.between_bytes_timeout);
        let response = response.map(|body| {
            let body = Paced { body: body.map_err(Error::from), pause, waits: None };
            Capped { body, left: most, excess: Error::HttpResponseBodySize }.boxed_unsync()
        });
        let rest = async move {
            let _permit = permit;
            if open { connection.await.map_err(Error::from) } else { Ok(()) }
        };
        Ok((response, Box::new(rest)))
    }
}

/// A body that ends with an error once it is longer than allowed.
struct Capped<B> {
    body: B,
    left: u64,
    excess: fn(Option<u64>) -> Error,
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Capped<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = u64::try_from(data.remaining()).unwrap_or(u64::MAX);
            let Some(left) = self.left.checked_sub(length) else {
                return Poll::Ready(Some(Err((self.excess)(None))));
            };
            self.left = left;
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

/// A body that ends with an error once its reader has waited for more of it for too long.
struct Paced<B> {
    body: B,
    /// How long that is, if the guest has said so; a call's own limits hold in any case.
    pause: Option<Duration>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waits = None;
            return Poll::Ready(frame);
        }
        let Some(pause) = this.pause else { return Poll::Pending };
        let waits = this.waits.get_or_insert_with(|| Box::pin(sleep(pause)));
        std::task::ready!(waits.as_mut().poll(cx));
        this.waits = None;
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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

/// Returns whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let [.., w, x, y, z] = address.octets();
    let inner = Ipv4Addr::new(w, x, y, z);
    if address.to_ipv4_mapped().is_some() || (a == 0x64 && b == 0xff9b && address.segments()[2..6] == [0; 4])
    {
        return is_public_v4(inner);
    }
    if a == 0x2002 {
        // 6to4 carries the IPv4 address that the packets really go to.
        let [_, _, w, x, y, z, ..] = address.octets();
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    let special = (a == 0x2001 && (b < 0x200 || b == 0xdb8)) || (a == 0x3fff && b < 0x1000);
    a & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use http_body_util::Empty;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn check(address: &str, expected: bool) {
        assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            check(public, true);
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
        ] {
            check(private, false);
        }
    }

    fn check_target(uri: &str, expected: Result<(&str, u16), &str>) {
        let http = ["https://api.example.com", "http://127.0.0.1:8080", "http://[::1]"];
        let grants = Grants { http: http.map(|text| text.parse().unwrap()).into(), ..Grants::default() };
        let target = Target::new(&uri.parse().unwrap(), &grants);
        let seen = target.as_ref().map(|t| (t.host.as_str(), t.port)).map_err(ToString::to_string);
        assert_eq!(seen, expected.map_err(str::to_owned), "{uri}");
    }

    #[test]
    fn a_request_goes_where_it_was_granted_and_nowhere_else() {
        check_target("https://api.example.com/x", Ok(("api.example.com", 443)));
        check_target("https://API.example.com:443/x", Ok(("API.example.com", 443)));
        check_target("http://127.0.0.1:8080/", Ok(("127.0.0.1", 8080)));
        check_target("http://[::1]/", Ok(("::1", 80)));
        let denied = Err("HTTP request denied");
        for other in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil/",
            "https://evil/https://api.example.com/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
        ] {
            check_target(other, denied);
        }
        check_target("https://api.example.com@evil/", Err("invalid HTTP request URI"));
        check_target("https://evil@api.example.com/", Err("invalid HTTP request URI"));
        check_target("https://api.example.com:99999/", Err("invalid HTTP request URI"));
        check_target("https://api.example.com:x/", Err("invalid HTTP request URI"));
        check_target("/x", Err("invalid HTTP request URI"));
    }

    #[tokio::test]
    async fn a_granted_address_needs_no_resolver() {
        let target = |host: &str| Target {
            scheme: Scheme::HTTP,
            host: host.to_owned(),
            port: 9,
            authority: String::new(),
        };
        let there = |address: &str| vec![address.parse::<SocketAddr>().unwrap()];
        assert_eq!(target("127.0.0.1").resolve().await.unwrap(), there("127.0.0.1:9"));
        assert_eq!(target("::1").resolve().await.unwrap(), there("[::1]:9"));
        assert_eq!(target("LocalHost").resolve().await.unwrap()[0], there("127.0.0.1:9")[0]);
    }

    /// Gets an answer whose second half never comes, for a guest that waits so long for more.
    async fn half_an_answer(between_bytes_timeout: Option<Duration>) -> Response<WasiBody> {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            assert!(theirs.read(&mut [0; 1024]).await.unwrap() > 0);
            theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").await.unwrap();
            pending::<()>().await;
        });
        let target =
            Target { scheme: Scheme::HTTP, host: "a".to_owned(), port: 80, authority: "a".to_owned() };
        let options = RequestOptions { between_bytes_timeout, ..RequestOptions::default() };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let exchange = Exchange { target, most: 100, options, permit };
        let nothing: WasiBody =
            Empty::<Bytes>::new().map_err(|never: Infallible| match never {}).boxed_unsync();
        let (response, rest) = exchange.exchange(ours, Request::new(nothing)).await.unwrap();
        tokio::spawn(Box::into_pin(rest));
        response
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
