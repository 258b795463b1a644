//! The host's side: a program is started, says where it listens, and is connected to.
//!
//! A start either returns a [`Connection`] or leaves nothing behind: until the very end the child, its
//! socket directory and every task are owned by the future of [`Launch::start`], which may be dropped at
//! any time. The child's first line decides; see [`crate::Handshake`]. How children begin and end
//! is told in `child.rs`, what is read from them in `output.rs`.

mod child;
mod connection;
mod executable;
mod output;
mod start_error;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use self::connection::Starting;
pub(crate) use self::connection::Task;
pub use self::connection::{Connection, Exit, Gone, stop_all};
pub use self::executable::{Checksum, ChecksumError, Executable};
use self::output::FirstLine;
pub use self::start_error::{Evidence, StartError};
use crate::handshake::quote;
use crate::transport::{SocketDir, connect, sweep};
use crate::{Address, Channel, Cookie, Discard, Handshake, HandshakeError, Sink, Versions};

/// How long the first line may be. Upstream's hosts read no longer ones either.
const FIRST_LINE: usize = 64 * 1024;

/// How long a child that did something wrong may take to end by itself. How it ends, and what it says
/// then, is worth more than that we killed it. A guess; a child that takes longer is killed unheard.
const FAREWELL: Duration = Duration::from_millis(200);

/// Variables of the protocol that must not reach a child from our own start as a plugin.
const INHERITED: [&str; 4] =
    ["PLUGIN_CLIENT_CERT", "PLUGIN_MULTIPLEX_GRPC", "PLUGIN_UNIX_SOCKET_DIR", "PLUGIN_UNIX_SOCKET_GROUP"];

/// How a plugin is started. [`new`](Self::new) fills in what has a default.
///
/// One value is good for any number of starts.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The file to run.
    pub executable: Executable,
    /// The cookie that the plugin looks for.
    pub cookie: Cookie,
    /// The versions of the application's protocol that we speak; the plugin chooses one.
    pub versions: Versions,
    /// Its arguments, without its name. None by default.
    pub arguments: Vec<OsString>,
    /// Its environment, to which the protocol adds its own variables. Empty by default.
    pub environment: Environment,
    /// Its standard input, and with it the process group. [`Stdin::Null`] by default.
    pub stdin: Stdin,
    /// Its working directory; ours if `None`.
    pub directory: Option<PathBuf>,
    /// What the file has to be. It is checked over the opened file, and that open file is then run.
    pub checksum: Option<Checksum>,
    /// How long it may take until it is connected to. 60 seconds by default, as upstream.
    pub start_timeout: Duration,
    /// How large a message of go-plugin's own services may be, and what
    /// [`Connection::message_limit`] tells the caller's clients. 64 MiB by default.
    pub message_limit: usize,
    /// How long a line of its log may be before it is passed on in pieces. 64 KiB by default.
    pub log_line_limit: usize,
    /// Where the private directory for sockets is created; the system's temporary directory if `None`.
    pub socket_base: Option<PathBuf>,
    /// What takes its log and its prints. [`Discard`] by default.
    pub sink: Arc<dyn Sink>,
}

impl Launch {
    /// Describes a start with nothing but defaults.
    pub fn new(executable: impl Into<Executable>, cookie: Cookie, versions: Versions) -> Self {
        Self {
            executable: executable.into(),
            cookie,
            versions,
            arguments: Vec::new(),
            environment: Environment::Only(Vec::new()),
            stdin: Stdin::Null,
            directory: None,
            checksum: None,
            start_timeout: Duration::from_secs(60),
            message_limit: 64 << 20,
            log_line_limit: 64 * 1024,
            socket_base: None,
            sink: Arc::new(Discard),
        }
    }

