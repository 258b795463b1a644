//! Instances: fresh for every call, prepared ahead of it, single, pooled.
//!
//! A call takes an instance, configures it if that is still to be done, and asks its question. A store that saw a trap,
//! a limit or a dropped call is never used again: it is not put back. The clock and the plugin's end are checked around
//! every poll of a guest, so neither depends on the guest.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use portcullis_contract::{Call, CallError, InstanceReuse, LimitHit, StopReason, chain};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

use crate::component::PrepareAhead;
use crate::component::ahead::{Ahead, Signal, Whom};
use crate::component::bindings::portcullis::plugin::types::{Configuration, PluginError};
use crate::component::clock::Meter;
use crate::component::ending::Watch;
use crate::component::engine::Class;
use crate::component::failure::contained;
use crate::component::guest::{Function, Guest};
use crate::component::homes::{Homes, Place};
use crate::component::state::{Errand, Ground, Reader, State};
use crate::lock::lock;

/// A question to a guest.
pub(crate) trait Ask<T>: for<'a> FnOnce(&'a mut Guest) -> Asked<'a, T> + Send {}

impl<T, F> Ask<T> for F where F: for<'a> FnOnce(&'a mut Guest) -> Asked<'a, T> + Send {}

/// The answer to come.
pub(crate) type Asked<'a, T> = BoxFuture<'a, wasmtime::Result<Result<T, PluginError>>>;

/// For whom a guest is asked.
pub(crate) struct Inquiry<'a> {
    call: &'a Call,
    /// The provider or handler that an instance has to be configured for.
    name: Option<&'a str>,
    /// Who reads what comes before the answer.
    reader: Option<Reader>,
}

impl<'a> Inquiry<'a> {
    pub(crate) fn of(call: &'a Call) -> Self {
        Self { call, name: None, reader: None }
    }

    pub(crate) fn named(self, name: impl Into<Option<&'a str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    pub(crate) fn read_by(self, reader: impl Into<Option<Reader>>) -> Self {
        Self { reader: reader.into(), ..self }
    }
}

/// The instances of one plugin.
pub(crate) struct Instances {
    pub(crate) ground: Arc<Ground>,
    homes: Arc<Homes>,
    /// Tells an instance its configuration.
    configure: Function,
    /// One permit for each call that may run at a time.
    turns: Semaphore,
    /// How many those are.
    at_once: u32,
    /// What each provider or handler was last configured with.
    configurations: RwLock<BTreeMap<String, Arc<Configuration>>>,
    supply: Supply,
}

/// Where instances come from.
enum Supply {
    /// Made when a call comes.
    Fresh,
    /// Made before a call comes, if there is time.
    Ahead(Ahead),
    /// Used again. There are as many as there are turns.
    Kept(Mutex<Vec<Live>>),
}

/// An instance.
pub(crate) struct Live {
    guest: Guest,
    meter: Arc<Meter>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instances").field("ground", &self.ground).finish_non_exhaustive()
    }
}

impl Instances {
    pub(crate) fn new(
        ground: Arc<Ground>,
        homes: Arc<Homes>,
        configure: Function,
        reuse: InstanceReuse,
        prepared: PrepareAhead,
    ) -> Self {
        let most = match reuse {
            InstanceReuse::PerCall => u32::MAX,
            InstanceReuse::Single => 1,
            InstanceReuse::Pooled(n) => n.into(),
        };
        let at_once = ground.limits.concurrency.min(most).max(1);
        let supply = match reuse {
            InstanceReuse::PerCall
                if homes.first.kit.class == Class::Large || prepared == PrepareAhead::Always =>
            {
                Supply::Ahead(Ahead::new(homes.first.kit.class))
            }
            InstanceReuse::PerCall => Supply::Fresh,
            InstanceReuse::Single | InstanceReuse::Pooled(_) => Supply::Kept(Mutex::default()),
        };
        let turns = Semaphore::new(usize::try_from(at_once).unwrap_or(usize::MAX));
        Self { ground, homes, configure, turns, at_once, configurations: RwLock::default(), supply }
    }

    /// Asks a guest, in an instance that is configured for whoever was named.
    pub(crate) async fn ask<T>(
        self: &Arc<Self>,
        inquiry: Inquiry<'_>,
        question: impl Ask<T>,
    ) -> Result<T, CallError> {
        let answer = self.ask_in(None, inquiry, question).await;
        answer.map_err(|error| self.fitting(error))
    }

