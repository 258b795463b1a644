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

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use self::connection::Task;
pub use self::connection::{Connection, Exit, Gone};
pub use self::executable::{Checksum, ChecksumError, Executable};
use self::output::FirstLine;
use crate::handshake::quote;
use crate::transport::{SocketDir, SocketDirError, connect, sweep};
use crate::{Address, Channel, Cookie, Discard, Handshake, HandshakeError, Sink, Versions};

/// How long the first line may be. Upstream's hosts read no longer ones either.
const FIRST_LINE: usize = 64 * 1024;

/// How long a child that closed its output may take to end, before that is what it is blamed for.
const FAREWELL: Duration = Duration::from_millis(500);

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
        let (mut starting, first_line) = connection::Starting::watch(child, self, sockets)
            .map_err(|source| StartError::Watch { source })?;

        let line = tokio::select! {
            // The line wins over the end: it says more about why a child ended.
            biased;
            line = first_line => line.unwrap_or_default(),
            exit = starting.gone().wait() => return Err(self.exited(exit).await),
            () = tokio::time::sleep_until(until) => return Err(self.timed_out(&starting)),
        };
        let handshake = match self.read(line) {
            Ok(handshake) => handshake,
            Err(Silence::Nothing) => match timeout(FAREWELL, starting.gone().wait()).await {
                Ok(exit) => return Err(self.exited(exit).await),
                Err(_elapsed) => {
                    let source = HandshakeError::Unrecognised { text: String::new() };
                    return Err(self.refused(source, starting).await);
                }
            },
            Err(Silence::Words(source)) => return Err(self.refused(source, starting).await),
        };
        let address = handshake.address().clone();
        let socket = match timeout_at(until, connect(&address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(source)) => {
                let evidence = self.evidence(starting).await;
                return Err(StartError::Connect { address, evidence, source });
            }
            Err(_elapsed) => return Err(self.timed_out(&starting)),
        };
        starting.connected(&socket, &address);
        let channel = Channel::open(socket, address, starting.ended());
        match starting.gone().exit() {
            None => Ok(starting.finish(handshake, channel)),
            Some(exit) => Err(self.exited(exit).await),
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

    fn read(&self, line: FirstLine) -> Result<Handshake, Silence> {
        let line = match line {
            FirstLine::Whole(line) => line,
            FirstLine::Endless(start) => {
                let text = quote(&String::from_utf8_lossy(&start));
                return Err(Silence::Words(HandshakeError::TooLong { limit: FIRST_LINE, text }));
            }
        };
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            return Err(Silence::Nothing);
        }
        Handshake::parse(&line, &self.versions).map_err(Silence::Words)
    }

    async fn exited(&self, exit: Exit) -> StartError {
        StartError::Exited { notes: self.diagnose().await, exit }
    }

    fn timed_out(&self, starting: &connection::Starting) -> StartError {
        StartError::TimedOut { limit: self.start_timeout, stderr: starting.stderr() }
    }

    async fn refused(&self, source: HandshakeError, starting: connection::Starting) -> StartError {
        let notes = match source {
            HandshakeError::Unrecognised { .. } | HandshakeError::TooLong { .. } => self.diagnose().await,
            // A plugin that speaks so clearly has nothing wrong with its file.
            _ => Vec::new(),
        };
        StartError::Handshake { notes, evidence: self.evidence(starting).await, source }
    }

    /// Ends the child, and returns what it leaves to say about it.
    async fn evidence(&self, starting: connection::Starting) -> Evidence {
        // It may be about to end by itself, and its own last words are worth more than our signal.
        let own = timeout(FAREWELL, starting.gone().wait()).await.ok();
        Evidence {
            stderr: own.as_ref().map_or_else(|| starting.stderr(), |exit| exit.stderr.clone()),
            exit: own,
        }
    }

    async fn diagnose(&self) -> Vec<String> {
        let path = self.executable.path().to_owned();
        blocking(move || executable::diagnose(&path)).await.unwrap_or_default()
    }
}

/// A first line that is no handshake.
enum Silence {
    /// There was none.
    Nothing,
    /// There was another.
    Words(HandshakeError),
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

/// Why a plugin did not start. Whatever it was, no process of it is left.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no place for its sockets.
    #[error(transparent)]
    Sockets(#[from] SocketDirError),
    /// The file is not the one that was meant, or cannot be read.
    #[error("{} is not what it should be", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ChecksumError,
    },
    /// The kernel would not run the file.
    #[error("cannot run {}{}", path.display(), Listed(notes))]
    Spawn {
        /// The file.
        path: PathBuf,
        /// What looking at the file shows.
        notes: Vec<String>,
        /// Why not.
        source: io::Error,
    },
    /// The child runs, and we cannot follow what it does.
    #[error("cannot watch the child")]
    Watch {
        /// Why not.
        source: io::Error,
    },
    /// The plugin ended before it was connected to.
    #[error("ended before it served: {exit}{}", Listed(notes))]
    Exited {
        /// How it ended.
        exit: Exit,
        /// What looking at the file shows.
        notes: Vec<String>,
    },
    /// The plugin took too long.
    #[error("does not serve after {limit:?}{}", Quoted(stderr))]
    TimedOut {
        /// How long it had.
        limit: Duration,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// The plugin said something that we cannot go on with.
    #[error("shook no hands{evidence}{}", Listed(notes))]
    Handshake {
        /// What it said.
        source: HandshakeError,
        /// What it left.
        evidence: Evidence,
        /// What looking at the file shows, if the line is none of a plugin.
        notes: Vec<String>,
    },
    /// The plugin does not listen where it said.
    #[error("cannot connect to it at {address}{evidence}")]
    Connect {
        /// Where it said.
        address: Address,
        /// What it left.
        evidence: Evidence,
        /// Why not.
        source: io::Error,
    },
}

/// What a plugin that failed to start left to say about it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How it ended, if it did so by itself.
    pub exit: Option<Exit>,
    /// The end of what it wrote to its standard error.
    pub stderr: String,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exit {
            Some(exit) => write!(f, ", and ended: {exit}"),
            None => Quoted(&self.stderr).fmt(f),
        }
    }
}

/// Appends notes to a message.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// Appends the last lines of standard error to a message.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim() {
            "" => Ok(()),
            words => write!(f, "; its last words: {words}"),
        }
    }
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
