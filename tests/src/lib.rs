//! What the tests stand on: a host of their own, and the plugins to start in it.
//!
//! A [`TestHost`] starts real plugins through the library's own backends, each with a scratch
//! directory that nothing else uses. Dropping it fails the test if a process or a file that belongs
//! to a plugin is left, so no test has to remember to look.

pub mod auth;
pub mod cli;
mod empty;
pub mod fixtures;
pub mod go_host;
mod leftovers;
pub mod prints;
pub mod shim;

pub use auth::TestAuth;
pub use empty::{Empty, Gate, Gathering};
pub use leftovers::{Scratch, expect_no_process};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis::contract::{
    Backend, Call, CallError, Chunk, Configuration, Execute, Grants, HostService, Json, LaunchError, Limits,
    Output, Plugin, PluginName, PluginSpec, Prints, Provider, ProviderName, RunAs,
};
use portcullis::host::services::{IdentitySource, Services};
use portcullis::secrets::SecretStore;
use portcullis::supervise::{self, ProviderKind};

/// Fails unless a value matches a pattern; shows the value. The standard library's is not stable yet.
#[macro_export]
macro_rules! assert_matches {
    ($value:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $value {
            $pattern $(if $guard)? => {}
            value => panic!("{value:?} is no {}", stringify!($pattern $(if $guard)?)),
        }
    };
    ($value:expr, $pattern:pat $(if $guard:expr)?, $($context:tt)+) => {
        match $value {
            $pattern $(if $guard)? => {}
            value => panic!("{value:?} is no {}: {}", stringify!($pattern $(if $guard)?), format_args!($($context)+)),
        }
    };
}

/// What a test returns.
pub type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Longer than anything that works takes, on a machine that has much else to do.
pub const LONG: Duration = Duration::from_secs(60);

/// Long enough for a call to be under way, short enough to wait for.
pub const SOON: Duration = Duration::from_millis(300);

/// Long enough for a short call to come to its end, on a machine that has much else to do, short enough to wait for.
pub const A_WHILE: Duration = Duration::from_secs(3);

/// A way into a plugin. Behaviour is the same behind each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A Go plugin on the published go-plugin, in a process of its own.
    Process,
    /// A guest of this repository as a native program, in a process of its own.
    Native,
    /// A component, in a sandbox.
    Component,
    /// The same component behind the shim, in a process of its own.
    Shim,
}

/// A host for one test.
#[derive(Debug)]
pub struct TestHost {
    scratch: Scratch,
    door: Door,
    backend: Arc<dyn Backend>,
    plugins: Vec<Arc<dyn Plugin>>,
    /// What the plugins it launches may touch.
    pub grants: Grants,
    /// How much they may use.
    pub limits: Limits,
    /// How they are run.
    pub run_as: RunAs,
    /// What they may ask of us.
    pub host: Option<Arc<dyn HostService>>,
    /// Who reads what they print.
    pub prints: Option<Arc<dyn Prints>>,
}

