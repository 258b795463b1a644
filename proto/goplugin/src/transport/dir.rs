//! The private directory of one run, and what dead runs left.
//!
//! Whoever may enter the directory may talk to the plugin, so only we may. Its `lock` file is under flock for as
//! long as we live; the kernel releases it however we end. So a directory whose lock is free is abandoned, and the
//! next start removes it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mknodat};
use rustix::io::Errno;
use thiserror::Error;

use super::{Address, Group, LONGEST_PATH};

const PREFIX: &str = "goplugin-";
const LOCK: &str = "lock";

/// What follows in the name of a directory: so many of these letters and digits.
const TOKEN: usize = 8;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// How the names of our own sockets begin; a number follows.
const OURS: &str = "host";

/// What a Go plugin appends to the directory: a slash, "plugin", and a random number of up to ten
/// digits. A host that finds too little room says so, where the plugin would end without a word.
const LONGEST_NAME: usize = "/plugin4294967295".len();

/// How often a new directory is tried for when sweepers and strangers get in the way.
const ATTEMPTS: usize = 16;

/// A directory for the sockets of one plugin and of our broker. It is removed, with everything in it, when dropped.
#[derive(Debug)]
pub(crate) struct SocketDir {
    path: PathBuf,
    group: Option<Group>,
    next: AtomicU32,
    /// Locked for as long as the directory is in use.
    _lock: File,
}

impl SocketDir {
    /// Creates the directory below `base`, or below the system's temporary directory if that is `None`.
    ///
    /// Besides us, the users of `group` may enter it.
    pub(crate) fn create(base: Option<&Path>, group: Option<&str>) -> Result<Self, SocketDirError> {
        let find = |name: &str| {
            Group::find(name).map_err(|source| SocketDirError::Group { name: name.to_owned(), source })
        };
        let group = group.map(find).transpose()?;
        match base {
            Some(base) => Self::create_below(base, group),
            // A `TMPDIR` too deep for any socket is common enough for a second choice.
            None => match Self::create_below(&temporary_dir(), group) {
                Err(SocketDirError::Long { .. } | SocketDirError::Unfit { .. }) => {
                    Self::create_below(Path::new("/tmp"), group)
                }
                created => created,
            },
        }
    }

