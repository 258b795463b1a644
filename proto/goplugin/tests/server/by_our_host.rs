//! Our host and our plugin, in every mode.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_goplugin::{
    Address, BrokerError, Connection, Cookie, Encryption, Launch, Serving, Sink, Stdio, Versions,
};
use test_case::test_case;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::child::entries;
use crate::peer::peer_client::PeerClient;
use crate::{LONG, PEER, TestResult};

/// What a host waits for a plugin that it asked to end.
const GRACE: Duration = Duration::from_secs(2);

/// A host's connection to the plugin, with a directory that has to be empty in the end.
struct Scene {
    plugin: Connection,
    base: tempfile::TempDir,
    prints: mpsc::UnboundedReceiver<(Stdio, Vec<u8>)>,
}

struct Collect(mpsc::UnboundedSender<(Stdio, Vec<u8>)>);

impl Sink for Collect {
    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let _test_is_over = self.0.send((stdio, piece.to_vec()));
    }
}

#[derive(Clone, Copy, Debug)]
struct Mode {
    encrypted: bool,
    multiplexed: bool,
}

const PLAIN: Mode = Mode { encrypted: false, multiplexed: false };
const ENCRYPTED: Mode = Mode { encrypted: true, multiplexed: false };
const MULTIPLEXED: Mode = Mode { encrypted: false, multiplexed: true };
const BOTH: Mode = Mode { encrypted: true, multiplexed: true };

impl Scene {
    async fn start(mode: Mode, arguments: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let base = tempfile::tempdir()?;
        let (sender, prints) = mpsc::unbounded_channel();
        let mut launch = Launch::new(PEER, Cookie::new("GOPLUGIN_PEER", "hello"), Versions::from([1, 3]));
        launch.arguments = arguments.iter().map(Into::into).collect();
        launch.socket_base = Some(base.path().to_owned());
        launch.start_timeout = LONG;
        launch.sink = Arc::new(Collect(sender));
        if mode.encrypted {
            launch.encryption = Encryption::AutoMtls;
        }
        launch.multiplex = mode.multiplexed;
        Ok(Self { plugin: launch.start().await?, base, prints })
    }

    fn peer(&self) -> PeerClient<portcullis_goplugin::Channel> {
        PeerClient::new(self.plugin.channel()).max_decoding_message_size(usize::MAX)
    }

    /// Stops the plugin as a good host does, and checks that it went along.
    async fn stop(self) {
        let begun = Instant::now();
        let exit = self.plugin.stop(GRACE).await;
        assert_eq!(exit.to_string(), "exit status: 0");
        assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
        assert_eq!(entries(self.base.path()), 0);
    }

    /// Serves `Echo` to the plugin.
    async fn offer(&self) -> Result<Serving, BrokerError> {
        self.plugin.broker().serve(Routes::new(crate::peer::peer_server::PeerServer::new(Host))).await
    }

    async fn call_what_is_offered(&self) -> TestResult {
        let id = self.peer().offer(()).await?.into_inner();
        let mut offered = PeerClient::new(self.plugin.broker().dial(id).await?);
        assert_eq!(offered.echo(b"there".to_vec()).await?.into_inner(), b"there");
        Ok(())
    }
}

#[test_case(PLAIN; "plain")]
#[test_case(ENCRYPTED; "encrypted")]
#[test_case(MULTIPLEXED; "multiplexed")]
#[test_case(BOTH; "both")]
#[tokio::test]
async fn everything_works_in_every_mode(mode: Mode) -> TestResult {
    let mut scene = Scene::start(mode, &[]).await?;
    assert_eq!(scene.plugin.negotiated_version(), 3);
    scene.plugin.ping(LONG).await?;
    let mut peer = scene.peer();
    assert_eq!(peer.echo(b"hello".to_vec()).await?.into_inner(), b"hello");
    assert_eq!(peer.large(8 << 20).await?.into_inner().len(), 8 << 20);
    let failed = peer.fail(1 << 20).await.map_err(|status| (status.code(), status.message().len()));
    assert_eq!(failed.map(drop), Err((Code::Internal, 1 << 20)));
    let mut numbers = peer.count(1000).await?.into_inner();
    for expected in 0..1000 {
        assert_eq!(numbers.message().await?, Some(expected));
    }

    // P-31, P-51, P-58, P-60
    for _ in 0..3 {
        let serving = scene.offer().await?;
        assert_eq!(peer.call_back(serving.id()).await?.into_inner(), b"called back");
        scene.call_what_is_offered().await?;
    }

    peer.print("printed".to_owned()).await?;
    let mut found = vec![scene.prints.recv().await, scene.prints.recv().await];
    found.sort_by_key(|print| print.as_ref().map(|(_, text)| text.clone()));
    let expected = [(Stdio::Stderr, b"PRINTED".to_vec()), (Stdio::Stdout, b"printed".to_vec())];
    assert_eq!(found, expected.map(Some));
    scene.stop().await;
    Ok(())
}

