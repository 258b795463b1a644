//! The plugin's side: a program that a host starts says where it listens, and serves until it is told to end.
//!
//! [`Serve`] is everything there is to say about that, and mirrors [`crate::Launch`]. The order is upstream's (protocol
//! spec 4): the cookie is looked at before anything else happens, the listener exists before the line is
//! printed, and nothing but the line ever gets to standard output. What a host says comes by environment variables;
//! `server/invitation.rs` reads them. Serving itself is told in `server/running.rs`.

mod capture;
mod ending;
mod invitation;
mod line;
mod outcome;
mod output;
mod panics;
mod running;
mod session;
mod standard;
mod test_mode;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tonic::service::Routes;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

pub use self::ending::End;
use self::invitation::Invitation;
pub use self::invitation::PortsError;
pub use self::outcome::{Outcome, ServeError};
pub use self::output::Output;
use self::running::Running;
pub use self::session::Session;
pub use self::test_mode::TestServing;
use crate::log::{Entry, Level, LogLayer, chain};
use crate::{Cookie, Tls};

/// How long the runtime of [`Serve::run`] has to let go of what calls left behind.
const LEFTOVERS: Duration = Duration::from_millis(100);

/// How many I/O events are taken at a time: more than one host causes. Room for the usual thousand costs memory.
const EVENTS: usize = 128;

/// How many threads calls may block: as many as a Go program may have. A host makes as many calls as it likes, one may
/// wait for another, and a call that is given up goes on. With tokio's usual 512 all later ones would wait.
const BLOCKED: usize = 10_000;

/// The crates that carry calls. Below a warning they log every frame: hundreds of lines a call, which hosts that take a
/// plugin's whole log, as Terraform does, would show their users.
const CARRIERS: [&str; 5] = ["h2", "hyper", "hyper_util", "tonic", "tower"];

/// How a plugin serves. [`new`](Self::new) fills in what has a default.
///
/// ```no_run
/// use portcullis_goplugin::{Cookie, Outcome, Serve};
/// # use tonic::service::Routes;
///
/// fn main() -> Outcome {
///     Serve::new(Cookie::new("BASIC_PLUGIN", "hello"))
///         // `Routes::new(KvServer::new(Kv { host: session.broker().clone() }))`
///         .version(1, |session| Routes::default())
///         .run()
/// }
/// ```
pub struct Serve {
    /// The cookie that a host brings. Whoever does not is told that this is a plugin.
    pub cookie: Cookie,
    /// What is told to a person who starts the plugin by hand. A sentence or two about plugins by default.
    pub notice: Option<String>,
    /// The versions of the application's protocol, and what is served in each. The highest that the host knows, too, is
    /// chosen. None by default; see [`version`](Self::version).
    pub versions: BTreeMap<u32, Services>,
    /// The environment. By default the one that this process was started with.
    pub variables: Vec<(OsString, OsString)>,
    /// How connections are encrypted, if host and plugin were given that beforehand. Otherwise they are encrypted when
    /// the host asks for AutoMTLS.
    pub tls: Option<Tls>,
    /// Descriptor sets of the application's services, as a protobuf compiler encodes them. With any, hosts can look
    /// the services up by reflection. None by default.
    pub descriptors: Vec<Vec<u8>>,
    /// Where the plugin listens, and its broker with it. [`Listen::Unix`] by default.
    pub listen: Listen,
    /// How large a message to the application's own services should be allowed to be. 4 MiB by default, as upstream;
    /// [`Session::message_limit`] tells them, whose `max_decoding_message_size` is what binds.
    pub message_limit: usize,
    /// How much of what is printed is kept for a host that does not read it. 1 MiB by default; see [`Output`].
    pub output_limit: usize,
    /// What becomes of what the process itself prints. [`Capture::Nothing`] by default.
    pub capture: Capture,
    /// How long calls that are under way may go on once the plugin is told to end. Nothing by default: they are cut,
    /// as in Go's plugins. More than 1.5 seconds would be a host's two, after which it kills; so more is never given.
    pub grace: Duration,
    /// What the end of the process that started this one means. [`Parent::Ignore`] by default, as upstream: another
    /// host may take the plugin over.
    pub parent: Parent,
    /// How many threads [`run`](Self::run) has for calls, if not one for each processor.
    pub threads: Option<NonZeroUsize>,
    /// Where what is logged goes. [`Logs::Stderr`] from [`Level::Info`] on by default.
    pub logs: Logs,
    /// How a panic is reported. [`Panics::ForHosts`] by default.
    pub panics: Panics,
}

