//! The file that runs, and what follows its program.
//!
//! It is read once, at the start, and checked as a whole before anything in it is used: a flipped bit in compiled code
//! would go unnoticed and could do anything.

use std::ffi::OsString;
use std::fs::File;
use std::io;

use portcullis::component::{FINGERPRINT, Image, ImageFacts};
use portcullis_bundle::{Bundle, Manifest, ReadError};
use portcullis_contract::{Grants, Limits};
use thiserror::Error;

use crate::mark;
use crate::narrow::{self, NarrowError};

/// The advice for most faults.
const ADVICE: &str = "make the file anew with `portcullis wrap`";

/// The file that runs.
#[derive(Debug)]
pub(crate) struct Own {
    file: File,
    bundle: Bundle,
    /// What the component may touch: what the file grants, less what the environment takes.
    pub(crate) grants: Grants,
    /// How much it may use, by the same rule.
    pub(crate) limits: Limits,
    /// What the environment took, in words.
    pub(crate) narrowed: Vec<String>,
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// It cannot be read.
    #[error("cannot read this program's own file, which takes the right to read it and a mounted /proc")]
    Unreadable(#[source] io::Error),
    /// Nothing follows the program.
    #[error(
        "this program carries no plugin: it is the bare shim of portcullis, or what stood behind it was cut off or \
         stripped away (`strip` drops what it does not know); {ADVICE}"
    )]
    Empty,
    /// It is not as it was written.
    #[error("this plugin's file cannot be used; {ADVICE}")]
    Damaged(#[source] ReadError),
    /// Its component was compiled for a shim of another version.
    #[error(
        "this plugin's component was compiled for {found:?}, and this is {}; {ADVICE}",
        mark::fingerprint()
    )]
    OtherEngine {
        /// What it was compiled for.
        found: String,
    },
    /// The environment narrows the policy in a way that cannot be understood.
    #[error("the environment cannot narrow this plugin's policy")]
    Narrow(#[source] NarrowError),
}

impl Own {
    /// Reads the file that runs, and narrows its policy by these variables.
    pub(crate) fn read(variables: &[(OsString, OsString)]) -> Result<Self, Refusal> {
        let file = File::open("/proc/self/exe").map_err(Refusal::Unreadable)?;
        let bundle = Bundle::read(&file).map_err(Refusal::Damaged)?.ok_or(Refusal::Empty)?;
        let Manifest { engine, grants, limits, .. } = bundle.manifest();
        if engine != FINGERPRINT {
            return Err(Refusal::OtherEngine { found: engine.clone() });
        }
        let (mut grants, mut limits) = (grants.clone(), limits.clone());
        let narrowed = narrow::by(variables, &mut grants, &mut limits).map_err(Refusal::Narrow)?;
        Ok(Self { file, bundle, grants, limits, narrowed })
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// Checks the program as well: everything else was checked when the file was read.
    pub(crate) fn verify(&self) -> Result<(), Refusal> {
        self.bundle.seal().verify_program(&self.file).map_err(Refusal::Damaged)
    }

    /// Returns the compiled component, where it lies in the file.
    pub(crate) fn image(&self) -> io::Result<Image> {
        let Manifest { component, kind, class, .. } = *self.manifest();
        Image::of_this_program(self.bundle.seal().image(), ImageFacts { digest: component, kind, class })
    }
}
