//! Compiled components on disk.
//!
//! Loading a compiled component runs what is in the file. So a file is used only if it carries an authentication code,
//! made with our key over its content and over what it stands for: the component's digest, our settings, its class. A
//! file with anything wrong counts as missing. This keeps out other users and accidents; a program of the same user can
//! read the key.
//!
//! A file that others may have mapped is never written to: it is made under another name and renamed. When something
//! new is compiled, what no process used for a month is removed, whichever build made it, and of more than 4 GiB what was
//! used longest ago.

#[cfg(feature = "compile")]
use std::fs::File;
use std::fs::Permissions;
use std::io::{self, Read};
#[cfg(feature = "compile")]
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use portcullis_contract::Digest;

use crate::component::engine::Class;
use crate::component::homes::LoadError;
use crate::regular;

mod compiled;
mod key;
#[cfg(feature = "compile")]
mod sweep;

pub(crate) use compiled::Compiled;
use key::Key;

/// Where compiled components are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// The directory of the files; made when it is missing, for our user alone.
    pub directory: PathBuf,
    /// The directory of the key; made when it is missing, for our user alone.
    pub key_directory: PathBuf,
}

/// Ends every file of ours.
const MAGIC: &[u8; 8] = b"PCWASM02";
/// Class, authentication code, magic.
const TRAILER: usize = 1 + 32 + MAGIC.len();

/// The compiled components of earlier runs.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    #[cfg(feature = "compile")]
    key_directory: PathBuf,
    key: Key,
}

impl Cache {
    /// Finds the directory and the key, or makes them.
    pub(crate) fn open(options: &CacheOptions) -> io::Result<Self> {
        // The cache stays where it is when the working directory changes.
        let absolute = |path: &Path| std::path::absolute(path).map_err(named(path));
        let (directory, key_directory) = (absolute(&options.directory)?, absolute(&options.key_directory)?);
        for directory in [&directory, &key_directory] {
            private_directory(directory).map_err(named(directory))?;
        }
        let key = Key::read_or_make(&key_directory).map_err(named(&key_directory.join(key::FILE)))?;
        Ok(Self {
            directory,
            #[cfg(feature = "compile")]
            key_directory,
            key,
        })
    }

    /// Returns the compiled form of a component, if it is there and ours.
    pub(crate) fn find(&self, digest: &Digest) -> Option<Compiled> {
        let path = self.path(digest);
        match self.read(&path, digest) {
            Ok(compiled) => Some(compiled),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled component not used, compiling it again: {error}");
                None
            }
        }
    }

    /// Finds a component and loads it. One that does not load here is removed, so that it is compiled anew.
    pub(crate) fn load<T>(
        &self,
        digest: &Digest,
        load: impl FnOnce(Compiled) -> Result<T, LoadError>,
    ) -> Result<Option<T>, LoadError> {
        match self.find(digest).map(load) {
            Some(Err(LoadError::Stale(error))) => {
                let path = self.path(digest);
                tracing::info!(path = %path.display(), "compiled component made anew, it does not load here: {error:#}");
                let _gone = std::fs::remove_file(path);
                Ok(None)
            }
            loaded => loaded.transpose(),
        }
    }

    fn read(&self, path: &Path, digest: &Digest) -> io::Result<Compiled> {
        let mut file = regular::open_unlinked(path)?;
        let metadata = file.metadata()?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("others could have written it"));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        let Some(body) = length.checked_sub(TRAILER) else {
            return Err(io::Error::other("it is too short"));
        };
        let mut mac = self.key.mac(digest);
        // Small: getting the pages of a large one takes longer than reading into them.
        let mut buffer = vec![0; 32 << 10];
        let mut left = body;
        while left > 0 {
            let most = left.min(buffer.len());
            let part = buffer.get_mut(..most).unwrap_or_default();
            file.read_exact(part)?;
            mac.update(part);
            left -= most;
        }
        let mut trailer = [0; TRAILER];
        file.read_exact(&mut trailer)?;
        let [class, trailer @ ..] = &trailer;
        let (code, magic) = trailer.split_at(32);
        if magic != MAGIC {
            return Err(io::Error::other("it is not of our making"));
        }
        mac.update(&[*class]);
        // Compared in constant time, as every comparison of these is.
        if mac.finalize() != *code {
            return Err(io::Error::other("its authentication code is wrong"));
        }
        let class = Class::decode(*class).ok_or_else(|| io::Error::other("its class is unknown"))?;
        // Marks it as used, for the sweep.
        let _touched = file.set_modified(SystemTime::now());
        Ok(Compiled { file, length: metadata.len().saturating_sub(TRAILER as u64), class })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let code = self.key.mac(digest).finalize().to_hex();
        self.directory.join(format!("{}-{code:.16}.cwasm", digest.to_hex()))
    }

    /// Returns the file that is locked while a process compiles a component.
    #[cfg(feature = "compile")]
    pub(crate) fn lock_path(&self, digest: &Digest) -> PathBuf {
        self.path(digest).with_extension("lock")
    }

    /// Makes a file to compile into. It has no name of its own until it is [kept](Self::keep).
    #[cfg(feature = "compile")]
    pub(crate) fn begin(&self) -> io::Result<tempfile::NamedTempFile> {
        crate::leftovers::sweep(&self.key_directory, key::UNFINISHED);
        // Caches are cleared away under running programs, too.
        private_directory(&self.directory).map_err(named(&self.directory))?;
        sweep::sweep(&self.directory);
        let file = tempfile::Builder::new().prefix(sweep::UNFINISHED).tempfile_in(&self.directory)?;
        // Locked while we live: an unlocked one was left by a process that was killed. Where nothing can be locked it
        // stays.
        let _held = file.as_file().try_lock();
        Ok(file)
    }

    /// Seals a file that a worker wrote and gives it its name.
    #[cfg(feature = "compile")]
    pub(crate) fn keep(&self, mut file: tempfile::NamedTempFile, digest: &Digest) -> io::Result<Compiled> {
        let compiled = Compiled::unkept(file.as_file().try_clone()?)?;
        let mut mac = self.key.mac(digest);
        file.rewind()?;
        mac.update_reader(file.as_file())?;
        file.write_all(mac.finalize().as_bytes())?;
        file.write_all(MAGIC)?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        Ok(compiled)
    }

    /// Tries to be the one process that compiles a component. The lock ends with the file.
    #[cfg(feature = "compile")]
    pub(crate) fn try_lock(&self, digest: &Digest) -> io::Result<Option<File>> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        // Opening a pipe would wait for its reader.
        let file = options
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(self.lock_path(digest))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Puts the path before an error.
fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Finds a directory that nobody else may write to, or makes it one.
fn private_directory(path: &Path) -> io::Result<()> {
    regular::make_private(path)?;
    let metadata = path.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    let mode = metadata.mode();
    if mode & 0o1002 == 0o1002 {
        // Like /tmp, which belongs to root.
        return Err(io::Error::other("it is there for everybody to write to"));
    }
    if mode & 0o022 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7755))?;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "compile")]
