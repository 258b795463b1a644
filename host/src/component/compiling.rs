//! A component that is not compiled yet: one process compiles it, and the others take what came of it.
//!
//! Nobody depends on the cache. Whatever is wrong with it is logged, and the component compiled for this once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_contract::{Digest, LaunchError};
use thiserror::Error;

use crate::compile::{CompileError, Worker};
use crate::component::cache::{Cache, Compiled};
use crate::component::load::Source;
use crate::component::{CompileListener, Compiling, ComponentBackend, blocking};

/// There is nothing to run, and nobody to make it.
#[derive(Debug, Error)]
#[error("it is not compiled yet, and no compile worker was named: set `ComponentOptions::worker`")]
struct NoWorker;

impl ComponentBackend {
    /// Compiles a component, or takes what somebody else just has.
    pub(super) async fn compile(&self, path: &Path, source: &Source) -> Result<Compiled, LaunchError> {
        let Some(worker) = &self.options.worker else {
            return Err(LaunchError::failed(NoWorker));
        };
        let size = u64::try_from(source.bytes.len()).unwrap_or(u64::MAX);
        let _progress = Progress::begin(self.options.on_compile.clone(), path, size);
        self.compiled(worker, source).await
    }

    async fn compiled(&self, worker: &Worker, source: &Source) -> Result<Compiled, LaunchError> {
        let digest = source.inspection.digest;
        let failed = |error: std::io::Error| LaunchError::failed(error);
        let place = match &self.cache {
            None => None,
            Some(cache) => {
                let lock = turn(cache, &digest).await;
                let shared = Arc::clone(cache);
                if let Some(compiled) = blocking(move || shared.find(&digest)).await {
                    return Ok(compiled);
                }
                let shared = Arc::clone(cache);
                match blocking(move || shared.begin()).await {
                    Ok(file) => Some((cache, file, lock)),
                    Err(error) => {
                        tracing::warn!("the compiled component is not kept: {error}");
                        None
                    }
                }
            }
        };
        if let Some((cache, file, lock)) = place {
            match worker.compile(&source.bytes, file.as_file()).await {
                Ok(()) => {
                    let shared = Arc::clone(cache);
                    match blocking(move || shared.keep(file, &digest)).await {
                        Ok(compiled) => return Ok(compiled),
                        Err(error) => tracing::warn!("the compiled component is not kept: {error}"),
                    }
                }
                Err(error @ CompileError::Failed { .. }) => {
                    // Its disk may be full. If it is not that, the second try says so.
                    tracing::warn!("compiling into the cache: {error}");
                }
                Err(error) => return Err(compile_error(error)),
            }
            drop(lock);
        }
        let file = tempfile::tempfile().map_err(failed)?;
        worker.compile(&source.bytes, &file).await.map_err(compile_error)?;
        Compiled::unkept(file).map_err(failed)
    }
}

/// Waits until nobody else compiles the same component, but not longer than a worker may take. Two that
/// do so at once only waste time.
async fn turn(cache: &Cache, digest: &Digest) -> Option<File> {
    for _ in 0..5_000 {
        match cache.try_lock(digest) {
            Ok(Some(lock)) => return Some(lock),
            Ok(None) => tokio::time::sleep(Duration::from_millis(50)).await,
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

/// Tells a listener that compiling has begun, and when dropped, that it has ended.
struct Progress {
    listener: Option<CompileListener>,
    path: PathBuf,
    begun: Instant,
}

impl Progress {
    fn begin(listener: Option<CompileListener>, path: &Path, size: u64) -> Self {
        let path = path.to_owned();
        if let Some(listener) = &listener {
            listener(&Compiling::Begun { path: path.clone(), size });
        }
        Self { listener, path, begun: Instant::now() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener(&Compiling::Ended { path: self.path.clone(), took: self.begun.elapsed() });
        }
    }
}
