//! A store in one JSON file that only its owner may read: an object from names to texts.
//!
//! The file is read when it is opened, so that what is wrong with it is said before a plugin runs,
//! and again when it has changed. All checks are made on the opened file and not on its path. A
//! change is written beside it and moved over it. Processes that change it wait for each other at a lock
//! on the file itself, so no lock file is left behind. If a process is killed while it writes, the next
//! change removes its unfinished file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_trait::async_trait;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use thiserror::Error;

use super::{SecretStore, StoreError};
use crate::blocking::blocking;
use crate::leftovers::{self, NEWBORN};
use crate::lock::lock;
use crate::turn::in_turn;

mod text;

pub use text::Malformed;
use text::{Entries, entries};

/// How long what was read counts as current. A guess: longer, and a replaced secret is handed out for
/// longer; shorter, and reading one costs a system call more often.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How long a change waits for another process that is changing the file. A guess; a change takes
/// milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts to lock the file.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// How old a change must be for the next one to have a different time, in whole seconds.
const SETTLES_IN: Duration = Duration::from_secs(2);

/// Begins the name of an unfinished file. It names this program, because files of such names are removed later.
const UNFINISHED: &str = ".portcullis-secrets-";

/// In bytes. A guess; a file that large holds something else.
const LARGEST_FILE: u64 = 64 << 20;

/// A store in one JSON file.
///
/// Holds no lock across an await.
#[derive(Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    fresh_for: Duration,
    known: Mutex<Known>,
    /// Held for each change, so that changes of this process do not contend for the file.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What the file said when it was last read.
#[derive(Clone)]
struct Known {
    entries: Arc<Entries>,
    stamp: Stamp,
    /// Whether the last change was so long ago that the next one is sure to have a different time: a file
    /// system's clock may stand still for some milliseconds.
    settled: bool,
    looked: Instant,
}

/// What shows, without reading a file, that it has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
    mode: u32,
    owner: u32,
}

/// Shows where it is, never what it holds.
impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl FileStore {
    /// Opens a store. A link is followed once, here, and changes go to the file that it led to.
    ///
    /// Blocks while it reads.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used, and what to do about it.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_fresh_for(path, FRESH_FOR)
    }

    fn open_fresh_for(path: &Path, fresh_for: Duration) -> Result<Self, FileError> {
        let unreadable = |source: io::Error| {
            let missing = "there is no such file; make one that only you may read, with {} in it";
            let source = match source.kind() {
                io::ErrorKind::NotFound => io::Error::new(source.kind(), missing),
                _ => source,
            };
            FileError::Unreadable { path: path.to_owned(), source }
        };
        // What a shell puts in the place of `<(...)` leads nowhere that a path could name.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(FileError::NotAFile { path: path.to_owned() });
        }
        let path = fs::canonicalize(path).map_err(unreadable)?;
        let known = read(&open(&path)?, &path)?;
        let shared = Shared { path, fresh_for, known: Mutex::new(known), turn: Arc::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns what the file says, reading it if it may have changed.
    async fn entries(&self) -> Result<Arc<Entries>, StoreError> {
        {
            let known = self.shared.known();
            if known.looked.elapsed() < self.shared.fresh_for {
                return Ok(Arc::clone(&known.entries));
            }
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.refresh()).await.map_err(|error| StoreError::Read(error.into()))
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Entries) -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        // Waited for before it takes a thread: those for blocking work are few.
        let turn = Arc::clone(&shared.turn).lock_owned();
        in_turn(turn, move |turn| async move {
            let changed = blocking(move || {
                // Held by the thread: the runtime may stand still.
                let _turn = turn;
                shared.change(change)
            });
            changed.await.map_err(|error| StoreError::Write(error.into()))
        })
        .await
    }
}

