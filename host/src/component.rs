//! The component backend: plugins as WASI 0.2 components, in a sandbox of our own process.
//!
//! A component passes several steps. [`inspect`] reads its file, as every launch does, and refuses what can never run. A
//! [`Worker`](crate::compile::Worker) compiles it, once, and the cache keeps the result. An engine maps that and makes
//! instances, and a provider calls them. What an instance may touch is in its store and nowhere else, and the clock
//! bounds how long it may run.
//!
//! A component can also come compiled, within the program that runs it: an [`Image`].
//!
//! Nothing here reads the environment (but for where temporary files lie) or decides a grant, and no type of the engine
//! is public.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use portcullis_contract::{
    AuthHandler, Backend, BackendName, Digest, InstanceReuse, Isolation, Kind, LaunchError, LimitHit,
    PluginInfo, PluginSpec, Provider,
};
use thiserror::Error;
use tokio::time::timeout;

// From a file to what runs.
mod bindings;
mod cache;
#[cfg(feature = "compile")]
mod compiling;
pub(crate) mod engine;
mod image;
mod link;
mod load;
#[cfg(feature = "compile")]
mod precompile;

// Instances, and where they come from.
mod ahead;
mod guest;
mod homes;
mod instances;
mod reserve;
mod state;

// What ends a call.
mod clock;
mod ending;
mod failure;
mod message;

// What a guest asks of its host.
mod files;
mod host_service;
#[cfg(feature = "http")]
mod http;
mod output;
mod prompts;

// What a plugin answers.
mod auth;
mod convert;
mod provider;
mod queue;
mod streaming;

pub use cache::CacheOptions;
pub use engine::FINGERPRINT;
pub use image::{Image, ImageFacts};
pub use load::{Inspection, inspect};
#[cfg(feature = "compile")]
pub use precompile::Precompiled;

use crate::blocking::blocking;
use auth::ComponentAuth;
use cache::Cache;
#[cfg(feature = "compile")]
use compiling::Unkept;
use engine::{Code, Engines};
use guest::{Function, Interface};
use homes::{Compilation, Homes};
use instances::Instances;
use load::Source;
use provider::ComponentProvider;
use state::{Ground, open_directories};

/// The options of the component backend.
#[derive(Clone)]
pub struct ComponentOptions {
    /// How many instances each pool can hold; calls beyond that wait. With 0 there are no pools, which is
    /// best for a process that makes a few calls and ends.
    pub slots: u16,
    /// Where compiled components are kept; `None` keeps none.
    pub cache: Option<CacheOptions>,
    /// The compiler; `None` loads only components that are in the cache.
    #[cfg(feature = "compile")]
    pub worker: Option<crate::compile::Worker>,
    /// Is called when compiling begins and ends, from the task that launches.
    pub on_compile: Option<CompileListener>,
    /// The environment. Each plugin sees those of these variables that it was granted.
    pub environment: BTreeMap<String, String>,
    /// Which components have instances made before a call comes for them.
    pub prepared: PrepareAhead,
}

/// Whose fresh instances are made before a call comes for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrepareAhead {
    /// Those that are slow to start. Instances of others are made in less time than this would save.
    #[default]
    SlowOnes,
    /// All of them: for callers that wait for another process between calls anyway. Needs a runtime with I/O and time.
    Always,
}

/// Is called when compiling begins and ends.
pub type CompileListener = Arc<dyn Fn(&Compiling) + Send + Sync>;

/// A component is being compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compiling {
    /// Compiling begins, or waits for another process that compiles the same component.
    Begun {
        /// The component's file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Compiling has ended, with success or not.
    Ended {
        /// The component's file.
        path: PathBuf,
        /// How long it took.
        took: Duration,
    },
    /// The launch was dropped before compiling ended. The work is lost, and the next launch begins anew.
    GivenUp {
        /// The component's file.
        path: PathBuf,
        /// How long the launch had waited.
        took: Duration,
    },
}

impl Default for ComponentOptions {
    /// Neither a cache nor a worker nor variables. 64 slots are a guess: enough for the calls that a
    /// few processors can have under way, and cheap to set up.
    fn default() -> Self {
        Self {
            slots: 64,
            cache: None,
            #[cfg(feature = "compile")]
            worker: None,
            on_compile: None,
            environment: BTreeMap::new(),
            prepared: PrepareAhead::default(),
        }
    }
}

impl fmt::Debug for ComponentOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ComponentOptions");
        debug.field("slots", &self.slots).field("cache", &self.cache);
        #[cfg(feature = "compile")]
        debug.field("worker", &self.worker);
        debug.finish_non_exhaustive()
    }
}

