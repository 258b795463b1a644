//! A plugin of the library's own, with the service that every peer of the tests has.
//!
//! What its arguments say is set in [`Serve`]; each is a word of `main`.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use portcullis_goplugin::log::Level;
use portcullis_goplugin::{
    BrokerError, Calls, Capture, Cookie, Listen, Logs, Outcome, Output, Parent, Serve, Services, Serving,
    Session, Tls, normalized,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

mod wire {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("portcullis.test");
}

use wire::peer_client::PeerClient;
use wire::peer_server::{Peer, PeerServer};
use wire::{Data, Nothing, Number, Text};

/// What both sides send to each other's brokered servers.
const CALLED_BACK: &[u8] = b"called back";

/// The header that the service finds the call's authority in.
const AUTHORITY: &str = "x-authority";

fn main() -> Outcome {
    let mut serve = Serve::new(Cookie::new("GOPLUGIN_PEER", "hello")).version(2, peer).version(3, peer);
    let mut endings = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("tcp", _) => serve.listen = Listen::Tcp,
            ("follow", _) => serve.parent = Parent::Follow,
            ("trace", _) => serve.logs = Logs::Stderr(Level::Trace),
            ("grace", milliseconds) => {
                serve.grace = Duration::from_millis(milliseconds.parse().expect("it is a number"));
            }
            ("no-versions", _) => serve.versions.clear(),
            ("no-cookie", _) => serve.cookie.value.clear(),
            ("panic", _) => serve = serve.version(3, |_: &Session| -> Routes { panic!("it was not to be") }),
            ("stop", _) => {
                serve = serve.version(3, |session: &Session| {
                    session.stop();
                    peer(session)
                });
            }
            ("block", _) => {
                // Work that nobody can cancel.
                serve = serve.version(3, |session: &Session| {
                    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(3600)));
                    peer(session)
                });
            }
            ("print", _) => {
                serve.capture = Capture::Stdout;
                serve = serve.version(3, |session: &Session| {
                    let _printed = writeln!(std::io::stdout(), "made");
                    peer(session)
                });
            }
            ("print-and-fail", _) => {
                serve.capture = Capture::Stdout;
                let services =
                    Services::made_by(async |_: Session| -> Result<Routes, Box<dyn Error + Send + Sync>> {
                        let mut stdout = std::io::stdout();
                        write!(stdout, "not made")?;
                        stdout.flush()?;
                        Err("it was not to be".into())
                    });
                serve.versions.insert(3, services);
            }
            ("keep-stdout", _) => {
                serve.capture = Capture::Stdout;
                serve = serve.version(3, |session: &Session| {
                    keep_stdout();
                    peer(session)
                });
            }
            ("block-in-place", _) => {
                serve = serve.version(3, |session: &Session| tokio::task::block_in_place(|| peer(session)));
            }
            ("together", _) => serve.calls = Calls::Together,
            ("flood-log", _) => {
                serve = serve.version(3, |session: &Session| {
                    tokio::spawn(async {
                        loop {
                            tracing::info!("there is more");
                            tokio::task::yield_now().await;
                        }
                    });
                    peer(session)
                });
            }
            ("tls", directory) => serve.tls = Some(tls(Path::new(directory)).expect("TLS can be set up")),
            // The last thing that happens is for a test to see.
            ("say", word) => endings.push(word.to_owned()),
            _ => panic!("no argument {argument:?}"),
        }
    }
    let outcome = serve.run();
    for word in endings {
        let _unread = writeln!(std::io::stderr(), "[INFO] {word}: {outcome:?}");
    }
    outcome
}

/// Has a thread keep standard output to itself for good, as one may that prints much.
fn keep_stdout() {
    let (keeps, kept) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _stdout = std::io::stdout().lock();
        let _heard = keeps.send(());
        std::thread::sleep(Duration::from_secs(3600));
    });
    kept.recv().expect("the thread says so");
}

fn peer(session: &Session) -> Routes {
    let peer = Plugin { session: session.clone(), offered: Arc::default() };
    let routes = Routes::new(PeerServer::new(peer).max_decoding_message_size(session.message_limit()));
    routes.into_axum_router().layer(tower::util::MapRequestLayer::new(note_authority)).into()
}

