//! Wrapped components: native programs that carry their own description.
//!
//! Anybody can write a program with a false description, or with other machine code than that of the component which it
//! names, and no look at the file can tell. So only files are believed that the host's setup says it knows. What any
//! other says is shown as a claim, and nothing is started because of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use portcullis_bundle::{Bundle, Fingerprint, Manifest, ReadError, Seal};
use portcullis_contract::{BackendName, chain};
use tokio::sync::OnceCell;

use super::Rooms;
use super::description::Description;
use super::discover::Candidate;
use crate::blocking::blocking;
use crate::regular;

/// Says by its fingerprint whether a wrapped file is known to be what it says. The fingerprint itself is only claimed;
/// the host then verifies the whole file.
pub type KnownWrapped = Arc<dyn Fn(Fingerprint) -> bool + Send + Sync>;

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
    pub(super) fn told(&self) -> Option<Description> {
        Description::from_text(&self.manifest.description)
    }
}

/// A file under examination, and what it carries, which is read when first asked for: that hashes all of the file.
pub(super) struct Examined {
    pub(super) file: Candidate,
    carried: OnceCell<Carried>,
}

/// What a native program carries.
enum Carried {
    Nothing,
    /// A component that somebody known wrapped with another version: what the file says of it is not understood.
    Foreign,
    Component(Box<Wrapped>),
}

impl Examined {
    pub(super) fn new(file: Candidate) -> Self {
        Self { file, carried: OnceCell::new() }
    }

    /// Forgets what was read: the file has changed.
    pub(super) fn forget(&mut self) {
        self.carried = OnceCell::new();
    }
}

impl Rooms {
    /// Returns the component in a native program. A damaged one counts as none: it says so itself when started.
    pub(super) async fn wrapped<'e>(&self, examined: &'e Examined) -> Option<&'e Wrapped> {
        match self.carried(examined).await {
            Carried::Component(wrapped) => Some(wrapped),
            Carried::Nothing | Carried::Foreign => None,
        }
    }

    /// Returns the component in a native program, if what the file says is to be believed.
    pub(super) async fn genuinely_wrapped<'e>(&self, examined: &'e Examined) -> Option<&'e Wrapped> {
        self.wrapped(examined).await.filter(|wrapped| wrapped.origin == Origin::Known)
    }

    /// Tells whether a native program is one that somebody known wrapped, whether or not its manifest is understood.
    pub(super) async fn holds_itself(&self, examined: &Examined) -> bool {
        match self.carried(examined).await {
            Carried::Component(wrapped) => wrapped.origin == Origin::Known,
            Carried::Foreign => true,
            Carried::Nothing => false,
        }
    }

    async fn carried<'e>(&self, examined: &'e Examined) -> &'e Carried {
        examined.carried.get_or_init(|| self.read_carried(&examined.file)).await
    }

    async fn read_carried(&self, file: &Candidate) -> Carried {
        match self.setup.wrapped.clone() {
            Some(known) if file.backend == BackendName::Process => {
                let path = file.path.clone();
                blocking(move || read(&path, &known)).await
            }
            _ => Carried::Nothing,
        }
    }
}

fn read(path: &Path, known: &KnownWrapped) -> Carried {
    let Ok(file) = regular::open(path) else { return Carried::Nothing };
    let is_genuine = |seal: &Seal| known(seal.fingerprint()) && seal.verify_program(&file).is_ok();
    let error = match Bundle::read(&file) {
        Ok(None) => return Carried::Nothing,
        Ok(Some(bundle)) => {
            let origin = if is_genuine(bundle.seal()) { Origin::Known } else { Origin::Unknown };
            let wrapped = Wrapped { manifest: bundle.manifest().clone(), origin };
            return Carried::Component(Box::new(wrapped));
        }
        Err(error) => error,
    };
    let path = path.display();
    match &error {
        ReadError::Manifest { seal, source } => {
            let advice = "a component that another version of portcullis wrapped is taken for a native program: wrap it anew";
            tracing::warn!(%path, error = %source, "{advice}");
            if is_genuine(seal) { Carried::Foreign } else { Carried::Nothing }
        }
        error => {
            tracing::warn!(%path, "a wrapped component that cannot be used: {}", chain(error));
            Carried::Nothing
        }
    }
}
