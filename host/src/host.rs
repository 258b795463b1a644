//! The rooms, joined: directories in, answers out.
//!
//! A [`Host`] looks through directories, starts what is asked for under the settings that a policy
//! gives it, and runs requests. It knows backends as [`Backend`](portcullis_contract::Backend)s and nothing more; it prints
//! nothing, reads no environment and decides no grant. All of that is handed in with a [`Setup`].
//!
//! Looking is not running: a listing starts no native program, and `run` starts only what was asked
//! for by name (contract spec 4.2 is what upstream does; it stays available as
//! a call of its own).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use portcullis_contract::{
    BackendName, Call, CallError, Capability, Context, Digest, HandlerName, Json, LaunchError, Output,
};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub mod auth;
mod describe;
mod descriptor;
mod descriptors;
pub mod discover;
mod execute;
mod find;
pub mod flow;
pub mod handlers;
mod identity;
mod inputs;
mod lately;
mod listing;
mod references;
pub mod registry;
mod schema;
mod sentences;
pub mod services;
mod setup;
mod start;
mod text;
mod waits;
mod wrapped;

use descriptors::Descriptors;
pub use execute::{ExecuteError, FailedCall, InvalidInput};
pub use find::{Describe, FindError, FoundHandlers, Wanted};
use handlers::AuthRegistry;
use lately::Lately;
pub use listing::{HandlerOffer, Listed, Listing, Misfit, Offer, Offers};
use registry::Registry;
use services::IdentityError;
pub use setup::{Asker, Patience, PluginSettings, PolicyLookup, ServiceFactory, Setup};
use start::Starting;
use waits::Waits;
pub use wrapped::{KnownWrapped, Origin, Wrapped};

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
    /// The fields of its value that are to be kept out of sight.
    pub sensitive_fields: Vec<String>,
}

impl Ran {
    /// Returns the value with its sensitive fields replaced by `[REDACTED]`, as `--redact` does upstream.
    #[must_use]
    pub fn redacted(&self) -> Json {
        execute::redact(&self.output.data, &self.sensitive_fields)
    }
}

/// Takes what a provider shows while it runs.
#[async_trait::async_trait]
pub trait Sink: Send {
    /// Takes what it printed, cut anywhere.
    async fn stdout(&mut self, bytes: Bytes);

    /// Takes what it complained of, cut anywhere.
    async fn stderr(&mut self, bytes: Bytes);
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
    Execution(#[source] ExecuteError),
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
        match self {
            Self::Execution(error) => error.refusal().and_then(|r| r.exit_code),
            _ => None,
        }
    }
}

/// Finds, starts and runs plugins.
///
/// A plugin that was started stays up for the next request. Calls may overlap. Dropping the host ends
/// every plugin at once.
pub struct Host {
    rooms: Arc<Rooms>,
}

/// What a host is, seen from inside: its plugins may ask something of it, but do not keep it.
struct Rooms {
    me: Weak<Self>,
    setup: Setup,
    descriptors: Descriptors,
    registry: Registry,
    auth_registry: AuthRegistry,
    /// The plugins by their files. Each is started once, by whoever comes first.
    plugins: Mutex<BTreeMap<PathBuf, Starting>>,
    waits: Waits,
    /// The auth handlers that plugins asked for in vain.
    unusable: Lately<HandlerName, IdentityError>,
    /// The files that could not be described, by their digests.
    undescribed: Lately<Digest, LaunchError>,
    stopping: AtomicBool,
    /// Whether the host was dropped.
    over: watch::Sender<bool>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("setup", &self.rooms.setup).finish_non_exhaustive()
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").finish_non_exhaustive()
    }
}

/// A plugin that is asking something of the host holds on to it; with this it lets go.
impl Drop for Host {
    fn drop(&mut self) {
        self.rooms.over.send_replace(true);
    }
}

impl Host {
    /// Makes a host. Starts nothing.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let rooms = Arc::new_cyclic(|me| Rooms {
            me: Weak::clone(me),
            descriptors: Descriptors::new(setup.descriptors.clone()),
            setup,
            registry: Registry::default(),
            auth_registry: AuthRegistry::default(),
            plugins: Mutex::default(),
            waits: Waits::default(),
            unusable: Lately::default(),
            undescribed: Lately::default(),
            stopping: AtomicBool::new(false),
            over: watch::Sender::new(false),
        });
        Self { rooms }
    }

    /// Returns the providers of the plugins that were started.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.rooms.registry
    }

    /// Returns the auth handlers of the plugins that were started.
    #[must_use]
    pub fn auth_registry(&self) -> &AuthRegistry {
        &self.rooms.auth_registry
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
        wanted: &Wanted,
        describe: Describe,
        request: Run,
        sink: Option<&mut dyn Sink>,
    ) -> Result<Ran, RunError> {
        let Some(limit) = request.timeout else {
            return self.run_until(None, wanted, describe, request, sink).await;
        };
        let Some(deadline) = Instant::now().checked_add(limit) else {
            return self.run_until(None, wanted, describe, request, sink).await;
        };
        // Around all of it, for what is no call has no clock of its own: looking, starting, checking.
        match timeout_at(deadline, self.run_until(Some(deadline), wanted, describe, request, sink)).await {
            Ok(Err(RunError::Execution(error)))
                if matches!(error.call_error(), Some(CallError::TimedOut { .. })) =>
            {
                Err(RunError::TimedOut { limit })
            }
            Ok(ran) => ran,
            Err(_elapsed) => Err(RunError::TimedOut { limit }),
        }
    }

    async fn run_until(
        &self,
        deadline: Option<Instant>,
        wanted: &Wanted,
        describe: Describe,
        request: Run,
        sink: Option<&mut dyn Sink>,
    ) -> Result<Ran, RunError> {
        let provider = self.rooms.find(wanted, describe).await.map_err(RunError::Find)?;
        let dry_run = request.context.dry_run;
        let prepared = execute::prepare(&provider, request)?;
        let call = Call { deadline: deadline.map(Instant::into_std) };
        let (output, took) = execute::timed(execute::call(&provider, &call, prepared.request, sink)).await;
        Ok(Ran {
            provider: provider.name().to_owned(),
            backend: provider.plugin.info().backend,
            capability: prepared.capability,
            output: output.map_err(RunError::Execution)?,
            dry_run,
            took,
            sensitive_fields: provider.descriptor.sensitive_fields.clone(),
        })
    }

    /// Asks every plugin to finish and ends it after the grace. A second call, made while the first
    /// still waits, ends all of them at once. No plugin is started any more.
    pub async fn stop_all(&self) {
        let again = self.rooms.stopping.swap(true, Ordering::SeqCst);
        let plugins: Vec<_> = {
            let plugins = self.rooms.plugins.lock().unwrap_or_else(PoisonError::into_inner);
            plugins.values().filter_map(|p| p.get()).map(|p| Arc::clone(&p.plugin)).collect()
        };
        let grace = if again { Duration::ZERO } else { self.rooms.setup.patience.grace };
        join_all(plugins.iter().map(|plugin| plugin.shutdown(grace))).await;
    }
}

#[cfg(test)]
mod tests;
