//! Components compiled to be taken elsewhere: into a file of their own, that runs them without a compiler.
//!
//! It is the same compiling as at a launch: once, in a worker, into the cache.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_contract::{Digest, Instances as Policy, Kind, LaunchError};

use crate::component::homes::{Compilation, Homes};
use crate::component::load::Source;
use crate::component::{ComponentBackend, Inspection, NotCompiled, Progress, blocking, interface};

/// A compiled component, and what there is to know of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Precompiled {
    /// The digest of the component.
    pub digest: Digest,
    /// What it is for.
    pub kind: Kind,
    /// The interfaces that it imports, in its own order.
    pub imports: Vec<String>,
    /// Where its instances live, for [`ImageFacts::class`](super::ImageFacts::class).
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
    /// Compiles a component, unless it is in the cache, and starts nothing.
    ///
    /// # Errors
    ///
    /// What would keep it from being launched.
    pub async fn precompile(&self, path: &Path) -> Result<Precompiled, LaunchError> {
        let owned = path.to_owned();
        let source = blocking(move || Source::new(&owned)).await?;
        // Of what is neither or both, the check says why it is no plugin.
        let kind = source.inspection.kind.unwrap_or(Kind::Provider);
        source.check(kind)?;
        let found = self.cache.as_ref().and_then(|cache| cache.find(&source.inspection.digest));
        let compiled = match found {
            Some(compiled) => compiled,
            None => {
                let Some(worker) = &self.options.worker else {
                    return Err(LaunchError::failed(NotCompiled::NoWorker));
                };
                let size = u64::try_from(source.bytes.len()).unwrap_or(u64::MAX);
                let progress = Progress::begin(self.options.on_compile.clone(), path, size);
                let compiled = self.compiled(worker, &source).await;
                drop(progress);
                compiled?
            }
        };
        let engines = Arc::clone(&self.engines);
        let read = blocking(move || {
            let image = compiled.read().map_err(LaunchError::failed)?;
            let class = compiled.class.encode();
            // What does not load here would not load there.
            Homes::load(&engines, Policy::Single, Compilation::File(compiled), interface(kind))?;
            Ok::<_, LaunchError>((image, class))
        });
        let (image, class) = read.await?;
        let Inspection { digest, imports, .. } = source.inspection;
        Ok(Precompiled { digest, kind, imports, class, image })
    }
}
