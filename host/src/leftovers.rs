//! What killed processes leave in our directories.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long after its last change an unfinished file is kept. A guess: writing takes milliseconds, and fails if the
/// file is removed too soon.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How old something that its maker locks must be to be removed. Less, and it could go before it is locked.
pub(crate) const NEWBORN: Duration = Duration::from_secs(60);

/// Removes this user's old files with names that begin with `prefix` from a directory.
pub(crate) fn sweep(directory: &Path, prefix: &str) {
    for (path, about) in old(directory, prefix, LONGEST) {
        if about.is_file() {
            // A leftover that stays costs some disk, and is no reason not to write.
            let _gone = fs::remove_file(path);
        }
    }
}

/// Returns this user's entries of a directory with names that begin with `prefix` and that have not changed for `age`.
pub(crate) fn old(
    directory: &Path,
    prefix: &str,
    age: Duration,
) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let us = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            return None;
        }
        // Does not follow links.
        let about = entry.metadata().ok()?;
        let is_old = about.modified().ok()?.elapsed().ok()? > age;
        (is_old && about.uid() == us).then(|| (entry.path(), about))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_is_old_and_of_that_name_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new, other] = [".tmp-old", ".tmp-new", "other"].map(|name| dir.path().join(name));
        for file in [&old, &new, &other] {
            fs::write(file, "half").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * LONGEST;
        for file in [&old, &other] {
            File::open(file).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(dir.path(), ".tmp-");
        assert_eq!([&old, &new, &other].map(|file| file.exists()), [false, true, true]);
        sweep(&dir.path().join("missing"), "");
    }
}
