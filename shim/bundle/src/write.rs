//! Writing a file, whole or not at all.
//!
//! It is made under another name beside its place, synced to the disk if it is to last, and renamed. Files that killed
//! writers left are removed at the next write in the same directory (where a file system cannot give a name that is
//! new, an empty file takes the name first, and may be what a killed writer leaves). The same parts make the same file,
//! to the byte: it holds no time, path or machine.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_contract::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::{PathPersistError, TempPath};
use thiserror::Error;

use crate::layout::{Layout, Trailer};
use crate::{Fingerprint, Manifest};

/// Begins the name of a file that is not whole yet.
const UNFINISHED: &str = ".portcullis-wrap-";
/// How old an unlocked file of that name must be to be removed. Less, and one could go before its writer has locked it.
const NEWBORN: Duration = Duration::from_secs(60);

/// What a file is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The shim: a whole program.
    pub program: &'a [u8],
    /// The compiled component.
    pub image: &'a [u8],
    /// Which component it is, and what it may do.
    pub manifest: &'a Manifest,
}

/// What to do with a file that exists already.
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
    /// It is synced to the disk before it gets its name.
    Lasting,
    /// It is not synced: it is removed in a moment anyway.
    Passing,
}

/// What identifies a file that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What [`Seal::fingerprint`](crate::Seal::fingerprint) will be.
    pub fingerprint: Fingerprint,
    /// The digest of the whole file. Whoever runs it has to require this digest: another file may have its name by
    /// then.
    pub file: Digest,
}

/// Why nothing was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file exists already.
    #[error("{} exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What exists there is not a file, and cannot be replaced.
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
    /// The manifest cannot be written as JSON.
    #[error("the manifest cannot be written as JSON")]
    Manifest(#[source] serde_json::Error),
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Writes a file that everybody who may read it may execute. It is not executable before it is whole, because a host
/// could take what a killed writer left for a plugin.
///
/// # Errors
///
/// Why it was not written. A file that was there before is unchanged.
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
        Existing::Keep => persist_as_new(file, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists { path: path.to_owned() },
            _ => unwritable(error),
        })?,
    }
    if durability == Durability::Lasting {
        // Otherwise the name may be lost if the machine crashes. If the directory cannot be synced, the file still
        // counts.
        let _lasting = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(written)
}

/// Gives a file its name, unless there is one of that name.
fn persist_as_new(file: TempPath, path: &Path) -> io::Result<()> {
    let PathPersistError { error, path: file } = match file.persist_noclobber(path) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Err(error);
    }
    // Some file systems of networks and FUSE can only replace: an empty file keeps the name for us.
    let _claim = File::create_new(path)?;
    file.persist(path).map_err(|PathPersistError { error, .. }| {
        let _left_empty = std::fs::remove_file(path);
        error
    })
}

/// Returns whether a name is that of a file that is still being written, or whose writer was killed.
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

/// Removes the files that killed writers left in a directory, if they have the same owner as `ours`.
fn sweep(directory: &Path, ours: &File) {
    let Ok(ours) = ours.metadata() else { return };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_unfinished(&entry.file_name()) {
            continue;
        }
        // Does not follow links.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        let abandoned = metadata.is_file()
            && metadata.uid() == ours.uid()
            && age.is_some_and(|age| age > NEWBORN)
            // Shared, because NFS lets a file that is open for reading have no other lock.
            && File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_ok());
        if abandoned {
            // A leftover that stays costs some disk, and is no reason not to write.
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
