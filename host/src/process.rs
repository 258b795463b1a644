//! The process backend: a plugin is a child that speaks go-plugin.
//!
//! Any program that serves the contract runs unchanged. A child inherits nothing from us by accident: its environment,
//! its standard input and its process group are chosen. Its host service is served over the broker, and announced when
//! it is first configured.
//!
//! Only a provider or an auth handler owns its child: a call, a stream or a clone of a channel does not keep the child
//! alive. A launch that fails leaves no child behind.
//!
//! How go-plugin works is left to `portcullis_goplugin`, deadlines and restarts to whoever calls.

mod auth;
mod channel;
mod environment;
mod host_service;
mod load;
mod output;
mod provider;
mod state;
mod status;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use portcullis_contract::{
    self as contract, AuthHandler, Backend, BackendName, CallError, HeldBy, Kind, LaunchError, PluginInfo,
    PluginSpec, Provider, Resolved,
};
use portcullis_goplugin::{Cookie, Environment, Executable, Launch, StartError, Stdin};

use crate::blocking::blocking;
use auth::ProcessAuth;
use channel::{Channel, Client};
use host_service::HostDoor;
use output::Words;
use provider::ProcessProvider;
use state::Child;

/// Returns the variables that a child gets by default: those of `ours` that most programs need.
#[must_use]
pub fn usual_environment(ours: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    environment::seen(ours, contract::Environment::Usual, &contract::Grants::default())
}

/// The options of all child processes.
#[derive(Clone)]
pub struct ProcessOptions {
    /// Our environment, as it was when we were started; children get the variables of it that they may see.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the private directories for sockets are made; `None` is the system's temporary directory.
    pub runtime_dir: Option<PathBuf>,
    /// How long a start may take, until the child has said what it offers.
    pub start_timeout: Duration,
}

/// An empty environment, the system's place for sockets, and upstream's minute to start.
impl Default for ProcessOptions {
    fn default() -> Self {
        Self { environment: Vec::new(), runtime_dir: None, start_timeout: Duration::from_secs(60) }
    }
}

/// Leaves the environment out: it holds secrets.
impl fmt::Debug for ProcessOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessOptions")
            .field("runtime_dir", &self.runtime_dir)
            .field("start_timeout", &self.start_timeout)
            .finish_non_exhaustive()
    }
}

/// Runs plugins as go-plugin child processes.
///
/// In a container, a host that is PID 1 inherits the orphans of its plugins and reaps none of them: run one that lasts
/// under an init (`docker run --init`).
#[derive(Debug)]
pub struct ProcessBackend {
    options: ProcessOptions,
}

impl ProcessBackend {
    /// Makes a backend. Nothing is started yet.
    #[must_use]
    pub fn new(options: ProcessOptions) -> Self {
        Self { options }
    }
}

#[async_trait]
impl Backend for ProcessBackend {
    fn name(&self) -> BackendName {
        BackendName::Process
    }

    async fn launch_provider(&self, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError> {
        let began = Instant::now();
        let started = self.start(spec, Kind::Provider).await?;
        Ok(Arc::new(self.in_time(began, ProcessProvider::describe(started)).await?))
    }

    async fn launch_auth_handler(&self, spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError> {
        let began = Instant::now();
        let started = self.start(spec, Kind::AuthHandler).await?;
        Ok(Arc::new(self.in_time(began, ProcessAuth::describe(started)).await?))
    }
}

/// A child that runs, and has not said yet what it offers.
struct Started<C> {
    info: PluginInfo,
    channel: Channel<C>,
    host: HostDoor,
    child: Child,
}

impl ProcessBackend {
    async fn start<C: Client>(&self, spec: PluginSpec, kind: Kind) -> Result<Started<C>, LaunchError> {
        let path = spec.path.clone();
        let program = blocking(move || load::open(&path)).await?;
        let reading = program.executable.clone();
        let expected = spec.digest;
        let digest = blocking(move || load::verify(&reading, expected));
        let limits = spec.limits.resolve(BackendName::Process);
        let words = Arc::new(Words::new(spec.name.clone(), spec.prints.clone()));
        let launch = self.launch(&spec, kind, program.to_start(), &words);
        let start = async { launch.start().await.map_err(|error| not_started(error, kind)) };
        // A file that may be run whatever it contains is read while it starts.
        let (digest, connection) = match spec.digest {
            Some(_) => (digest.await?, start.await?),
            None => futures_util::future::try_join(digest, start).await?,
        };
        if program.form == load::Form::Script && expected.is_some() {
            blocking(move || program.verify_started(expected)).await?;
        }
        let channel = Channel::new(&connection, limits.clone());
        let host = HostDoor::new(spec.host, connection.broker().clone(), limits.message);
        let limits = match spec.held_by {
            HeldBy::Kernel => limits,
            HeldBy::Itself => Resolved { memory: None, cpu: None, handles: None, ..limits },
        };
        let child = Child::hold(connection, &spec.name, &limits, words).await.map_err(LaunchError::failed)?;
        let info =
            PluginInfo { name: spec.name, kind, backend: BackendName::Process, path: spec.path, digest };
        Ok(Started { info, channel, host, child })
    }

    /// Waits for what a child says of itself, within what is left of the time that it has to start.
    async fn in_time<T>(
        &self,
        began: Instant,
        describing: impl Future<Output = Result<T, LaunchError>>,
    ) -> Result<T, LaunchError> {
        let limit = self.options.start_timeout;
        match tokio::time::timeout(limit.saturating_sub(began.elapsed()), describing).await {
            Ok(described) => described,
            Err(_elapsed) => Err(LaunchError::Undescribed(CallError::TimedOut { limit })),
        }
    }

    /// Says how the plugin is started.
    fn launch(&self, spec: &PluginSpec, kind: Kind, executable: Executable, words: &Arc<Words>) -> Launch {
        let (variable, value) = kind.cookie();
        let (cookie, versions) = (Cookie::new(variable, value), kind.versions().iter().copied().collect());
        let mut environment =
            environment::seen(&self.options.environment, spec.run_as.environment, &spec.grants);
        if spec.held_by == HeldBy::Itself {
            environment::tell_limits(&spec.limits, &mut environment);
        }
        Launch {
            environment: Environment::Only(environment),
            stdin: match spec.run_as.stdin {
                contract::Stdin::Null => Stdin::Null,
                contract::Stdin::Inherit => Stdin::Inherit,
            },
            start_timeout: self.options.start_timeout,
            // The limit on messages is not set here. It would be one on what the plugin prints, which is passed on in
            // pieces and bounded by whoever takes them.
            socket_base: self.options.runtime_dir.clone(),
            sink: Arc::clone(words) as _,
            ..Launch::new(executable, cookie, versions)
        }
    }
}

/// Says why a child did not come up.
///
/// One that looked for another cookie says so and exits with 1 (protocol spec 4): it is a plugin for another host, or
/// of the other kind.
fn not_started(error: StartError, wanted: Kind) -> LaunchError {
    /// What go-plugin's library prints for a person who starts a plugin by hand, and what ours does.
    const NO_COOKIE: [&str; 2] = ["This binary is a plugin.", "This program is a plugin"];
    match &error {
        StartError::Exited { exit, .. }
            if exit.status.is_some_and(|status| status.code() == Some(1))
                && NO_COOKIE.iter().any(|notice| exit.stderr.contains(notice)) =>
        {
            LaunchError::OtherKind { wanted }
        }
        _ => LaunchError::failed(error),
    }
}
