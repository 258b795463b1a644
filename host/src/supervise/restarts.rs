//! Restarts: that a plugin stopped is noticed, it is started again after a pause, and in the end it is quarantined.
//!
//! Nothing polls: a call notices, while it runs or before it begins. The next call waits for the restart on its own
//! clocks, but the restart belongs to none. It goes on when the call that began it is dropped, and ends with the
//! plugin.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use portcullis_contract::{Call, CallError, Configuration, Plugin as _, StopReason, chain};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::{Life, PluginKind, Shared, launch_within};
use crate::lock::lock;

/// How often a plugin is started again before it is quarantined. One that dies of its configuration counts, too:
/// replayed each time, it would restart for ever.
pub const RESTARTS: u32 = 5;

/// The pause before the first restart; it doubles with each.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// After running for so long, a plugin has its earlier restarts forgiven. A guess: too short, and one that dies every
/// minute is never quarantined; too long, and restarts long past end a good plugin.
pub(super) const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

/// The state of a supervised plugin.
pub(super) struct State<K: PluginKind> {
    /// The plugin, unless it is down.
    pub(super) running: Option<Arc<K::Plugin>>,
    /// Counts the launches, so that an old plugin's death is not held against a new one.
    launch: u64,
    since: Instant,
    restarts: u32,
    /// When the next restart may be tried.
    not_before: Instant,
    /// Why it is down or has been.
    last: Option<StopReason>,
    /// The restart under way, or the last one.
    restart: Option<Restart>,
    /// What is replayed to a plugin that was started again.
    configurations: BTreeMap<K::Name, Configuration>,
}

/// The result of a restart, to come. Closed without one if the restart was dropped.
type Restart = watch::Receiver<Option<Result<(), StopReason>>>;

impl<K: PluginKind> State<K> {
    /// Makes the state of a plugin that has just been started.
    pub(super) fn new(plugin: Arc<K::Plugin>) -> Self {
        let now = Instant::now();
        Self {
            running: Some(plugin),
            launch: 0,
            since: now,
            restarts: 0,
            not_before: now,
            last: None,
            restart: None,
            configurations: BTreeMap::new(),
        }
    }

    /// Returns why it is in quarantine, if it is.
    pub(super) fn quarantine(&self) -> Option<String> {
        let reason = self.last.as_ref().filter(|_| self.running.is_none() && self.restarts >= RESTARTS)?;
        Some(format!(
            "in quarantine after {RESTARTS} restarts, the last because: {reason}; \
             it is left alone until its quarantine is lifted or the host starts anew"
        ))
    }

    /// Ends a quarantine. Returns whether there was one.
    pub(super) fn lift_quarantine(&mut self) -> bool {
        let was_quarantined = self.quarantine().is_some();
        if was_quarantined {
            self.restarts = 0;
            self.not_before = Instant::now();
        }
        was_quarantined
    }

