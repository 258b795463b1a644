//! What was wrapped here, remembered.
//!
//! A wrapped file holds machine code, and nobody can tell by looking whether that is what became of the component
//! that the file names. Of files that this command wrote for this user it is known. Each leaves an empty file under its
//! fingerprint in a directory that nobody else may write to, beside the key of the cache: whoever can forge it needs no
//! forged plugin any more.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::host::KnownWrapped;
use portcullis_bundle::{Bundle, Fingerprint};

use crate::Session;

/// Remembers a file that was wrapped.
pub(crate) fn remember(session: &Session, fingerprint: Fingerprint) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "there is no directory for this user's data");
    let directory = directory(session).ok_or_else(none)?;
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(told)?;
    if !is_ours(&directory) {
        return Err(io::Error::other(format!("{} can be written by others", directory.display())));
    }
    File::create(directory.join(name(fingerprint))).map_err(told)?;
    Ok(())
}

/// Tells the files that were wrapped here. The shim in one is part of its fingerprint, and need not be the one that there is by now.
pub(crate) fn known(session: &Session) -> KnownWrapped {
    let directory = directory(session);
    Arc::new(move |bundle: &Bundle| {
        let remembered =
            |directory: &PathBuf| is_ours(directory) && directory.join(name(bundle.fingerprint())).is_file();
        directory.as_ref().is_some_and(remembered)
    })
}

fn directory(session: &Session) -> Option<PathBuf> {
    session.environment.data.as_ref().map(|data| data.join("wrapped"))
}

fn name(fingerprint: Fingerprint) -> String {
    format!("blake3-{fingerprint}")
}

/// Returns whether nobody but this user may write to a directory.
fn is_ours(directory: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(directory).is_ok_and(|it| it.is_dir() && it.uid() == us && it.mode() & 0o022 == 0)
}
