//! A plugin under supervision: deadlines, turns, restarts and the end, for both backends in one place.
//!
//! [`Supervised`] wraps a plugin of either kind. Two clocks run around everything that a call waits for (its turn, a
//! restart, the answer): the caller's deadline, and the wall of the plugin. A plugin that stopped is started again by
//! the next call, and configured as it was before. The pause before that doubles each time; after too many restarts the
//! plugin is in quarantine until that is [lifted](Supervised::lift_quarantine). Backends know nothing of this.
//!
//! What a plugin had in memory is lost: an auth handler that was started again knows only the logins that it finds in
//! its secrets.
//!
//! Dropping a call drops everything below it except a restart, which serves whoever calls next.

use std::fmt::{self, Debug, Display};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_contract::{
    Backend, Call, CallError, Configuration, Kind, LaunchError, Plugin, PluginInfo, PluginSpec, Resolved,
};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

mod auth;
mod call_log;
mod calls;
mod clocks;
mod logins;
mod provider;
mod restarts;

pub use auth::AuthHandlerKind;
pub use provider::ProviderKind;
pub use restarts::{FIRST_PAUSE, RESTARTS};

use logins::Logins;
use restarts::State;

/// A kind of plugin, as far as supervision has to know it: how one is started and configured.
#[async_trait]
pub trait PluginKind: Debug + Send + Sync + 'static {
    /// What a plugin of the kind is.
    type Plugin: Plugin + ?Sized + 'static;
    /// The names under which it takes calls.
    type Name: Clone + Debug + Display + Ord + Send + Sync;
    /// What it says of itself at launch.
    type Said: Debug + Send + Sync;
    /// The kind.
    const KIND: Kind;
    /// What a plugin that died loses, in words for a person.
    const LOST: Option<&'static str>;

    /// Starts one.
    async fn launch(backend: &dyn Backend, spec: PluginSpec) -> Result<Arc<Self::Plugin>, LaunchError>;

    /// Returns what it said of itself. Never does I/O.
    fn said(plugin: &Self::Plugin) -> Self::Said;

    /// Configures one provider or auth handler of it.
    async fn configure(
        plugin: &Self::Plugin,
        call: &Call,
        name: &Self::Name,
        configuration: &Configuration,
    ) -> Result<(), CallError>;
}

/// A running plugin under supervision.
///
/// All promises of [`Plugin`] hold. Names and descriptors are those of its first launch, and its path is that of the
/// specification.
pub struct Supervised<K: PluginKind> {
    info: PluginInfo,
    said: K::Said,
    shared: Arc<Shared<K>>,
}

struct Shared<K: PluginKind> {
    backend: Arc<dyn Backend>,
    spec: PluginSpec,
    limits: Resolved,
    launch_limit: Duration,
    turns: Arc<Semaphore>,
    life: watch::Sender<Life>,
    state: Mutex<State<K>>,
    logins: Logins,
}

/// The state of a plugin, or of a host with all of its plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Up,
    /// Nothing new is begun; calls under way may end.
    Ending,
    /// Nothing goes on.
    Over,
}

/// The plugin took too long to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not up within {0:?}")]
struct TooSlow(Duration);

/// Starts a plugin and supervises it. An auth handler reaches the person of its [host service](PluginSpec::host) only during
/// a login, and in the name of the handler that logs in.
///
/// # Errors
///
/// As the backend's; a launch that takes longer than `launch_limit` has failed.
pub async fn launch<K: PluginKind>(
    backend: Arc<dyn Backend>,
    mut spec: PluginSpec,
    launch_limit: Duration,
) -> Result<Supervised<K>, LaunchError> {
    let logins = Logins::default();
    if K::KIND == Kind::AuthHandler {
        spec.host = spec.host.map(|host| logins.attend(&spec.name, host));
    }
    let plugin = launch_within::<K>(backend.as_ref(), &spec, launch_limit).await?;
    let limits = spec.limits.resolve(backend.name());
    // An isolated component is run by the process backend, from a wrapped file that nobody else should see.
    let (path, digest) = (spec.path.clone(), spec.digest.unwrap_or(plugin.info().digest));
    let info = PluginInfo { backend: backend.name(), path, digest, ..plugin.info().clone() };
    let shared = Shared {
        turns: Arc::new(Semaphore::new(limits.concurrency as usize)),
        backend,
        limits,
        launch_limit,
        life: watch::Sender::new(Life::Up),
        state: Mutex::new(State::new(Arc::clone(&plugin))),
        logins,
        spec,
    };
    Ok(Supervised { info, said: K::said(&plugin), shared: Arc::new(shared) })
}

