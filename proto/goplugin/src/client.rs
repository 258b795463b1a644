//! The host's side: a program is started, says where it listens, and is connected to.
//!
//! A start either returns a [`Connection`] or leaves nothing behind: until it returns, the future of
//! [`Launch::start`] owns the child, its socket directory and every task, and may be dropped at any time. The
//! child's first line decides; see [`crate::Handshake`]. `child.rs` starts and ends children, `output.rs` reads what
//! they write.

mod attach;
mod child;
mod connection;
mod diagnosis;
mod ending;
mod executable;
mod failure;
mod output;
mod start_error;
mod supervised;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub use self::attach::{Attach, AttachError};
use self::connection::Hold as _;
pub use self::connection::{Connection, Exit, Gone, Streams, stop_all};
pub use self::ending::{Asked, Ending};
pub use self::executable::{Checksum, ChecksumError, Executable};
use self::failure::Failure;
use self::output::FirstLine;
pub use self::start_error::{Evidence, StartError};
use self::supervised::Supervised;
use crate::broker::Queue;
use crate::handshake::{self, quote};
use crate::identity::{Identity, provider};
use crate::lock::lock;
use crate::mux::{Mux, Role};
use crate::tls::is_hanging_up;
use crate::transport::{Link, Route, SocketDir, connect, sweep};
use crate::{
    Address, Channel, Cookie, Discard, Expected, Handshake, HandshakeError, Ports, Sink, Tls, TlsSession,
    Versions,
};

/// The ports of plugins on Windows, unless somebody says otherwise.
const PORTS: Ports = Ports::between(10_000, 25_000);

/// How long the first line may be. Upstream's hosts read no longer ones either.
const FIRST_LINE: usize = 64 * 1024;