    fn create_below(base: &Path, group: Option<Group>) -> Result<Self, SocketDirError> {
        let failed = |source| SocketDirError::Create { base: base.to_owned(), source };
        let base = std::path::absolute(base).map_err(failed)?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..ATTEMPTS {
            let path = base.join(format!("{PREFIX}{}", token().map_err(failed)?));
            let length = path.as_os_str().len() + LONGEST_NAME;
            if length > LONGEST_PATH {
                return Err(SocketDirError::Long { base, length });
            }
            if !Address::Unix(path.clone()).fits_a_line() {
                return Err(SocketDirError::Unfit { base });
            }
            match claim(&path) {
                Ok(lock) => {
                    let created = Self { path, group, next: AtomicU32::new(1), _lock: lock };
                    if let Some(group) = group {
                        group.admit(&created.path, 0o770).map_err(failed)?;
                    }
                    return Ok(created);
                }
                // Somebody has the name, or a sweeper came between: both end with another name.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::WouldBlock) =>
                {
                    last = error;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(last))
    }

    /// Returns the directory, which the child gets to know by its environment.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the group of users that may connect to the sockets in it, if there is one.
    pub(super) fn group(&self) -> Option<Group> {
        self.group
    }

    /// Returns a path for a socket of ours that no other socket of this run has.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path.join(format!("{OURS}{}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns the sockets in it that are not ours.
    pub(crate) fn left_by_the_plugin(&self) -> BTreeSet<PathBuf> {
        let ours = |name: &[u8]| {
            name.strip_prefix(OURS.as_bytes()).is_some_and(|number| number.iter().all(u8::is_ascii_digit))
        };
        fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
            .filter(|entry| !ours(entry.file_name().as_bytes()))
            .map(|entry| entry.path())
            .collect()
    }

    /// Removes the directory before its last owner is gone. Removing it twice is no error.
    pub(crate) fn remove(&self) {
        discard(&self.path);
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Returns the system's temporary directory. An empty `TMPDIR` counts as unset, as in Go; to the standard library it
/// means the working directory.
#[must_use]
pub fn temporary_dir() -> PathBuf {
    let named = std::env::temp_dir();
    if named.as_os_str().is_empty() { PathBuf::from("/tmp") } else { named }
}

/// Why there is no directory for sockets.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketDirError {
    /// A socket's path would not fit into its address.
    #[error(
        "sockets below {} would have paths of up to {length} bytes, and {LONGEST_PATH} fit: \
         choose a shorter directory",
        base.display()
    )]
    Long {
        /// The directory it was to be created in.
        base: PathBuf,
        /// How many bytes a path could have.
        length: usize,
    },
    /// A plugin could not say in its handshake where a socket is.
    #[error(
        "a plugin cannot name a socket below {}: a path must be UTF-8, without `|` and line breaks; choose another \
         directory",
        base.display()
    )]
    Unfit {
        /// The directory it was to be created in.
        base: PathBuf,
    },
    /// The group that may connect does not exist, or cannot be given the directory.
    #[error("cannot share sockets with the group {name:?}")]
    Group {
        /// The group, by its name or number.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The directory cannot be created.
    #[error("cannot create a directory for sockets in {} (`TMPDIR` may name another place)", base.display())]
    Create {
        /// The directory it was to be created in.
        base: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Removes from `base` what dead runs of this user left.
///
/// Never waits, and never fails: what cannot be removed now is left to the next start. It may run at any
/// time beside [`SocketDir::create`] in this or another process.
pub(crate) fn sweep(base: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if !is_named_by_us(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        // Never through a link, and never somebody else's, however it is named.
        let ours = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == user);
        if ours {
            sweep_one(&path);
        }
    }
}

/// Returns whether a name is exactly of the form that our directories have. One that only begins so is somebody else's.
fn is_named_by_us(name: &OsStr) -> bool {
    let token = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    token.is_some_and(|token| token.len() == TOKEN && token.iter().all(|byte| ALPHABET.contains(byte)))
}

fn sweep_one(path: &Path) {
    // A plugin may have put a pipe there, whose opening would wait for somebody who writes to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match File::options().read(true).custom_flags(flags).open(path.join(LOCK)) {
        Ok(lock) => {
            // Shared, because NFS grants nothing else on a file that is open to be read; the owner's lock keeps that
            // off as well.
            if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
                discard(path);
            }
        }
        // Its owner is about to create the lock, or died before it could. Only an empty directory is
        // removed by this, and an owner who finds it gone takes another name.
        Err(_) => drop(fs::remove_dir(path)),
    }
}

/// Removes a directory of ours; the lock goes last, so that a removal cut short is taken up again.
fn discard(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name() == LOCK {
            continue;
        }
        // A plugin may have put anything there; `remove_dir_all` follows no links.
        let _left = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
            _ => fs::remove_file(entry.path()),
        };
    }
    let lock = path.join(LOCK);
    let _left = fs::remove_file(&lock);
    if fs::remove_dir(path).is_err() {
        // The directory is still there, and without a lock nobody would remove it later. There may be no descriptor
        // left, and this needs none.
        let _is_gone = mknodat(CWD, &lock, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0);
    }
}

