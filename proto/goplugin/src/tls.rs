//! How links are encrypted, once it is known which peer may be at the other end.
//!
//! We do TLS ourselves and not by tonic: a [`Link`] is encrypted before HTTP/2 sees it, because both sides accept
//! exactly one certificate, and tonic has no place for such a rule.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ServerConfig};
use thiserror::Error;
use tokio::io::AsyncBufReadExt as _;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::transport::{Link, Socket};

/// The one protocol that is spoken inside. grpc-go insists that it is agreed on (protocol spec 9.6).
const ALPN: &[u8] = b"h2";

/// How long a server's first bytes are waited for. They take less than a millisecond; a guess, for a server that waits
/// for ours.
const GREETING: Duration = Duration::from_millis(500);

/// The TLS setup of one side, for both roles. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    /// The server name that we ask for when we connect.
    name: ServerName<'static>,
}

impl Tls {
    /// Combines the setups of the two roles. Whichever side dials is the client.
    ///
    /// Whatever the two say about ALPN, HTTP/2 is used. `name` is the server name that the client asks for.
    #[must_use]
    pub fn new(mut client: ClientConfig, mut server: ServerConfig, name: ServerName<'static>) -> Self {
        client.alpn_protocols = vec![ALPN.to_vec()];
        server.alpn_protocols = vec![ALPN.to_vec()];
        Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into(), name }
    }

    /// Does the client's handshake.
    pub(crate) async fn connect(&self, socket: Socket) -> io::Result<Link> {
        let mut stream = self.connector.connect(self.name.clone(), socket).await?;
        // With TLS 1.3 we are done before the other side has looked at our certificate, and if it refuses it, that is
        // the first thing that we read. A server of HTTP/2 speaks first; one that stays silent is taken to accept us.
        match timeout(GREETING, stream.fill_buf()).await {
            Ok(Ok([])) => return Err(Rejected { source: None }.into()),
            Ok(Err(error)) if is_about_us(&error) => {
                return Err(Rejected { source: Some(error) }.into());
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) | Err(_) => {}
        }
        Ok(Link::Tls(Box::new(stream.into())))
    }

    /// Does the server's handshake.
    pub(crate) async fn accept(&self, socket: Socket) -> io::Result<Link> {
        let stream = self.acceptor.accept(socket).await?;
        Ok(Link::Tls(Box::new(stream.into())))
    }
}

/// What both sides of an encrypted connection agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSession {
    /// The version of TLS, for instance `TLS 1.3`.
    pub version: String,
    /// The cipher suite, by its registered name.
    pub suite: String,
    /// The protocol that is spoken inside, if the two named one: `h2`.
    pub alpn: Option<String>,
}

impl TlsSession {
    /// Describes a session whose handshake is done.
    pub(crate) fn of(stream: &TlsStream<Socket>) -> Self {
        let (_, state) = stream.get_ref();
        let version = state.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
        let suite = state.negotiated_cipher_suite();
        Self {
            version: version.replace("TLSv", "TLS ").replace('_', "."),
            suite: suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned(),
            alpn: state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The other side did not accept our certificate.
#[derive(Debug, Error)]
#[error("our certificate was not accepted")]
pub(crate) struct Rejected {
    /// What it said about it, if it did.
    source: Option<io::Error>,
}

impl From<Rejected> for io::Error {
    fn from(rejected: Rejected) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, rejected)
    }
}

/// Tells whether `error` came about because the other side did not accept our certificate.
pub(crate) fn is_rejection(error: &(dyn StdError + 'static)) -> bool {
    any(error, |link| link.is::<Rejected>() || is_alert(link))
}

/// Tells whether the other side refused us without a word, by hanging up.
pub(crate) fn is_hanging_up(error: &(dyn StdError + 'static)) -> bool {
    is_rejection(error) && !any(error, is_alert)
}

/// Tells whether `is` holds of `error`, of what it wraps, or of what caused either.
fn any(error: &(dyn StdError + 'static), is: impl Fn(&(dyn StdError + 'static)) -> bool) -> bool {
    let mut link = Some(error);
    while let Some(error) = link {
        if is(error) {
            return true;
        }
        // An I/O error skips what it wraps when it is asked for its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    false
}

/// Tells whether a first read failed because of our certificate: a peer says so, or just hangs up.
fn is_about_us(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};

    any(error, is_alert)
        || matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Tells whether `error` is a peer's word against our certificate.
fn is_alert(error: &(dyn StdError + 'static)) -> bool {
    use AlertDescription as Alert;

    let alert = match error.downcast_ref() {
        Some(rustls::Error::AlertReceived(alert)) => alert,
        _ => return false,
    };
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}
