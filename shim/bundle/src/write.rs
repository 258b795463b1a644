//! A file is written: whole or not at all.
//!
//! It is made under another name beside its place, brought to the disk if it is to last, and renamed. What writers
//! left that were killed goes at the next write beside it. The same parts make the same file, to the byte: nothing in it
//! tells of a time, a place or a machine.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_contract::Digest;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::layout::{Layout, Trailer};
use crate::{Fingerprint, Manifest};

/// Begins the name of a file that is not whole yet.
const UNFINISHED: &str = ".portcullis-wrap-";
/// How long such a file may be nobody's. Too short, and one could be removed before it is locked.
const NEWBORN: Duration = Duration::from_secs(60);

/// What a file is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The shim: a whole program.
    pub program: &'a [u8],
    /// The compiled component.
    pub image: &'a [u8],
    /// Whose it is, and what it may.
    pub manifest: &'a Manifest,
}

/// What becomes of a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Keep,
    /// It is replaced, at once and as a whole.
    Replace,
}

/// Whether a file has to outlast a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk before it has its name.
    Lasting,
    /// It is gone in a moment anyway.
    Passing,
}

/// What a file that was written is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What [`Bundle::fingerprint`](crate::Bundle::fingerprint) will be.
    pub fingerprint: Fingerprint,
    /// The digest of the whole file. Whoever runs it has to name this: its name may stand for another one by then.
    pub file: Digest,
}

/// Why nothing was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is a file already.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What is there is no file that could be replaced.
    #[error("{} is not a regular file", path.display())]
    NoFile {
        /// What it is.
        path: PathBuf,
    },
    /// A part is empty.
    #[error("{part} is empty")]
    Empty {
        /// Which one, in words.
        part: &'static str,
    },
    /// A part is larger than anything real.
    #[error(
        "the shim ({program} bytes), the compiled component ({image}) or its manifest ({manifest}) is too large"
    )]
    TooLarge {
        /// The length of the shim.
        program: usize,
        /// The length of the compiled component.
        image: usize,
        /// The length of the manifest.
        manifest: usize,
    },
    /// The manifest has no written form.
    #[error("the grants cannot be written down")]
    Manifest(#[source] serde_json::Error),
    /// The disk did not take it.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Writes a file that everybody may execute who may read it. Nobody may while it is not whole: a host could take what a killed
/// writer left for a plugin.
///
/// # Errors
///
/// Why it is not there. What was there before is, then, as it was.
pub fn write(
    path: &Path,
    parts: &Parts<'_>,
    existing: Existing,
    durability: Durability,
) -> Result<Written, WriteError> {
    let unwritable = |source| WriteError::Unwritable { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(_) if existing == Existing::Keep => return Err(WriteError::Exists { path: path.to_owned() }),
        Ok(meta) if !meta.is_file() => return Err(WriteError::NoFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(error)),
    }
    let manifest = parts.manifest.to_text().map_err(WriteError::Manifest)?;
    let layout = layout(parts, &manifest)?;

    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .map_err(unwritable)?;
    // Locked until it is whole. Where that fails, no other writer can lock it either, and so none removes it.
    let _held = file.as_file().try_lock();
    sweep(directory, file.as_file());
    let written = fill(file.as_file(), parts, &manifest, &layout).map_err(unwritable)?;
    if durability == Durability::Lasting {
        file.as_file().sync_all().map_err(unwritable)?;
    }
    // Last of all: bringing it to the disk takes so long that we may be killed meanwhile.
    make_executable(file.as_file()).map_err(unwritable)?;
    // Closed before it has its name: until then the kernel lets nobody start it, and a host may at once.
    let file = file.into_temp_path();
    match existing {
        Existing::Replace => file.persist(path).map_err(|error| unwritable(error.error))?,
        Existing::Keep => file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: path.to_owned() },
            _ => unwritable(error.error),
        })?,
    }
    if durability == Durability::Lasting {
        // Without this the name may be gone after a crash of the machine; with it refused, it is most likely there.
        let _lasting = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(written)
}

/// Returns whether a file has the name of one that is still being written, or whose writer was killed.
#[must_use]
pub fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

fn layout(parts: &Parts<'_>, manifest: &[u8]) -> Result<Layout, WriteError> {
    let lengths = [parts.program.len(), parts.image.len(), manifest.len()];
    let names = ["the shim", "the compiled component", "its manifest"];
    if let Some((_, part)) = lengths.into_iter().zip(names).find(|(length, _)| *length == 0) {
        return Err(WriteError::Empty { part });
    }
    let [program, image, length] = lengths.map(|length| u64::try_from(length).unwrap_or(u64::MAX));
    Layout::new(program, image, length).ok_or(WriteError::TooLarge {
        program: parts.program.len(),
        image: parts.image.len(),
        manifest: manifest.len(),
    })
}

fn fill(mut file: &File, parts: &Parts<'_>, manifest: &[u8], layout: &Layout) -> io::Result<Written> {
    let zeros = usize::try_from(layout.image_at() - layout.program).unwrap_or_default();
    let padding = vec![0; zeros];
    let (mut whole, mut contents) = (Sha256::new(), blake3::Hasher::new());
    whole.update(parts.program);
    let program = *blake3::hash(parts.program).as_bytes();
    let trailer = Trailer::digested(layout, &program);
    file.write_all(parts.program)?;
    for part in [&padding, parts.image, manifest, &trailer] {
        whole.update(part);
        contents.update(part);
        file.write_all(part)?;
    }
    let contents = *contents.finalize().as_bytes();
    let rest = Trailer::rest(&contents);
    whole.update(rest);
    file.write_all(&rest)?;
    Ok(Written { fingerprint: Fingerprint(contents), file: Digest::from_sha256(whole.finalize().into()) })
}

/// Removes from a directory what writers left that were killed, and that belongs to whom `ours` does.
fn sweep(directory: &Path, ours: &File) {
    let Ok(ours) = ours.metadata() else { return };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_unfinished(&entry.file_name()) {
            continue;
        }
        // Of the entry itself, never of what a link leads to.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        let abandoned = metadata.is_file()
            && metadata.uid() == ours.uid()
            && age.is_some_and(|age| age > NEWBORN)
            // NFS locks nothing else that is open to be read.
            && File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_ok());
        if abandoned {
            // What stays takes room, and is no reason to write nothing.
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

fn make_executable(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    file.set_permissions(Permissions::from_mode(mode | (mode & 0o444) >> 2))
}

#[cfg(test)]
mod tests;