#[test_case(PLAIN; "plain")]
#[test_case(BOTH; "encrypted and multiplexed")]
#[tokio::test]
async fn a_busy_plugin_ends_as_soon_as_an_idle_one(mode: Mode) -> TestResult {
    let scene = Scene::start(mode, &[]).await?;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let mut peer = scene.peer();
            tokio::spawn(async move { peer.hang(()).await })
        })
        .collect();
    let serving = scene.offer().await?;
    scene.peer().call_back_later(serving.id()).await?;
    scene.call_what_is_offered().await?;
    scene.stop().await; // P-63
    for call in calls {
        assert_eq!(call.await?.map(drop).map_err(|status| status.code()), Err(Code::Unavailable));
    }
    Ok(())
}

#[test_case(PLAIN; "plain")]
#[test_case(MULTIPLEXED; "multiplexed")]
#[tokio::test]
async fn a_plugin_on_tcp_is_like_any_other(mode: Mode) -> TestResult {
    let scene = Scene::start(mode, &["tcp"]).await?;
    assert_eq!(scene.plugin.address().network(), "tcp");
    let serving = scene.offer().await?;
    assert_eq!(scene.peer().call_back(serving.id()).await?.into_inner(), b"called back");
    scene.call_what_is_offered().await?;
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn who_has_no_certificate_is_kept_out_and_disturbs_nobody() -> TestResult {
    let scene = Scene::start(ENCRYPTED, &[]).await?;
    let Address::Unix(path) = scene.plugin.address() else { return Err("it is a Unix socket".into()) };
    let stalled = UnixStream::connect(path).await?;
    let mut plain = UnixStream::connect(path).await?;
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(LONG, plain.read_to_end(&mut answer)).await?;
    // A TLS alert at the most, and nothing of HTTP/2. P-29
    assert!(answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
    scene.peer().echo(Vec::new()).await?;
    scene.call_what_is_offered().await?;
    drop(stalled);
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_dead_host_takes_its_plugin_along_without_being_asked() -> TestResult {
    let scene = Scene::start(MULTIPLEXED, &[]).await?;
    let gone = scene.plugin.gone();
    drop(scene.plugin);
    tokio::time::timeout(LONG, gone.wait()).await?;
    assert_eq!(entries(scene.base.path()), 0);
    Ok(())
}

/// What the host serves.
struct Host;

#[tonic::async_trait]
impl crate::peer::peer_server::Peer for Host {
    type CountStream = futures_util::stream::Empty<Result<u32, Status>>;

    async fn echo(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn hang(&self, _request: Request<()>) -> Result<Response<()>, Status> {
        std::future::pending().await
    }

    async fn large(&self, _request: Request<u32>) -> Result<Response<Vec<u8>>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn fail(&self, _request: Request<u32>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn count(&self, _request: Request<u32>) -> Result<Response<Self::CountStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn print(&self, _request: Request<String>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn call_back(&self, _request: Request<u32>) -> Result<Response<Vec<u8>>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn call_back_later(&self, _request: Request<u32>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn offer(&self, _request: Request<()>) -> Result<Response<u32>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn offer_as(&self, _request: Request<u32>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn exit(&self, _request: Request<u32>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn environment(&self, _request: Request<String>) -> Result<Response<String>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn authority(&self, _request: Request<()>) -> Result<Response<String>, Status> {
        Err(Status::unimplemented(""))
    }
}