#[async_trait]
impl SecretStore for FileStore {
    async fn secret(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.entries().await?.get(name).cloned())
    }

    async fn set(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.change(|entries| entries.insert(name, value.clone()) != Some(value)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.change(move |entries| entries.remove(&name).is_some()).await
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.entries().await?.keys().cloned().collect())
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    fn refresh(&self) -> Result<Arc<Entries>, FileError> {
        let file = open(&self.path)?;
        let stamp = stamp(&file, &self.path)?;
        let before = {
            let mut known = self.known();
            if known.stamp == stamp && known.settled {
                known.looked = Instant::now();
                return Ok(Arc::clone(&known.entries));
            }
            known.stamp
        };
        let read = read(&file, &self.path)?;
        let mut known = self.known();
        // A change that was made meanwhile is newer than what was read before it.
        if known.stamp == before {
            *known = read;
        }
        Ok(Arc::clone(&known.entries))
    }

    /// Applies a change to what the file says now; writes it if `change` says that there was one.
    fn change(&self, change: impl FnOnce(&mut Entries) -> bool) -> Result<(), FileError> {
        // Dropping it unlocks it, and that has to come after the move.
        let locked = self.lock_within(LOCK_PATIENCE)?;
        let mut known = read(&locked, &self.path)?;
        if change(Arc::make_mut(&mut known.entries)) {
            known.stamp = self.write(&known.entries)?;
            known.settled = false;
            known.looked = Instant::now();
        }
        *self.known() = known;
        Ok(())
    }

    /// Opens the file and waits until nobody else changes it.
    fn lock_within(&self, patience: Duration) -> Result<File, FileError> {
        let started = Instant::now();
        loop {
            let file = open_to_lock(&self.path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The last holder of the lock may have moved a new file here; then that one has to be locked.
                Ok(()) if stamp(&file, &self.path)?.names(&self.path) => return Ok(file),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
                Err(error) => {
                    let source = io::Error::other(format!("it cannot be locked: {error}"));
                    return Err(FileError::Unwritable { path: self.path.clone(), source });
                }
            }
            if started.elapsed() > patience {
                return Err(FileError::Busy { path: self.path.clone(), waited: patience });
            }
        }
    }

    /// Moves a file with these entries over ours.
    fn write(&self, entries: &Entries) -> Result<Stamp, FileError> {
        let unwritable = |source: io::Error| FileError::Unwritable { path: self.path.clone(), source };
        let mut text = serde_json::to_vec_pretty(entries).map_err(|error| unwritable(error.into()))?;
        text.push(b'\n');
        let size = text.len() as u64;
        // A larger file would be refused at the next read, even by a change that would make it smaller.
        if size > LARGEST_FILE {
            return Err(FileError::Full { path: self.path.clone(), size });
        }
        if entries.contains_key("") {
            return Err(FileError::Malformed { path: self.path.clone(), problem: Malformed::NoName });
        }
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let moved = (|| {
            // Its mode is 0600 from the start, and it is deleted unless it is moved.
            let mut fresh = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory)?;
            // Held while we write. Where locks do not work, no other process can lock it either, and so none removes
            // it.
            let _held = flock(fresh.as_file(), FlockOperation::NonBlockingLockExclusive);
            sweep(directory);
            fresh.write_all(&text)?;
            fresh.as_file().sync_all()?;
            let file = fresh.persist(&self.path).map_err(|failed| failed.error)?;
            // Otherwise a power cut may undo the change. If the directory cannot be synced, the change still counts.
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
            Ok(file)
        })();
        let file = moved.map_err(advised).map_err(unwritable)?;
        stamp(&file, &self.path)
    }
}

impl Stamp {
    fn is_settled(self) -> bool {
        let changed = Duration::from_secs(u64::try_from(self.changed.0).unwrap_or_default());
        // If the clock was set back, the file is from the future and is read again each time.
        let age = UNIX_EPOCH.elapsed().unwrap_or_default().checked_sub(changed);
        age.is_some_and(|age| age > SETTLES_IN)
    }

    /// Returns whether a path leads to the file of this stamp.
    fn names(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode))
    }
}

/// Adds what to do if the file is a mount point, as in a container: no other file can be moved over it.
fn advised(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::ResourceBusy {
        return error;
    }
    io::Error::new(error.kind(), format!("{error}; mount its directory in place of the file alone"))
}

