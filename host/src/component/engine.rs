//! Engines: how guests are compiled, and where their instances live.
//!
//! All engines share one configuration, so that a component that was compiled once loads in each, here and in the shim
//! on another machine. They differ in where instances get their memory:
//!
//! - Small guests have pools whose slots keep their memory resident, which makes a fresh instance per call cheap. There are
//!   several, so that threads that call at once do not pass memory between the caches of processors.
//! - Guests that start with much memory or large tables have one pool that keeps nothing resident.
//! - What is kept between calls, what fits no pool, and everything where pools are not wanted is allocated on demand.

use std::sync::{Arc, Mutex, OnceLock};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::component::clock::Clock;
use crate::component::image::CodePages;
use crate::lock::lock;

#[cfg(target_arch = "x86_64")]
macro_rules! machine {
    () => {
        "x86_64"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! machine {
    () => {
        "aarch64"
    };
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
macro_rules! machine {
    () => {
        "another machine"
    };
}

/// Names everything besides the component that a compiled component depends on, but for the processor's features: the
/// engine checks those when it loads.
///
/// Its number is raised with every change of the engines' configuration that affects compiled components.
pub const FINGERPRINT: &str = concat!(
    "portcullis ",
    env!("CARGO_PKG_VERSION"),
    ", settings 4, wasmtime 48.0.8, cranelift 0.135.8, ",
    machine!(),
    "-linux"
);

/// The most memory that a guest of the small class starts with, and that a slot keeps resident. More would be restored
/// after every call, which costs more than it saves.
const RESIDENT: usize = 2 << 20;
/// The most pools of the small class, and the fewest slots of one. Guesses: each pool costs half a millisecond when it
/// is first needed, and each component is loaded once more for it.
const MOST_POOLS: usize = 8;
const FEWEST_SLOTS: u16 = 8;
/// Entries of the largest table of the small class.
const SMALL_TABLE: usize = 1_000;
/// Entries of the largest table of the large class.
const LARGE_TABLE: usize = 20_000;
#[cfg(feature = "compile")]
const WASM_PAGE: u64 = 64 << 10;

/// What runs every component of ours. It has no compiler: to set one up would take longer than to load what was compiled.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    in_common(&mut config);
    #[cfg(feature = "compile")]
    config.enable_compiler(false);
    config
}

/// What compiles every component of ours: Cranelift at its usual level.
#[cfg(feature = "compile")]
pub(crate) fn compiling() -> Config {
    let mut config = Config::new();
    in_common(&mut config);
    #[cfg(target_arch = "x86_64")]
    for_any_processor(&mut config);
    config
}

/// Sets what is the same with a compiler and without one, or nothing would load. Epochs, no fuel. What WASI 0.2 guests do not
/// need is off, because a guest could exploit a bug in it.
fn in_common(config: &mut Config) {
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .gc_support(false)
        .shared_memory(false)
        .wasm_component_model(true)
        .wasm_memory64(false)
        // For components that were joined into one: the adapters between them copy from one memory into another.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        // Nobody is shown where a guest trapped, and the tables for it are a seventh of what every start reads.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
}

/// Compiles for every x86-64 processor since about 2009 (x86-64-v2), and not for the one that happens to compile.
/// What is compiled here can then run elsewhere: in a wrapped file, or from a home directory that machines share.
/// Guests' own loops lose next to nothing by it.
#[cfg(all(feature = "compile", target_arch = "x86_64"))]
fn for_any_processor(config: &mut Config) {
    let target =
        if cfg!(target_env = "musl") { "x86_64-unknown-linux-musl" } else { "x86_64-unknown-linux-gnu" };
    config.target(target).expect("the compiler knows the platform that it runs on");
    for feature in ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"] {
        #[expect(
            unsafe_code,
            reason = "a setting of the compiler could make it write wrong code; these do not"
        )]
        // SAFETY: each lets the compiler use instructions, which the engine looks for in the processor before it
        // loads anything that may hold them.
        unsafe {
            config.cranelift_flag_enable(feature);
        }
    }
}

