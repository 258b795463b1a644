//! What a store holds, and how the limits and grants of a component are enforced.
//!
//! Every store has its own file handles, environment, random numbers, output and memory count. What was not granted
//! does not exist there: WASI's functions find an empty context.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_contract::{
    Access, Chunk, FsGrant, Grants, HostService, LimitHit, LimitName, LoginEvent, PluginName, PluginSpec,
    Prints, Resolved,
};
use rustix::fs::OFlags;
use thiserror::Error;
#[cfg(feature = "http")]
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
#[cfg(feature = "http")]
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::component::bindings::portcullis::plugin::control::Host as ControlHost;
use crate::component::bindings::portcullis::plugin::types::Host as TypesHost;
use crate::component::clock::Meter;
use crate::component::ending::Ending;
use crate::component::engine::EngineKit;
use crate::component::files::Listings;
#[cfg(feature = "http")]
use crate::component::http::{Egress, LOOKUPS, Unsent};
use crate::component::output::Printed;
#[cfg(feature = "http")]
use crate::warnings::Warnings;

/// The most bytes of one list of headers that a guest makes. Hardly any server takes as many, and a guest may keep as
/// many of them as its limit on handles says.
#[cfg(feature = "http")]
const HEADERS: usize = 32 << 10;
/// Bytes of a table's entry, as we count them against the limit on memory.
const TABLE_ENTRY: u64 = 8;
/// What records weigh beside the text in them: a message at its limit has to fit.
const WRAPPING: u64 = 256 << 10;

/// What is the same for all stores of one plugin.
pub(crate) struct Ground {
    pub(crate) name: PluginName,
    pub(crate) grants: Grants,
    pub(crate) limits: Resolved,
    pub(crate) host: Option<Arc<dyn HostService>>,
    /// Where what its guests print goes, if not into the log.
    prints: Option<Arc<dyn Prints>>,
    /// The variables that were granted, with their values.
    environment: Vec<(String, String)>,
    /// The directories that were granted, in the order of the grants.
    directories: Vec<File>,
    pub(crate) ending: Arc<Ending>,
    /// Counts the warnings about HTTP requests that came to nothing.
    #[cfg(feature = "http")]
    pub(crate) warnings: Warnings,
    /// One permit for each name that may be looked up at a time.
    #[cfg(feature = "http")]
    pub(crate) lookups: Arc<Semaphore>,
}

/// The values of variables are nobody's to see.
impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, grants, limits, .. } = self;
        f.debug_struct("Ground")
            .field("name", name)
            .field("grants", grants)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

