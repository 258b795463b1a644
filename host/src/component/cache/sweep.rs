//! What leaves the cache: files that nobody finished, those that nobody uses, and what is too much of it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::leftovers::NEWBORN;
use crate::regular;

/// Begins the name of a file that is being compiled into.
pub(super) const UNFINISHED: &str = ".compiling-";

/// How long a file is kept that nobody uses. A guess; what is removed too soon is compiled once more.
pub(super) const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How far in the future a time may be. What is further was given while the clock was wrong.
const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// How many bytes of compiled components are kept. A guess: a hundred of the largest that people make. Whoever builds
/// one anew all day would fill a disk in a month.
const ROOM: u64 = 4 << 30;

/// Removes the files of processes that were killed while they compiled, files that nobody uses any more and, of what is
/// too much together, those used longest ago.
pub(super) fn sweep(directory: &Path) {
    let mut kept = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        // One that has just been made may not be locked yet.
        let (most, lock) = if name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            (NEWBORN, path.clone())
        } else if is_named_by_us(&path) {
            (UNUSED, path.with_extension("lock"))
        } else {
            continue;
        };
        let Ok(about) = entry.metadata() else { continue };
        let age = match about.modified().map(|time| time.elapsed()) {
            Ok(Ok(age)) => age,
            // It is as good as unused: otherwise it would be the last to go until that day. A use gives it another time.
            Ok(Err(ahead)) if ahead.duration() > AHEAD => UNUSED,
            _ => Duration::ZERO,
        };
        if age > most {
            remove(&path, &lock);
        } else if lock != path {
            // What is its own lock stays: whoever makes it may not have locked it yet.
            kept.push((age, about.len(), path, lock));
        }
    }
    kept.sort_unstable();
    let mut size = 0_u64;
    for (_, length, path, lock) in kept {
        size = size.saturating_add(length);
        if size > ROOM {
            remove(&path, &lock);
        }
    }
}

/// Removes a file unless a process holds its lock.
fn remove(path: &Path, lock: &Path) {
    // Held until the file is removed. In a race for the lock two processes may compile the same component, which only
    // wastes time. Shared, because NFS allows no other lock on a file that is open for reading; a compiling process
    // blocks it all the same.
    let held = regular::open(lock);
    let free = match &held {
        Ok(lock) => lock.try_lock_shared().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if free && let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "an unused file of the cache cannot be removed");
    }
}

/// Returns whether a file is a compiled component or its lock, of any build.
fn is_named_by_us(path: &Path) -> bool {
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let [stem, extension] =
        [path.file_stem(), path.extension()].map(|part| part.and_then(|part| part.to_str()));
    let named = stem.and_then(|stem| stem.split_once('-'));
    named.is_some_and(|(digest, tag)| hex(digest, 64) && hex(tag, 16))
        && matches!(extension, Some("cwasm" | "lock"))
}
