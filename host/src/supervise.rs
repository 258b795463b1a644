//! A plugin that is watched: deadlines, turns, restarts and the end, for both backends in one place.
//!
//! [`Supervised`] is a plugin around another one, of either kind. It holds the two clocks of a call, the
//! caller's and the plugin's own, around everything that the call waits for: its turn, a restart, the
//! answer. A plugin that stopped, under a call or between two, is started anew at the next one, told again what it had
//! been configured with, after a pause that doubles; when that has happened too often it is left in
//! quarantine. Backends know nothing of this, and no other room keeps a clock.
//!
//! What a plugin remembered is gone with it: an auth handler that was started again knows of no login but
//! those that it finds in its secrets.
//!
//! Whoever drops a call drops everything below it.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::stream;
use portcullis_contract::{
    Backend, Call, CallError, Configuration, Kind, LaunchError, Plugin, PluginInfo, PluginSpec, Resolved,
    StopReason, chain,
};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

mod auth;
mod clocks;
mod provider;

pub use auth::AuthHandlerKind;
pub use provider::ProviderKind;

use clocks::{Clocks, Waiting, too_many};

/// How often a plugin is started again before it is left alone.
pub const RESTARTS: u32 = 5;

/// The pause before the first restart; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A plugin that has run so long since its last restart has its restarts forgiven. A guess: too short,
/// and one that dies every minute is never left alone; too long, and old sorrows end a good plugin.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

/// A kind of plugin, as far as supervision has to know it: how one is started, and told what its host is like.
#[async_trait]
pub trait PluginKind: Debug + Send + Sync + 'static {
    /// What a plugin of the kind is.
    type Plugin: Plugin + ?Sized + 'static;
    /// The names under which it takes calls.
    type Name: Clone + Debug + Display + Ord + Send + Sync;
    /// What it says of itself at launch.
    type Said: Debug + Send + Sync;
    /// What it is.
    const KIND: Kind;
    /// What is lost with a plugin that died, for a person to read.
    const LOST: Option<&'static str>;

    /// Starts one.
    async fn launch(backend: &dyn Backend, spec: PluginSpec) -> Result<Arc<Self::Plugin>, LaunchError>;

    /// Returns what it said of itself. Never does I/O.
    fn said(plugin: &Self::Plugin) -> Self::Said;

    /// Tells it what its host is like.
    async fn tell(
        plugin: &Self::Plugin,
        call: &Call,
        name: &Self::Name,
        configuration: &Configuration,
    ) -> Result<(), CallError>;
}

/// A running plugin under supervision.
///
/// All promises of [`Plugin`] hold. What it says of itself is what it said at its first launch.
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
    /// Held while a plugin is being started again, so that one call does it and the others wait.
    restarting: tokio::sync::Mutex<()>,
    state: Mutex<State<K>>,
    configurations: Mutex<BTreeMap<K::Name, Configuration>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Up,
    /// No new calls; those under way may end.
    Ending,
    /// Nothing goes on.
    Over,
}

struct State<K: PluginKind> {
    /// The plugin, unless it is down.
    running: Option<Arc<K::Plugin>>,
    /// Counts the launches, so that an old plugin's death is not held against a new one.
    launch: u64,
    since: Instant,
    restarts: u32,
    /// When the next restart may be tried.
    not_before: Instant,
    /// Why it is down or has been.
    last: Option<StopReason>,
}

/// The plugin took too long to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not up within {0:?}")]
struct TooSlow(Duration);

/// Starts a plugin and supervises it.
///
/// # Errors
///
/// As the backend's; a launch that takes longer than `launch_limit` has failed.
pub async fn launch<K: PluginKind>(
    backend: Arc<dyn Backend>,
    spec: PluginSpec,
    launch_limit: Duration,
) -> Result<Supervised<K>, LaunchError> {
    let plugin = launch_within::<K>(backend.as_ref(), &spec, launch_limit).await?;
    let limits = spec.limits.resolve(backend.name());
    let now = Instant::now();
    let shared = Shared {
        turns: Arc::new(Semaphore::new(limits.concurrency as usize)),
        backend,
        limits,
        launch_limit,
        life: watch::Sender::new(Life::Up),
        restarting: tokio::sync::Mutex::new(()),
        configurations: Mutex::default(),
        state: Mutex::new(State {
            running: Some(Arc::clone(&plugin)),
            launch: 0,
            since: now,
            restarts: 0,
            not_before: now,
            last: None,
        }),
        spec,
    };
    Ok(Supervised { info: plugin.info().clone(), said: K::said(&plugin), shared: Arc::new(shared) })
}

