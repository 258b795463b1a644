//! A plugin that is started by hand, and a connection to it without any of the library's host.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::wire::ConnInfo;
use crate::wire::grpc_broker_client::GrpcBrokerClient;
use crate::{LONG, PEER};

/// Describes a plugin that was invited as it wants to be, with `directory` for its sockets.
pub(crate) fn invited(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PEER);
    command.args(arguments).env_clear();
    command.env("GOPLUGIN_PEER", "hello").env("PLUGIN_PROTOCOL_VERSIONS", "2,3");
    command.env("PLUGIN_UNIX_SOCKET_DIR", directory);
    command
}

/// What became of a plugin that did not serve.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Returns the one line of its log, which has to be an error.
    pub(crate) fn error(&self) -> String {
        let line = self.stderr.trim_end();
        assert!(!line.contains('\n'), "{line}");
        let entry: serde_json::Value = serde_json::from_str(line).expect("it is a line of JSON");
        assert_eq!((&entry["@level"], &entry["@message"]), (&"error".into(), &"plugin init error".into()));
        entry["error"].as_str().expect("it is a text").to_owned()
    }
}

/// Runs what is not going to serve. It is killed if it does not end.
pub(crate) fn run(command: &mut Command) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the plugin is there");
    let pid = Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let ended = ended.recv_timeout(LONG).inspect_err(|_| {
        _ = kill_process(pid, Signal::KILL);
    });
    let done = ended.expect("it does not take that long").expect("its pipes can be read");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    Ended { code: done.status.code(), stdout: text(done.stdout), stderr: text(done.stderr) }
}

/// A plugin that serves. It is killed when dropped.
pub(crate) struct Plugin {
    child: Child,
    pub(crate) line: String,
    rest: BufReader<ChildStdout>,
}

impl Plugin {
    /// Starts it and reads its line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.expect("the plugin is there");
        let mut rest = BufReader::new(child.stdout.take().expect("it has a pipe"));
        let mut line = String::new();
        rest.read_line(&mut line).expect("it prints a line");
        Self { child, line, rest }
    }

    /// Returns a field of its line, counted from 1.
    pub(crate) fn field(&self, number: usize) -> &str {
        self.line.trim_end_matches('\n').split('|').nth(number - 1).expect("the line has that field")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.field(4).into()
    }

    /// Opens a connection of its own.
    pub(crate) async fn connect(&self) -> Channel {
        connect(self.socket()).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Waits for its end, and checks that it printed nothing but the line.
    pub(crate) async fn end(mut self) -> ExitStatus {
        let (status, rest) = within(move || {
            let mut rest = Vec::new();
            self.rest.read_to_end(&mut rest).expect("its output can be read");
            (self.child.wait().expect("it can be waited for"), rest)
        })
        .await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
        status
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Both fail if it has been waited for.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// How much a plugin may send in one stream that nobody reads.
pub(crate) const WINDOW: u32 = 65_535;

/// Connects to a plugin's socket.
pub(crate) async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(WINDOW)
        // Streams that nobody reads are in no other's way.
        .initial_connection_window_size(16 * WINDOW);
    endpoint.connect_with_connector(connector).await.expect("the plugin listens")
}

/// Opens the broker's stream; the sender is the host's half.
pub(crate) async fn broker(
    plugin: &Plugin,
) -> Result<(mpsc::Sender<ConnInfo>, tonic::Streaming<ConnInfo>), tonic::Status> {
    let (sender, receiver) = mpsc::channel(8);
    let mut client = GrpcBrokerClient::new(plugin.connect().await);
    Ok((sender, client.start_stream(ReceiverStream::new(receiver)).await?.into_inner()))
}

/// Runs what blocks, and fails if it does so for long.
pub(crate) async fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::time::timeout(LONG, tokio::task::spawn_blocking(work)).await;
    done.expect("it does not take that long").expect("it does not panic")
}

/// Waits until `path` has an entry, or none any more.
pub(crate) async fn wait_until_empty(path: &Path) {
    let path = path.to_owned();
    let emptied = tokio::time::timeout(LONG, async move {
        // Nothing tells of an entry's end but looking.
        while entries(&path) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    emptied.await.expect("nothing is left");
}

/// Counts what is in a directory.
pub(crate) fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).expect("the directory is there").count()
}

/// Tells whether `text` names the file.
pub(crate) fn is_in(directory: &Path, file: &Path) -> bool {
    file.parent() == Some(directory)
        && file.file_name().and_then(OsStr::to_str).is_some_and(|name| {
            name.strip_prefix("plugin").is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
        })
}