/// Removes the unfinished files, secrets and all, that killed processes of this user left in a directory.
fn sweep(directory: &Path) {
    for (path, about) in leftovers::old(directory, UNFINISHED, NEWBORN) {
        let abandoned = about.is_file()
            // Shared, because NFS lets a file that is open for reading have no other lock.
            && open(&path).is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockShared).is_ok());
        if abandoned && let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a leftover file with secrets cannot be removed");
        }
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    open_with(OpenOptions::new().read(true), path)
}

/// Opens a file to lock it exclusively, which on NFS takes a file that is open for writing.
fn open_to_lock(path: &Path) -> Result<File, FileError> {
    open_with(OpenOptions::new().read(true).write(true), path).or_else(|_may_not_be_written| open(path))
}

fn open_with(options: &mut OpenOptions, path: &Path) -> Result<File, FileError> {
    // Opening a pipe would wait for its other end. Links were followed when the store was opened.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY).bits().cast_signed();
    options
        .custom_flags(flags)
        .open(path)
        .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}

/// Checks an opened file: it must be a regular one, of ours or of root's, that nobody else can read.
fn stamp(file: &File, path: &Path) -> Result<Stamp, FileError> {
    stamp_as(rustix::process::geteuid().as_raw(), file, path)
}

/// Does so on behalf of a user.
fn stamp_as(us: u32, file: &File, path: &Path) -> Result<Stamp, FileError> {
    let about = file.metadata().map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    let path = || path.to_owned();
    if !about.is_file() {
        return Err(FileError::NotAFile { path: path() });
    }
    if about.uid() != us && about.uid() != 0 {
        return Err(FileError::NotOurs { path: path(), owner: about.uid(), us });
    }
    if about.mode() & 0o077 != 0 {
        return Err(FileError::Exposed { path: path(), mode: about.mode() & 0o7777 });
    }
    if about.len() > LARGEST_FILE {
        return Err(FileError::TooLarge { path: path(), size: about.len() });
    }
    Ok(Stamp {
        device: about.dev(),
        inode: about.ino(),
        size: about.size(),
        changed: (about.ctime(), about.ctime_nsec()),
        modified: (about.mtime(), about.mtime_nsec()),
        mode: about.mode(),
        owner: about.uid(),
    })
}

fn read(file: &File, path: &Path) -> Result<Known, FileError> {
    let looked = Instant::now();
    // Checked before it is read: if it changes in between, the stamp no longer fits, and the next
    // check reads it again.
    let stamp = stamp(file, path)?;
    let mut text = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut text)
        .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(FileError::TooLarge { path: path.to_owned(), size: text.len() as u64 });
    }
    let entries =
        entries(&text).map_err(|problem| FileError::Malformed { path: path.to_owned(), problem })?;
    Ok(Known { entries: Arc::new(entries), stamp, settled: stamp.is_settled(), looked })
}

/// Why a secrets file cannot be used or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read the secrets file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("the secrets file {} is not a regular file; write the secrets to one that only you may read", path.display())]
    NotAFile {
        /// What is there instead.
        path: PathBuf,
    },
    /// Another user owns it, and could change it.
    #[error("the secrets file {} belongs to user {owner}, not to {us}; make a copy of your own", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others could read it.
    #[error(
        "the secrets file {path} is open to others (mode {mode:04o}); run: chmod 600 {path}",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any secrets file.
    #[error("the secrets file {} has {size} bytes; at most {LARGEST_FILE} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, or how much of it was read.
        size: u64,
    },
    /// Its text is not a valid secrets file.
    #[error("the secrets file {} has to be a JSON object of names and texts, but {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Malformed,
    },
    /// It cannot be replaced.
    #[error("cannot write the secrets file {}; it is unchanged", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It would become larger than any secrets file.
    #[error("the secrets file {} would have {size} bytes, of at most {LARGEST_FILE}; it is unchanged", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// How many.
        size: u64,
    },
    /// Another process has been changing it for too long.
    #[error("the secrets file {} is still locked by another process after {waited:?}", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
}

#[cfg(test)]
mod tests;
