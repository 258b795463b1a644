//! The directory of an action's files.
//!
//! It is made before the plugin starts, because it may be granted to the plugin, and so before it is known whether the
//! provider exists and is called as an action. Directories that no action used are removed again, unless another run
//! uses them.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often to try again when another run is removing the directory. A guess; removing takes microseconds.
const ATTEMPTS: usize = 100;

/// Directories that were made. The empty ones are removed when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The innermost comes first.
    directories: Vec<PathBuf>,
    /// The innermost one, whoever made it, under a shared flock of all runs that use it.
    held: Option<File>,
}

impl Made {
    /// Makes a directory, and those that it lies in.
    pub(super) fn make(directory: &Path) -> io::Result<Self> {
        let missing = directory.ancestors().take_while(|ancestor| !ancestor.exists());
        let mut made = Self { directories: missing.map(Path::to_owned).collect(), held: None };
        for left in (0..ATTEMPTS).rev() {
            match fs::create_dir_all(directory).and_then(|()| hold(directory)) {
                Ok(held) => {
                    made.held = held;
                    break;
                }
                // Its parent, or what was there, may be gone by now.
                Err(error) if left > 0 && is_of_a_moment(&error) => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// Keeps them: an action has used them.
    pub(super) fn keep(mut self) {
        self.directories.clear();
    }
}

/// Keeps other runs from removing a directory; `None` where it cannot be locked.
///
/// # Errors
///
/// That it is gone, or about to be removed.
fn hold(directory: &Path) -> io::Result<Option<File>> {
    let held = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        Err(_) => return Ok(None),
        Ok(held) => held,
    };
    match held.try_lock_shared() {
        Err(TryLockError::Error(_)) => return Ok(None),
        Err(error @ TryLockError::WouldBlock) => return Err(error.into()),
        Ok(()) => {}
    }
    let [opened, there] = [held.metadata()?, directory.metadata()?];
    if (opened.dev(), opened.ino()) == (there.dev(), there.ino()) {
        Ok(Some(held))
    } else {
        Err(ErrorKind::NotFound.into())
    }
}

/// Returns whether an error comes from another run that is removing the directory.
fn is_of_a_moment(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::WouldBlock)
}

impl Drop for Made {
    fn drop(&mut self) {
        let others_use_it = |held: &File| matches!(held.try_lock(), Err(TryLockError::WouldBlock));
        // Our own lock would be in the way. Closing would not release it while a child that is starting has the
        // descriptor.
        if let Some(held) = self.held.take() {
            let _free = held.unlock();
        }
        for directory in &self.directories {
            // A run that wants to use it from here on makes it anew.
            let held = File::open(directory);
            if held.as_ref().is_ok_and(others_use_it) {
                return;
            }
            // It stays if it is not empty, and so do its parents.
            let _stays = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_and_holds_nothing_is_removed_unless_it_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let [outer, inner] = ["a", "a/b/c"].map(|path| base.path().join(path));
        drop(Made::make(&inner).unwrap());
        assert!(!outer.exists() && base.path().exists());

        Made::make(&inner).unwrap().keep();
        assert!(inner.exists());
        drop(Made::make(&inner).unwrap());
        assert!(inner.exists(), "it was there before");

        let full = Made::make(&inner.join("d/e")).unwrap();
        fs::write(inner.join("d/file"), "").unwrap();
        drop(full);
        assert!(inner.join("d").exists() && !inner.join("d/e").exists());
    }

    #[test]
    fn what_another_run_uses_is_left_to_it() {
        for theirs in ["a/b", "a"] {
            let base = tempfile::tempdir().unwrap();
            let [first, second] = ["a/b", theirs].map(|path| Made::make(&base.path().join(path)).unwrap());
            drop(first);
            assert!(base.path().join(theirs).exists(), "{theirs}");
            second.keep();
            assert!(base.path().join(theirs).exists(), "{theirs}");
        }
    }

    /// With so many runs, one is sure to remove it while another one makes it.
    #[test]
    fn who_makes_what_another_run_removes_makes_it_anew() {
        let base = tempfile::tempdir().unwrap();
        let runs = || {
            for _ in 0..1000 {
                drop(Made::make(&base.path().join("a/b")).unwrap());
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(runs);
            }
        });
    }

    #[test]
    fn what_could_not_be_made_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let impossible = base.path().join("a").join("x".repeat(300));
        assert!(Made::make(&impossible).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
