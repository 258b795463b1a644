//! The key to the cache: made once, and for our user alone to read.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use blake3::Hasher;
use portcullis_contract::Digest;
use tempfile::PersistError;

use crate::component::engine::FINGERPRINT;
use crate::regular;

pub(super) const FILE: &str = "component-cache.key";

/// Begins the name of an unfinished key. It says what the file is, because files of such names are removed later.
pub(super) const UNFINISHED: &str = ".component-cache.key-";

/// Authenticates what is in the cache.
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads the key in a directory; makes it when there is none.
    pub(super) fn read_or_make(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        match Self::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
        file.write_all(&key)?;
        // A umask may have taken the right to read from us, too.
        file.as_file().set_permissions(Permissions::from_mode(0o600))?;
        file.as_file().sync_all()?;
        // Whoever comes second uses the key of whoever came first.
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(Self(key)),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Self::read(&path),
            // Some file systems of networks and FUSE can only replace. What was compiled under the key of whoever came
            // first is compiled anew.
            Err(PersistError { file, .. }) => {
                file.persist(&path).map(|_| Self(key)).map_err(|error| error.error)
            }
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = regular::open(path)?;
        let metadata = file.metadata()?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
            return Err(useless("others can read it"));
        }
        let mut key = [0; 32];
        file.read_exact(&mut key).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => useless("it is cut short"),
            _ => error,
        })?;
        Ok(Self(key))
    }

    /// Begins a code over what a compiled component stands for.
    pub(super) fn mac(&self, digest: &Digest) -> Hasher {
        let mut mac = Hasher::new_keyed(&self.0);
        mac.update(digest.as_bytes());
        mac.update(&u64::try_from(FINGERPRINT.len()).unwrap_or_default().to_le_bytes());
        mac.update(FINGERPRINT.as_bytes());
        mac
    }
}

fn useless(why: &str) -> io::Error {
    io::Error::other(format!("{why}; remove it, and another one is made"))
}

#[cfg(test)]
mod tests {
    use std::fs::set_permissions;

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Key::read_or_make(directory.path()).is_ok());
        set_permissions(directory.path().join(FILE), Permissions::from_mode(0o644)).unwrap();
        assert!(Key::read_or_make(directory.path()).is_err());
    }
}