    /// Asks a guest in `live`, if there is one, or else in another instance.
    pub(crate) async fn ask_in<T>(
        self: &Arc<Self>,
        live: Option<Live>,
        Inquiry { call, name, reader }: Inquiry<'_>,
        question: impl Ask<T>,
    ) -> Result<T, CallError> {
        self.open()?;
        let deadline = call.deadline.into_iter().chain(self.end_of_wall()).min();
        let _turn = self.turns.acquire().await.map_err(|_| CallError::Gone)?;
        self.open()?;
        let mut live = self.take(live, name, Errand { deadline, reader }).await?;
        let remembered = name.and_then(|name| self.remembered(name));
        let under_way = match &self.supply {
            Supply::Ahead(ahead) => {
                let whom = name.map(str::to_owned).zip(remembered.clone());
                Some(ahead.begun(whom, |signal| self.attend(signal)))
            }
            Supply::Fresh | Supply::Kept(_) => None,
        };
        let meter = Arc::clone(&live.meter);
        let work = async {
            if let Some((name, remembered)) = name.zip(remembered) {
                live.guest.configure(self.configure, name, remembered).await?;
            }
            question(&mut live.guest).await
        };
        let result = Watch::new(&meter, &self.ground.ending, pin!(contained(work))).await;
        live.guest.store.data_mut().end();
        let answer = self.outcome(result, &live.guest.store)?;
        self.put_back(live);
        drop(under_way);
        answer.map_err(CallError::from)
    }

    /// Begins a call in an instance: in `live`, else in one that waits, else in a new one.
    async fn take(&self, live: Option<Live>, name: Option<&str>, errand: Errand) -> Result<Live, CallError> {
        if let Some(mut live) = live.or_else(|| self.ready(name)) {
            State::begin(&mut live.guest.store, errand, self.ground.limits.cpu);
            return Ok(live);
        }
        if let Supply::Ahead(ahead) = &self.supply {
            ahead.clear_one();
        }
        let mut live = self.make(Errand { deadline: errand.deadline, reader: None }).await?;
        State::go_on(&mut live.guest.store, errand);
        Ok(live)
    }

    /// Puts an instance that has answered where the next call, or the task that clears up, finds it; or drops it.
    fn put_back(&self, live: Live) {
        let place = match &self.supply {
            Supply::Fresh => None,
            Supply::Ahead(ahead) => ahead.place_for_spent(),
            Supply::Kept(idle) => Some(idle),
        };
        if let Some(place) = place {
            self.put(place, live);
        }
    }

    /// Has later instances begin with this configuration; `None` forgets it.
    pub(crate) fn remember(&self, name: &str, configuration: Option<Arc<Configuration>>) {
        let mut all = self.configurations.write().unwrap_or_else(PoisonError::into_inner);
        match configuration {
            Some(configuration) => all.insert(name.to_owned(), configuration),
            None => all.remove(name),
        };
    }