mod tests {
    use rustix::io::Errno;
    use wasmtime::Engine;

    use super::sweep::UNUSED;
    use super::*;
    use crate::component::engine::compiling;

    fn cache(root: &Path) -> Cache {
        let options = CacheOptions { directory: root.join("cache"), key_directory: root.join("data") };
        Cache::open(&options).unwrap()
    }

    fn keep(cache: &Cache, digest: &Digest, content: &[u8]) -> PathBuf {
        let mut file = cache.begin().unwrap();
        file.write_all(content).unwrap();
        file.write_all(&[Class::Large.encode()]).unwrap();
        cache.keep(file, digest).unwrap();
        cache.path(digest)
    }

    #[test]
    fn what_was_kept_is_found_again_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let digest = Digest::from_sha256([7; 32]);
        let first = cache(root.path());
        assert!(first.find(&digest).is_none());
        keep(&first, &digest, b"compiled");

        // Another process has the same key, and another component another name.
        let second = cache(root.path());
        assert_eq!(second.find(&digest).unwrap().class, Class::Large);
        assert!(second.find(&Digest::from_sha256([8; 32])).is_none());
    }

    #[test]
    fn a_cache_that_was_cleared_away_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let digest = Digest::from_sha256([7; 32]);
        let cache = cache(root.path());
        std::fs::remove_dir_all(root.path().join("cache")).unwrap();
        keep(&cache, &digest, b"compiled");
        assert!(cache.find(&digest).is_some());
    }

    #[test]
    fn a_cache_stays_where_it_was_found() {
        let root = tempfile::tempdir().unwrap();
        let here = std::env::current_dir().unwrap();
        let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
        let cache = cache(&up.join(root.path().strip_prefix("/").unwrap()));
        assert!(root.path().join("cache").exists());
        assert!(cache.path(&Digest::from_sha256([7; 32])).is_absolute() && cache.key_directory.is_absolute());
    }

    #[test]
    fn what_keeps_a_cache_from_being_used_is_named() {
        let root = tempfile::tempdir().unwrap();
        let [directory, key_directory] = ["cache", "data"].map(|name| root.path().join(name));
        let key = key_directory.join(key::FILE);
        let options = CacheOptions { directory, key_directory };
        let why_not = || Cache::open(&options).unwrap_err().to_string();

        std::fs::write(&options.directory, "a file").unwrap();
        assert!(why_not().starts_with(&format!("{}: ", options.directory.display())), "{}", why_not());
        std::fs::remove_file(&options.directory).unwrap();
        Cache::open(&options).unwrap();
        File::options().write(true).open(&key).unwrap().set_len(31).unwrap();
        assert!(why_not().starts_with(&format!("{}: it is cut short; ", key.display())), "{}", why_not());
    }

    #[test]
    fn a_directory_that_is_everybodys_stays_so_and_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        cache(root.path());
        let data = root.path().join("data");
        let opened_at = |mode| {
            std::fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
            let options = CacheOptions { directory: root.path().join("cache"), key_directory: data.clone() };
            (Cache::open(&options).is_ok(), data.metadata().unwrap().mode() & 0o7777)
        };
        assert_eq!(opened_at(0o1777), (false, 0o1777));
        // One that is kept from being cleared away, and which nobody else may write to.
        assert_eq!(opened_at(0o1700), (true, 0o1700));
        // Of what is a group's, it may go on to read what lies there for it.
        assert_eq!(opened_at(0o770), (true, 0o750));
    }

    #[test]
    fn a_file_that_was_changed_moved_or_cut_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let digest = Digest::from_sha256([7; 32]);
        let path = keep(&cache, &digest, b"compiled");
        let good = std::fs::read(&path).unwrap();

        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(cache.find(&digest).is_none(), "byte {at}");
        }
        for length in [0, 1, TRAILER - 1, TRAILER, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(cache.find(&digest).is_none(), "length {length}");
        }
        let other = Digest::from_sha256([8; 32]);
        std::fs::write(cache.path(&other), &good).unwrap();
        assert!(cache.find(&other).is_none());

        std::fs::write(&path, &good).unwrap();
        assert!(cache.find(&digest).is_some());
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(cache.find(&digest).is_none());
    }

    #[test]
    fn what_nobody_used_for_long_goes_when_something_is_compiled() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let [used, unused, busy] = [1, 2, 3].map(|byte| Digest::from_sha256([byte; 32]));
        for digest in [&used, &unused, &busy] {
            keep(&cache, digest, b"compiled");
            drop(cache.try_lock(digest).unwrap());
        }
        let stranger = root.path().join("cache/Cargo.lock");
        std::fs::write(&stranger, "").unwrap();
        let keys = ["data/.component-cache.key-Ab12Cd", "data/.key-of-somebody-else"];
        let [half_a_key, other_key] = keys.map(|name| root.path().join(name));
        for key in [&half_a_key, &other_key] {
            std::fs::write(key, "half").unwrap();
            File::open(key).unwrap().set_modified(SystemTime::now() - UNUSED).unwrap();
        }
        for entry in std::fs::read_dir(root.path().join("cache")).unwrap() {
            let file = File::open(entry.unwrap().path()).unwrap();
            file.set_modified(SystemTime::now() - 2 * UNUSED).unwrap();
        }

        assert!(cache.find(&used).is_some());
        let _lock = cache.try_lock(&busy).unwrap().unwrap();
        let _new = cache.begin().unwrap();

        assert!(cache.find(&used).is_some() && cache.find(&busy).is_some());
        assert!(cache.find(&unused).is_none());
        assert!(!half_a_key.exists() && other_key.exists());
        let locks = [&used, &unused, &busy].map(|digest| cache.path(digest).with_extension("lock").exists());
        assert_eq!((locks, stranger.exists()), ([false, false, true], true));
    }

    #[test]
    fn a_file_that_does_not_load_is_as_if_it_were_not_there() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let digest = Digest::from_sha256([7; 32]);
        keep(&cache, &digest, b"compiled");
        let no_engine = |_| Err::<Class, _>(LoadError::NoEngine(wasmtime::Error::msg("no memory")));
        assert!(cache.load(&digest, no_engine).is_err());
        let class = cache.load(&digest, |compiled| Ok(compiled.class)).unwrap();
        assert_eq!(class, Some(Class::Large));

        let stale = |_| Err::<Class, _>(LoadError::Stale(wasmtime::Error::msg("of another machine")));
        assert_eq!(cache.load(&digest, stale).unwrap(), None);
        assert!(cache.find(&digest).is_none());
    }

    /// To mount a file system, or unmount /proc, takes root, so what the engine says of that is said here.
    #[test]
    fn what_may_not_be_mapped_is_loaded_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        let (cache, digest) = (cache(root.path()), Digest::from_sha256([7; 32]));
        let component = "(component (core module $m (func)) (core instance (instantiate $m)))";
        let engine = Engine::new(&compiling()).unwrap();
        let content = engine.precompile_component(&wat::parse_str(component).unwrap()).unwrap();
        keep(&cache, &digest, &content);

        let compiled = cache.find(&digest).unwrap();
        let load = |error: wasmtime::Error| {
            let error = error.context("unable to make memory executable");
            compiled.copy_unmapped(&engine, error.context("failed to load code"))
        };
        assert!(compiled.load(&engine).is_ok());
        assert!(load(Errno::ACCESS.into()).is_ok() && load(Errno::PERM.into()).is_ok());
        assert!(load(Errno::NODEV.into()).is_err());
        let unopened = |kind: io::ErrorKind| load(io::Error::from(kind).into());
        assert!(unopened(io::ErrorKind::NotFound).is_ok());
        assert!(unopened(io::ErrorKind::Other).is_err());
    }
}