    /// Starts the plugin and connects to it.
    ///
    /// Dropping the future kills what it has started. It needs a tokio runtime with I/O and time.
    pub async fn start(&self) -> Result<Connection, StartError> {
        let sockets = Arc::new(SocketDir::create(self.socket_base.as_deref())?);
        let executable = self.checked_executable().await?;
        let child = child::spawn(self.order(executable, &sockets)).await;
        // Now, because it costs the start nothing while the child gets ready.
        sweep_once(&sockets);
        let child = match child {
            Ok(child) => child,
            Err(source) => {
                let notes = self.diagnose().await;
                return Err(StartError::Spawn { path: self.executable.path().to_owned(), notes, source });
            }
        };
        let until = Instant::now() + self.start_timeout;
        let (starting, first_line) =
            Starting::watch(child, self, sockets).map_err(|source| StartError::Watch { source })?;
        match self.connect(&starting, first_line, until).await {
            Ok((handshake, channel)) => Ok(starting.finish(handshake, channel)),
            Err(failure) => {
                let error = self.explain(failure, &starting).await;
                starting.end().await;
                Err(error)
            }
        }
    }

    /// Waits for the line, and connects to where it says.
    async fn connect(
        &self,
        starting: &Starting,
        mut first_line: oneshot::Receiver<FirstLine>,
        until: Instant,
    ) -> Result<(Handshake, Channel), Failure> {
        let line = tokio::select! {
            // The line wins over the end: it says more about why a child ended.
            biased;
            line = &mut first_line => line.unwrap_or_default(),
            _ = starting.gone().wait() => return Err(Failure::Ended),
            () = sleep_until(until) => {
                // Its output ends with it, and what there was of a line then comes by.
                starting.kill();
                let line = timeout(FAREWELL, first_line).await.map(Result::unwrap_or_default);
                return Err(Failure::Slow { printed: line.map(FirstLine::into_text).unwrap_or_default() });
            }
        };
        let handshake = self.read(line)?;
        let address = handshake.address().clone();
        let socket = match timeout_at(until, connect(&address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(Failure::Deaf { address, error }),
            Err(_elapsed) => return Err(Failure::Slow { printed: String::new() }),
        };
        starting.connected(&socket, &address);
        // Somebody else may serve there: what it forked, say, which has just been killed.
        if starting.ended().has_come() {
            return Err(Failure::Ended);
        }
        Ok((handshake, Channel::open(socket, address, starting.ended())))
    }

    fn read(&self, line: FirstLine) -> Result<Handshake, Failure> {
        match line {
            FirstLine::Endless(_) => {
                let text = quote(&line.into_text());
                Err(Failure::Words(HandshakeError::TooLong { limit: FIRST_LINE, text }))
            }
            FirstLine::Whole(_) => match line.into_text() {
                blank if blank.trim().is_empty() => Err(Failure::Silent),
                text => Handshake::parse(&text, &self.versions).map_err(Failure::Words),
            },
        }
    }

    /// Adds to a failure what the child left to say about it.
    async fn explain(&self, failure: Failure, starting: &Starting) -> StartError {
        match failure {
            Failure::Slow { printed } => {
                let evidence = starting.evidence(Duration::ZERO).await;
                StartError::TimedOut { limit: self.start_timeout, printed, evidence }
            }
            Failure::Ended => {
                StartError::Exited { exit: starting.gone().wait().await, notes: self.diagnose().await }
            }
            Failure::Silent => match timeout(FAREWELL, starting.gone().wait()).await {
                Ok(exit) => StartError::Exited { exit, notes: self.diagnose().await },
                Err(_elapsed) => StartError::Handshake {
                    error: HandshakeError::Unrecognised { text: String::new() },
                    evidence: starting.evidence(Duration::ZERO).await,
                    notes: self.diagnose().await,
                },
            },
            // A plugin that speaks so clearly is not about to end, and has nothing wrong with its file.
            Failure::Words(error) if error.is_of_a_plugin() => {
                let evidence = starting.evidence(Duration::ZERO).await;
                StartError::Handshake { error, evidence, notes: Vec::new() }
            }
            Failure::Words(error) => {
                let evidence = starting.evidence(FAREWELL).await;
                StartError::Handshake { error, evidence, notes: self.diagnose().await }
            }
            Failure::Deaf { address, error } => {
                StartError::Connect { address, error, evidence: starting.evidence(FAREWELL).await }
            }
        }
    }

    /// Opens and checks the file if its checksum was given.
    async fn checked_executable(&self) -> Result<Executable, StartError> {
        let (executable, Some(checksum)) = (self.executable.clone(), self.checksum) else {
            return Ok(self.executable.clone());
        };
        let path = executable.path().to_owned();
        blocking(move || executable.verified(checksum))
            .await
            .unwrap_or_else(|error| Err(ChecksumError::Unreadable(error)))
            .map_err(|source| StartError::Checksum { path, source })
    }

    fn order(&self, executable: Executable, sockets: &SocketDir) -> child::Order {
        let set = |key: &str, value: OsString| (OsString::from(key), Some(value));
        let mut protocol: Vec<_> = INHERITED.iter().map(|key| (OsString::from(key), None)).collect();
        // They are for plugins on Windows; every host sets them.
        protocol.push(set("PLUGIN_MIN_PORT", "10000".into()));
        protocol.push(set("PLUGIN_MAX_PORT", "25000".into()));
        protocol.push(set("PLUGIN_PROTOCOL_VERSIONS", self.versions.to_string().into()));
        // Upstream sets this for plugins in containers only. Plugins since 1.5 heed it in any case, and what
        // they leave when they are killed is then where it can be swept.
        protocol.push(set("PLUGIN_UNIX_SOCKET_DIR", sockets.path().into()));
        protocol.push(set(&self.cookie.key, self.cookie.value.clone().into()));
        child::Order {
            executable,
            arguments: self.arguments.clone(),
            environment: self.environment.clone(),
            protocol,
            stdin: self.stdin,
            directory: self.directory.clone(),
        }
    }

    async fn diagnose(&self) -> Vec<String> {
        let path = self.executable.path().to_owned();
        blocking(move || executable::diagnose(&path)).await.unwrap_or_default()
    }
}

/// What went wrong after the child was started.
enum Failure {
    /// It ended before it said anything.
    Ended,
    /// It closed its output without a line, or printed an empty one.
    Silent,
    /// It said something else.
    Words(HandshakeError),
    /// It does not listen where it said.
    Deaf { address: Address, error: io::Error },
    /// It took too long, and had printed this.
    Slow { printed: String },
}

/// What a child finds in its environment besides the variables of the protocol.
///
/// The protocol's own variables win over any of the same name, and those of a host that started *us*
/// as a plugin are never passed on.
#[derive(Clone)]
pub enum Environment {
    /// Everything that we were started with, and these.
    Inherit(Vec<(OsString, OsString)>),
    /// These, and nothing else.
    Only(Vec<(OsString, OsString)>),
}

/// Names the variables and keeps their values to itself.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, variables) = match self {
            Self::Inherit(variables) => ("Inherit", variables),
            Self::Only(variables) => ("Only", variables),
        };
        f.write_str(name)?;
        f.debug_list().entries(variables.iter().map(|(key, _)| key)).finish()
    }
}

/// A child's standard input, and the process group that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing to read, and a process group of its own, which ends as a whole.
    #[default]
    Null,
    /// Ours, and our process group with it, as upstream has it.
    ///
    /// A group of its own would be stopped at its first look at the terminal. In ours, only the
    /// child itself is killed in the end, and not what it started.
    Inherit,
}

/// Has what dead runs left beside `sockets` removed, the first time a directory is used.
fn sweep_once(sockets: &SocketDir) {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let Some(base) = sockets.path().parent() else { return };
    if SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(base.to_owned()) {
        let base = base.to_owned();
        // If not now, then at the next start.
        let _put_off = child::on_spawner(move || sweep(&base));
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