/// What is served in one version: made when it is known that this version is spoken.
pub struct Services(Box<dyn FnOnce(&Session) -> Making + Send>);

/// Services that are being made.
type Making = Pin<Box<dyn Future<Output = Result<Routes, Box<dyn Error + Send + Sync>>> + Send>>;

impl Services {
    /// Takes what makes services in its own time, and may fail to.
    ///
    /// The host has been promised nothing by then, and waits as long as it waits for any plugin to start. A failure
    /// is told on standard error, and the plugin does not start.
    pub fn made_by<F, M>(make: F) -> Self
    where
        F: FnOnce(Session) -> M + Send + 'static,
        M: Future<Output = Result<Routes, Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        Self(Box::new(|session| Box::pin(make(session.clone()))))
    }
}

impl<F: FnOnce(&Session) -> Routes + Send + 'static> From<F> for Services {
    fn from(services: F) -> Self {
        Self(Box::new(|session| Box::pin(std::future::ready(Ok(services(session))))))
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}

/// Where a plugin listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// On Unix sockets, in the directory that the host names or the system's temporary one.
    #[default]
    Unix,
    /// On loopback, at the lowest free port of those that the host names. Any program on this machine can then
    /// connect, unless the host asks for TLS.
    Tcp,
}

/// What becomes of what the process prints by itself, and not through an [`Output`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// It goes where it went. A host that started the plugin reads its standard output, and throws it away after the
    /// first line.
    #[default]
    Nothing,
    /// What goes to standard output reaches the host's, as [`Session::stdout`] does, what children print there
    /// included. Standard error stays what it is, for the log and for the last words of a process that dies. While the
    /// plugin serves, the process's descriptor 1 is another file. A print that is a mebibyte ahead of a host that reads
    /// waits for it, for five seconds at the most. Not in test mode.
    Stdout,
}

/// What the end of the process that started a plugin means to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// Nothing.
    #[default]
    Ignore,
    /// The plugin ends as well, and cleans up.
    Follow,
}

/// Where what is logged through `tracing` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// From this level on to standard error, where the host reads it; of what carries the calls (HTTP/2) nothing below a
    /// warning. If the process has a subscriber already, that one stays instead.
    Stderr(Level),
    /// Wherever the application has it go; [`LogLayer`] is for that.
    Elsewhere,
}

/// How a panic is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    /// In a line that hosts know and raise to an error. This replaces the process's panic hook.
    ForHosts,
    /// By the hook that is there.
    Elsewhere,
}

impl Serve {
    /// Describes a plugin with nothing but defaults, and no services yet.
    #[must_use]
    pub fn new(cookie: Cookie) -> Self {
        Self {
            cookie,
            notice: None,
            versions: BTreeMap::new(),
            variables: std::env::vars_os().collect(),
            tls: None,
            descriptors: Vec::new(),
            listen: Listen::Unix,
            message_limit: 4 << 20,
            output_limit: 1 << 20,
            capture: Capture::Nothing,
            grace: Duration::ZERO,
            parent: Parent::Ignore,
            threads: None,
            logs: Logs::Stderr(Level::Info),
            panics: Panics::ForHosts,
        }
    }

    /// Adds a version of the application's protocol, or replaces it.
    ///
    /// `services` is called before the plugin says that it listens, if this version is the one that is spoken.
    /// Services that take time to make, or may fail, are [`Services::made_by`] what makes them.
    #[must_use]
    pub fn version(
        mut self,
        version: u32,
        services: impl FnOnce(&Session) -> Routes + Send + 'static,
    ) -> Self {
        self.versions.insert(version, services.into());
        self
    }

