//! What a host is made of: its backends, where it looks, and what it gives to whom.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{
    Backend, Configuration, Digest, Grants, HandlerName, HostService, Kind, Limits, PluginSpec, Prints,
    RunAs, Settings,
};

use super::services::{IdentitySource, Services};
use super::wrapped::KnownWrapped;
use crate::policy::Policy;

/// What a host is made of.
#[derive(Clone)]
pub struct Setup {
    /// The backends of this build.
    pub backends: Vec<Arc<dyn Backend>>,
    /// Where plugins are looked for, in this order. Relative ones follow the working directory, at each look and at
    /// each restart: a program that changes it names absolute paths.
    pub directories: Vec<PathBuf>,
    /// Those of them whose native programs may be started merely to ask what they offer.
    pub trusted: Vec<PathBuf>,
    /// Where descriptors are kept between runs; `None` keeps none.
    pub descriptors: Option<PathBuf>,
    /// What a policy says of a file, by its digest.
    pub policy: PolicyLookup,
    /// What a plugin may ask of us, made for each.
    pub services: ServiceFactory,
    /// What every provider and every auth handler is told before it is called, with the settings of its policy.
    pub configuration: Configuration,
    /// The auth handler that is meant when a plugin names none.
    pub default_handler: Option<HandlerName>,
    /// The wrapped files that are believed; `None` looks into no native program.
    pub wrapped: Option<KnownWrapped>,
    /// Where what plugins print of their own accord goes; `None` has it logged, at level debug. Prints of a plugin that
    /// is started merely to be described are always logged.
    pub prints: Option<Arc<dyn Prints>>,
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

impl Setup {
    /// Describes a host that looks nowhere, keeps nothing, and grants nothing: directories, and whatever else differs,
    /// are set in the fields.
    ///
    /// Plugins may ask of it what their policy grants: identities, but no secrets ([`Services::granted`] takes a
    /// store).
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            backends,
            directories: Vec::new(),
            trusted: Vec::new(),
            descriptors: None,
            policy: Arc::new(|_| PluginSettings::default()),
            services: Arc::new(|asker| Some(Arc::new(Services::granted(asker, None)))),
            configuration: Configuration::default(),
            default_handler: None,
            wrapped: None,
            prints: None,
            patience: Patience::default(),
        }
    }

    /// Has a policy say what plugins may touch, and whose directories are trusted.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        policy.trusted_dirs().clone_into(&mut self.trusted);
        self.policy = Arc::new(move |digest| PluginSettings::of(&policy, digest));
        self
    }
}

/// Looks up what a policy says of a file's digest.
pub type PolicyLookup = Arc<dyn Fn(&Digest) -> PluginSettings + Send + Sync>;

/// Makes what a plugin may ask of us.
pub type ServiceFactory = Arc<dyn Fn(&Asker<'_>) -> Option<Arc<dyn HostService>> + Send + Sync>;

/// A plugin that is about to be started, and may ask things of us.
#[derive(Debug)]
pub struct Asker<'s> {
    /// How it is started; complete but for [`PluginSpec::host`].
    pub spec: &'s PluginSpec,
    /// What it is started as.
    pub kind: Kind,
    /// Who is logged in with the auth handlers of this host. Made for this one plugin: it starts a handler
    /// when it is first asked for, and refuses a question that would lead back to the asker.
    pub identity: Arc<dyn IdentitySource>,
}

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
    /// What it is told before it is called, laid over [`Setup::configuration`].
    pub settings: Settings,
}

impl PluginSettings {
    /// Returns what a policy says of the file with that digest.
    #[must_use]
    pub fn of(policy: &Policy, digest: &Digest) -> Self {
        policy.for_digest(digest).cloned().map_or_else(Self::default, |said| Self {
            label: Some(said.label),
            grants: said.grants,
            limits: said.limits,
            run_as: said.run_as,
            settings: said.settings,
        })
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a child process says what it offers. Its backend's `start_timeout` holds as well.
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
