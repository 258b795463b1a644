//! A running plugin, and why a call to it gave no answer.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{BackendName, Digest, Kind, LimitHit, PluginName, Refusal};

/// A running plugin, whatever it does for us.
///
/// A caller cannot tell whether it holds a child process or a component, and never asks. Both
/// promise the same:
///
/// - Calls may overlap. An implementation that can serve one at a time queues them itself.
/// - Dropping the future or the stream of a call abandons that call and nothing else.
/// - After [`shutdown`](Self::shutdown), every call fails with [`CallError::Gone`].
/// - Dropping the plugin stops it at once, without the grace that `shutdown` gives.
#[async_trait]
pub trait Plugin: fmt::Debug + Send + Sync {
    /// Returns what its launch found out about the plugin. Never does I/O.
    fn info(&self) -> &PluginInfo;

    /// Returns whether the plugin can still be called. Never does I/O.
    ///
    /// A child that died cannot. A component can until it is shut down: an instance that dies during a call
    /// takes only that call with it.
    fn is_running(&self) -> bool;

    /// Asks the plugin to finish, then stops it once `grace` has passed.
    ///
    /// Shutting down twice is the same as shutting down once.
    async fn shutdown(&self, grace: Duration);
}

/// What a launch found out about a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// What it is called.
    pub name: PluginName,
    /// What it is for.
    pub kind: Kind,
    /// What runs it.
    pub backend: BackendName,
    /// The file that it was launched from.
    pub path: PathBuf,
    /// The digest of that file's content, as it was launched.
    pub digest: Digest,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin understood the request and declined it. Retrying changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// The plugin does not offer this call. Upstream's fallbacks start here (contract spec 4.7).
    #[error("the plugin does not implement this call")]
    Unimplemented,
    /// The plugin, or a request to it, reached one of its limits.
    #[error(transparent)]
    Limit(#[from] LimitHit),
    /// The plugin answered in a form that the contract does not allow.
    #[error("the plugin broke the contract")]
    Contract(#[source] Arc<dyn Error + Send + Sync>),
    /// The plugin died during the call, or before it.
    #[error("the plugin stopped before it answered")]
    Stopped(#[source] StopReason),
    /// The caller's own deadline passed.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// The limit that passed.
        limit: Duration,
    },
    /// The plugin does one thing at a time, and was waiting for a person when the caller's deadline passed.
    /// Asking again later helps.
    #[error("busy: {with}")]
    Busy {
        /// What it was busy with, in a word.
        with: &'static str,
    },
    /// The plugin had been shut down before the call.
    #[error("the plugin is shut down")]
    Gone,
}

/// The most providers or auth handlers that one plugin may offer. A guess: known ones offer a few, and each takes
/// kilobytes of memory and a question of its own.
pub const MOST_OFFERED: usize = 1_000;

impl CallError {
    /// Wraps the reason why an answer breaks the contract.
    #[must_use]
    pub fn contract(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Contract(Arc::from(source.into()))
    }

    /// Refuses a plugin that offers more providers or auth handlers than [`MOST_OFFERED`].
    ///
    /// # Errors
    ///
    /// [`CallError::Contract`].
    pub fn check_offered(count: usize) -> Result<(), Self> {
        let told =
            || format!("it offers {count} under different names, and no more than {MOST_OFFERED} are taken");
        if count <= MOST_OFFERED { Ok(()) } else { Err(Self::contract(told())) }
    }

    /// Returns the error of [`Provider::descriptor`](crate::Provider::descriptor) for a name that the plugin does not
    /// offer.
    #[must_use]
    pub fn no_such_provider() -> &'static Self {
        static ERROR: LazyLock<CallError> =
            LazyLock::new(|| CallError::Refused(Refusal::new("the plugin offers no provider of that name")));
        &ERROR
    }
}

/// How a plugin, or one instance of a component, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Its process, or the guest itself, exited; or the process was killed.
    Exited {
        /// How: an exit code or a signal, in words.
        status: String,
        /// The last of what it wrote to stderr; may be empty.
        stderr: String,
    },
    /// Its instance trapped.
    Trapped {
        /// Why, in words.
        reason: String,
        /// The last of what it wrote to stderr; may be empty.
        stderr: String,
    },
    /// It can no longer be reached, for a reason that is not known.
    Lost {
        /// What was seen of it.
        reason: String,
    },
}

impl StopReason {
    /// Separates how a plugin ended from its last words.
    pub(crate) const BEFORE_LAST_WORDS: &str = "; its last words: ";

    /// Returns how it ended, without its last words, for readers who have seen those already.
    #[must_use]
    pub fn how(&self) -> &str {
        match self {
            Self::Exited { status, .. } => status,
            Self::Trapped { reason, .. } | Self::Lost { reason } => reason,
        }
    }

    /// Returns the last of what it wrote to stderr, without spaces at the end; may be empty.
    #[must_use]
    pub fn last_words(&self) -> &str {
        match self {
            Self::Exited { stderr, .. } | Self::Trapped { stderr, .. } => stderr.trim_end(),
            Self::Lost { .. } => "",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.how())?;
        match self.last_words() {
            "" => Ok(()),
            words => write!(f, "{}{words}", Self::BEFORE_LAST_WORDS),
        }
    }
}

impl Error for StopReason {}
