//! Compiling components for a wrapped file, which runs them without a compiler.
//!
//! They are compiled as at a launch: once, in a worker, into the cache.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_contract::{Digest, InstanceReuse, Kind, LaunchError};

use crate::blocking::blocking;
use crate::component::cache::Compiled;
use crate::component::engine::Engines;
use crate::component::homes::{Compilation, Homes, LoadError};
use crate::component::load::Source;
use crate::component::{ComponentBackend, Inspection, interface};

/// A compiled component, and what is known of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Precompiled {
    /// The digest of the component.
    pub digest: Digest,
    /// What it is for.
    pub kind: Kind,
    /// The interfaces that it imports, in its own order.
    pub imports: Vec<String>,
    /// The class of the component, for [`ImageFacts::class`](super::ImageFacts::class).
    pub class: u8,
    /// What the compiler made of it.
    pub image: Vec<u8>,
}

impl fmt::Debug for Precompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Precompiled");
        debug.field("digest", &self.digest).field("kind", &self.kind).field("bytes", &self.image.len());
        debug.finish_non_exhaustive()
    }
}

impl ComponentBackend {
    /// Compiles a component, unless it is in the cache, and starts nothing. `check` may refuse what was read before it
    /// is compiled.
    ///
    /// # Errors
    ///
    /// Why the component could not be launched either, or what `check` says.
    pub async fn precompile(
        &self,
        path: &Path,
        check: impl FnOnce(&Inspection) -> Result<(), LaunchError> + Send + 'static,
    ) -> Result<Precompiled, LaunchError> {
        let (cache, engines, owned) = (self.cache.clone(), Arc::clone(&self.engines), path.to_owned());
        let read = blocking(move || {
            let source = Source::new(&owned)?;
            check(&source.inspection)?;
            // This says why it is no plugin, if it is neither or both.
            let kind = source.inspection.kind.unwrap_or(Kind::Provider);
            source.check(kind)?;
            let found = match cache {
                Some(cache) => {
                    cache.load(&source.inspection.digest, |compiled| take(&engines, compiled, kind))?
                }
                None => None,
            };
            Ok::<_, LaunchError>((source, kind, found))
        });
        let (source, kind, found) = read.await?;
        let (image, class) = match found {
            Some(found) => found,
            None => {
                let compiled = self.compile(path, &source).await?;
                let engines = Arc::clone(&self.engines);
                blocking(move || take(&engines, compiled, kind)).await?
            }
        };
        let Inspection { digest, imports, .. } = source.inspection;
        Ok(Precompiled { digest, kind, imports, class, image })
    }
}

/// Returns what the compiler wrote, and its class.
fn take(engines: &Arc<Engines>, compiled: Compiled, kind: Kind) -> Result<(Vec<u8>, u8), LoadError> {
    let image = compiled.read().map_err(|error| LoadError::Stale(error.into()))?;
    let class = compiled.class.encode();
    // What does not load here would not load there.
    Homes::load(engines, InstanceReuse::Single, Compilation::File(compiled), interface(kind))?;
    Ok((image, class))
}