impl TestHost {
    /// Makes a host behind one of the doors.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self::patient(door, LONG)
    }

    /// Makes a host of child processes that gives a child no longer than [`SOON`] to start.
    #[must_use]
    pub fn impatient() -> Self {
        Self::patient(Door::Process, SOON)
    }

    fn patient(door: Door, start_timeout: Duration) -> Self {
        let scratch = Scratch::new().expect("a temporary directory");
        let backend = fixtures::backend(door, scratch.path(), start_timeout);
        Self {
            scratch,
            door,
            backend,
            plugins: Vec::new(),
            grants: Grants::default(),
            limits: Limits::default(),
            run_as: RunAs::default(),
            host: None,
            prints: None,
        }
    }

    /// Returns a directory that goes with the host.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Offers these to plugins of that name, as far as [`grants`](Self::grants) has it by now.
    pub fn offer(
        &mut self,
        plugin: &str,
        secrets: Option<Arc<dyn SecretStore>>,
        accounts: Option<Arc<dyn IdentitySource>>,
    ) {
        let services = Services::new(PluginName::new(plugin), &self.grants, secrets, accounts);
        self.host = Some(Arc::new(services));
    }

    /// Starts one of the plugins that stand behind every door.
    ///
    /// # Errors
    ///
    /// Whatever kept it from starting.
    pub async fn launch(&mut self, name: &str) -> Result<TestPlugin, LaunchError> {
        let path = self.plugin(name);
        self.launch_file(path).await
    }

    /// Starts one of the plugins that stand behind every door, under supervision, as a host with a registry does.
    ///
    /// # Errors
    ///
    /// Whatever kept it from starting.
    pub async fn supervise(&mut self, name: &str) -> Result<TestPlugin, LaunchError> {
        let spec = self.spec(self.plugin(name));
        let provider = supervise::launch::<ProviderKind>(Arc::clone(&self.backend), spec, LONG).await?;
        let provider = Arc::new(provider);
        self.plugins.push(Arc::clone(&provider) as Arc<dyn Plugin>);
        Ok(TestPlugin { provider })
    }

    /// Starts the plugin in a file.
    ///
    /// # Errors
    ///
    /// Whatever kept it from starting.
    pub async fn launch_file(&mut self, path: PathBuf) -> Result<TestPlugin, LaunchError> {
        let provider = self.backend.launch_provider(self.spec(path)).await?;
        self.plugins.push(Arc::clone(&provider) as Arc<dyn Plugin>);
        Ok(TestPlugin { provider })
    }

    /// Starts one of the auth handler plugins that stand behind every door.
    ///
    /// # Errors
    ///
    /// Whatever kept it from starting.
    pub async fn launch_auth(&mut self, name: &str) -> Result<TestAuth, LaunchError> {
        let path = self.plugin(name);
        let plugin = self.backend.launch_auth_handler(self.spec(path)).await?;
        self.plugins.push(Arc::clone(&plugin) as Arc<dyn Plugin>);
        Ok(TestAuth { plugin })
    }

    fn plugin(&self, name: &str) -> PathBuf {
        match self.door {
            Door::Shim => {
                let mut grants = self.grants.clone();
                // A host of a test that knows no policy grants what it likes; behind the shim there is always one.
                if !grants.host_calls() {
                    grants.secrets = portcullis::policy::every_secret();
                }
                shim::wrapped(name, self.scratch(), &grants, &self.limits, &self.run_as)
            }
            door => fixtures::plugin(door, name),
        }
    }

    fn spec(&self, path: PathBuf) -> PluginSpec {
        let name = path.file_stem().expect("a plugin has a name").to_string_lossy().into_owned();
        // What limits a component behind the shim stands in its file, and nowhere else.
        let limits = if self.door == Door::Shim { Limits::default() } else { self.limits.clone() };
        PluginSpec {
            grants: self.grants.clone(),
            limits,
            run_as: self.run_as.clone(),
            host: self.host.clone(),
            prints: self.prints.clone(),
            ..PluginSpec::new(PluginName::new(name), path)
        }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        // They end first; then the scratch directory goes, and looks for what is left of them.
        self.plugins.clear();
    }
}

/// A running plugin, with the calls that tests make most.
#[derive(Clone, Debug)]
pub struct TestPlugin {
    /// The plugin itself.
    pub provider: Arc<dyn Provider>,
}

impl TestPlugin {
    /// Configures one of the plugin's providers, under [`LONG`].
    ///
    /// # Errors
    ///
    /// As [`Provider::configure`].
    pub async fn configure(&self, provider: &str, configuration: &Configuration) -> Result<(), CallError> {
        generous(self.provider.configure(&Call::default(), &ProviderName::new(provider), configuration)).await
    }

    /// Executes a request of one of the plugin's providers, under [`LONG`].
    ///
    /// # Errors
    ///
    /// As [`Provider::execute`].
    pub async fn execute(&self, provider: &str, input: &str) -> Result<Output, CallError> {
        self.request(request(provider, input)).await
    }

    /// Executes a request that may carry a context, under [`LONG`].
    ///
    /// # Errors
    ///
    /// As [`Provider::execute`].
    pub async fn request(&self, request: Execute) -> Result<Output, CallError> {
        generous(self.provider.execute(&Call::default(), request)).await
    }

    /// Executes a request and returns everything it showed and its end, under [`LONG`].
    pub async fn stream(&self, provider: &str, input: &str) -> (Vec<Chunk>, Option<CallError>) {
        let mut stream = self.provider.execute_stream(&Call::default(), request(provider, input));
        generous(async move {
            let mut chunks = Vec::new();
            while let Some(next) = stream.next().await {
                match next {
                    Ok(chunk) => chunks.push(chunk),
                    Err(error) => return (chunks, Some(error)),
                }
            }
            assert!(stream.next().await.is_none(), "what is over stays over");
            (chunks, None)
        })
        .await
    }
}

/// Makes a request without a context.
#[must_use]
pub fn request(provider: &str, input: &str) -> Execute {
    Execute::new(ProviderName::new(provider), Json::from_text(input))
}

/// Waits for something that has to happen.
///
/// # Panics
///
/// When it does not happen within [`LONG`].
pub async fn generous<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("this takes no minute")
}
