//! The directory of an action's files.
//!
//! It is made before the plugin starts, which may have been granted it, and so before anybody knows whether there is such a
//! provider and whether it will be called as an action. What was made and no action used is removed again.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Directories that were made. When this is dropped, those are removed in which nothing lies.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The innermost comes first.
    directories: Vec<PathBuf>,
}

impl Made {
    /// Makes a directory, and those that it lies in.
    pub(super) fn make(directory: &Path) -> io::Result<Self> {
        let missing = directory.ancestors().take_while(|ancestor| !ancestor.exists());
        let made = Self { directories: missing.map(Path::to_owned).collect() };
        fs::create_dir_all(directory)?;
        Ok(made)
    }

    /// Leaves them where they are: an action has used them.
    pub(super) fn keep(mut self) {
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in &self.directories {
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
    fn what_could_not_be_made_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let impossible = base.path().join("a").join("x".repeat(300));
        assert!(Made::make(&impossible).is_err());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