/// Makes `path` ours: a new directory that only we may enter, its lock created and held.
fn claim(path: &Path) -> io::Result<File> {
    DirBuilder::new().mode(0o700).create(path)?;
    // Whatever the umask has taken from us.
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    let lock_path = path.join(LOCK);
    // A sweeper may remove the directory while it is empty, or lock the file before we do.
    let lock = File::create_new(&lock_path).map_err(|error| {
        // There may be no descriptor left for it, for instance.
        let _left = fs::remove_dir(path);
        match error.kind() {
            io::ErrorKind::NotFound => io::ErrorKind::WouldBlock.into(),
            _ => error,
        }
    })?;
    // Where it cannot be locked nobody else can lock it either, so nobody takes the directory for a dead run's.
    if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // The lock counts only while its file is the one that others will find.
    match fs::symlink_metadata(&lock_path) {
        Ok(found) if found.ino() == lock.metadata()?.ino() => Ok(lock),
        _ => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Returns letters and digits that nobody can guess.
fn token() -> io::Result<String> {
    let mut random = [0_u8; TOKEN];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let letter = |byte: u8| char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or(b'a'));
    Ok(random.into_iter().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::kernel::without;

    fn names(base: &Path) -> Vec<PathBuf> {
        fs::read_dir(base).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn the_directory_is_private_and_goes_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let dir = SocketDir::create(Some(base.path()), None).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);

        let _socket = UnixListener::bind(dir.fresh()).unwrap();
        fs::create_dir(dir.path().join("left by a plugin")).unwrap();
        drop(dir);
        assert_eq!(names(base.path()), Vec::<PathBuf>::new());
    }

    /// Returns a path below `base` of that many bytes, of which the kernel takes 4095. All but its end is there.
    fn deep(base: &Path, length: usize) -> PathBuf {
        let mut path = base.to_owned();
        while path.as_os_str().len() + 102 < length {
            path.push("d".repeat(100));
        }
        fs::create_dir_all(&path).unwrap();
        let name = "n".repeat(length - path.as_os_str().len() - 1);
        path.join(name)
    }

    #[test]
    fn a_directory_whose_lock_cannot_be_created_is_not_left() {
        let base = tempfile::tempdir().unwrap();
        let path = deep(base.path(), 4092);
        assert_eq!(claim(&path).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
        assert_eq!(names(path.parent().unwrap()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_directory_that_cannot_be_emptied_has_a_lock_for_the_next_start() {
        use rustix::fs::{AtFlags, unlinkat};

        let base = tempfile::tempdir().unwrap();
        let path = deep(base.path(), 4088);
        drop(claim(&path).unwrap());
        // Only who has opened the directory comes to that.
        let (directory, name) = (File::open(&path).unwrap(), "out of reach");
        mknodat(&directory, name, FileType::RegularFile, Mode::RUSR, 0).unwrap();
        discard(&path);
        assert!(path.join(LOCK).exists());

        unlinkat(&directory, name, AtFlags::empty()).unwrap();
        sweep_one(&path);
        assert!(!path.exists());
    }

    #[test]
    fn sweeping_spares_the_living_and_removes_the_dead() {
        let base = tempfile::tempdir().unwrap();
        let living = SocketDir::create(Some(base.path()), None).unwrap();
        let dead = SocketDir::create(Some(base.path()), None).unwrap();
        let (dead_path, _socket) = (dead.path().to_owned(), UnixListener::bind(dead.fresh()).unwrap());
        // As if its process had been killed: the lock is let go of, and nothing is removed.
        let SocketDir { _lock, .. } = &dead;
        flock(_lock, FlockOperation::Unlock).unwrap();
        std::mem::forget(dead);
        let unborn = base.path().join("goplugin-newcomer");
        fs::create_dir(&unborn).unwrap();
        let stranger = base.path().join("goplugin-in-ten-lessons");
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join(LOCK), "somebody else's").unwrap();

        sweep(base.path());

        assert!(living.path().exists() && stranger.join(LOCK).exists());
        assert!(!dead_path.exists() && !unborn.exists());
    }

    #[test]
    fn where_nothing_can_be_locked_a_directory_is_somebodys_all_the_same() {
        let base = tempfile::tempdir().unwrap();
        without(libc::SYS_flock, Errno::NOSYS, || {
            let living = SocketDir::create(Some(base.path()), None).unwrap();
            sweep(base.path());
            assert!(living.path().exists());
        });
        assert_eq!(names(base.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn sweeping_waits_for_nobody() {
        let base = tempfile::tempdir().unwrap();
        let dead = base.path().join("goplugin-deceased");
        fs::create_dir(&dead).unwrap();
        mknodat(CWD, dead.join(LOCK), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();

        let (path, (done, swept)) = (base.path().to_owned(), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            sweep(&path);
            done.send(())
        });
        // Generous: it is only ever waited out by a test that fails.
        swept.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        assert!(!dead.exists());
    }

    #[test]
    fn sweeping_follows_no_links() {
        let (base, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join(LOCK), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), base.path().join("goplugin-symlinks")).unwrap();

        sweep(base.path());

        assert!(outside.path().join(LOCK).exists());
    }

    #[test]
    fn a_directory_too_deep_for_sockets_is_refused_with_the_number() {
        let base = PathBuf::from(format!("/tmp/{}", "d".repeat(80)));
        match SocketDir::create(Some(&base), None) {
            Err(SocketDirError::Long { length, .. }) => assert_eq!(length, 85 + 1 + 17 + LONGEST_NAME),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_directory_that_no_handshake_can_name_is_refused() {
        let base = tempfile::tempdir().unwrap();
        for name in [&b"a|b"[..], b"a\nb", b"a\xffb"] {
            let base = base.path().join(OsStr::from_bytes(name));
            fs::create_dir(&base).unwrap();
            let refused = SocketDir::create(Some(&base), None);
            assert!(matches!(refused, Err(SocketDirError::Unfit { .. })), "{refused:?}");
        }
    }
}