    /// Serves until the end, in a runtime of its own: the whole of a plugin's `main`.
    ///
    /// What calls have left behind in the runtime, blocking work included, does not keep the process: it has to end
    /// within two seconds, or its host kills it. Where there is a runtime already this fails; [`serve`](Self::serve) is for that.
    pub fn run(self) -> Outcome {
        if tokio::runtime::Handle::try_current().is_ok() {
            let why = "one runs here already; `main` must not be async, or call `Serve::serve`";
            return failed(ServeError::Runtime(std::io::Error::other(why)));
        }
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.max_io_events_per_tick(EVENTS).max_blocking_threads(BLOCKED);
        if let Some(threads) = self.threads {
            runtime.worker_threads(threads.get());
        }
        let runtime = match panics::fatal_in(|| runtime.enable_all().build()) {
            Ok(runtime) => runtime,
            Err(error) => return failed(ServeError::Runtime(error)),
        };
        // The start runs on this thread, which exists and has its memory. Serving is a task on another: a thread inside
        // `block_on` is slower at it. A panic of the start is passed to a task, and so told like one of serving. (With
        // a `LocalSet` for both, nothing that makes services could block in place.)
        let served = runtime.block_on(async {
            match AssertUnwindSafe(self.begin()).catch_unwind().await {
                Ok(Ok(running)) => tokio::spawn(running.until_end()).await.map(Outcome::Ended),
                Ok(Err(outcome)) => Ok(outcome),
                Err(panic) => tokio::spawn(async move { resume_unwind(panic) }).await,
            }
        });
        runtime.shutdown_timeout(LEFTOVERS);
        served.unwrap_or_else(|error| failed(ServeError::Panicked(error)))
    }

    /// Serves until the end, in the caller's runtime, which needs I/O and time.
    ///
    /// Nothing is left of the plugin when this returns, but for calls that block; the caller should then end the
    /// process, and not wait for those. SIGINT and SIGTERM stay taken over. Dropping the future stops at once.
    pub async fn serve(self) -> Outcome {
        match self.begin().await {
            Ok(running) => Outcome::Ended(running.until_end().await),
            Err(outcome) => outcome,
        }
    }

    /// Does all that there is to do before calls come; says how it went if none will.
    async fn begin(self) -> Result<Running, Outcome> {
        let invitation = match Invitation::read(&self.variables, &self.cookie) {
            Ok(invitation) => invitation,
            Err(reason) => {
                let usual = || {
                    format!(
                        "This program is a plugin: another program, its host, starts it and talks to it.\n\
                         There is nothing that it could do when started by hand ({reason}).\n\
                         Put it where its host looks for plugins, and use it from there.\n",
                    )
                };
                let notice = self.notice.unwrap_or_else(usual);
                let _unread = std::io::stderr().lock().write_all(notice.as_bytes());
                return Err(Outcome::NotInvited);
            }
        };
        if let Logs::Stderr(level) = self.logs {
            let subscriber = tracing_subscriber::registry().with(LogLayer::stderr()).with(filter(level));
            // An application that has its own is not overruled.
            let _has_one = tracing::subscriber::set_global_default(subscriber);
        }
        if self.panics == Panics::ForHosts {
            panics::report();
        }
        for element in &invitation.no_versions {
            tracing::warn!(element, "the host's list of versions holds what is none");
        }
        Running::begin(self, invitation).await.map_err(|error| match error {
            ServeError::Ended { end } => Outcome::Ended(end),
            error => failed(error),
        })
    }
}

/// Names what there is, and keeps the environment's values to itself.
impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("cookie", &self.cookie)
            .field("versions", &self.versions)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Reports a failure where every host looks for the reason: on standard error, in the form of a log.
fn failed(error: ServeError) -> Outcome {
    let fields = vec![("error".to_owned(), chain(&error).into())];
    let entry = Entry { fields, ..Entry::plain(Level::Error, "plugin init error") };
    let line = entry.to_line(SystemTime::now());
    let _unread = std::io::stderr().lock().write_all(line.as_bytes());
    Outcome::Failed(error)
}

fn filter(level: Level) -> Targets {
    let level = LevelFilter::from(level);
    // The more a filter lets through, the greater it is.
    let of_carriers = level.min(LevelFilter::WARN);
    Targets::new().with_default(level).with_targets(CARRIERS.map(|name| (name, of_carriers)))
}
