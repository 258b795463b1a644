//! How plugins are started.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    AuthHandler, BackendName, CallError, Digest, Grants, HostService, Kind, Limits, PluginName, Prints,
    Provider, chain, visible_line,
};

/// A way of running plugins.
///
/// The kind of a plugin cannot be asked: a child answers only a host that already presents the cookie of its kind.
/// So a file is launched as one of the kinds. A plugin of the other kind fails with [`LaunchError::OtherKind`], if it
/// can be recognized.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns the backend's name.
    fn name(&self) -> BackendName;

    /// Starts a plugin that offers providers, and reads what it says of itself.
    ///
    /// Dropping the future ends what was started. A descriptor that cannot be read does not fail the
    /// launch: [`Provider::descriptor`] says why.
    async fn launch_provider(&self, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError>;

    /// Starts a plugin that offers auth handlers, and reads what it says of them.
    ///
    /// Dropping the future ends what was started.
    async fn launch_auth_handler(&self, spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError>;
}

/// A plugin that is to be started.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// What to call it.
    pub name: PluginName,
    /// Its file.
    pub path: PathBuf,
    /// The digest that the file must have; `None` accepts any content. A script has to have it before and after it starts:
    /// it is run by its path, and who may write to its directory could replace it for that moment.
    pub digest: Option<Digest>,
    /// What it may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// Who holds it to its memory and processor time, if it is a child process.
    pub held_by: HeldBy,
    /// How it is run.
    pub run_as: RunAs,
    /// What it may ask of us; `None` offers nothing.
    pub host: Option<Arc<dyn HostService>>,
    /// Where its own output goes; `None` logs it at level debug.
    pub prints: Option<Arc<dyn Prints>>,
}

impl PluginSpec {
    /// Makes a specification that grants nothing, with the default limits.
    #[must_use]
    pub fn new(name: PluginName, path: impl Into<PathBuf>) -> Self {
        Self {
            name,
            path: path.into(),
            digest: None,
            grants: Grants::default(),
            limits: Limits::default(),
            held_by: HeldBy::default(),
            run_as: RunAs::default(),
            host: None,
            prints: None,
        }
    }
}

/// Who holds a child process to its limits on memory and processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeldBy {
    /// The kernel enforces the limit on memory; nothing enforces one on processor time.
    #[default]
    Kernel,
    /// The child itself: it runs a component, and is known to enforce the limits it is given.
    Itself,
}

/// How a plugin is run, as far as there is a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// How a component's instances are used.
    pub instances: InstanceReuse,
    /// Where a component runs.
    pub isolation: Isolation,
    /// Which variables of our environment a child process gets.
    pub environment: Environment,
    /// What a child process has as its standard input.
    pub stdin: Stdin,
}

/// How a component's instances are used. A child process is one instance, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstanceReuse {
    /// A fresh one for every call: no call leaves anything to the next.
    #[default]
    PerCall,
    /// One for all calls, which run one at a time.
    Single,
    /// At most so many, each reused by one call after another.
    Pooled(u16),
}

/// Where a component runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// In a sandbox of our own process.
    #[default]
    Sandbox,
    /// In a sandbox, within a process of its own.
    Process,
}

/// What a child process sees of our environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// The variables that most programs need, and those that were granted by name.
    #[default]
    Usual,
    /// All of it, as upstream has it.
    Inherit,
}

/// What a child process reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// Our own standard input, as upstream has it.
    Inherit,
}

/// Why a plugin did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The file cannot be read.
    #[error("cannot read {}", visible_line(&path.display().to_string()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not have the digest that it must have.
    #[error("{} has changed: expected {expected}, found {found}", visible_line(&path.display().to_string()))]
    Changed {
        /// The file.
        path: PathBuf,
        /// The digest that it must have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// This backend can never run the file. The text says what to do about it.
    #[error("not a plugin that can be run")]
    Unfit(#[source] Box<dyn Error + Send + Sync>),
    /// The file is a plugin, and not of the kind that it was launched as.
    #[error("it is a plugin, but no {wanted}")]
    OtherKind {
        /// What it was launched as.
        wanted: Kind,
    },
    /// The plugin was started, and did not become ready.
    #[error("did not start")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// The plugin became ready, and then did not say what it offers.
    #[error("does not say what it offers")]
    Undescribed(#[source] CallError),
}

impl LaunchError {
    /// Wraps the reason why a file can never be run.
    #[must_use]
    pub fn unfit(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unfit(source.into())
    }

    /// Wraps the reason why a plugin did not become ready.
    #[must_use]
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }

    /// Refuses a file whose digest is not the expected one; `None` accepts any.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Changed`].
    pub fn check_digest(path: &Path, expected: Option<Digest>, found: Digest) -> Result<(), Self> {
        match expected {
            Some(expected) if expected != found => {
                Err(Self::Changed { path: path.to_owned(), expected, found })
            }
            _ => Ok(()),
        }
    }

    /// Returns a copy of the error if the plugin itself caused it and would fail in the same way again. In the copy the cause
    /// of [`Unfit`](Self::Unfit) and [`Failed`](Self::Failed) has become its text.
    #[must_use]
    pub fn lasting(&self) -> Option<Self> {
        match self {
            Self::Unfit(source) => Some(Self::unfit(chain(source.as_ref()))),
            Self::Failed(source) => Some(Self::failed(chain(source.as_ref()))),
            Self::Undescribed(error) => Some(Self::Undescribed(error.clone())),
            Self::Unreadable { .. } | Self::Changed { .. } | Self::OtherKind { .. } => None,
        }
    }
}
