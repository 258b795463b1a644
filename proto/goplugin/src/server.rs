//! The plugin's side: a program that a host starts says where it listens, and serves until it is told to end.
//!
//! [`Serve`] describes it, and mirrors [`crate::Launch`]. The order is upstream's (protocol spec 4): the cookie is
//! checked before anything else happens, the listener exists before the line is printed, and where standard output is
//! captured nothing but the line gets to it. A host's wishes come in environment variables, which
//! `server/invitation.rs` reads. Serving itself is in `server/running.rs`.

mod capture;
mod ending;
mod invitation;
mod line;
mod outcome;
mod output;
mod panics;
mod running;
mod runtimes;
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
use self::runtimes::Runtimes;
pub use self::session::Session;
pub use self::test_mode::TestServing;
use crate::log::{Entry, Level, LogLayer, chain};
use crate::serving::Placement;
use crate::{Cookie, Tls};

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
    /// The cookie that a host sets. Without it the program only prints that it is a plugin.
    pub cookie: Cookie,
    /// The text for a person who starts the plugin by hand. A sentence or two about plugins by default.
    pub notice: Option<String>,
    /// The versions of the application's protocol, and what is served in each. The highest one that the host also knows
    /// is chosen. Empty by default; see [`version`](Self::version).
    pub versions: BTreeMap<u32, Services>,
    /// The environment. By default the one that this process was started with.
    pub variables: Vec<(OsString, OsString)>,
    /// How connections are encrypted, if host and plugin were given that beforehand. Otherwise they are encrypted when
    /// the host asks for AutoMTLS.
    pub tls: Option<Tls>,
    /// Encoded descriptor sets of the application's services, as a protobuf compiler writes them. With any, hosts can
    /// list the services by reflection. None by default.
    pub descriptors: Vec<Vec<u8>>,
    /// Where the plugin and its broker listen. [`Listen::Unix`] by default.
    pub listen: Listen,
    /// The largest message to the application's own services, in bytes. 4 MiB by default, as upstream. It is only
    /// passed on as [`Session::message_limit`]; the services enforce it by their `max_decoding_message_size`.
    pub message_limit: usize,
    /// How many bytes of prints are kept for a host that does not read them. 1 MiB by default; see [`Output`].
    pub output_limit: usize,
    /// Whether the process's own prints are captured. [`Capture::Nothing`] by default.
    pub capture: Capture,
    /// How long calls that are under way may go on once the plugin is told to end. Zero by default: they are cut, as in
    /// Go's plugins. At most 1.5 seconds are given, because a host kills the plugin after two.
    pub grace: Duration,
    /// What to do when the process that started this one ends. [`Parent::Ignore`] by default, as upstream: another host
    /// may attach to the plugin.
    pub parent: Parent,
    /// How many threads [`run`](Self::run) has for calls; `None` is one for each processor. [`Calls::Together`] has one
    /// more.
    pub threads: Option<NonZeroUsize>,
    /// Which of them a call runs on. [`Calls::Spread`] by default.
    pub calls: Calls,
    /// Where the log goes. By default [`Logs::Stderr`], for [`Level::Info`] and above.
    pub logs: Logs,
    /// How a panic is reported. [`Panics::ForHosts`] by default.
    pub panics: Panics,
}

/// Which threads of [`Serve::run`] calls run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calls {
    /// Each call runs on whichever thread is free.
    #[default]
    Spread,
    /// Calls begin on one thread, which also carries the connections, and those that compute for long move to the
    /// others. If most do, those that come together begin there. That is faster for short calls, because no thread has
    /// to wake another.
    ///
    /// It is for services that never block their thread but in [`tokio::task::block_in_place`], and let go of it now and
    /// then while they compute: until they do, nothing else goes on, not even the end of the plugin. A line of the log
    /// that the host does not take [waits aside](LogLayer::waiting_aside); a log of the application's own should, too.
    Together,
}

/// The services of one version. They are made once this version was chosen.
pub struct Services(Box<dyn FnOnce(&Session) -> Making + Send>);

/// Services that are being made.
type Making = Pin<Box<dyn Future<Output = Result<Routes, Box<dyn Error + Send + Sync>>> + Send>>;

