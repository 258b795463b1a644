//! Wrapped components: native programs that carry their own description.
//!
//! Anybody can write a program with a false description, or with other machine code than that of the component which it
//! names, and no look at the file can tell. So only files are believed that the host's setup says it knows. What any
//! other says is shown as a claim, and nothing is started because of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_bundle::{Bundle, Manifest};
use portcullis_contract::{BackendName, chain};
use rustix::fs::OFlags;
use tokio::sync::OnceCell;

use super::Rooms;
use super::descriptors::Told;
use super::discover::Candidate;
use crate::blocking::blocking;
use crate::regular;

/// Says by its [fingerprint](Bundle::fingerprint) whether a wrapped file is known to be what it says. The fingerprint
/// itself is only claimed; the host then verifies the whole file.
pub type KnownWrapped = Arc<dyn Fn(&Bundle) -> bool + Send + Sync>;

/// A native program that carries a component.
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// What the file says of the component in it.
    pub manifest: Manifest,
    /// Whether the manifest can be believed.
    pub origin: Origin,
}

/// Who made a wrapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody known: the program enforces what the manifest says.
    Known,
    /// Anybody: the program may do anything.
    Unknown,
}

/// Leaves out what the plugin says of itself, which may be long.
impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Wrapped");
        debug.field("name", &self.manifest.name).field("component", &self.manifest.component);
        debug.field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Wrapped {
    /// Returns what the plugin says of itself, if that is in a form that is read here.
    pub(super) fn told(&self) -> Option<Told> {
        Told::from_text(&self.manifest.description)
    }
}

/// A file under examination, and what it carries, which is read when first asked for: that hashes all of the file.
pub(super) struct Examined {
    pub(super) file: Candidate,
    wrapped: OnceCell<Option<Wrapped>>,
}

impl Examined {
    pub(super) fn new(file: Candidate) -> Self {
        Self { file, wrapped: OnceCell::new() }
    }

    /// Forgets what was read: the file has changed.
    pub(super) fn forget(&mut self) {
        self.wrapped = OnceCell::new();
    }
}

impl Rooms {
    /// Returns the component in a native program. A damaged one counts as none: it says so itself when started.
    pub(super) async fn wrapped<'e>(&self, examined: &'e Examined) -> Option<&'e Wrapped> {
        examined.wrapped.get_or_init(|| self.read_wrapped(&examined.file)).await.as_ref()
    }

    async fn read_wrapped(&self, file: &Candidate) -> Option<Wrapped> {
        if file.backend != BackendName::Process {
            return None;
        }
        let (known, path) = (self.setup.wrapped.clone()?, file.path.clone());
        blocking(move || read(&path, &known)).await
    }

    /// Returns the component in a native program, if what the file says is to be believed.
    pub(super) async fn genuinely_wrapped<'e>(&self, examined: &'e Examined) -> Option<&'e Wrapped> {
        self.wrapped(examined).await.filter(|wrapped| wrapped.origin == Origin::Known)
    }
}

fn read(path: &Path, known: &KnownWrapped) -> Option<Wrapped> {
    let file = regular::open(path, OFlags::empty()).ok()?;
    let bundle = match Bundle::read(&file) {
        Ok(bundle) => bundle?,
        Err(error) => {
            tracing::warn!(path = %path.display(), "a wrapped component that cannot be used: {}", chain(&error));
            return None;
        }
    };
    let genuine = known(&bundle) && bundle.verify_program(&file).is_ok();
    let origin = if genuine { Origin::Known } else { Origin::Unknown };
    Some(Wrapped { manifest: bundle.manifest().clone(), origin })
}
