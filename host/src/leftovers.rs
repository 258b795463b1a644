//! What processes leave in our directories that are killed while they write.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a file may be unfinished. A guess; what is written here takes milliseconds, and if it is removed too soon the write fails.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How old a thing must be that whoever makes it locks. Too short, and it could be removed before it is locked.
pub(crate) const NEWBORN: Duration = Duration::from_secs(60);

/// Removes files of this user whose names begin with a text from a directory, if nobody has written to them for long.
pub(crate) fn sweep(directory: &Path, prefix: &str) {
    for (path, about) in old(directory, prefix, LONGEST) {
        if about.is_file() {
            // What stays takes room, and is no reason to write nothing.
            let _gone = fs::remove_file(path);
        }
    }
}

/// Returns what this user has in a directory under names that begin with a text, if it has not changed for so long.
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
        // Of the entry itself, never of what a link leads to.
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
