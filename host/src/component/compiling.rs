//! Compiling a component that is not in the cache: one process does, and the others wait for the result.
//!
//! Nothing depends on the cache: whatever is wrong with it is logged, and the component is compiled without it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_contract::{Digest, LaunchError};
use rustix::fs::{MemfdFlags, memfd_create};
use thiserror::Error;

use crate::blocking::blocking;
use crate::compile::{CompileError, Worker};
use crate::component::cache::{Cache, Compiled};
use crate::component::load::Source;
use crate::component::{CompileListener, Compiling, ComponentBackend};
use crate::lock::lock;

/// The most bytes of compiled components that are kept open where the cache cannot keep them: in a file without a name
/// or, where there can be none, in memory. A guess: a component with a whole language in it takes a fifth.
const UNKEPT: u64 = 256 << 20;

/// What was compiled and could not be kept in a cache: a command asks a component what it offers before it runs it.
#[derive(Debug, Default)]
pub(super) struct Unkept(Mutex<HashMap<Digest, Compiled>>);

impl Unkept {
    fn find(&self, digest: &Digest) -> Option<Compiled> {
        lock(&self.0).get(digest)?.again().ok()
    }

    fn add(&self, digest: Digest, compiled: &Compiled) {
        let mut all = lock(&self.0);
        let length: u64 = all.values().map(Compiled::length).sum();
        if let Ok(compiled) = compiled.again()
            && length.saturating_add(compiled.length()) <= UNKEPT
        {
            all.insert(digest, compiled);
        }
    }
}

/// There is nothing to run, and nobody to make it.
#[derive(Debug, Error)]
#[error("it is not compiled yet, and no compile worker was named: set `ComponentOptions::worker`")]
struct NoWorker;

impl ComponentBackend {
    /// Compiles a component, or takes what another process just compiled.
    pub(super) async fn compile(&self, path: &Path, source: &Source) -> Result<Compiled, LaunchError> {
        let Some(worker) = &self.options.worker else {
            return Err(LaunchError::failed(NoWorker));
        };
        let digest = source.inspection.digest;
        if let Some(compiled) = self.unkept.find(&digest) {
            return Ok(compiled);
        }
        let size = u64::try_from(source.bytes.len()).unwrap_or(u64::MAX);
        let progress = Progress::begin(self.options.on_compile.clone(), path, size);
        let compiled = self.compiled(worker, path, source).await;
        if compiled.is_ok() {
            tracing::info!(path = %path.display(), size, took = ?progress.begun.elapsed(), "component compiled");
        }
        progress.end();
        compiled
    }

    async fn compiled(&self, worker: &Worker, path: &Path, source: &Source) -> Result<Compiled, LaunchError> {
        if let Some(cache) = &self.cache
            && let Some(compiled) = into_cache(cache, worker, path, source).await?
        {
            return Ok(compiled);
        }
        let file = match into_unnamed(worker, source, tempfile::tempfile()).await {
            Err(CompileError::Unwritten(error)) => {
                let directory = std::env::temp_dir();
                tracing::info!(
                    "compiled into memory, there can be no file in {}: {error}",
                    directory.display()
                );
                let memory = memfd_create(c"compiled", MemfdFlags::CLOEXEC);
                into_unnamed(worker, source, memory.map(File::from).map_err(io::Error::from)).await
            }
            compiled => compiled,
        };
        let compiled = Compiled::unkept(file.map_err(compile_error)?).map_err(LaunchError::failed)?;
        self.unkept.add(source.inspection.digest, &compiled);
        Ok(compiled)
    }
}

/// Compiles a component into the cache, or finds it there once its turn has come. `None` when it cannot be kept there.
async fn into_cache(
    cache: &Arc<Cache>,
    worker: &Worker,
    path: &Path,
    source: &Source,
) -> Result<Option<Compiled>, LaunchError> {
    let path = path.display();
    let digest = source.inspection.digest;
    // Held until the others can find it.
    let _lock = turn(cache, &digest).await;
    let shared = Arc::clone(cache);
    if let Some(compiled) = blocking(move || shared.find(&digest)).await {
        tracing::debug!(%path, "another process has compiled the component meanwhile");
        return Ok(Some(compiled));
    }
    let not_kept = |error: &io::Error| {
        tracing::warn!(%path, "the compiled component is not kept, and is compiled anew next time: {error}");
    };
    let shared = Arc::clone(cache);
    let Ok(file) = blocking(move || shared.begin()).await.inspect_err(not_kept) else { return Ok(None) };
    match worker.compile(&source.bytes, file.as_file()).await {
        Ok(()) => {
            let shared = Arc::clone(cache);
            Ok(blocking(move || shared.keep(file, &digest)).await.inspect_err(not_kept).ok())
        }
        // The disk of the cache may be full.
        Err(error @ CompileError::Unwritten(_)) => {
            tracing::warn!(%path, "cannot compile into the cache, and tries without: {error}");
            Ok(None)
        }
        Err(error) => Err(compile_error(error)),
    }
}

/// Compiles a component into a file without a name. There may be none, as in a read-only container, or no room in it.
async fn into_unnamed(
    worker: &Worker,
    source: &Source,
    file: io::Result<File>,
) -> Result<File, CompileError> {
    let file = file.map_err(|error| CompileError::Unwritten(error.to_string()))?;
    worker.compile(&source.bytes, &file).await?;
    Ok(file)
}

