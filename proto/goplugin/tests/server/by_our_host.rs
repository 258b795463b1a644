//! Our host and our plugin, in every mode.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::poll;
use portcullis_goplugin::{
    Address, Asked, Connection, Cookie, Encryption, Launch, PingError, Serving, Sink, Stdio, Versions,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use test_case::test_case;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;
use tonic::{Code, Request, Response};

use crate::child::entries;
use crate::peer::peer_client::PeerClient;
use crate::peer::{Data, Nothing, Number, Text};
use crate::wire::Empty;
use crate::wire::grpc_controller_client::GrpcControllerClient;
use crate::{LONG, PEER, TestResult, data};

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

/// Counts what is printed, and has room for it when a test says so.
struct Reluctant {
    room: watch::Receiver<bool>,
    printed: AtomicUsize,
}

impl Sink for Reluctant {
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut room = self.room.clone();
        Box::pin(async move { drop(room.wait_for(|room| *room).await) })
    }

    fn stdio(&self, _: Stdio, piece: &[u8]) {
        self.printed.fetch_add(piece.len(), Ordering::Relaxed);
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

    /// Has the plugin call us back, at a server that is there until it is dropped, and calls what it offers.
    async fn is_called_both_ways(&self) -> Result<Serving, Box<dyn std::error::Error>> {
        let serving = self.plugin.broker().serve(Routes::new(Host)).await?;
        let answer = self.peer().call_back(number(serving.id())).await?.into_inner();
        assert_eq!(answer.value, &b"called back"[..]);
        self.call_what_is_offered().await?;
        Ok(serving)
    }

    async fn call_what_is_offered(&self) -> TestResult {
        let id = self.peer().offer(Nothing {}).await?.into_inner().value;
        let mut offered = PeerClient::new(self.plugin.broker().dial(id).await?);
        assert_eq!(offered.echo(data(b"there")).await?.into_inner().value, &b"there"[..]);
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
    assert_eq!(peer.echo(data(b"hello")).await?.into_inner().value, &b"hello"[..]);
    assert_eq!(peer.large(number(8 << 20)).await?.into_inner().value.len(), 8 << 20);
    let failed = peer.fail(number(1 << 20)).await.map_err(|status| (status.code(), status.message().len()));
    assert_eq!(failed.map(drop), Err((Code::Internal, 1 << 20)));
    let mut numbers = peer.count(number(1000)).await?.into_inner();
    for expected in 0..1000 {
        assert_eq!(numbers.message().await?, Some(number(expected)));
    }

    // P-31, P-51, P-58, P-60
    for _ in 0..3 {
        let _serving = scene.is_called_both_ways().await?;
    }

    peer.print(Text { value: "printed".to_owned() }).await?;
    let mut found = Vec::new();
    for _ in 0..2 {
        found.push(tokio::time::timeout(LONG, scene.prints.recv()).await?);
    }
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
            tokio::spawn(async move { peer.hang(Nothing {}).await })
        })
        .collect();
    let _serving = scene.is_called_both_ways().await?;
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
    let _serving = scene.is_called_both_ways().await?;
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_printed_while_services_are_made_goes_where_all_prints_go() -> TestResult {
    let mut scene = Scene::start(PLAIN, &["print"]).await?;
    let printed = tokio::time::timeout(LONG, scene.prints.recv()).await?;
    assert_eq!(printed, Some((Stdio::Stdout, b"made\n".to_vec())));
    scene.is_called_both_ways().await?;
    scene.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_plugin_of_which_a_thread_keeps_standard_output_starts_and_ends_like_any_other() -> TestResult {
    let scene = Scene::start(PLAIN, &["keep-stdout"]).await?;
    scene.plugin.ping(LONG).await?;
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
    scene.peer().echo(data(b"")).await?;
    scene.call_what_is_offered().await?;
    drop(stalled);
    scene.stop().await;
    Ok(())
}

/// Breaks at the first piece of each output, and counts the rest.
#[derive(Default)]
struct Clumsy {
    rooms: AtomicUsize,
    pieces: AtomicUsize,
}

impl Sink for Clumsy {
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let first = self.rooms.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move { assert!(!first, "there is no room") })
    }

    fn stdio(&self, _: Stdio, _: &[u8]) {
        assert_ne!(self.pieces.fetch_add(1, Ordering::Relaxed), 0, "it falls");
    }
}

