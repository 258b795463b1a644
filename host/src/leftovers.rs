//! What processes leave in our directories that are killed while they write.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How long a file may be unfinished. A guess; what is written here takes milliseconds, and if it is removed too soon the write fails.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Removes files of this user whose names begin with a text from a directory, if nobody has written to them for long.
pub(crate) fn sweep(directory: &Path, prefix: &str) {
    let us = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        // Of the entry itself, never of what a link leads to.
        let Ok(about) = entry.metadata() else { continue };
        let age = about.modified().ok().and_then(|modified| modified.elapsed().ok());
        if about.is_file() && about.uid() == us && age.is_some_and(|age| age > LONGEST) {
            // What stays takes room, and is no reason to write nothing.
            let _gone = fs::remove_file(entry.path());
        }
    }
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