/// Runs components. Its plugins may outlive it.
///
/// An auth handler has one instance, whatever [`RunAs::instances`](portcullis_contract::RunAs::instances)
/// says, because it keeps state between calls. That state is lost when the instance ends: by a crash, a limit,
/// or a dropped call.
///
/// Under `ulimit -f`, a guest that may write to a directory can get this process killed by SIGXFSZ, unless that is
/// handled or ignored. The command handles it, and the shim ignores it.
#[derive(Debug)]
pub struct ComponentBackend {
    options: ComponentOptions,
    engines: Arc<Engines>,
    cache: Option<Arc<Cache>>,
    #[cfg(feature = "compile")]
    unkept: Unkept,
    /// The only component, if it came with the program.
    image: Option<Image>,
}

/// The backend could not be set up.
#[derive(Debug, Error)]
#[error(
    "cannot start the clock of the component backend, which takes a thread; `ulimit -u` or `ulimit -v` may allow one"
)]
pub struct ClockError(#[source] std::io::Error);

impl ComponentBackend {
    /// Sets the backend up. If the cache cannot be used, that is logged, and there is none.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn new(options: ComponentOptions) -> Result<Self, ClockError> {
        let cache = options.cache.as_ref().and_then(|places| match Cache::open(places) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!("compiled components are not kept: {error}");
                None
            }
        });
        let engines = Arc::new(Engines::new(options.slots, Code::Files).map_err(ClockError)?);
        Ok(Self {
            options,
            engines,
            cache,
            #[cfg(feature = "compile")]
            unkept: Unkept::default(),
            image: None,
        })
    }

    /// Sets the backend up for a component that came with the program. Every launch starts this component, whatever
    /// file the specification names; nothing is compiled or kept.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn of_image(image: Image, options: ComponentOptions) -> Result<Self, ClockError> {
        let engines = Arc::new(Engines::new(options.slots, Code::Image).map_err(ClockError)?);
        Ok(Self {
            options,
            engines,
            cache: None,
            #[cfg(feature = "compile")]
            unkept: Unkept::default(),
            image: Some(image),
        })
    }

    /// Makes a component of that kind ready.
    async fn begin(&self, kind: Kind, spec: PluginSpec) -> Result<Launching, LaunchError> {
        if spec.run_as.isolation == Isolation::Process {
            return Err(LaunchError::failed(NotApart));
        }
        let reuse = spec.run_as.instances;
        let (digest, found) = match &self.image {
            Some(image) => (image.digest, Found::Loaded(self.own(image, kind, &spec)?)),
            None => self.read(kind, &spec).await?,
        };
        let ground = self.ground(&spec).await?;
        let homes = match found {
            Found::Loaded(homes) => homes,
            Found::Uncompiled(source) => {
                let compiled = self.compile(&spec.path, &source).await?;
                let engines = Arc::clone(&self.engines);
                blocking(move || Homes::load(&engines, reuse, Compilation::File(compiled), interface(kind)))
                    .await?
            }
        };
        let (name, path, backend) = (spec.name, spec.path, BackendName::Component);
        let info = PluginInfo { name, kind, backend, path, digest };
        Ok(Launching { info, ground, homes: Arc::new(homes), reuse })
    }

    /// Looks up what was granted, and opens the directories on a thread for that: one may lie on a server that hangs.
    async fn ground(&self, spec: &PluginSpec) -> Result<Ground, LaunchError> {
        let limits = spec.limits.resolve(BackendName::Component);
        let granted = spec.grants.env.iter();
        let environment = granted
            .filter_map(|name| Some((name.clone(), self.options.environment.get(name)?.clone())))
            .collect();
        let grants = spec.grants.fs.clone();
        let directories = match grants.is_empty() {
            true => Vec::new(),
            false => blocking(move || open_directories(&grants)).await.map_err(LaunchError::failed)?,
        };
        Ok(Ground::new(spec, limits, environment, directories))
    }

    /// Loads the component that came with the program. That takes less time than handing it to another thread.
    fn own(&self, image: &Image, kind: Kind, spec: &PluginSpec) -> Result<Homes, LaunchError> {
        LaunchError::check_digest(&spec.path, spec.digest, image.digest)?;
        if image.kind != kind {
            return Err(LaunchError::OtherKind { wanted: kind });
        }
        let code = Compilation::Image(image.clone());
        Ok(Homes::load(&self.engines, spec.run_as.instances, code, interface(kind))?)
    }

    /// Reads a component, checks it, and takes what was compiled of it from the cache, if it is there.
    async fn read(&self, kind: Kind, spec: &PluginSpec) -> Result<(Digest, Found), LaunchError> {
        let (cache, engines) = (self.cache.clone(), Arc::clone(&self.engines));
        let (path, expected, reuse) = (spec.path.clone(), spec.digest, spec.run_as.instances);
        // In one go: each trip to another thread costs a short command more than the work itself.
        let read = blocking(move || {
            let source = Source::new(&path)?;
            let digest = source.inspection.digest;
            LaunchError::check_digest(&path, expected, digest)?;
            source.check(kind)?;
            let load = |compiled| Homes::load(&engines, reuse, Compilation::File(compiled), interface(kind));
            let loaded = match cache {
                Some(cache) => cache.load(&digest, load)?,
                None => None,
            };
            let was_compiled = loaded.is_some();
            tracing::debug!(path = %path.display(), %digest, was_compiled, "looked for the component in the cache");
            Ok::<_, LaunchError>((digest, loaded.map_or(Found::Uncompiled(source), Found::Loaded)))
        });
        read.await
    }

    #[cfg(not(feature = "compile"))]
    async fn compile(
        &self,
        _path: &std::path::Path,
        _source: &Source,
    ) -> Result<cache::Compiled, LaunchError> {
        Err(LaunchError::failed(NoCompiler))
    }
}