    fn remembered(&self, name: &str) -> Option<Arc<Configuration>> {
        self.configurations.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn open(&self) -> Result<(), CallError> {
        if self.ground.ending.asked() { Err(CallError::Gone) } else { Ok(()) }
    }

    /// Takes an instance that waits to be used.
    fn ready(&self, name: Option<&str>) -> Option<Live> {
        match &self.supply {
            Supply::Fresh => None,
            Supply::Kept(idle) => lock(idle).pop(),
            Supply::Ahead(ahead) => {
                let remembered = name.and_then(|name| self.remembered(name));
                let mut ready = lock(&ahead.ready);
                // One with a configuration that has changed since is of no use.
                ready.retain(|live| {
                    live.guest.configured.iter().all(|(name, old)| self.is_current(name, old))
                });
                let fits = |live: &Live| match (
                    name.zip(remembered.as_ref()),
                    live.guest.configured.first_key_value(),
                ) {
                    (_, None) => true,
                    (None, Some(_)) => false,
                    (Some((name, _)), Some((for_whom, _))) => name == for_whom,
                };
                let at = ready.iter().position(fits)?;
                Some(ready.swap_remove(at))
            }
        }
    }

    fn is_current(&self, name: &str, remembered: &Arc<Configuration>) -> bool {
        self.remembered(name).is_some_and(|now| Arc::ptr_eq(&now, remembered))
    }

    /// Makes the first instance, which shows whether the component starts at all.
    pub(crate) async fn first(&self) -> Result<Live, CallError> {
        self.make(Errand::default()).await
    }

    /// Makes an instance, and waits for a slot if it has to.
    async fn make(&self, errand: Errand) -> Result<Live, CallError> {
        let place = pin!(self.homes.place());
        // The calls that have the slots may outlast the plugin.
        let place = Watch::waiting(&self.ground.ending, place).await.ok_or(CallError::Gone)??;
        self.make_in(place, errand).await
    }

    async fn make_in(&self, place: Place<'_>, errand: Errand) -> Result<Live, CallError> {
        let Place { home, slot } = place;
        let meter = Arc::new(Meter::new(Arc::clone(self.homes.engines.clock.face())));
        let mut store = State::store(&self.ground, &home.kit, Arc::clone(&meter))
            .map_err(|error| CallError::Stopped(StopReason::Lost { reason: chain(&error) }))?;
        State::begin(&mut store, errand, self.ground.limits.cpu);
        let result = {
            let work = pin!(contained(home.pre.instantiate_async(&mut store)));
            Watch::new(&meter, &self.ground.ending, work).await
        };
        let instance = self.outcome(result, &store)?;
        store.data_mut().is_made();
        let guest = Guest::new(store, instance, home.exports.clone());
        Ok(Live { guest, meter, _slot: slot })
    }

    /// Clears up after calls and makes instances for those to come, whenever there is a signal.
    fn attend(self: &Arc<Self>, signal: Arc<Signal>) -> impl Future<Output = ()> + Send + 'static {
        let this = Arc::downgrade(self);
        async move {
            let Ok(waiting) = signal.waiting() else { return };
            while waiting.given().await.is_ok() {
                let Some(this) = this.upgrade() else { return };
                let Supply::Ahead(ahead) = &this.supply else { return };
                let spent = std::mem::take(&mut *lock(&ahead.spent));
                drop(spent);
                while lock(&ahead.ready).len() < ahead.most() {
                    match this.prepare_one(ahead).await {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            let (plugin, error) = (&this.ground.name, chain(&error));
                            tracing::debug!(%plugin, error, "no instance was made ahead of calls");
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Makes an instance ahead of a call, unless that would take the last slots from calls. Returns whether one waits.
    ///
    /// The wall of a call limits this, too: nothing else would end an instance that never gets ready and keeps its
    /// slot, because calls make their own instances meanwhile.
    async fn prepare_one(&self, ahead: &Ahead) -> Result<bool, CallError> {
        let home = &self.homes.first;
        if home.kit.slots.as_ref().is_some_and(|slots| slots.available_permits() <= ahead.most()) {
            return Ok(false);
        }
        let Some(place) = home.try_place() else { return Ok(false) };
        let whom = lock(&ahead.whom).clone();
        let deadline = self.end_of_wall();
        let prepared = self.prepare_in(place, whom, deadline);
        let live = match self.ground.limits.wall.zip(deadline) {
            // What is given up is dropped, and its slot with it.
            Some((wall, deadline)) => match timeout_at(deadline.into(), prepared).await {
                Ok(prepared) => prepared?,
                Err(_elapsed) => return Err(LimitHit::wall(wall).into()),
            },
            None => prepared.await?,
        };
        Ok(self.put(&ahead.ready, live))
    }

    /// Makes an instance, and tells it its configuration.
    async fn prepare_in(
        &self,
        place: Place<'_>,
        whom: Option<Whom>,
        deadline: Option<Instant>,
    ) -> Result<Live, CallError> {
        let errand = || Errand { deadline, reader: None };
        let mut live = self.make_in(place, errand()).await?;
        let Some((name, remembered)) = whom else { return Ok(live) };
        State::go_on(&mut live.guest.store, errand());
        let meter = Arc::clone(&live.meter);
        let result = {
            let work = pin!(contained(live.guest.configure(self.configure, &name, remembered)));
            Watch::new(&meter, &self.ground.ending, work).await
        };
        self.outcome(result, &live.guest.store)?;
        Ok(live)
    }

    /// Returns when a call that begins now reaches the wall, if there is one.
    fn end_of_wall(&self) -> Option<Instant> {
        // A wall that is too far off to compute never comes.
        self.ground.limits.wall.and_then(|wall| Instant::now().checked_add(wall))
    }

    /// Puts an instance into a place, unless the plugin is ending. Returns whether it did.
    fn put(&self, place: &Mutex<Vec<Live>>, live: Live) -> bool {
        // The end takes the same lock to clear the place, so nothing is put there after it.
        let mut place = lock(place);
        let open = !self.ground.ending.asked();
        if open {
            place.push(live);
        }
        open
    }

    /// Lets running calls finish for so long, and then ends them.
    pub(crate) async fn shut_down(&self, grace: Duration) {
        self.ground.ending.ask();
        drop(timeout(grace, self.turns.acquire_many(self.at_once)).await);
        self.end();
    }

    /// Ends every call at once.
    pub(crate) fn end(&self) {
        self.ground.ending.end();
        // A stream that nobody reads keeps its turn, so whoever waits for one is sent away.
        self.turns.close();
        match &self.supply {
            Supply::Fresh => {}
            Supply::Ahead(ahead) => ahead.end(),
            Supply::Kept(idle) => lock(idle).clear(),
        }
    }
}