impl Ground {
    pub(crate) fn new(
        spec: &PluginSpec,
        limits: Resolved,
        environment: Vec<(String, String)>,
        directories: Vec<File>,
    ) -> Self {
        Self {
            name: spec.name.clone(),
            grants: spec.grants.clone(),
            limits,
            host: spec.host.clone(),
            prints: spec.prints.clone(),
            environment,
            directories,
            ending: Arc::new(Ending::default()),
            #[cfg(feature = "http")]
            warnings: Warnings::default(),
            #[cfg(feature = "http")]
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

/// Opens the directories that were granted. Blocks.
pub(crate) fn open_directories(grants: &[FsGrant]) -> Result<Vec<File>, GrantError> {
    let open = |grant: &FsGrant| {
        directory(&grant.host).map_err(|source| GrantError { path: grant.host.clone(), source })
    };
    grants.iter().map(open).collect()
}

/// Opens a directory, once for all instances: whoever may write beside it, perhaps the plugin itself, could make its
/// path lead elsewhere later.
fn directory(path: &Path) -> io::Result<File> {
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        // A link could be turned elsewhere between the grant and its use.
        return Err(io::Error::other(match metadata.is_symlink() {
            true => "it is a symbolic link; grant the directory that it leads to",
            false => "it is not a directory; grant the one that it lies in",
        }));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Where open files have names.
const OPENED: &str = "/proc/self/fd";

/// A directory that was granted cannot be opened.
#[derive(Debug, Error)]
#[error("cannot give access to {}", path.display())]
pub(crate) struct GrantError {
    path: PathBuf,
    source: io::Error,
}

/// What a store holds.
pub(crate) struct State {
    ground: Arc<Ground>,
    wasi: WasiCtx,
    #[cfg(feature = "http")]
    http: WasiHttpCtx,
    #[cfg(feature = "http")]
    egress: Egress,
    table: ResourceTable,
    listings: Listings,
    memory: Memory,
    printed: Printed,
    meter: Arc<Meter>,
    now: Errand,
}

/// What a store's guest is doing now.
#[derive(Debug, Default)]
pub(crate) struct Errand {
    /// When it has to be done.
    pub(crate) deadline: Option<Instant>,
    /// Who reads what it shows.
    pub(crate) reader: Option<Reader>,
}

/// Who reads what a guest shows.
#[derive(Debug)]
pub(crate) enum Reader {
    /// The caller of a streaming execution.
    Output(mpsc::Sender<Chunk>),
    /// The caller of a login.
    Prompts(mpsc::Sender<LoginEvent>),
}

impl State {
    /// Makes a store for a guest of that plugin.
    pub(crate) fn store(
        ground: &Arc<Ground>,
        kit: &EngineKit,
        meter: Arc<Meter>,
    ) -> Result<Store<Self>, GrantError> {
        let limits = &ground.limits;
        let printed = Printed::new(ground.name.clone(), ground.prints.clone(), limits.output);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(printed.stdout()).stderr(printed.stderr()).max_random_size(1 << 20);
        wasi.envs(&ground.environment);
        for (grant, directory) in ground.grants.fs.iter().zip(&ground.directories) {
            let perms = match grant.access {
                Access::Read => FsPerms::ReadOnly,
                Access::Write => FsPerms::ReadWrite,
            };
            // Leads to the very directory that was opened, whatever is under its name by now.
            let opened = format!("{OPENED}/{}", directory.as_raw_fd());
            wasi.preopened_dir(opened, &grant.guest, perms).map_err(|error| {
                let missing = format!("it is opened through {OPENED}, which is not there");
                let reason = if Path::new(OPENED).exists() { error.to_string() } else { missing };
                GrantError { path: grant.host.clone(), source: io::Error::other(reason) }
            })?;
        }
        let mut table = ResourceTable::new();
        let handles = limits.handles.and_then(|count| count.try_into().ok()).unwrap_or(usize::MAX);
        table.set_max_capacity(handles);
        #[cfg(feature = "http")]
        let http = {
            let mut http = WasiHttpCtx::new();
            http.set_field_size_limit(HEADERS);
            http
        };
        let state = Self {
            wasi: wasi.build(),
            #[cfg(feature = "http")]
            http,
            #[cfg(feature = "http")]
            egress: Egress::new(Arc::clone(ground), Arc::clone(&meter)),
            table,
            listings: Listings::default(),
            memory: Memory::new(limits.memory.unwrap_or(u64::MAX)),
            printed,
            meter: Arc::clone(&meter),
            now: Errand::default(),
            ground: Arc::clone(ground),
        };
        let mut store = Store::new(&kit.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| meter.tick());
        store.set_max_component_handles(handles);
        Ok(store)
    }

    /// Begins another call in a store, whose memory, handles and files stay.
    pub(crate) fn begin(store: &mut Store<Self>, errand: Errand, cpu: Option<Duration>) {
        let state = store.data_mut();
        state.meter.restart(cpu, errand.deadline);
        state.printed.restart();
        state.memory.refused = None;
        Self::go_on(store, errand);
    }

    /// Goes on with the call that the instance was made for: the time and memory that this took count.
    pub(crate) fn go_on(store: &mut Store<Self>, errand: Errand) {
        store.set_epoch_deadline(1);
        store.data_mut().now = errand;
        let message = store.data().ground.limits.message;
        Self::let_say(store, message);
    }

    /// Notes that a guest was made: from now on it may do with less memory than it asks for.
    pub(crate) fn is_made(&mut self) {
        self.memory.begins = false;
    }

    /// Lets a guest say so many bytes at once, until another call begins.
    pub(crate) fn let_say(store: &mut Store<Self>, bytes: u64) {
        let fuel = bytes.saturating_add(WRAPPING);
        store.set_hostcall_fuel(usize::try_from(fuel).unwrap_or(usize::MAX));
    }

    /// Ends a call, and with it the stream of its reader.
    pub(crate) fn end(&mut self) {
        self.now = Errand::default();
        self.printed.flush();
    }

    pub(crate) fn plugin(&self) -> &PluginName {
        &self.ground.name
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn host(&self) -> Option<&Arc<dyn HostService>> {
        self.ground.host.as_ref()
    }

    /// Returns the sender to the reader of this call's output, if there is one.
    pub(crate) fn output(&self) -> Option<mpsc::Sender<Chunk>> {
        match &self.now.reader {
            Some(Reader::Output(reader)) => Some(reader.clone()),
            _ => None,
        }
    }

    /// Returns the sender to the reader of this call's prompts, if there is one.
    pub(crate) fn prompts(&self) -> Option<mpsc::Sender<LoginEvent>> {
        match &self.now.reader {
            Some(Reader::Prompts(reader)) => Some(reader.clone()),
            _ => None,
        }
    }

    /// Returns the listings of directories that are open, and the table that tells which still are.
    pub(crate) fn listings(&mut self) -> (&mut Listings, &ResourceTable) {
        (&mut self.listings, &self.table)
    }

    /// Returns the HTTP requests that are not sent, and the table that tells which still are.
    #[cfg(feature = "http")]
    pub(crate) fn unsent(&mut self) -> (&mut Unsent, &ResourceTable) {
        (&mut self.egress.unsent, &self.table)
    }

    pub(crate) fn printed(&self) -> &Printed {
        &self.printed
    }

    /// Returns the memory that was refused in this call.
    pub(crate) fn refused_memory(&self) -> Option<&Refused> {
        self.memory.refused.as_ref()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

#[cfg(feature = "http")]
impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.egress }
    }
}

impl TypesHost for State {}

impl ControlHost for State {
    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        let late = self.now.deadline.is_some_and(|deadline| deadline <= Instant::now());
        Ok(late || self.ground.ending.asked())
    }

    fn time_left(&mut self) -> wasmtime::Result<Option<u64>> {
        let left = self.now.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        Ok(left.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Counts the bytes of all memories and tables of a store.
///
/// Growth that is allowed here and then fails in the engine stays counted. The engine reports such failures, but
/// reports some that it never asked about just the same: subtracting those would let a guest hold more than its limit.
#[derive(Debug)]
struct Memory {
    limit: u64,
    used: u64,
    /// Whether the guest is still being made.
    begins: bool,
    /// What was refused last.
    refused: Option<Refused>,
}

/// Memory that a guest was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) hit: LimitHit,
    /// Whether it took less memory after that; one that gives up takes none.
    pub(crate) made_do: bool,
}

impl Memory {
    fn new(limit: u64) -> Self {
        Self { limit, used: 0, begins: true, refused: None }
    }

    /// Lets something grow, or not. What a guest starts with is refused by an error; later it is told that there is no
    /// more, and may make do.
    fn grow(&mut self, current: usize, desired: usize, unit: u64) -> wasmtime::Result<bool> {
        let bytes = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).saturating_mul(unit);
        let used = self.used.saturating_sub(bytes(current)).saturating_add(bytes(desired));
        match LimitHit::check(LimitName::Memory, used, self.limit) {
            Ok(()) => {
                self.used = used;
                if let Some(refused) = &mut self.refused {
                    refused.made_do = true;
                }
                Ok(true)
            }
            Err(hit) if self.begins && current == 0 => Err(hit.into()),
            Err(hit) => {
                self.refused = Some(Refused { hit, made_do: false });
                Ok(false)
            }
        }
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // More than the guest itself allows is never taken, and so never counted.
        Ok(maximum.is_none_or(|most| desired <= most) && self.grow(current, desired, 1)?)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|most| desired <= most) && self.grow(current, desired, TABLE_ENTRY)?)
    }

    fn instances(&self) -> usize {
        1_000
    }

    fn tables(&self) -> usize {
        1_000
    }

    fn memories(&self) -> usize {
        100
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Amount;

    use super::*;

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut memory = Memory::new(300_000);
        assert!(memory.memory_growing(0, 131_072, None).unwrap());
        assert!(memory.table_growing(0, 1_000, None).unwrap());
        memory.begins = false;
        assert!(memory.memory_growing(65_536, 131_072, None).unwrap());
        assert!(!memory.memory_growing(131_072, 262_144, None).unwrap());
        let Refused { hit, .. } = memory.refused.as_ref().unwrap();
        assert_eq!((hit.asked, hit.allowed), (Amount::Bytes(335_680), Amount::Bytes(300_000)));
        // What was refused was not taken.
        assert!(memory.memory_growing(131_072, 196_608, None).unwrap());
    }

    #[test]
    fn the_value_of_a_variable_is_not_for_a_log() {
        let spec = PluginSpec::new(PluginName::new("p"), "p.wasm");
        let limits = spec.limits.resolve(portcullis_contract::BackendName::Component);
        let ground = Ground::new(&spec, limits, vec![("TOKEN".to_owned(), "hunter2".to_owned())], Vec::new());
        assert!(!format!("{ground:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_guest_starts_with_has_to_fit() {
        let mut memory = Memory::new(65_536);
        let error = memory.memory_growing(0, 4 << 30, None).unwrap_err();
        let hit = error.downcast_ref::<LimitHit>().unwrap();
        assert_eq!(hit.asked, Amount::Bytes(4 << 30));
        // Later it may do with less, even in a memory that was empty until then.
        memory.begins = false;
        assert!(!memory.memory_growing(0, 131_072, None).unwrap());
        assert!(memory.memory_growing(0, 65_536, None).unwrap());
    }
}