#[async_trait]
impl Backend for ComponentBackend {
    fn name(&self) -> BackendName {
        BackendName::Component
    }

    async fn launch_provider(&self, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError> {
        let launching = self.begin(Kind::Provider, spec).await?;
        let wall = launching.ground.limits.wall;
        let (info, instances) = launching.settle(provider::CONFIGURE, self.options.prepared);
        Ok(Arc::new(within(wall, ComponentProvider::launch(info, instances)).await?))
    }

    /// Starts the one instance that an auth handler has, whatever the specification says of instances.
    async fn launch_auth_handler(&self, mut spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError> {
        spec.run_as.instances = InstanceReuse::Single;
        let mut launching = self.begin(Kind::AuthHandler, spec).await?;
        // A login has no wall.
        let wall = launching.ground.limits.wall.take();
        let (info, instances) = launching.settle(auth::CONFIGURE, self.options.prepared);
        Ok(Arc::new(within(wall, ComponentAuth::launch(info, instances, wall)).await?))
    }
}

/// Waits for what a component says of itself no longer than for a call. Only here is it known when compiling has ended and
/// the component begins; whoever waits for the whole launch gives it minutes.
async fn within<T>(
    wall: Option<Duration>,
    launch: impl Future<Output = Result<T, LaunchError>>,
) -> Result<T, LaunchError> {
    let Some(wall) = wall else { return launch.await };
    let launched = timeout(wall, launch).await;
    launched.unwrap_or_else(|_elapsed| Err(LaunchError::Undescribed(LimitHit::wall(wall).into())))
}

/// A component that was found fit to run.
enum Found {
    /// It came with the program, or was in the cache.
    Loaded(Homes),
    /// It has to be compiled first.
    Uncompiled(Source),
}

/// A component on its way to its first instance.
struct Launching {
    info: PluginInfo,
    ground: Ground,
    homes: Arc<Homes>,
    reuse: InstanceReuse,
}

impl Launching {
    fn settle(self, configure: Function, prepared: PrepareAhead) -> (PluginInfo, Arc<Instances>) {
        let Self { info, ground, homes, reuse } = self;
        (info, Arc::new(Instances::new(Arc::new(ground), homes, configure, reuse, prepared)))
    }
}

/// Returns what a component of that kind exports.
fn interface(kind: Kind) -> &'static Interface {
    match kind {
        Kind::Provider => &provider::EXPORT,
        Kind::AuthHandler => &auth::EXPORT,
    }
}

/// What was to be isolated is never run in our own process instead.
#[derive(Debug, Error)]
#[error("it has to run in a process of its own, and this host has no shim for that")]
struct NotApart;

/// There is nothing to run.
#[cfg(not(feature = "compile"))]
#[derive(Debug, Error)]
#[error("it is not compiled yet, and this build has no compiler")]
struct NoCompiler;

/// An error of the engine, as text: the engine's own type is not public.
#[derive(Debug, Error)]
#[error("{0}")]
struct Text(String);

impl From<wasmtime::Error> for Text {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("{error:#}{}", engine::advice(&error)))
    }
}