/// How long a child that failed to start may take to end by itself: its exit code and last words say more than our
/// SIGKILL would. A guess; one that takes longer is killed, and its exit code is never known.
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
    /// The cookie that the plugin checks.
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
    /// The checksum that the file must have. It is taken of the opened file, and that open file is then run.
    pub checksum: Option<Checksum>,
    /// How long the start may take, until the plugin is connected to. 60 seconds by default, as upstream.
    pub start_timeout: Duration,
    /// The largest message of go-plugin's own services, in bytes, and what [`Connection::message_limit`] returns for
    /// the caller's own clients. 64 MiB by default.
    pub message_limit: usize,
    /// The longest line of its log, in bytes, that is passed on whole; longer ones come in pieces. 64 KiB by default.
    pub log_line_limit: usize,
    /// How its connections are encrypted. Not at all by default, as upstream.
    pub encryption: Encryption,
    /// Whether all its connections go over one socket. Not by default; it takes a plugin with go-plugin 1.6 or later.
    pub multiplex: bool,
    /// Where the private directory for sockets is created; the system's temporary directory if `None`.
    pub socket_base: Option<PathBuf>,
    /// The group of users, by name or number, that may connect to its sockets and to ours. `None` admits only our own
    /// user.
    pub socket_group: Option<String>,
    /// The ports on which it may listen on a system without Unix sockets. 10000 to 25000 by default, as upstream.
    pub ports: Ports,
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
            encryption: Encryption::Off,
            multiplex: false,
            socket_base: None,
            socket_group: None,
            ports: PORTS,
            sink: Arc::new(Discard),
        }
    }

    /// Starts the plugin and connects to it.
    ///
    /// Dropping the future kills what it has started. It needs a tokio runtime with I/O and time, and the plugin ends
    /// with that runtime.
    pub async fn start(&self) -> Result<Connection, StartError> {
        let until = crate::timeout::end(Instant::now(), self.start_timeout);
        let group = self.socket_group.as_deref();
        let sockets = Arc::new(SocketDir::create(self.socket_base.as_deref(), group)?);
        let spawning = async {
            let identity = self.identity().await?;
            let executable = self.checked_executable().await?;
            let child = child::spawn(self.order(executable, &sockets, identity.as_ref())).await;
            Ok::<_, StartError>((identity, child))
        };
        // What lies on a disk that answers nobody is never read.
        let Ok(spawned) = timeout_at(until, spawning).await else {
            return Err(StartError::TimedOut {
                limit: self.start_timeout,
                printed: String::new(),
                evidence: None,
            });
        };
        let (identity, child) = spawned?;
        // Here, because the start waits for the child to get ready.
        sweep_once(&sockets);
        let child = match child {
            Ok(child) => child,
            Err(source) => {
                let notes = match diagnosis::of_want(&source) {
                    Some(want) => vec![want],
                    None => self.diagnose().await,
                };
                return Err(StartError::Spawn { path: self.executable.path().to_owned(), notes, source });
            }
        };
        let (child, first_line) = Supervised::watch(child, self, sockets);
        match self.connect(&child, first_line, identity, until).await {
            Ok(connected) => Ok(child.finish(connected)),
            Err(failure) => {
                let error = self.explain(failure, &child).await;
                connection::end(&child).await;
                Err(error)
            }
        }
    }

    /// Waits for the line, and connects to where it says.
    async fn connect(
        &self,
        child: &Supervised,
        mut first_line: oneshot::Receiver<FirstLine>,
        identity: Option<Identity>,
        until: Instant,
    ) -> Result<Connected, Failure> {
        let line = tokio::select! {
            // The line wins over the end: it says more about why a child ended.
            biased;
            line = &mut first_line => line.unwrap_or_default(),
            _ = child.gone().wait() => return Err(Failure::Ended),
            () = sleep_until(until) => {
                // Killing it ends its output, and so the line that it began.
                child.kill();
                let line = timeout(FAREWELL, first_line).await.map(Result::unwrap_or_default);
                return Err(Failure::Slow { printed: line.map(FirstLine::into_text).unwrap_or_default() });
            }
        };
        let handshake = self.read(line)?;
        let address = handshake.address().clone();
        let tls = self.agreed(&handshake, identity)?;
        let (link, route, mux) = match timeout_at(until, self.link(child, &address, tls.clone())).await {
            Ok(Ok(linked)) => linked,
            Ok(Err(error)) => {
                // A plugin that hangs up may do so because it ends, and not because of us.
                let ended = is_hanging_up(&error) && timeout(FAREWELL, child.gone().wait()).await.is_ok();
                return Err(if ended { Failure::Ended } else { Failure::Deaf { address, error } });
            }
            Err(_elapsed) => return Err(Failure::Slow { printed: String::new() }),
        };
        // Another process may have answered there: one that it forked, say, and that has just been killed with it.
        if child.ended().has_come() {
            return Err(Failure::Ended);
        }
        let session = link.tls_session();
        let channel = Channel::open(link, route, child.ended());
        Ok(Connected { handshake, channel, session, tls, mux })
    }

    /// Connects all the way: the one socket, the session if there is one, and encryption if there is any.
    async fn link(
        &self,
        child: &Supervised,
        address: &Address,
        tls: Option<Tls>,
    ) -> io::Result<(Link, Route, Option<(Mux, Queue)>)> {
        let socket = connect(address).await?;
        child.connected(&socket, address);
        if !self.multiplex {
            let route = Route::to_address(address.clone(), tls);
            return Ok((route.secure(socket).await?, route, None));
        }
        let queue = Queue::new();
        let (mux, _nothing_unsolicited) = Mux::new(socket, Role::Host, queue.clone());
        let route = Route::to_main(mux.clone(), tls);
        Ok((route.open().await?, route, Some((mux, queue))))
    }

    /// Makes our certificate for AutoMTLS, if that is asked for.
    async fn identity(&self) -> Result<Option<Identity>, StartError> {
        match self.encryption {
            Encryption::AutoMtls => {
                // The first one of a process may take its time.
                let identity = blocking(|| Identity::generate(provider())).await;
                Ok(Some(identity.map_err(|source| StartError::Runtime { source })??))
            }
            Encryption::Off | Encryption::Given(_) => Ok(None),
        }
    }

    /// Returns how links are encrypted, now that the plugin has said who it is.
    fn agreed(&self, handshake: &Handshake, identity: Option<Identity>) -> Result<Option<Tls>, Failure> {
        match (&self.encryption, identity, handshake.certificate()) {
            (Encryption::Given(tls), ..) => Ok(Some(tls.clone())),
            (Encryption::AutoMtls, Some(identity), Some(theirs)) => {
                identity.trusting(vec![theirs.clone()]).map(Some).map_err(Failure::Tls)
            }
            _ => Ok(None),
        }
    }

    fn read(&self, line: FirstLine) -> Result<Handshake, Failure> {
        match line {
            FirstLine::Endless(_) => {
                let text = quote(&line.into_text());
                let error = HandshakeError::TooLong { limit: FIRST_LINE, text };
                Err(Failure::Words { error, address: None })
            }
            FirstLine::Whole(_) => match line.into_text() {
                blank if blank.trim().is_empty() => Err(Failure::Silent),
                text => Handshake::parse(&text, &self.expected())
                    .map_err(|error| Failure::Words { error, address: handshake::address_in(&text) }),
            },
        }
    }

    fn expected(&self) -> Expected {
        Expected {
            versions: self.versions.clone(),
            certificate: matches!(self.encryption, Encryption::AutoMtls),
            multiplexing: self.multiplex,
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

    fn order(
        &self,
        executable: Executable,
        sockets: &SocketDir,
        identity: Option<&Identity>,
    ) -> child::Order {
        let set = |key: &str, value: OsString| (OsString::from(key), Some(value));
        let mut protocol: Vec<_> = INHERITED.iter().map(|key| (OsString::from(key), None)).collect();
        // They are for plugins on Windows; every host sets them.
        protocol.push(set("PLUGIN_MIN_PORT", self.ports.first().to_string().into()));
        protocol.push(set("PLUGIN_MAX_PORT", self.ports.last().to_string().into()));
        protocol.push(set("PLUGIN_PROTOCOL_VERSIONS", self.versions.to_string().into()));
        // Upstream sets this for plugins in containers only. Plugins since 1.5 heed it in any case, and what
        // they leave when they are killed is then where it can be swept.
        protocol.push(set("PLUGIN_UNIX_SOCKET_DIR", sockets.path().into()));
        if let Some(group) = &self.socket_group {
            protocol.push(set("PLUGIN_UNIX_SOCKET_GROUP", group.into()));
        }
        if let Some(identity) = identity {
            protocol.push(set("PLUGIN_CLIENT_CERT", identity.to_pem().into()));
        }
        if self.multiplex {
            protocol.push(set("PLUGIN_MULTIPLEX_GRPC", "true".into()));
        }
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
        blocking(move || diagnosis::of(&path)).await.unwrap_or_default()
    }
}

/// How a plugin's connections are encrypted, brokered ones included.
#[derive(Clone, Debug, Default)]
pub enum Encryption {
    /// Not at all. The permissions of the socket keep others out.
    #[default]
    Off,
    /// Both sides make a certificate for this one launch, and each accepts only the other's.
    ///
    /// Brokered connections that the plugin opens work since go-plugin 1.4.4.
    AutoMtls,
    /// By TLS that both sides were set up with beforehand.
    Given(Tls),
}

/// What a successful start has made.
struct Connected {
    handshake: Handshake,
    channel: Channel,
    session: Option<TlsSession>,
    tls: Option<Tls>,
    mux: Option<(Mux, Queue)>,
}

/// The environment of a child, besides the variables of the protocol.
///
/// The protocol's own variables win over any of the same name, and those of a host that started *us*
/// as a plugin are never passed on. Of two variables of a name in one list the first counts, as programs have it.
#[derive(Clone)]
pub enum Environment {
    /// Everything in our own environment, and these, which win.
    Inherit(Vec<(OsString, OsString)>),
    /// These, and nothing else.
    Only(Vec<(OsString, OsString)>),
}

/// Shows the names of the variables, and not their values.
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
    /// Nothing to read, and a process group of its own, which is ended as a whole.
    #[default]
    Null,
    /// Ours, and our process group with it, as upstream has it.
    ///
    /// A group of its own would be stopped when it reads from the terminal. Since it shares ours, only the child itself
    /// is killed in the end, and not what it started.
    Inherit,
}

/// Has what dead runs left beside `sockets` removed, the first time a directory is used.
fn sweep_once(sockets: &SocketDir) {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    let Some(base) = sockets.path().parent() else { return };
    if lock(&SWEPT).insert(base.to_owned()) {
        let base = base.to_owned();
        // If there is no thread for it, the next process does it.
        let _put_off =
            std::thread::Builder::new().name("goplugin-sweep".to_owned()).spawn(move || sweep(&base));
    }
}

/// Runs blocking work on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
