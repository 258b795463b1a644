//! A running plugin, and why a call to it gave no answer.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{BackendName, Digest, Kind, PluginName, Refusal, chain};

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
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The plugin understood the request and declined it. Retrying changes nothing.
    #[error("{0}")]
    Refused(Refusal),
    /// The plugin does not offer this call. Upstream's fallbacks start here (contract spec 4.7).
    #[error("the plugin does not implement this call")]
    Unimplemented,
    /// The plugin, or a request to it, reached one of its limits.
    #[error("limit {which} reached: asked {asked:#}, allowed {allowed}")]
    Limit {
        /// Which one, by its name in the policy.
        which: LimitName,
        /// How much the plugin or the request needed.
        asked: Amount,
        /// How much it was allowed.
        allowed: Amount,
    },
    /// The plugin answered in a form that the contract does not allow.
    #[error("the plugin broke the contract")]
    Contract(#[source] Box<dyn Error + Send + Sync>),
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
        Self::Contract(source.into())
    }

    /// Refuses more bytes than a limit allows.
    ///
    /// # Errors
    ///
    /// [`CallError::Limit`].
    pub fn check_bytes(which: LimitName, asked: u64, allowed: u64) -> Result<(), Self> {
        if asked <= allowed {
            return Ok(());
        }
        let [asked, allowed] = [asked, allowed].map(Amount::Bytes);
        Err(Self::Limit { which, asked, allowed })
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

    /// Returns a copy, in which a wrapped cause has become its text.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
            Self::Unimplemented => Self::Unimplemented,
            Self::Limit { which, asked, allowed } => {
                Self::Limit { which: *which, asked: *asked, allowed: *allowed }
            }
            Self::Contract(source) => Self::contract(chain(source.as_ref())),
            Self::Stopped(reason) => Self::Stopped(reason.clone()),
            Self::TimedOut { limit } => Self::TimedOut { limit: *limit },
            Self::Busy { with } => Self::Busy { with },
            Self::Gone => Self::Gone,
        }
    }
}

/// A limit, by its name in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitName {
    /// Bytes of all memories and tables of an instance, or of a child.
    Memory,
    /// Processor time of one call.
    Cpu,
    /// Time of one call, waiting included.
    Wall,
    /// Bytes of one request or result.
    Message,
    /// Bytes that one call prints.
    Output,
    /// Calls at the same time.
    Concurrency,
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Message => "message",
            Self::Output => "output",
            Self::Concurrency => "concurrency",
        })
    }
}

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Time.
    Time(Duration),
    /// Things to count.
    Count(u64),
    /// More than a number can hold, or an amount that is not known.
    Unknown,
}

/// The units of time that a policy knows, in nanoseconds.
const TIMES: [(u128, &str); 4] =
    [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];

/// Shows it as a policy writes it. The alternate form is for what was asked: bytes that are no whole number of a unit
/// are rounded up to a tenth, so that more than was allowed also looks like more.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => {
                for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
                    if *bytes < (1 << shift) {
                        continue;
                    }
                    if bytes.is_multiple_of(1 << shift) {
                        return write!(f, "{}{unit}", bytes >> shift);
                    }
                    if f.alternate() {
                        return tenths(f, *bytes, shift, unit);
                    }
                }
                write!(f, "{bytes}B")
            }
            Self::Time(time) => {
                let nanos = time.as_nanos();
                match TIMES.into_iter().find(|(whole, _)| nanos >= *whole && nanos.is_multiple_of(*whole)) {
                    Some((whole, unit)) => write!(f, "{}{unit}", nanos / whole),
                    None => write!(f, "{time:?}"),
                }
            }
            Self::Count(count) => write!(f, "{count}"),
            Self::Unknown => f.write_str("more"),
        }
    }
}

/// Shows bytes in a unit of two to the power of `shift`, rounded up to a tenth of it.
fn tenths(f: &mut fmt::Formatter<'_>, bytes: u64, shift: u32, unit: &str) -> fmt::Result {
    let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    let tenths = whole * 10 + (rest * 10).div_ceil(1 << shift);
    write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: u64, allowed: u64, text: &str) {
        let [asked, allowed] = [asked, allowed].map(Amount::Bytes);
        let said = CallError::Limit { which: LimitName::Memory, asked, allowed }.to_string();
        assert_eq!(said, format!("limit memory reached: {text}"));
    }

    #[test]
    fn what_was_asked_is_easily_read_and_never_looks_like_what_was_allowed() {
        check(67_613_856, 64 << 20, "asked 64.5MiB, allowed 64MiB");
        check((64 << 20) + 1, 64 << 20, "asked 64.1MiB, allowed 64MiB");
        check((65 << 20) - 1, 64 << 20, "asked 65.0MiB, allowed 64MiB");
        check(128 << 20, 64 << 20, "asked 128MiB, allowed 64MiB");
        check(1_001, 1_000, "asked 1001B, allowed 1000B");
        check(1_600, 1 << 10, "asked 1.6KiB, allowed 1KiB");
        // What a policy says is shown as it says it.
        check(1_600_000, 1_500_000, "asked 1.6MiB, allowed 1500000B");
        check(u64::MAX, 1 << 40, "asked 16777216.0TiB, allowed 1TiB");
    }
}