/// Where a component's instances live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// In the pool for guests that start small.
    Small,
    /// In the pool for guests that start large, and therefore slowly.
    Large,
    /// Allocated on demand.
    Anywhere,
}

impl Class {
    /// Returns the class as a byte, as it stands beside a compiled component.
    #[cfg(feature = "compile")]
    pub(crate) fn encode(self) -> u8 {
        match self {
            Self::Small => 1,
            Self::Large => 2,
            Self::Anywhere => 3,
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            3 => Some(Self::Anywhere),
            _ => None,
        }
    }

    /// Returns the class that a component needs.
    #[cfg(feature = "compile")]
    pub(crate) fn of(component: &Component) -> Self {
        let Some(needs) = component.resources_required() else { return Self::Anywhere };
        let memory = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE);
        let table = needs.max_initial_table_size.unwrap_or(0);
        let within = |n: u64, most: usize| usize::try_from(n).is_ok_and(|n| n <= most);
        if needs.num_memories <= 1
            && needs.num_tables <= 2
            && within(memory, RESIDENT)
            && within(table, SMALL_TABLE)
        {
            Self::Small
        } else {
            Self::Large
        }
    }
}

/// Where the code of compiled components comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// From files that the engine maps.
    Files,
    /// From an [`Image`](super::Image), in the file of the running program.
    Image,
}

/// The engines of one backend, made when they are first needed, and their clock.
#[derive(Debug)]
pub(crate) struct Engines {
    slots: u16,
    code: Code,
    pub(crate) clock: Clock,
    small: Box<[OnceLock<Arc<EngineKit>>]>,
    large: OnceLock<Arc<EngineKit>>,
    anywhere: OnceLock<Arc<EngineKit>>,
}

/// An engine, and what goes with it.
pub(crate) struct EngineKit {
    pub(crate) engine: Engine,
    /// One permit for each slot of the pool: a full pool does not wait, it fails.
    pub(crate) slots: Option<Arc<Semaphore>>,
    /// How many slots there are.
    pub(crate) size: usize,
    pub(crate) class: Class,
    /// What was loaded of the one image of a backend that has one.
    image: Mutex<Option<Component>>,
}

impl std::fmt::Debug for EngineKit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineKit").field("class", &self.class).finish_non_exhaustive()
    }
}

impl Engines {
    /// Starts the clock. Each class has `slots` slots in all of its pools together; with 0 there are no pools.
    pub(crate) fn new(slots: u16, code: Code) -> std::io::Result<Self> {
        let most = match code {
            Code::Files => MOST_POOLS.min(usize::from(slots / FEWEST_SLOTS)),
            // Every engine maps an image anew, for good.
            Code::Image => 1,
        };
        // Asked only where it matters: counting the processors takes longer than making an engine.
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let pools = if most > 1 { most.min(processors()) } else { 1 };
        Ok(Self {
            slots,
            code,
            clock: Clock::start()?,
            small: (0..pools).map(|_| OnceLock::new()).collect(),
            large: OnceLock::new(),
            anywhere: OnceLock::new(),
        })
    }

    /// Returns how many engines a class of components has.
    pub(crate) fn count(&self, class: Class) -> usize {
        if class == Class::Small && self.slots > 0 { self.small.len() } else { 1 }
    }

    /// Returns one of the engines for a class of components; the first when there are not so many.
    pub(crate) fn kit(&self, class: Class, number: usize) -> wasmtime::Result<Arc<EngineKit>> {
        let class = if self.slots == 0 { Class::Anywhere } else { class };
        let mut slots = usize::from(self.slots);
        let place = match class {
            Class::Small => {
                slots = slots.div_ceil(self.small.len());
                self.small.get(number).or(self.small.first()).unwrap_or(&self.anywhere)
            }
            Class::Large => &self.large,
            Class::Anywhere => &self.anywhere,
        };
        if let Some(kit) = place.get() {
            return Ok(Arc::clone(kit));
        }
        let kit = Arc::new(EngineKit::new(class, slots, self.code)?);
        Ok(Arc::clone(place.get_or_init(|| {
            self.clock.drive(&kit.engine);
            kit
        })))
    }
}

