//! The rooms, joined: directories in, answers out.
//!
//! A [`Host`] looks through directories, starts what is asked for under the settings that a policy
//! gives it, and runs requests. It knows backends as [`Backend`]s and nothing more; it prints
//! nothing, reads no environment and decides no grant. All of that is handed in with a [`Setup`].
//!
//! Looking is not running: a listing starts no native program, and `run` starts only what was asked
//! for by name (contract spec 4.2 is what upstream does; it stays available as
//! a call of its own).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_contract::{
    Backend, BackendName, Capability, Configuration, Context, Descriptor, Digest, Grants, HostService, Json,
    LaunchError, Limits, Output, PluginName, PluginSpec, ProviderName, Resolved, RunAs,
};
use thiserror::Error;

pub mod discover;
mod descriptor;
mod inputs;
pub mod registry;
mod schema;
mod sentences;
pub mod services;
pub mod supervise;
mod text;

use discover::{Candidate, DiscoverError};

/// What a host is made of.
#[derive(Clone)]
pub struct Setup {
    /// The backends of this build.
    pub backends: Vec<Arc<dyn Backend>>,
    /// Where plugins are looked for, in this order.
    pub directories: Vec<PathBuf>,
    /// Those of them whose native programs may be started merely to ask what they offer.
    pub trusted: Vec<PathBuf>,
    /// Where descriptors are kept between runs; `None` keeps none.
    pub descriptors: Option<PathBuf>,
    /// What a policy says of a file, by its digest.
    pub policy: PolicyLookup,
    /// What a plugin may ask of us, made for each.
    pub services: ServiceFactory,
    /// What every provider is told before it is called.
    pub configuration: Configuration,
    /// How long things may take.
    pub patience: Patience,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("backends", &self.backends)
            .field("directories", &self.directories)
            .field("trusted", &self.trusted)
            .field("descriptors", &self.descriptors)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Looks up what a policy says of a file's digest.
pub type PolicyLookup = Arc<dyn Fn(&Digest) -> PluginSettings + Send + Sync>;

/// Makes what a plugin may ask of us. Its specification is complete but for [`PluginSpec::host`].
pub type ServiceFactory = Arc<dyn Fn(&PluginSpec) -> Option<Arc<dyn HostService>> + Send + Sync>;

/// What a policy says of one plugin. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// What people call the entry that applied; `None` when none did.
    pub label: Option<String>,
    /// What the plugin may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// How it is run.
    pub run_as: RunAs,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a child process says what it offers.
    pub process_launch: Duration,
    /// Until a component does; compiling it for the first time is part of it.
    pub component_launch: Duration,
    /// Between asking a plugin to finish and making it.
    pub grace: Duration,
}

impl Default for Patience {
    /// Upstream's minute for a child and 2 s for its end. Five minutes for a component are a guess: too
    /// short, and a huge component is never compiled; too long, and a person gives up first.
    fn default() -> Self {
        Self {
            process_launch: Duration::from_secs(60),
            component_launch: Duration::from_secs(300),
            grace: Duration::from_secs(2),
        }
    }
}

/// What is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A provider, by the name that it is registered under.
    Provider(String),
    /// The plugin in a file, and the provider that is meant if it offers several.
    File(PathBuf, Option<String>),
}

/// Whether native programs may be started that nobody asked for by name, only to be described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Describe {
    /// Only those in directories that are trusted.
    #[default]
    Trusted,
    /// All of them.
    All,
}

/// What lies in the directories.
#[derive(Debug)]
pub struct Listing {
    /// The plugins, in the order in which they are looked through.
    pub plugins: Vec<Listed>,
    /// Files that are meant to be plugins and cannot be: a core module, for instance.
    pub misfits: Vec<Misfit>,
}

/// A file that looks like a plugin.
#[derive(Debug)]
pub struct Listed {
    /// The file.
    pub file: Candidate,
    /// Its digest.
    pub digest: Digest,
    /// What the policy says of it.
    pub settings: PluginSettings,
    /// The limits that hold for it.
    pub limits: Resolved,
    /// What it offers.
    pub offers: Offers,
}

/// What a plugin is known to offer.
#[derive(Debug)]
pub enum Offers {
    /// These providers.
    Known(Vec<Offer>),
    /// A native program that was never started: nobody knows.
    NotYetDescribed,
    /// Asking it failed.
    Failed(FindError),
}

/// A provider that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The name it is advertised under.
    pub advertised: ProviderName,
    /// What it says of itself, or why that is unknown or of no use.
    pub descriptor: Result<Descriptor, String>,
    /// The file whose provider of the same name comes first and wins.
    pub taken_by: Option<PathBuf>,
}

/// A file that cannot be a plugin, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The file.
    pub path: PathBuf,
    /// Why, and what to do.
    pub reason: String,
}

