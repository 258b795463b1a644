//! How plugins are started.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    AuthHandler, BackendName, CallError, Digest, Grants, HostService, Kind, Limits, PluginName, Prints,
    Provider, chain,
};

/// A way of running plugins.
///
/// To find out which kind of plugin a file is, it is launched as one kind: a child answers only those who know
/// its cookie. A plugin of the other kind fails with [`LaunchError::OtherKind`], if it can be recognized.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns what this way is called.
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
    /// What the file has to contain; `None` takes it as it is.
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
    /// Makes a specification that grants nothing and limits as usual.
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
    /// The kernel holds it to its memory; nobody to its processor time.
    #[default]
    Kernel,
    /// The child itself: it runs a component, and is known to enforce the limits it is given.
    Itself,
}

/// How a plugin is run, as far as there is a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunAs {
    /// How a component's instances are used.
    pub instances: Instances,
    /// Where a component runs.
    pub isolation: Isolation,
    /// What a child process sees of our environment.
    pub environment: Environment,
    /// What a child process reads.
    pub stdin: Stdin,
}

/// How a component's instances are used. A child process is one instance, whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Instances {
    /// A fresh one for every call: nothing of one call is left to the next.
    #[default]
    PerCall,
    /// One for all calls, which wait for each other.
    Single,
    /// So many, each used again and again.
    Pooled(u16),
}

/// Where a component runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// In a sandbox of our own process.
    #[default]
    Sandbox,
    /// In such a sandbox, in a process of its own.
    Process,
}

/// What a child process sees of our environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// What most programs need, and what was granted by name.
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
    /// What we read, as upstream has it.
    Inherit,
}

/// Why a plugin did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it has to be.
    #[error("{} has changed: expected {expected}, found {found}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What it had to contain.
        expected: Digest,
        /// What it contains.
        found: Digest,
    },
    /// The file is no plugin that this backend could ever run. The text says what to do about it.
    #[error("not a plugin that can be run")]
    Unfit(#[source] Box<dyn Error + Send + Sync>),
    /// The file is a plugin, and not of the kind that it was launched as.
    #[error("it is a plugin, but no {wanted}")]
    OtherKind {
        /// What it was launched as.
        wanted: Kind,
    },
    /// It was tried and did not come up.
    #[error("did not start")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// It came up and did not say what it offers.
    #[error("does not say what it offers")]
    Undescribed(#[source] CallError),
}

impl LaunchError {
    /// Wraps the reason why a file can never be run.
    #[must_use]
    pub fn unfit(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unfit(source.into())
    }

    /// Wraps the reason why a plugin did not come up.
    #[must_use]
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }

    /// Refuses a file that does not contain what it has to; `None` takes it as it is.
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

    /// Returns a copy if the plugin itself is the cause and would fail again in the same way. A wrapped cause becomes
    /// its text.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Unfit(source) => Some(Self::unfit(chain(source.as_ref()))),
            Self::Failed(source) => Some(Self::failed(chain(source.as_ref()))),
            Self::Undescribed(error) => Some(Self::Undescribed(error.again())),
            Self::Unreadable { .. } | Self::Changed { .. } | Self::OtherKind { .. } => None,
        }
    }
}