async fn launch_within<K: PluginKind>(
    backend: &dyn Backend,
    spec: &PluginSpec,
    limit: Duration,
) -> Result<Arc<K::Plugin>, LaunchError> {
    let begun = Instant::now();
    let launched = tokio::time::timeout(limit, K::launch(backend, spec.clone())).await;
    let plugin = launched.unwrap_or_else(|_elapsed| Err(LaunchError::failed(TooSlow(limit))))?;
    let PluginInfo { name, kind, backend, path, digest } = plugin.info();
    let (path, took) = (path.display(), begun.elapsed());
    tracing::debug!(plugin = %name, %kind, %backend, %path, %digest, ?took, "plugin is up");
    Ok(plugin)
}

impl<K: PluginKind> Supervised<K> {
    /// Returns the limits that hold for it.
    #[must_use]
    pub fn limits(&self) -> &Resolved {
        &self.shared.limits
    }

    /// Returns why it is in quarantine, if it is.
    #[must_use]
    pub fn quarantine(&self) -> Option<String> {
        self.shared.state().quarantine()
    }

    /// Ends the quarantine of the plugin, if it is in quarantine. Returns whether it was.
    pub fn lift_quarantine(&self) -> bool {
        let was_quarantined = self.shared.state().lift_quarantine();
        if was_quarantined {
            tracing::info!(plugin = %self.info.name, "its quarantine is lifted");
        }
        was_quarantined
    }

    /// Ends the plugin at once, and every call to it. If it is being [shut down](Self::shutdown) already, that is cut short,
    /// and this does not wait for it.
    pub async fn kill(&self) {
        self.shared.life.send_replace(Life::Over);
        let running = self.shared.state().running.take();
        if let Some(running) = running {
            tracing::debug!(plugin = %self.info.name, "plugin is killed");
            running.shutdown(Duration::ZERO).await;
        }
    }
}

/// A shutdown under way. Dropping it, done or not, ends every call.
struct Ending<'a>(&'a watch::Sender<Life>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Life::Over);
    }
}

/// Streams hold what is shared, and keep no plugin alive. A call does until it is polled again, and then ends.
impl<K: PluginKind> Drop for Supervised<K> {
    fn drop(&mut self) {
        self.shared.life.send_replace(Life::Over);
        let _ended = self.shared.state().running.take();
    }
}

impl<K: PluginKind> Debug for Supervised<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("info", &self.info).finish_non_exhaustive()
    }
}

#[async_trait]
impl<K: PluginKind> Plugin for Supervised<K> {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// A plugin that died can be called, too: it is started again.
    fn is_running(&self) -> bool {
        *self.shared.life.borrow() == Life::Up
    }

    /// A second call waits for the first one to finish, under the grace of the first. A grace of zero does not wait: it
    /// [kills](Self::kill).
    async fn shutdown(&self, grace: Duration) {
        if grace.is_zero() {
            return self.kill().await;
        }
        let first = self.shared.life.send_if_modified(|life| {
            let up = *life == Life::Up;
            if up {
                *life = Life::Ending;
            }
            up
        });
        if !first {
            return self.shared.over().await;
        }
        let _ending = Ending(&self.shared.life);
        let running = self.shared.state().running.take();
        if let Some(running) = running {
            tracing::debug!(plugin = %self.info.name, ?grace, "plugin is shut down");
            tokio::select! {
                () = running.shutdown(grace) => {}
                // Somebody killed it meanwhile: the graceful shutdown is dropped.
                () = self.shared.over() => running.shutdown(Duration::ZERO).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