async fn launch_within<K: PluginKind>(
    backend: &dyn Backend,
    spec: &PluginSpec,
    limit: Duration,
) -> Result<Arc<K::Plugin>, LaunchError> {
    match tokio::time::timeout(limit, K::launch(backend, spec.clone())).await {
        Ok(launched) => launched,
        Err(_elapsed) => Err(LaunchError::failed(TooSlow(limit))),
    }
}

impl<K: PluginKind> Supervised<K> {
    /// Returns the limits that hold for it.
    #[must_use]
    pub fn limits(&self) -> &Resolved {
        &self.shared.limits
    }

    /// Returns why it was left alone, if it was.
    #[must_use]
    pub fn quarantine(&self) -> Option<String> {
        self.shared.state().quarantine()
    }

    /// Gives a plugin in quarantine another try. Does nothing to one that is not.
    pub fn lift_quarantine(&self) {
        let mut state = self.shared.state();
        if state.quarantine().is_some() {
            state.restarts = 0;
            state.not_before = Instant::now();
        }
    }

    /// Tells the plugin what its host is like, and every later one that takes its place.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn tell(
        &self,
        call: &Call,
        name: &K::Name,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.shared.configure(call, name, configuration).await
    }

    /// Ends the plugin at once, and every call to it.
    pub async fn kill(&self) {
        self.shared.life.send_replace(Life::Over);
        let running = self.shared.state().running.take();
        if let Some(running) = running {
            running.shutdown(Duration::ZERO).await;
        }
    }
}

impl<K: PluginKind> State<K> {
    fn quarantine(&self) -> Option<String> {
        let reason = self.last.as_ref().filter(|_| self.running.is_none() && self.restarts >= RESTARTS)?;
        Some(format!(
            "in quarantine after {RESTARTS} restarts, the last because: {reason}; \
             it is left alone until its quarantine is lifted or the host starts anew"
        ))
    }

    /// Notes that a plugin came to its end, unless a newer one runs already.
    fn note_end(&mut self, launch: u64, reason: StopReason) -> Option<Arc<K::Plugin>> {
        if launch != self.launch {
            return None;
        }
        // What ended an instance of a component ended that call alone.
        let dead = self.running.take_if(|plugin| !plugin.is_running())?;
        if self.since.elapsed() >= FORGIVEN_AFTER {
            self.restarts = 0;
        }
        self.pause(reason);
        Some(dead)
    }

    fn pause(&mut self, reason: StopReason) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.restarts.min(RESTARTS));
        self.not_before = Instant::now() + pause;
        self.last = Some(reason);
    }
}

/// A plugin that is up, and which launch it came of.
struct Up<K: PluginKind> {
    plugin: Arc<K::Plugin>,
    launch: u64,
}

/// A plugin at the moment of a call, and the turn that the call has.
struct Turn<K: PluginKind> {
    up: Up<K>,
    _permit: OwnedSemaphorePermit,
}

/// What a call in pieces keeps. Not the plugin: nobody may ever look at it again.
struct Streaming<T> {
    pieces: BoxStream<'static, Result<T, CallError>>,
    launch: u64,
    _permit: OwnedSemaphorePermit,
}