#[tokio::test]
async fn a_sink_that_panics_loses_what_it_was_given_and_the_rest_is_read_on() -> TestResult {
    let sink = Arc::new(Clumsy::default());
    let mut launch = Launch::new(PEER, Cookie::new("GOPLUGIN_PEER", "hello"), Versions::from([1, 3]));
    launch.start_timeout = LONG;
    launch.sink = Arc::clone(&sink) as _;
    let plugin = launch.start().await?;
    let mut peer = PeerClient::new(plugin.channel());
    // More than lies between a plugin and its host: it would stand still in the second call.
    for _ in 0..8 {
        let print = peer.print(Text { value: "x".repeat(100_000) });
        tokio::time::timeout(LONG, print).await??;
    }
    assert_eq!(plugin.stop(LONG).await.to_string(), "exit status: 0");
    assert!(sink.pieces.load(Ordering::Relaxed) >= 16);
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

/// A plugin that has printed, when there was no room for it any more.
struct Printed {
    plugin: Connection,
    has_room: watch::Sender<bool>,
    sink: Arc<Reluctant>,
    _base: tempfile::TempDir,
}

impl Printed {
    /// Starts one that prints so many letters to each output.
    async fn start(letters: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let base = tempfile::tempdir()?;
        let (has_room, room) = watch::channel(true);
        let sink = Arc::new(Reluctant { room, printed: AtomicUsize::new(0) });
        let mut launch = Launch::new(PEER, Cookie::new("GOPLUGIN_PEER", "hello"), Versions::from([3]));
        launch.socket_base = Some(base.path().to_owned());
        launch.start_timeout = LONG;
        launch.sink = Arc::clone(&sink) as _;
        let plugin = launch.start().await?;
        has_room.send_replace(false);
        PeerClient::new(plugin.channel()).print(Text { value: "x".repeat(letters) }).await?;
        Ok(Self { plugin, has_room, sink, _base: base })
    }
}

#[tokio::test]
async fn what_was_printed_last_is_handed_over_before_the_plugin_counts_as_stopped() -> TestResult {
    let Printed { plugin, has_room, sink, _base } = Printed::start(100_000).await?;
    let gone = plugin.gone();
    tokio::spawn(async move {
        gone.wait().await;
        has_room.send_replace(true);
    });
    assert_eq!(plugin.stop(LONG).await.to_string(), "exit status: 0");
    drop(plugin);
    assert_eq!(sink.printed.load(Ordering::Relaxed), 200_000);
    Ok(())
}

/// Nor does one that has ended by itself count as such before.
#[tokio::test]
async fn what_a_plugin_printed_that_has_ended_is_handed_over_first() -> TestResult {
    let printed = Printed::start(100_000).await?;
    let plugin = &printed.plugin;
    GrpcControllerClient::new(plugin.channel()).shutdown(Empty {}).await?;
    tokio::time::timeout(LONG, plugin.gone().wait()).await?;
    let mut stopping = pin!(plugin.stop(LONG));
    assert!(poll!(stopping.as_mut()).is_pending());
    printed.has_room.send_replace(true);
    assert!(stopping.await.status.is_some_and(|status| status.success()));
    assert_eq!(printed.sink.printed.load(Ordering::Relaxed), 200_000);
    Ok(())
}

#[tokio::test]
async fn who_kills_a_plugin_waits_for_its_prints_no_longer_and_lets_nobody_else() -> TestResult {
    let printed = Printed::start(1).await?;
    let plugin = &printed.plugin;
    // So that it does not end when it is asked.
    freeze(plugin.pid())?;

    let both = async { tokio::join!(plugin.stop(10 * LONG), plugin.stop(Duration::ZERO)) };
    let (patient, _) = tokio::time::timeout(LONG, both).await?;
    assert_eq!(patient.to_string(), "signal: 9 (SIGKILL)");
    Ok(())
}

/// Stops a plugin, and waits until all its threads stand still.
fn freeze(plugin: u32) -> TestResult {
    let pid = Pid::from_raw(plugin.cast_signed()).ok_or("a child has a number")?;
    kill_process(pid, Signal::STOP)?;
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT)?.ok_or("it was waited for")?;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_neither_answers_nor_ends_is_waited_for_as_long_as_was_said() -> TestResult {
    let Scene { plugin, base, .. } = Scene::start(PLAIN, &[]).await?;
    freeze(plugin.pid())?;

    let short = Duration::from_millis(200);
    let answer = tokio::time::timeout(LONG, plugin.ping(short)).await?; // H-52
    assert!(matches!(answer, Err(PingError::TimedOut { limit }) if limit == short), "{answer:?}");
    let ending = tokio::time::timeout(LONG, plugin.stop_and_tell(short)).await?; // H-67
    assert_eq!((&ending.asked, ending.killed), (&Asked::Unanswered, true));
    assert_eq!(ending.exit.to_string(), "signal: 9 (SIGKILL)");
    assert_eq!(entries(base.path()), 0);
    Ok(())
}

#[tokio::test]
async fn of_two_graces_the_shorter_counts_for_what_was_printed_last() -> TestResult {
    let printed = Printed::start(1).await?;
    let plugin = &printed.plugin;
    let in_a_hurry = async {
        plugin.gone().wait().await;
        plugin.stop(Duration::ZERO).await
    };
    let both = async { tokio::join!(plugin.stop(10 * LONG), in_a_hurry) };
    tokio::time::timeout(LONG, both).await?;
    // Nor does a third one begin anew.
    tokio::time::timeout(LONG, plugin.stop(10 * LONG)).await?;
    Ok(())
}

fn number(value: u32) -> Number {
    Number { value }
}

/// What the host serves: what it is sent, sent back.
#[derive(Clone)]
struct Host;

impl tonic::server::NamedService for Host {
    const NAME: &'static str = "portcullis.test.Peer";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Host {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let echo =
            tower::service_fn(|request: Request<Data>| async { Ok(Response::new(request.into_inner())) });
        Box::pin(async move {
            let mut server = tonic::server::Grpc::new(tonic_prost::ProstCodec::<Data, Data>::default());
            Ok(server.unary(echo, request).await)
        })
    }
}
