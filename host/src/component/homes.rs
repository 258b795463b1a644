//! One component in the engines where its instances live: in one, or in one for each processor.
//!
//! A slot of a pool is cheap to use again on the processor that used it last, and dear on another, which has to fetch
//! all of its memory first. So where a class has several pools, each thread is assigned one, and a component is loaded
//! into a second only when a slot of the first is in use: a plugin that serves one call at a time, beside which no other
//! has one, keeps one home, whatever threads call it. No call waits for a full pool while another has a slot.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::select_all;
use portcullis_contract::{CallError, InstanceReuse, LaunchError};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Component, InstancePre};

use crate::blocking::blocking;
use crate::component::cache::Compiled;
use crate::component::engine::{Class, EngineKit, Engines};
use crate::component::failure::lack;
use crate::component::guest::{Exports, Interface};
use crate::component::image::Image;
use crate::component::state::State;
use crate::component::{Text, link};

/// The homes of one component.
pub(crate) struct Homes {
    /// Kept as long as the component: their clock is what ends a guest.
    pub(crate) engines: Arc<Engines>,
    pub(crate) first: Home,
    more: Box<[Spare]>,
    /// What spare homes are made from.
    source: Option<Source>,
}

/// A component in an engine, ready to be instantiated.
pub(crate) struct Home {
    pub(crate) kit: Arc<EngineKit>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
}

/// A home that may be needed. It is made once, by the first call that needs it; it holds `None` if that failed.
#[derive(Default)]
struct Spare {
    asked_for: AtomicBool,
    home: OnceLock<Option<Home>>,
}

impl Spare {
    fn home(&self) -> Option<&Home> {
        self.home.get()?.as_ref()
    }
}

/// A compiled component, wherever it lies.
pub(crate) enum Compilation {
    /// In a file of ours.
    File(Compiled),
    /// In the program that runs.
    Image(Image),
}

impl Compilation {
    fn class(&self) -> Class {
        match self {
            Self::File(compiled) => compiled.class,
            Self::Image(image) => image.class,
        }
    }

    fn load(&self, kit: &EngineKit) -> wasmtime::Result<Component> {
        match self {
            Self::File(compiled) => compiled.load(&kit.engine),
            Self::Image(image) => kit.image(|engine| image.load(engine)),
        }
    }
}

struct Source {
    compiled: Compilation,
    interface: &'static Interface,
}

/// A slot for one instance, in one home.
pub(crate) struct Place<'a> {
    pub(crate) home: &'a Home,
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

/// Why a component could not be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The machine lacks something: no engine can be made, or nothing can be loaded.
    NoEngine(wasmtime::Error),
    /// It was compiled for something else, and has to be compiled anew.
    Stale(wasmtime::Error),
    /// What it imports or exports does not fit.
    Unfit(wasmtime::Error),
}

impl LoadError {
    /// Judges an error of loading: where the machine lacks something, compiling anew would not help.
    fn unloaded(error: wasmtime::Error) -> Self {
        if lack(&error).is_some() { Self::NoEngine(error) } else { Self::Stale(error) }
    }
}

impl From<LoadError> for LaunchError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NoEngine(error) | LoadError::Stale(error) => Self::failed(Text::from(error)),
            LoadError::Unfit(error) => Self::unfit(Text::from(error)),
        }
    }
}

impl Homes {
    /// Maps a compiled component into the engine where its instances will live.
    pub(crate) fn load(
        engines: &Arc<Engines>,
        reuse: InstanceReuse,
        compiled: Compilation,
        interface: &'static Interface,
    ) -> Result<Self, LoadError> {
        let pooled = match reuse {
            InstanceReuse::PerCall => compiled.class(),
            // A slot that is never given back is no use to a pool.
            InstanceReuse::Single | InstanceReuse::Pooled(_) => Class::Anywhere,
        };
        let classes: &[Class] = match pooled {
            Class::Small => &[Class::Small, Class::Large, Class::Anywhere],
            Class::Large => &[Class::Large, Class::Anywhere],
            Class::Anywhere => &[Class::Anywhere],
        };
        let mut last = None;
        for class in classes {
            let kit = engines.kit(*class, 0).map_err(LoadError::NoEngine);
            match kit.and_then(|kit| Home::load(kit, &compiled, interface)) {
                // What is too large for one pool may fit the next, or be allocated on demand.
                Err(error @ (LoadError::Stale(_) | LoadError::NoEngine(_))) => last = Some(error),
                Err(error) => return Err(error),
                Ok(first) => {
                    let more: Box<_> =
                        (1..engines.count(first.kit.class)).map(|_| Spare::default()).collect();
                    let source = (!more.is_empty()).then_some(Source { compiled, interface });
                    return Ok(Self { engines: Arc::clone(engines), first, more, source });
                }
            }
        }
        Err(last.unwrap_or_else(|| LoadError::NoEngine(wasmtime::Error::msg("there is no engine"))))
    }

