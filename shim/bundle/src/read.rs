//! Reading a file: whether anything follows its program, whether that is whole, and what it says.
//!
//! Nothing is believed before the digest over all of it is checked, and nothing is read but what the trailer locates.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use blake3::Hasher;
use thiserror::Error;

use crate::layout::{DIGESTED, End, Layout, TRAILER, Trailer};
use crate::{Fingerprint, Manifest};

/// Why a file cannot be used. The text does not name the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// The trailer was not written for a file like this one.
    #[error("it is damaged: its parts do not have the lengths that its trailer names")]
    WrongLengths,
    /// The component, the manifest or the trailer is not what was written.
    #[error("it is damaged: the component or its manifest has changed since it was wrapped")]
    Damaged,
    /// The program is not what was written.
    #[error("it is damaged: the program in it has changed since it was wrapped")]
    ProgramDamaged,
    /// The manifest is undamaged, but not of the form that this version reads.
    #[error("its manifest is not understood here: it was wrapped by another version of portcullis")]
    Manifest {
        /// What is understood of the file.
        seal: Seal,
        /// What is not.
        source: serde_json::Error,
    },
}

/// A file that holds a component behind its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    seal: Seal,
    manifest: Manifest,
}

/// How a wrapped file is laid out, and what it held when it was written. Versions that end a file alike have that in
/// the same form, whatever their manifests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    layout: Layout,
    program: [u8; 32],
    contents: [u8; 32],
}

impl Bundle {
    /// Reads what follows the program in a file, and checks that it is whole. `None` when there is nothing: the file is
    /// an ordinary program, or was cut, or a tool dropped what it did not know.
    ///
    /// The program itself is left to [`Seal::verify_program`]: it is long, and whoever runs it trusts
    /// it already.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn read(file: &File) -> Result<Option<Self>, ReadError> {
        let length = file.metadata().map_err(ReadError::Unreadable)?.len();
        let Some(trailer_at) = length.checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut bytes = [0; TRAILER];
        file.read_exact_at(&mut bytes, trailer_at).map_err(ReadError::Unreadable)?;
        let Trailer { layout, program, contents } = match Trailer::read(&bytes, length) {
            End::Plain => return Ok(None),
            End::WrongLengths => return Err(ReadError::WrongLengths),
            End::Trailer(trailer) => trailer,
        };

        let mut hash = Hasher::new();
        digest_into(&mut hash, file, layout.program..layout.manifest_at())?;
        let length = usize::try_from(layout.manifest).map_err(|_| ReadError::WrongLengths)?;
        let mut text = vec![0; length];
        file.read_exact_at(&mut text, layout.manifest_at()).map_err(ReadError::Unreadable)?;
        hash.update(&text);
        hash.update(bytes.get(..DIGESTED).unwrap_or_default());
        if hash.finalize() != contents {
            return Err(ReadError::Damaged);
        }
        let seal = Seal { layout, program, contents };
        match Manifest::parse(&text) {
            Ok(manifest) => Ok(Some(Self { seal, manifest })),
            Err(source) => Err(ReadError::Manifest { seal, source }),
        }
    }

    /// Returns what the file says of its component.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns what is known of the file itself.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl Seal {
    /// Checks that the program in the file is the one that was written.
    ///
    /// # Errors
    ///
    /// That it is not, or cannot be read.
    pub fn verify_program(&self, file: &File) -> Result<(), ReadError> {
        let mut hash = Hasher::new();
        digest_into(&mut hash, file, 0..self.layout.program)?;
        if hash.finalize() == self.program { Ok(()) } else { Err(ReadError::ProgramDamaged) }
    }

    /// Returns where the compiled component is in the file. It begins on a page boundary.
    #[must_use]
    pub fn image(&self) -> Range<u64> {
        self.layout.image_at()..self.layout.manifest_at()
    }

    /// Returns what tells this file from all others. The program counts as it was when the file was written.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.contents)
    }
}

fn digest_into(hash: &mut Hasher, file: &File, range: Range<u64>) -> Result<(), ReadError> {
    // Small enough to stay in the processor's cache; getting the pages of a large one takes longer than reading into
    // them.
    let mut buffer = vec![0; 32 << 10];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        file.read_exact_at(part, at).map_err(ReadError::Unreadable)?;
        hash.update(&*part);
        at += most as u64;
    }
    Ok(())
}