impl Services {
    /// Returns services that an async function makes, which may take time and may fail.
    ///
    /// The plugin has not said by then that it is ready, and the host waits as long as for any start. On failure the
    /// plugin does not start, and standard error says why.
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

/// What to do with prints of the process that do not go through an [`Output`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Nothing. A host that started the plugin discards everything on its standard output after the first line.
    #[default]
    Nothing,
    /// Prints to standard output go to the host's standard output, as those of [`Session::stdout`] do; prints of
    /// children are included. Standard error stays as it is, for the log and for the last words of a process that dies.
    /// From before the services are made to the end, descriptor 1 of the process is a pipe of ours. What is printed
    /// before a host reads is kept for it, up to a mebibyte, and goes to standard error if the plugin does not start. A
    /// print that is a mebibyte ahead of what the host has read waits for the host, for at most five seconds. Not in
    /// test mode.
    Stdout,
}

/// What a plugin does when the process that started it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// Nothing.
    #[default]
    Ignore,
    /// It ends as well, and cleans up.
    Follow,
}

/// Where what is logged through `tracing` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// Events of this level and above go to standard error, where the host reads them; those of the HTTP/2 and gRPC
    /// crates only from warnings on. If the process has a subscriber already, that one stays instead.
    Stderr(Level),
    /// The application sets up its own log, perhaps with a [`LogLayer`].
    Elsewhere,
}

/// How a panic is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    /// In a line that hosts show as an error. This replaces the process's panic hook.
    ForHosts,
    /// By the panic hook that the process has.
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
            calls: Calls::Spread,
            logs: Logs::Stderr(Level::Info),
            panics: Panics::ForHosts,
        }
    }

    /// Adds a version of the application's protocol, or replaces it.
    ///
    /// If this version is chosen, `services` is called before the plugin says that it listens. For services that take
    /// time to make, or may fail, see [`Services::made_by`].
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
    /// Work that calls have left behind in the runtime does not keep the process alive, not even blocking work: the
    /// process has to end within two seconds, or its host kills it. Within a runtime this fails; use
    /// [`serve`](Self::serve) there.
    pub fn run(self) -> Outcome {
        if tokio::runtime::Handle::try_current().is_ok() {
            let why = "one runs here already; `main` must not be async, or call `Serve::serve`";
            return failed(ServeError::Runtime(std::io::Error::other(why)));
        }
        let runtimes = match panics::fatal_in(|| Runtimes::new(self.calls, self.threads)) {
            Ok(runtimes) => runtimes,
            Err(error) => return failed(ServeError::Runtime(error)),
        };
        // The start runs on this thread, which exists and has its memory. Serving is a task on another: a thread inside
        // `block_on` is slower at it. A panic of the start is passed to a task, and so told like one of serving. (With
        // a `LocalSet` for both, nothing that makes services could block in place.)
        let placement = runtimes.placement.clone();
        let served = runtimes.main.block_on(async {
            match AssertUnwindSafe(self.begin(placement)).catch_unwind().await {
                Ok(Ok(running)) => tokio::spawn(running.until_end()).await.map(Outcome::Ended),
                Ok(Err(outcome)) => Ok(outcome),
                Err(panic) => tokio::spawn(async move { resume_unwind(panic) }).await,
            }
        });
        runtimes.shut_down();
        served.unwrap_or_else(|error| failed(ServeError::Panicked(error)))
    }

    /// Serves until the end, in the caller's runtime, which needs I/O and time.
    ///
    /// When this returns, nothing is left of the plugin except calls that block; the caller should then end the process
    /// and not wait for them. The handlers of SIGINT and SIGTERM stay installed. Dropping the future stops the plugin
    /// at once.
    pub async fn serve(self) -> Outcome {
        match self.begin(Placement::default()).await {
            Ok(running) => Outcome::Ended(running.until_end().await),
            Err(outcome) => outcome,
        }
    }

    /// Does everything that comes before calls. Fails with the outcome if there will be none.
    async fn begin(self, placement: Placement) -> Result<Running, Outcome> {
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
            let mut lines = LogLayer::stderr();
            if placement.is_together() {
                lines = lines.waiting_aside();
            }
            let subscriber = tracing_subscriber::registry().with(lines).with(filter(level));
            // An application that has its own is not overruled.
            let _has_one = tracing::subscriber::set_global_default(subscriber);
        }
        if self.panics == Panics::ForHosts {
            panics::report();
        }
        for element in &invitation.no_versions {
            tracing::warn!(element, "the host's list of versions has an entry that is not one");
        }
        Running::begin(self, invitation, placement).await.map_err(|error| match error {
            ServeError::Ended { end } => Outcome::Ended(end),
            error => failed(error),
        })
    }
}

/// Shows the names of the environment's variables, and not their values.
impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("cookie", &self.cookie)
            .field("versions", &self.versions)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Reports a failure where hosts look for the reason: on standard error, in the form of a log.
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