/// Sets TLS up as an author may, with the certificate in `directory`, which is also the only one to be trusted.
fn tls(directory: &Path) -> Result<Tls, Box<dyn Error>> {
    let certificate = CertificateDer::from_pem_file(directory.join("cert.pem"))?;
    let key = PrivateKeyDer::from_pem_file(directory.join("key.pem"))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    // Named, because there is no default where another crate of the build brings a second provider.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Tls::new(client, server, ServerName::try_from("plugin.test")?))
}

/// Puts the authority where a service can see it.
fn note_authority<B>(mut request: http::Request<B>) -> http::Request<B> {
    let authority = request.uri().authority().and_then(|authority| authority.as_str().parse().ok());
    if let Some(authority) = authority {
        request.headers_mut().insert(AUTHORITY, authority);
    }
    request
}

#[derive(Clone)]
struct Plugin {
    session: Session,
    offered: Arc<Mutex<Vec<Serving>>>,
}

impl Plugin {
    fn keep(&self, serving: Serving) -> u32 {
        let id = serving.id();
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(serving);
        id
    }
}

#[tonic::async_trait]
impl Peer for Plugin {
    type CountStream = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

    async fn echo(&self, request: Request<Data>) -> Result<Response<Data>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn large(&self, request: Request<Number>) -> Result<Response<Data>, Status> {
        Ok(Response::new(Data { value: vec![0; length(&request)].into() }))
    }

    async fn fail(&self, request: Request<Number>) -> Result<Response<Nothing>, Status> {
        Err(Status::internal("x".repeat(length(&request))))
    }

    async fn count(&self, request: Request<Number>) -> Result<Response<Self::CountStream>, Status> {
        let numbers = (0..request.get_ref().value).map(|value| Ok(Number { value }));
        Ok(Response::new(Box::pin(stream::iter(numbers))))
    }

    async fn hang(&self, _request: Request<Nothing>) -> Result<Response<Nothing>, Status> {
        std::future::pending().await
    }

    async fn print(&self, request: Request<Text>) -> Result<Response<Nothing>, Status> {
        let print = |mut output: Output, text: &str| output.write_all(text.as_bytes());
        let text = &request.get_ref().value;
        print(self.session.stdout(), text)?;
        print(self.session.stderr(), &text.to_uppercase())?;
        Ok(Response::new(Nothing {}))
    }

    async fn call_back(&self, request: Request<Number>) -> Result<Response<Data>, Status> {
        let channel = self.session.broker().dial(request.get_ref().value).await.map_err(not_found)?;
        PeerClient::new(channel).echo(Data { value: CALLED_BACK.into() }).await.map_err(normalized)
    }

    async fn offer(&self, _request: Request<Nothing>) -> Result<Response<Number>, Status> {
        let serving = self.session.broker().serve(Routes::new(PeerServer::new(self.clone()))).await;
        Ok(Response::new(Number { value: self.keep(serving.map_err(not_found)?) }))
    }

    async fn offer_as(&self, request: Request<Number>) -> Result<Response<Nothing>, Status> {
        let routes = Routes::new(PeerServer::new(self.clone()));
        let serving = self.session.broker().serve_as(request.get_ref().value, routes).await;
        self.keep(serving.map_err(not_found)?);
        Ok(Response::new(Nothing {}))
    }

    async fn exit(&self, request: Request<Number>) -> Result<Response<Nothing>, Status> {
        std::process::exit(request.get_ref().value.try_into().unwrap_or(1))
    }

    async fn environment(&self, request: Request<Text>) -> Result<Response<Text>, Status> {
        // As a child would see it, whom the session's environment is for.
        let key = request.into_inner().value;
        let found = self.session.environment().iter().find(|(name, _)| *name == *key);
        let value = found.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Response::new(Text { value }))
    }

    async fn authority(&self, request: Request<Nothing>) -> Result<Response<Text>, Status> {
        let authority = request.metadata().get(AUTHORITY).and_then(|value| value.to_str().ok());
        Ok(Response::new(Text { value: authority.unwrap_or_default().to_owned() }))
    }
}

fn length(request: &Request<Number>) -> usize {
    usize::try_from(request.get_ref().value).unwrap_or(usize::MAX)
}

fn not_found(error: BrokerError) -> Status {
    Status::new(Code::NotFound, error.to_string())
}
