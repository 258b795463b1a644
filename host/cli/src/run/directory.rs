//! The directory of an action's files.
//!
//! It is made before the plugin starts, which may have been granted it, and so before anybody knows whether there is such a
//! provider and whether it will be called as an action. What was made and no action used is removed again, unless another
//! run has come to use it.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often a directory is made anew that another run removes at that moment. A guess; removing takes microseconds.
const ATTEMPTS: usize = 100;

/// Directories that were made. When this is dropped, those are removed in which nothing lies.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The innermost comes first.
    directories: Vec<PathBuf>,
    /// The innermost itself, whoever made it, shared by flock with the other runs that use it.
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
                // What it was to lie in, or what was there, may be gone by now.
                Err(error) if left > 0 && is_of_a_moment(&error) => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    /// Leaves them where they are: an action has used them.
    pub(super) fn keep(mut self) {
        self.directories.clear();
    }
}

/// Keeps other runs from removing a directory, or returns nothing where that cannot be, as where there are no locks.
///
/// # Errors
///
/// That it is gone by then, or about to go.
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

/// Returns whether an error is one of another run's removing.
fn is_of_a_moment(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::WouldBlock)
}

impl Drop for Made {
    fn drop(&mut self) {
        let others_use_it = |held: &File| matches!(held.try_lock(), Err(TryLockError::WouldBlock));
        // Our own hold would be in the way, too, and is not let go of by closing it while a child that is started has it.
        if let Some(held) = self.held.take() {
            let _free = held.unlock();
        }
        for directory in &self.directories {
            // Whoever comes while it is removed makes it anew.
            let held = File::open(directory);
            if held.as_ref().is_ok_and(others_use_it) {
                return;
            }
            // One in which something lies stays, and so do those around it.
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

    /// Of so many one is sure to be removed in the midst of another's attempt.
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