/// A request to run a provider once.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The text of a JSON object; `None` is an empty one.
    pub input: Option<Json>,
    /// The capability that was asked for; `None` takes the one that fits.
    pub capability: Option<String>,
    /// What surrounds the input; its mode is set from the capability.
    pub context: Context,
    /// How long all of it may take, finding and starting the plugin included.
    pub timeout: Option<Duration>,
    /// What is done to the input.
    pub input_check: InputCheck,
}

/// What is done to an input before a plugin sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputCheck {
    /// Defaults, coercion and validation, as upstream's `run provider` does.
    #[default]
    Full,
    /// Nothing, as upstream's resolvers do.
    None,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The provider's registered name.
    pub provider: String,
    /// What runs it.
    pub backend: BackendName,
    /// The capability in which it was called.
    pub capability: Capability,
    /// What it returned.
    pub output: Output,
    /// Whether it was told to change nothing.
    pub dry_run: bool,
    /// How long the call itself took.
    pub took: Duration,
}

/// Takes what a provider shows while it runs.
#[async_trait::async_trait]
pub trait Sink: Send {
    /// Takes what it printed, cut anywhere.
    async fn stdout(&mut self, bytes: Bytes);

    /// Takes what it complained of, cut anywhere.
    async fn stderr(&mut self, bytes: Bytes);
}

/// Why a plugin or provider was not found, or cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// The directories could not be looked through.
    #[error("failed to discover plugins")]
    Discover(#[source] DiscoverError),
    /// Nobody offers it.
    #[error("provider {name:?} not found{}", left_out_text(left_out))]
    NotFound {
        /// What was wanted.
        name: String,
        /// Native programs that nobody asked what they offer.
        left_out: Vec<PathBuf>,
    },
    /// The plugin offers several providers, and none was named.
    #[error("{plugin} offers several providers: {}; name one of them", names.join(", "))]
    Ambiguous {
        /// The plugin.
        plugin: PluginName,
        /// What it offers.
        names: Vec<String>,
    },
    /// The file can never be a plugin.
    #[error("{}: {reason}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// This build cannot run it.
    #[error("{}: this build has no {backend} backend", path.display())]
    NoBackend {
        /// The file.
        path: PathBuf,
        /// What would run it.
        backend: BackendName,
    },
    /// It did not start.
    #[error("plugin {plugin}")]
    Launch {
        /// The plugin.
        plugin: PluginName,
        /// Why.
        #[source]
        source: LaunchError,
    },
}

fn left_out_text(left_out: &[PathBuf]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let paths: Vec<_> = left_out.iter().map(|p| p.display().to_string()).collect();
    format!(" (not started to be asked, for want of --describe: {})", paths.join(", "))
}

/// Why a run gave no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is nothing to run.
    #[error(transparent)]
    Find(FindError),
    /// The request does not fit the provider: an unknown input, a capability that it does not have.
    #[error("{0}")]
    Request(String),
    /// It was tried and failed; the chain of sources reads as upstream's sentence.
    #[error("provider execution failed")]
    Execution(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The time given to all of it has passed.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// How much it was.
        limit: Duration,
    },
}

impl RunError {
    /// Returns the exit code that the plugin named with its refusal. It is not the command's.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        None
    }
}

/// Finds, starts and runs plugins.
///
/// Dropping it ends every plugin at once. Calls may overlap.
pub struct Host {
    setup: Setup,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("directories", &self.setup.directories).finish_non_exhaustive()
    }
}

impl Host {
    /// Makes a host. Looks at nothing and starts nothing.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup }
    }

    /// Lists what lies in the directories. Starts no native program but under `describe`; asks
    /// components in their sandbox, with nothing granted.
    ///
    /// # Errors
    ///
    /// [`FindError::Discover`], when a directory cannot be read.
    pub async fn list(&self, _describe: Describe) -> Result<Listing, FindError> {
        unimplemented!("being written")
    }

    /// Tells about one plugin what a listing would; a file that was named is started to be asked.
    ///
    /// # Errors
    ///
    /// Why it was not found or cannot be used.
    pub async fn inspect(&self, _wanted: &Wanted, _describe: Describe) -> Result<Listed, FindError> {
        unimplemented!("being written")
    }

    /// Finds, starts and configures a provider and runs one request. What it shows goes to `sink`;
    /// without one it is not asked to stream.
    ///
    /// Dropping the future abandons the request.
    ///
    /// # Errors
    ///
    /// What went wrong, in upstream's sentences.
    pub async fn run(
        &self,
        _wanted: &Wanted,
        _describe: Describe,
        _request: Run,
        _sink: Option<&mut dyn Sink>,
    ) -> Result<Ran, RunError> {
        unimplemented!("being written")
    }

    /// Asks every plugin to finish and ends it after the grace. A second call, made while the first
    /// still waits, ends all of them at once.
    pub async fn stop_all(&self) {
        unimplemented!("being written")
    }
}