impl EngineKit {
    fn new(class: Class, slots: usize, code: Code) -> wasmtime::Result<Self> {
        let mut config = config();
        if code == Code::Image {
            config.with_custom_code_memory(Some(CodePages::shared()));
        }
        let pooled = class != Class::Anywhere;
        if pooled {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(class, slots)));
        }
        let engine = Engine::new(&config)?;
        let size = slots;
        let slots = pooled.then(|| Arc::new(Semaphore::new(size)));
        Ok(Self { engine, slots, size, class, image: Mutex::default() })
    }

    /// Returns the backend's image as it was loaded here, or loads it.
    pub(crate) fn image(
        &self,
        load: impl FnOnce(&Engine) -> wasmtime::Result<Component>,
    ) -> wasmtime::Result<Component> {
        let mut image = lock(&self.image);
        if let Some(component) = &*image {
            return Ok(component.clone());
        }
        Ok(image.insert(load(&self.engine)?).clone())
    }
}

/// Returns the system's own error, if one led to an error of the engine.
pub(crate) fn errno(error: &wasmtime::Error) -> Option<Errno> {
    let of_another = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref().copied().or_else(|| cause.downcast_ref().and_then(Errno::from_io_error))
    };
    error.chain().find_map(of_another)
}

/// Returns advice to append to an error of the engine, where the system's settings may be the cause.
pub(crate) fn advice(error: &wasmtime::Error) -> &'static str {
    // The engine has no type for what a processor lacks.
    if cfg!(target_arch = "x86_64") && error.root_cause().to_string().ends_with("not available on the host") {
        return "; components need a processor of x86-64-v2, as they are since about 2009: a virtual machine may be given \
                an older one than there is";
    }
    if let Some(own) = error.downcast_ref::<Errno>() {
        return match *own {
            // Far more address space is reserved than used.
            Errno::NOMEM if getrlimit(Resource::As).current.is_some() => "; `ulimit -v` may allow more",
            Errno::PERM | Errno::ACCESS => {
                "; `MemoryDenyWriteExecute` of systemd, or `execmem` of SELinux, may forbid it"
            }
            _ => "",
        };
    }
    // The memory that guests start with is a file without a name.
    match errno(error) {
        Some(Errno::PERM | Errno::ACCESS) => "; a filter of system calls may forbid `memfd_create`",
        Some(Errno::FBIG) => "; `ulimit -f` may allow more",
        Some(Errno::MFILE) => "; `ulimit -n` may allow more",
        Some(Errno::AGAIN) => "; `ulimit -u` may allow more",
        _ => "",
    }
}

fn pool(class: Class, slots: usize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    // A scan of the page map can leave data of the last call in a slot (wasmtime before 50).
    pool.pagemap_scan(Enabled::No).total_component_instances(slots).total_stacks(slots);
    pool.max_memory_size(usize::try_from(1_u64 << 32).unwrap_or(usize::MAX));
    if class == Class::Small {
        pool.total_core_instances(slots.saturating_mul(16))
            .max_core_instances_per_component(16)
            .total_memories(slots)
            .max_memories_per_component(1)
            .total_tables(slots.saturating_mul(2))
            .max_tables_per_component(2)
            .table_elements(SMALL_TABLE)
            .table_keep_resident(SMALL_TABLE.saturating_mul(8))
            .linear_memory_keep_resident(RESIDENT);
    } else {
        pool.total_core_instances(slots.saturating_mul(64))
            .max_core_instances_per_component(64)
            .total_memories(slots.saturating_mul(3))
            .max_memories_per_component(3)
            .total_tables(slots.saturating_mul(4))
            .max_tables_per_component(4)
            .table_elements(LARGE_TABLE)
            .max_component_instance_size(4 << 20);
    }
    pool
}