/// How long to wait before looking again whether another process has compiled a component: locks of files wake nobody.
const LOOK: Duration = Duration::from_millis(50);
/// How often to look at most: for a little longer than a worker may take.
const LOOKS: usize = 5_000;
/// After how many looks the log says that we wait for another process. A guess: most components are compiled before
/// that.
const TOLD: usize = 100;

/// Waits until nobody else compiles the same component. Two that do so at once only waste time.
async fn turn(cache: &Cache, digest: &Digest) -> Option<File> {
    for look in 0..LOOKS {
        match cache.try_lock(digest) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => {
                if look == TOLD {
                    let lock = cache.lock_path(digest);
                    tracing::warn!(
                        "waiting for another process that compiles the component and holds {}",
                        lock.display()
                    );
                }
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => {
                tracing::debug!("no lock on the compiled component: {error}");
                return None;
            }
        }
    }
    None
}

fn compile_error(error: CompileError) -> LaunchError {
    match error {
        CompileError::Unfit(_) => LaunchError::unfit(error),
        _ => LaunchError::failed(error),
    }
}

/// Tells a listener that compiling begins and ends. Dropped before its end, it was given up.
struct Progress {
    listener: Option<CompileListener>,
    path: PathBuf,
    begun: Instant,
    has_ended: bool,
}

impl Progress {
    fn begin(listener: Option<CompileListener>, path: &Path, size: u64) -> Self {
        let path = path.to_owned();
        if let Some(listener) = &listener {
            listener(&Compiling::Begun { path: path.clone(), size });
        }
        Self { listener, path, begun: Instant::now(), has_ended: false }
    }

    fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(listener) = &self.listener else { return };
        let (path, took) = (self.path.clone(), self.begun.elapsed());
        listener(&match self.has_ended {
            true => Compiling::Ended { path, took },
            false => Compiling::GivenUp { path, took },
        });
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::{Backend as _, Kind, PluginName, PluginSpec};
    use tokio::sync::Notify;

    use super::*;
    use crate::component::{CacheOptions, ComponentOptions};
    use crate::fake::Log;

    /// A provider to look at; nobody gets to run it.
    const PROVIDER: &[u8] = b"\0asm\x0d\0\x01\0\x0b\x26\x01\0\x20portcullis:plugin/provider@0.1.0\x05\0\0";

    #[tokio::test]
    async fn compiling_that_nobody_waits_for_is_given_up() {
        let (said, begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (saying, beginning) = (Arc::clone(&said), Arc::clone(&begun));
        let listener: CompileListener = Arc::new(move |compiling| {
            saying.lock().unwrap().push(match compiling {
                Compiling::Begun { .. } => "begun",
                Compiling::Ended { .. } => "ended",
                Compiling::GivenUp { .. } => "given up",
            });
            beginning.notify_one();
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.wasm");
        std::fs::write(&path, PROVIDER).unwrap();
        let launch = async |script: &str| {
            let args = vec!["-c".into(), script.into()];
            let worker = Some(Worker { program: "/bin/sh".into(), args });
            let options =
                ComponentOptions { worker, on_compile: Some(Arc::clone(&listener)), ..Default::default() };
            let spec = PluginSpec::new(PluginName::new("p"), &path);
            ComponentBackend::new(options).unwrap().launch_provider(spec).await.map(drop)
        };

        // It reads on for as long as somebody waits.
        tokio::select! {
            ended = launch("while read line; do :; done") => panic!("{ended:?}"),
            () = begun.notified() => {}
        }
        assert_eq!(std::mem::take(&mut *said.lock().unwrap()), ["begun", "given up"]);

        launch("exit 2").await.unwrap_err();
        assert_eq!(*said.lock().unwrap(), ["begun", "ended"]);
    }

    #[tokio::test]
    async fn what_the_caller_refuses_is_not_compiled() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.wasm");
        std::fs::write(&path, PROVIDER).unwrap();
        let on_compile: CompileListener = Arc::new(|compiling| panic!("{compiling:?}"));
        let options = ComponentOptions { on_compile: Some(on_compile), ..ComponentOptions::default() };
        let backend = ComponentBackend::new(options).unwrap();
        let refused = backend.precompile(&path, |found| {
            assert_eq!(found.kind, Some(Kind::Provider));
            Err(LaunchError::OtherKind { wanted: Kind::AuthHandler })
        });
        assert!(matches!(refused.await, Err(LaunchError::OtherKind { wanted: Kind::AuthHandler })));
    }

    #[test]
    fn who_waits_long_for_another_process_says_once_for_what() {
        let root = tempfile::tempdir().unwrap();
        let [directory, key_directory] = ["cache", "data"].map(|name| root.path().join(name));
        let cache = Cache::open(&CacheOptions { directory, key_directory }).unwrap();
        let digest = Digest::from_sha256([7; 32]);
        let held = cache.try_lock(&digest).unwrap();
        assert!(held.is_some());
        let logged = Log::of(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            assert!(runtime.block_on(turn(&cache, &digest)).is_none());
        });
        let lock = cache.lock_path(&digest).display().to_string();
        assert_eq!(logged.iter().filter(|line| line.contains(&lock)).count(), 1, "{logged:?}");
    }
}
