//! A launch of the Go plugin, with a directory of its own that has to be empty in the end.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_goplugin::{
    Connection, Cookie, Encryption, Launch, Serving, Sink, StartError, Stdio, Versions,
};
use portcullis_goplugin_tests::{CALLED_BACK, Echo, Peer};
use tokio::sync::mpsc;
use tonic::service::Routes;

/// Generous: it is only ever waited out by a test that fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// How host and plugin talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Tls,
    Mux,
    Both,
}

pub(crate) struct Scene {
    pub(crate) launch: Launch,
    pub(crate) base: tempfile::TempDir,
    pub(crate) prints: mpsc::UnboundedReceiver<(Stdio, Vec<u8>)>,
}

struct Collect(mpsc::UnboundedSender<(Stdio, Vec<u8>)>);

impl Sink for Collect {
    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let _test_is_over = self.0.send((stdio, piece.to_owned()));
    }
}

pub(crate) fn scene(version: &str, mode: Mode) -> Scene {
    let base = tempfile::tempdir().expect("there is room for a directory");
    let program = PathBuf::from(env!("GO_PEERS")).join(version).join("kvplugin");
    let (sender, prints) = mpsc::unbounded_channel();
    let mut launch =
        Launch::new(program, Cookie::new("GOPLUGIN_PEER", "hello"), Versions::from([1, 2, 3, 4]));
    launch.socket_base = Some(base.path().to_owned());
    launch.sink = Arc::new(Collect(sender));
    launch.encryption = match mode {
        Mode::Plain | Mode::Mux => Encryption::Off,
        Mode::Tls | Mode::Both => Encryption::AutoMtls,
    };
    launch.multiplex = matches!(mode, Mode::Mux | Mode::Both);
    Scene { launch, base, prints }
}

impl Scene {
    pub(crate) async fn start(&self) -> Result<(Connection, Peer), StartError> {
        let plugin = self.launch.start().await?;
        let peer = Peer::new(plugin.channel());
        Ok((plugin, peer))
    }

    /// Checks that nothing is left of what was started.
    pub(crate) fn expect_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.base.path())
            .expect("the base is there")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

/// Has the plugin call us back, at a server that is there until it is dropped.
pub(crate) async fn called_back(plugin: &Connection, peer: &Peer) -> Result<Serving, Box<dyn Error>> {
    let serving = plugin.broker().serve(Routes::new(Echo)).await?;
    let answer: Vec<u8> = peer.call("CallBack", serving.id()).await?;
    assert_eq!(answer, CALLED_BACK);
    Ok(serving)
}

/// Returns what the plugin offers us.
pub(crate) async fn offered(plugin: &Connection, peer: &Peer) -> Result<Peer, Box<dyn Error>> {
    let id: u32 = peer.call("Offer", ()).await?;
    Ok(Peer::new(plugin.broker().dial(id).await?))
}

/// Returns the whole chain, as a person would see it.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}
