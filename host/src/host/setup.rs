//! The setup of a host: its backends, its directories, and what it grants to which plugin.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{
    Backend, Configuration, Digest, Environment, Grants, HandlerName, HostService, Kind, Limits, PluginSpec,
    Prints, RunAs, Settings, Stdin,
};

use super::services::{IdentitySource, Services};
use super::wrapped::KnownWrapped;
use crate::policy::Policy;

/// The setup of a host.
#[derive(Clone)]
pub struct Setup {
    /// The backends of this build.
    pub backends: Vec<Arc<dyn Backend>>,
    /// Where plugins are searched, in this order. Relative paths follow the working directory, at each search and at
    /// each restart: use absolute paths in a program that changes it.
    pub directories: Vec<PathBuf>,
    /// Those of the directories whose native programs may be started only to find out what they offer.
    pub trusted: Vec<PathBuf>,
    /// Where descriptors are kept between runs; `None` keeps none.
    pub descriptors: Option<PathBuf>,
    /// Returns what a policy has for a file, by its digest.
    pub policy: PolicyLookup,
    /// What native plugins see of the environment, whatever their policies say; those excepted that are started because a
    /// plugin asks for them. (One that is up already stays as it is, whoever wants it next.)
    pub environment: Option<Environment>,
    /// What native plugins read, whatever their policies say; with the same exception.
    pub stdin: Option<Stdin>,
    /// The labels of the policy's entries. A plugin that is called like one of them, and that no entry is for, is warned
    /// of when it starts: it may be an update, and nothing that was said of the earlier file holds.
    pub labels: Vec<String>,
    /// Makes the host service of each plugin.
    pub services: ServiceFactory,
    /// The configuration of every provider and auth handler; the settings of its policy are added.
    pub configuration: Configuration,
    /// The auth handler that is used when a plugin names none.
    pub default_handler: Option<HandlerName>,
    /// Says which wrapped files are believed; with `None` no native program is searched for a component.
    pub wrapped: Option<KnownWrapped>,
    /// Takes what plugins print outside of streaming calls; `None` logs it at level debug. Prints of a plugin that is
    /// started only to find out what it offers are always logged.
    pub prints: Option<Arc<dyn Prints>>,
    /// How long starting and ending plugins may take.
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
    /// Describes a host that searches no directory, keeps nothing and grants nothing. Set the directories, and whatever
    /// else differs, in the fields.
    ///
    /// Plugins may ask for the identities that their policy grants. There are no secrets; for these set `services` to
    /// [`Services::granted`] with a store.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self {
            backends,
            directories: Vec::new(),
            trusted: Vec::new(),
            descriptors: None,
            policy: Arc::new(|_| PluginSettings::default()),
            environment: None,
            stdin: None,
            labels: Vec::new(),
            services: Arc::new(|asker| Some(Arc::new(Services::granted(asker, None)))),
            configuration: Configuration::default(),
            default_handler: None,
            wrapped: None,
            prints: None,
            patience: Patience::default(),
        }
    }

    /// Uses a policy for what plugins may touch, and for the trusted directories.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        policy.trusted_dirs().clone_into(&mut self.trusted);
        self.labels = policy.labels();
        self.policy = Arc::new(move |digest| PluginSettings::of(&policy, digest));
        self
    }
}

/// Looks up what a policy has for a file, by its digest.
pub type PolicyLookup = Arc<dyn Fn(&Digest) -> PluginSettings + Send + Sync>;

/// Makes the host service of a plugin; `None` offers it none.
pub type ServiceFactory = Arc<dyn Fn(&Asker<'_>) -> Option<Arc<dyn HostService>> + Send + Sync>;

/// A plugin that is about to be started, for which a host service is made.
#[derive(Debug)]
pub struct Asker<'s> {
    /// How it is started; complete except for [`PluginSpec::host`].
    pub spec: &'s PluginSpec,
    /// What it is started as.
    pub kind: Kind,
    /// Who wants it to be started.
    pub wanted_by: WantedBy,
    /// The identities of this host's auth handlers. Made for this one plugin: it starts a handler when it is first
    /// asked for, and refuses a question that would lead back to the asker.
    pub identity: Arc<dyn IdentitySource>,
}

/// Who wants a plugin to be started, first of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedBy {
    /// Whoever uses the host.
    Caller,
    /// Another plugin, which asks for an auth handler. What a caller grants to what they named is not for this one.
    Plugin,
}

/// What a policy has for one plugin. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// The name of the policy's entry for it; `None` when there is none.
    pub label: Option<String>,
    /// What the plugin may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// How it is run.
    pub run_as: RunAs,
    /// Its settings, which override those of [`Setup::configuration`].
    pub settings: Settings,
}

impl PluginSettings {
    /// Returns what a policy has for the file with that digest.
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

/// How long starting and ending plugins may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a child process says what it offers. Its backend's `start_timeout` holds as well.
    pub process_launch: Duration,
    /// Until a component does; compiling it for the first time is part of it.
    pub component_launch: Duration,
    /// From asking a plugin to end until it is killed.
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