impl<K: PluginKind> Shared<K> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call: waits for a turn, for the plugin, and for the answer.
    async fn call<T, F, Fut>(&self, call: &Call, make: F) -> Result<T, CallError>
    where
        F: FnOnce(Arc<K::Plugin>, Call) -> Fut + Send,
        Fut: Future<Output = Result<T, CallError>> + Send,
    {
        let clocks = Clocks::start(call, &self.limits);
        let turn = self.turn(clocks).await?;
        let answer = make(Arc::clone(&turn.up.plugin), clocks.call());
        let answer = self.until_over(clocks, answer).await;
        if let Err(CallError::Stopped(reason)) = &answer {
            self.end(turn.up.launch, reason).await;
        }
        answer
    }

    /// Makes one call that answers in pieces. Only `is_end` is handed over after its time.
    fn stream<T, F>(
        self: &Arc<Self>,
        clocks: Clocks,
        make: F,
        is_end: fn(&T) -> bool,
    ) -> BoxStream<'static, Result<T, CallError>>
    where
        T: Send + 'static,
        F: FnOnce(&K::Plugin, &Call) -> BoxStream<'static, Result<T, CallError>> + Send + 'static,
    {
        enum Step<T, F> {
            Begin(F),
            Next(Streaming<T>),
            End,
        }
        let shared = Arc::clone(self);
        let steps = stream::unfold(Step::Begin(make), move |step| {
            let shared = Arc::clone(&shared);
            async move {
                let mut streaming = match step {
                    Step::Begin(make) => match shared.turn(clocks).await {
                        Ok(Turn { up: Up { plugin, launch }, _permit }) => {
                            Streaming { pieces: make(&plugin, &clocks.call()), launch, _permit }
                        }
                        Err(error) => return Some((Err(error), Step::End)),
                    },
                    Step::Next(streaming) => streaming,
                    Step::End => return None,
                };
                let next = shared.until_over(clocks, async { Ok(streaming.pieces.next().await) }).await;
                match next {
                    Ok(Some(Ok(piece))) if is_end(&piece) => Some((Ok(piece), Step::Next(streaming))),
                    // To a plugin that is always ahead of its reader nobody waits, and so no clock strikes.
                    Ok(Some(Ok(_))) if clocks.first() <= Instant::now() => {
                        Some((Err(clocks.error(Waiting::ForAnswer, &shared.limits)), Step::End))
                    }
                    Ok(Some(Ok(piece))) => Some((Ok(piece), Step::Next(streaming))),
                    Ok(None) => None,
                    Ok(Some(Err(error))) | Err(error) => {
                        if let CallError::Stopped(reason) = &error {
                            shared.end(streaming.launch, reason).await;
                        }
                        Some((Err(error), Step::End))
                    }
                }
            }
        });
        steps.boxed()
    }

    /// Waits for something no longer than the clocks, and not past the end of the plugin.
    async fn until_over<T>(
        &self,
        clocks: Clocks,
        answer: impl Future<Output = Result<T, CallError>> + Send,
    ) -> Result<T, CallError> {
        tokio::select! {
            // The loser is dropped, and with it the call: that is how it is abandoned.
            answer = timeout_at(clocks.first(), answer) => {
                answer.unwrap_or_else(|_elapsed| Err(clocks.error(Waiting::ForAnswer, &self.limits)))
            }
            // The loser holds nothing but a place to wait at.
            () = self.over() => Err(CallError::Gone),
        }
    }

    /// Waits until nothing goes on.
    async fn over(&self) {
        let mut life = self.life.subscribe();
        // The sender is ours, so that waiting cannot fail.
        let _ = life.wait_for(|life| *life == Life::Over).await;
    }

    /// Waits for a turn, and for the plugin to be up.
    async fn turn(&self, clocks: Clocks) -> Result<Turn<K>, CallError> {
        if *self.life.borrow() != Life::Up {
            return Err(CallError::Gone);
        }
        if self.limits.concurrency == 0 {
            return Err(too_many(&self.limits));
        }
        let permit = tokio::select! {
            biased;
            // The loser gives up its place among those who wait.
            permit = timeout_at(clocks.first(), Arc::clone(&self.turns).acquire_owned()) => permit
                .map_err(|_elapsed| clocks.error(Waiting::ForTurn, &self.limits))?
                .map_err(|_closed| CallError::Gone)?,
            // A stream that nobody reads keeps its turn, and would keep whoever waits for it.
            () = self.over() => return Err(CallError::Gone),
        };
        let up = self.until_over(clocks, self.plugin()).await?;
        Ok(Turn { up, _permit: permit })
    }

    /// Returns the plugin, started again if it is down.
    async fn plugin(&self) -> Result<Up<K>, CallError> {
        if let Some(running) = self.running().await? {
            return Ok(running);
        }
        let _one_at_a_time = self.restarting.lock().await;
        // Another call may have done it meanwhile.
        if let Some(running) = self.running().await? {
            return Ok(running);
        }
        let not_before = self.state().not_before;
        tokio::time::sleep_until(not_before).await;
        self.restart().await
    }

    /// Returns the plugin, unless it is down. One that died with nobody asking anything of it is found
    /// out here, so that it costs a restart and not a call.
    async fn running(&self) -> Result<Option<Up<K>>, CallError> {
        let launch = self.state().launch;
        self.end(launch, &StopReason::Lost { reason: "it ended between two calls".to_owned() }).await;
        if *self.life.borrow() != Life::Up {
            return Err(CallError::Gone);
        }
        let state = self.state();
        if let Some(running) = &state.running {
            return Ok(Some(Up { plugin: Arc::clone(running), launch: state.launch }));
        }
        match state.quarantine() {
            Some(reason) => Err(CallError::Stopped(StopReason::Lost { reason })),
            None => Ok(None),
        }
    }

    async fn restart(&self) -> Result<Up<K>, CallError> {
        let attempt = self.state().restarts + 1;
        let name = &self.spec.name;
        tracing::info!(plugin = %name, attempt, allowed = RESTARTS, "plugin is started again");
        if let Some(lost) = K::LOST {
            tracing::warn!(plugin = %name, "plugin is started again: {lost}");
        }
        let started = match launch_within::<K>(self.backend.as_ref(), &self.spec, self.launch_limit).await {
            Ok(plugin) => self.replay(plugin.as_ref()).await.map(|()| plugin),
            Err(error) => {
                Err(StopReason::Lost { reason: format!("it could not be started again: {}", chain(&error)) })
            }
        };
        let mut state = self.state();
        // Counted here and not before, because a caller who gave up halfway has tried nothing.
        state.restarts += 1;
        match started {
            // The end may have come while it started; then nobody would ever end this one.
            Ok(_) if *self.life.borrow() != Life::Up => Err(CallError::Gone),
            Ok(plugin) => {
                state.launch += 1;
                state.since = Instant::now();
                state.running = Some(Arc::clone(&plugin));
                Ok(Up { plugin, launch: state.launch })
            }
            Err(reason) => {
                state.pause(reason.clone());
                Err(CallError::Stopped(reason))
            }
        }
    }

    /// Tells a new plugin what the old one had been told. Only its death matters: a configuration
    /// that it refuses does not keep it from being called, here as at its first start.
    async fn replay(&self, plugin: &K::Plugin) -> Result<(), StopReason> {
        let configurations = self.configurations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, configuration) in &configurations {
            match K::tell(plugin, &Call::default(), name, configuration).await {
                Ok(()) | Err(CallError::Unimplemented) => {}
                Err(CallError::Stopped(reason)) => return Err(reason),
                Err(error) => {
                    tracing::warn!(plugin = %self.spec.name, %name, error = chain(&error), "not configured");
                }
            }
        }
        Ok(())
    }

    /// Tells the plugin what its host is like, and remembers it for the next one.
    async fn configure(
        &self,
        call: &Call,
        name: &K::Name,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        let configured = self
            .call(call, |plugin, call| async move { K::tell(&plugin, &call, name, configuration).await })
            .await;
        if configured.is_ok() {
            let mut all = self.configurations.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(name.clone(), configuration.clone());
        }
        configured
    }

    /// Notes that the plugin came to its end, if it did, and clears away what is left of it.
    async fn end(&self, launch: u64, reason: &StopReason) {
        let dead = self.state().note_end(launch, reason.clone());
        if let Some(dead) = dead {
            tracing::warn!(plugin = %self.spec.name, %reason, "plugin stopped");
            dead.shutdown(Duration::ZERO).await;
        }
    }
}

/// A shutdown under way. Once it has done its work, or was dropped and the plugin with it, nothing goes on.
struct Ending<'a>(&'a watch::Sender<Life>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Life::Over);
    }
}

/// Calls and streams hold what is shared; none of them keeps the plugin alive.
impl<K: PluginKind> Drop for Supervised<K> {
    fn drop(&mut self) {
        self.shared.life.send_replace(Life::Over);
        drop(self.shared.state().running.take());
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

    /// Whoever comes second waits for the end that the first one brings about, under the first one's
    /// grace. Only who gives none at all does not wait: that is [`kill`](Self::kill).
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
            tokio::select! {
                () = running.shutdown(grace) => {}
                // Somebody lost patience: the asking is dropped, and the plugin ended.
                () = self.shared.over() => running.shutdown(Duration::ZERO).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