    /// Takes a slot for an instance, and waits for one if it has to.
    pub(crate) async fn place(self: &Arc<Self>) -> Result<Place<'_>, CallError> {
        if let Some(place) = self.mine().try_place() {
            return Ok(place);
        }
        if let Some(place) = self.all().find_map(Home::try_place) {
            return Ok(place);
        }
        for (number, spare) in (1..).zip(&self.more) {
            if spare.home.get().is_none() {
                let this = Arc::clone(self);
                blocking(move || this.load_more(number)).await;
                if let Some(place) = spare.home().and_then(Home::try_place) {
                    return Ok(place);
                }
            }
        }
        select_all(self.all().map(|home| Box::pin(home.wait()))).await.0
    }

    fn all(&self) -> impl Iterator<Item = &Home> {
        std::iter::once(&self.first).chain(self.more.iter().filter_map(Spare::home))
    }

    /// Returns the home of this thread's calls, and has it loaded if it is needed and missing.
    fn mine(self: &Arc<Self>) -> &Home {
        let number = thread_number() % (self.more.len() + 1);
        let Some(spare) = number.checked_sub(1).and_then(|at| self.more.get(at)) else { return &self.first };
        if let Some(home) = spare.home() {
            return home;
        }
        if !self.first.is_idle() && !spare.asked_for.swap(true, Ordering::Relaxed) {
            let this = Arc::downgrade(self);
            tokio::task::spawn_blocking(move || this.upgrade().map(|this| this.load_more(number)));
        }
        &self.first
    }

    fn load_more(&self, number: usize) {
        let spare = number.checked_sub(1).and_then(|at| self.more.get(at));
        let (Some(spare), Some(Source { compiled, interface })) = (spare, &self.source) else { return };
        spare.home.get_or_init(|| {
            let kit = self.engines.kit(self.first.kit.class, number).map_err(LoadError::NoEngine);
            let home = kit.and_then(|kit| Home::load(kit, compiled, interface));
            // Calls go on with one home less.
            home.inspect_err(|error| {
                tracing::debug!("a component cannot be loaded into one more engine: {error:?}")
            })
            .ok()
        });
    }
}

/// What to do about a component that imports a function that nobody offers, or one of another type.
const UNLINKED: &str = "it wants what this host does not have; build it for WASI 0.2 as of 0.2.12 and portcullis:plugin@0.1.0, or update the host";

impl Home {
    fn load(kit: Arc<EngineKit>, compiled: &Compilation, interface: &Interface) -> Result<Self, LoadError> {
        let component = compiled.load(&kit).map_err(LoadError::unloaded)?;
        let linker = link::linker(&component).map_err(LoadError::Unfit)?;
        let pre =
            linker.instantiate_pre(&component).map_err(|error| LoadError::Unfit(error.context(UNLINKED)))?;
        let exports = Exports::find(&component, interface).map_err(LoadError::Unfit)?;
        Ok(Self { kit, pre, exports })
    }

    fn is_idle(&self) -> bool {
        let Some(slots) = &self.kit.slots else { return true };
        slots.available_permits() == self.kit.size
    }

    /// Takes a slot, if one is free.
    pub(crate) fn try_place(&self) -> Option<Place<'_>> {
        let slot = match &self.kit.slots {
            Some(slots) => Some(Arc::clone(slots).try_acquire_owned().ok()?),
            None => None,
        };
        Some(Place { home: self, slot })
    }

    async fn wait(&self) -> Result<Place<'_>, CallError> {
        let slot = match &self.kit.slots {
            Some(slots) => Some(Arc::clone(slots).acquire_owned().await.map_err(|_| CallError::Gone)?),
            None => None,
        };
        Ok(Place { home: self, slot })
    }
}

/// Returns the number of this thread among those that ever took a slot.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// What is stale is removed from the cache.
    #[test]
    fn what_there_is_no_room_for_is_not_stale() {
        let full = wasmtime::Error::from(Errno::NOMEM).context("mmap failed");
        assert!(matches!(LoadError::unloaded(full), LoadError::NoEngine(_)));
        let no_file_left = std::io::Error::from(Errno::MFILE);
        assert!(matches!(LoadError::unloaded(no_file_left.into()), LoadError::NoEngine(_)));
        let other = wasmtime::Error::msg("compiled for another processor");
        assert!(matches!(LoadError::unloaded(other), LoadError::Stale(_)));
    }
}
