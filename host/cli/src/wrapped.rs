//! What was wrapped here, remembered.
//!
//! A wrapped file holds machine code, and nothing in it proves that it was compiled from the component that the file
//! names. Of files that this command wrote for this user we know it. Each leaves an empty file named by its fingerprint
//! in a directory that nobody else may write to, beside the key of the cache: whoever can write there needs no forged
//! plugin.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::host::KnownWrapped;
use portcullis_bundle::Fingerprint;

use crate::Session;

/// Remembers a file that was wrapped.
pub(crate) fn remember(session: &Session, fingerprint: Fingerprint) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "there is no directory for this user's data");
    let directory = directory(session).ok_or_else(none)?;
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
    portcullis::make_private(&directory).map_err(told)?;
    if !is_ours(&directory) {
        return Err(io::Error::other(format!("{} can be written by others", directory.display())));
    }
    File::create(directory.join(name(fingerprint))).map_err(told)?;
    Ok(())
}

/// Returns the check for files that were wrapped here, with whichever shim: it is part of the fingerprint.
pub(crate) fn known(session: &Session) -> KnownWrapped {
    let directory = directory(session);
    Arc::new(move |fingerprint: Fingerprint| {
        let remembered =
            |directory: &PathBuf| is_ours(directory) && directory.join(name(fingerprint)).is_file();
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