    /// Notes that a plugin came to its end, unless a newer one runs already. Returns the dead one.
    fn note_end(&mut self, launch: u64, reason: StopReason) -> Option<Arc<K::Plugin>> {
        if launch != self.launch {
            return None;
        }
        // An instance of a component that ended took one call with it, not the plugin.
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

fn not_again(why: &str) -> StopReason {
    StopReason::Lost { reason: format!("it could not be started again: {why}") }
}

/// A plugin that is up, and which launch it came of.
pub(super) struct Launched<K: PluginKind> {
    pub(super) plugin: Arc<K::Plugin>,
    pub(super) launch: u64,
}

impl<K: PluginKind> Shared<K> {
    pub(super) fn state(&self) -> MutexGuard<'_, State<K>> {
        lock(&self.state)
    }

    /// Returns the plugin, started again if it is down.
    pub(super) async fn plugin(self: &Arc<Self>) -> Result<Launched<K>, CallError> {
        loop {
            if let Some(running) = self.running().await? {
                return Ok(running);
            }
            let not_before = self.state().not_before;
            tokio::time::sleep_until(not_before).await;
            let Some(mut restart) = self.under_way() else { continue };
            let restarted = restart.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
            match restarted {
                Some(restarted) => restarted.map_err(CallError::Stopped)?,
                None if *self.life.borrow() != Life::Up => return Err(CallError::Gone),
                None => {
                    let reason = "its restart was broken off".to_owned();
                    return Err(CallError::Stopped(StopReason::Lost { reason }));
                }
            }
        }
    }

    /// Returns the restart under way, or begins one. `None` when the plugin is up by now, or when a restart failed
    /// meanwhile and the next pause has begun.
    fn under_way(self: &Arc<Self>) -> Option<Restart> {
        let mut state = self.state();
        if state.running.is_some() || Instant::now() < state.not_before {
            return None;
        }
        if let Some(restart) = state.restart.as_ref().filter(|restart| restart.has_changed().is_ok()) {
            return Some(restart.clone());
        }
        let (said, restart) = watch::channel(None);
        state.restart = Some(restart.clone());
        let shared = Arc::clone(self);
        let under_way = async move {
            tokio::select! {
                restarted = shared.restart() => drop(said.send_replace(Some(restarted))),
                // The restart is dropped, and what it has started with it.
                () = shared.over() => {}
            }
        };
        tokio::spawn(under_way.in_current_span().with_current_subscriber());
        Some(restart)
    }

    /// Returns the plugin, unless it is down. One that died between two calls is noticed here, so that it costs a
    /// restart and no call.
    async fn running(&self) -> Result<Option<Launched<K>>, CallError> {
        let launch = self.state().launch;
        self.end(launch, &StopReason::Lost { reason: "it ended between two calls".to_owned() }).await;
        if *self.life.borrow() != Life::Up {
            return Err(CallError::Gone);
        }
        let state = self.state();
        if let Some(running) = &state.running {
            return Ok(Some(Launched { plugin: Arc::clone(running), launch: state.launch }));
        }
        match state.quarantine() {
            Some(reason) => Err(CallError::Stopped(StopReason::Lost { reason })),
            None => Ok(None),
        }
    }

    async fn restart(&self) -> Result<(), StopReason> {
        let attempt = self.state().restarts + 1;
        let name = &self.spec.name;
        tracing::info!(plugin = %name, attempt, allowed = RESTARTS, "plugin is started again");
        if let Some(lost) = K::LOST {
            tracing::warn!(plugin = %name, "plugin is started again: {lost}");
        }
        let launched = launch_within::<K>(self.backend.as_ref(), &self.spec, self.launch_limit).await;
        let started = match launched {
            // Limited here, because no caller's clock ends a plugin that never finishes its configuration.
            Ok(plugin) => match timeout(self.launch_limit, self.replay(plugin.as_ref())).await {
                Ok(replayed) => replayed.map(|()| plugin),
                Err(_elapsed) => Err(not_again(&format!("not configured within {:?}", self.launch_limit))),
            },
            Err(error) => Err(not_again(&chain(&error))),
        };
        let mut state = self.state();
        state.restarts += 1;
        match started {
            // The plugin was shut down while this one started: it is dropped, and so ended.
            Ok(_) if *self.life.borrow() != Life::Up => Ok(()),
            Ok(plugin) => {
                state.launch += 1;
                state.since = Instant::now();
                state.running = Some(plugin);
                Ok(())
            }
            Err(reason) => {
                state.pause(reason.clone());
                drop(state);
                tracing::warn!(plugin = %name, attempt, %reason, "plugin stays down");
                self.note_quarantine();
                Err(reason)
            }
        }
    }

    /// Configures a new plugin as the old one was. Fails only if it dies of that: a configuration that it refuses does
    /// not keep it from being called, here as at its first start.
    async fn replay(&self, plugin: &K::Plugin) -> Result<(), StopReason> {
        let configurations = self.state().configurations.clone();
        for (name, configuration) in &configurations {
            match K::configure(plugin, &Call::default(), name, configuration).await {
                Ok(()) | Err(CallError::Unimplemented) => {}
                Err(CallError::Stopped(reason)) => return Err(reason),
                Err(error) => {
                    tracing::warn!(plugin = %self.spec.name, %name, error = chain(&error), "not configured, but called");
                }
            }
        }
        Ok(())
    }

    /// Configures the plugin, and remembers that for the one that takes its place. A configuration that it dies of is
    /// remembered only if there was none before.
    pub(super) async fn configure(
        self: &Arc<Self>,
        call: &Call,
        name: &K::Name,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        let log = self.log_call("configure", Some(name));
        let configured =
            self.call(log, call, |plugin, call| async move {
                K::configure(&plugin, &call, name, configuration).await
            })
            .await;
        let mut state = self.state();
        let all = &mut state.configurations;
        match &configured {
            Ok(()) => drop(all.insert(name.clone(), configuration.clone())),
            Err(CallError::Stopped(_)) => {
                all.entry(name.clone()).or_insert_with(|| configuration.clone());
            }
            Err(_) => {}
        }
        configured
    }

    /// Notes that the plugin came to its end, if it did, and clears away what is left of it.
    pub(super) async fn end(&self, launch: u64, reason: &StopReason) {
        let dead = self.state().note_end(launch, reason.clone());
        if let Some(dead) = dead {
            tracing::warn!(plugin = %self.spec.name, %reason, "plugin stopped");
            self.note_quarantine();
            dead.shutdown(Duration::ZERO).await;
        }
    }

    /// Tells the log if the plugin is left alone from now on: nobody but a person changes that.
    fn note_quarantine(&self) {
        // Whoever takes the log may ask us something, so no lock is held.
        let quarantine = self.state().quarantine();
        if let Some(quarantine) = quarantine {
            tracing::error!(plugin = %self.spec.name, "plugin is {quarantine}");
        }
    }
}
