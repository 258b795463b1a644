//! What plugins said of themselves, kept between runs under the digests of their files.
//!
//! With it a listing starts no native program that was described before, and a provider is found by its name without
//! asking every plugin. All of it may be lost: a file that is damaged or cannot be read counts as missing, and a failed
//! write is only logged. Versions that share a folder leave each other's descriptors alone. Without a folder everything
//! is kept in memory, for as long as the host lives.
//!
//! Beside the descriptors are notes of which digest a path had, with its size and times. A note is a hint and no proof:
//! a launch names the digest, and the backend checks the content.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use portcullis_contract::{Digest, Kind};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

mod kept;
mod memory;

use super::description::Description;
use crate::lock::lock;
use crate::{leftovers, regular};
use kept::{Kept, KeptFile, Looks, VERSION};
use memory::Memory;

/// A folder of descriptors, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors {
    dir: Option<PathBuf>,
    /// Without a folder, the files that would lie in it.
    memory: Arc<Mutex<Memory>>,
    /// Set once the folder was swept, which takes longer the larger it is.
    swept: Arc<OnceLock<()>>,
}

/// Begins the name of an unfinished file. It says what the file is, because files of such names are removed later.
const UNFINISHED: &str = ".descriptor-";

/// Begins the name of a note of which digest a path had.
const NOTE: &str = "path-";

/// How long something is kept of a file that is gone. A guess: too short, and plugins on a disk that is not always
/// mounted have to be asked again.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The largest file that is hashed. A sparse file can be larger than anybody would wait for.
const LARGEST: u64 = 1 << 30;

impl Descriptors {
    /// Uses a folder, which is made when something is first kept. A folder that others may write to is not used, nor an
    /// empty path. A relative path starts at the working directory of this moment.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        let trusted = |dir: &PathBuf| match fs::metadata(dir) {
            Ok(meta) => {
                let ours = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
                if !ours {
                    tracing::warn!(dir = %dir.display(), "descriptors not kept there: others may write to the folder");
                }
                ours
            }
            Err(_) => true,
        };
        let dir = dir.and_then(|dir| std::path::absolute(dir).ok());
        Self { dir: dir.filter(trusted), ..Self::default() }
    }

    /// Returns what the plugin in a file of that digest said of itself.
    pub(super) fn get(&self, digest: &Digest) -> Option<Description> {
        self.read::<Kept>(&description_name(digest))?.into_told()
    }

    /// Keeps what the plugin in a file of that digest said of itself, if all of it could be read.
    pub(super) fn put(&self, digest: &Digest, told: &Description) {
        if let Some(kept) = Kept::of(told) {
            self.write(&description_name(digest), &kept);
        }
    }

    /// Returns the digest that was noted for a file, if the file has not changed since, by its size and times.
    pub(super) fn digest(&self, path: &Path) -> Option<Digest> {
        let meta = fs::metadata(path).ok()?;
        let path = absolute(path);
        let kept: KeptFile = self.read(&file_name(&path))?;
        let same = kept.path == path.as_os_str().as_bytes() && kept.looks == Looks::of(&meta);
        kept.digest.parse().ok().filter(|_| same)
    }

    /// Computes the digest of a file and keeps it.
    ///
    /// # Errors
    ///
    /// Why the file cannot be read.
    pub(super) fn compute(&self, path: &Path) -> io::Result<Digest> {
        let file = regular::open(path)?;
        let metadata = file.metadata()?;
        if metadata.len() > LARGEST {
            let text = format!("it is larger than {} GiB, as no plugin is", LARGEST >> 30);
            return Err(io::Error::other(text));
        }
        let before = Looks::of(&metadata);
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        // One that grows as fast as it is read would never end.
        let mut as_it_was = (&file).take(metadata.len());
        loop {
            match as_it_was.read(&mut buffer)? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        let digest = Digest::from_sha256(hash.finalize().into());
        // The digest of a file that changed meanwhile is not worth keeping.
        if Looks::of(&file.metadata()?) == before {
            let path = absolute(path);
            let path_bytes = path.as_os_str().as_bytes().to_vec();
            let kept = KeptFile { path: path_bytes, looks: before, digest: digest.to_string() };
            self.write(&file_name(&path), &kept);
        }
        Ok(digest)
    }

    /// Forgets what the plugin in a file of that digest said of itself, if that was of this kind.
    pub(super) fn forget_kind(&self, digest: &Digest, kind: Kind) {
        if self.get(digest).is_some_and(|told| told.kind() == kind) {
            self.remove(&description_name(digest));
        }
    }

    /// Forgets which digest a path had.
    pub(super) fn forget(&self, path: &Path) {
        self.remove(&file_name(&absolute(path)));
    }

    fn remove(&self, name: &str) {
        match &self.dir {
            // It is no error if the file does not exist.
            Some(dir) => drop(fs::remove_file(dir.join(name))),
            None => lock(&self.memory).remove(name),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        match &self.dir {
            Some(dir) => read(&dir.join(name)),
            None => serde_json::from_slice(lock(&self.memory).get(name)?).ok(),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) {
        let Some(dir) = &self.dir else { return self.keep_in_memory(name, value) };
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(value)?;
            regular::make_private(dir)?;
            self.swept.get_or_init(|| {
                leftovers::sweep(dir, UNFINISHED);
                forget_what_is_gone(dir);
            });
            let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
            file.write_all(&text)?;
            file.persist(dir.join(name)).map_err(|e| e.error)?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!(dir = %dir.display(), %error, "what a plugin said of itself is not kept");
        }
    }

    fn keep_in_memory<T: Serialize>(&self, name: &str, value: &T) {
        let Ok(text) = serde_json::to_vec(value) else { return };
        lock(&self.memory).insert(name, text);
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    regular::open(path).ok()?.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns a path that leads to the same file from any working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_nowhere| path.to_owned())
}

fn file_name(path: &Path) -> String {
    let digest = Digest::from_sha256(Sha256::digest(path.as_os_str().as_bytes()).into());
    format!("{NOTE}{}.json", digest.to_hex())
}

/// Removes what was kept long ago of files that are gone, or have another content now.
fn forget_what_is_gone(dir: &Path) {
    let (mut old, mut needed) = (Vec::new(), HashSet::new());
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let modified = entry.metadata().and_then(|about| about.modified()).ok();
        let is_old = modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > KEPT);
        if name.strip_prefix(NOTE).and_then(digest_in).is_some() {
            let is_there = |note: &KeptFile| fs::symlink_metadata(OsStr::from_bytes(&note.path)).is_ok();
            match read(&entry.path()).filter(|note| !is_old || is_there(note)) {
                Some(KeptFile { digest, .. }) => {
                    needed.extend(digest.parse().map(|digest: Digest| digest.to_hex()));
                }
                // One that cannot be removed only takes space; so below.
                None if is_old => drop(fs::remove_file(entry.path())),
                None => {}
            }
        } else if is_old && digest_in(&name).is_some() {
            old.push(name);
        }
    }
    // By the digest alone, for another version may have kept it.
    let is_needed = |name: &String| digest_in(name).is_some_and(|digest| needed.contains(digest));
    for name in old.into_iter().filter(|name| !is_needed(name)) {
        let _gone = fs::remove_file(dir.join(name));
    }
}

/// Returns the digest in the name of a file; `None` if the file is somebody else's in the same folder.
fn digest_in(name: &str) -> Option<&str> {
    let digest = name.strip_suffix(".json")?.split('-').next()?;
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digest)
}

fn description_name(digest: &Digest) -> String {
    format!("{}-{VERSION}.json", digest.to_hex())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_contract::{
        AuthCapability, Capability, Contact, Descriptor, Example, Flow, HandlerInfo, HandlerName, Json, Link,
        Operation, ProviderName,
    };

    use super::*;

    fn described() -> Description {
        let text = |t: &str| t.to_owned();
        let example = Example { name: text("e"), description: text("ed"), yaml: text("a: 1\n") };
        let operation = Operation {
            name: text("o"),
            display_name: text("O"),
            description: text("od"),
            capabilities: vec![Capability::ACTION],
            is_write: true,
            input_schema: Some(Json::from_text("{ \"a\" : 1.0 }")),
            output_schema: None,
            examples: vec![example.clone()],
            tags: vec![text("ot")],
            deprecated: true,
            deprecation_message: text("old"),
        };
        let descriptor = Descriptor {
            name: text("n"),
            display_name: text("N"),
            description: text("d"),
            version: text("v1"),
            category: text("c"),
            capabilities: vec![Capability::FROM, Capability::new("fly")],
            api_version: text("v1"),
            schema: Some(Json::from_text("{\"x\":1e400}")),
            output_schemas: BTreeMap::from([(Capability::FROM, Json::from_text("true"))]),
            sensitive_fields: vec![text("s")],
            write_operations: Some(vec![]),
            operations: vec![operation],
            has_extract_dependencies: true,
            tags: vec![text("t")],
            icon: text("i"),
            links: vec![Link { name: text("l"), url: text("u") }],
            examples: vec![example],
            maintainers: vec![Contact { name: text("m"), email: text("m@e") }],
            deprecated: true,
            beta: true,
        };
        Description::Providers(vec![(ProviderName::new("advertised"), Ok(descriptor))])
    }

    fn described_handlers() -> Description {
        Description::AuthHandlers(vec![HandlerInfo {
            name: HandlerName::new("door"),
            display_name: "Door".to_owned(),
            flows: vec![Flow::DEVICE_CODE, Flow::new("secret_knock")],
            capabilities: vec![AuthCapability::HOSTNAME, AuthCapability::new("more")],
        }])
    }

    #[test]
    fn what_is_kept_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Descriptors::new(Some(dir.path().join("new")));
        let digest = Digest::from_sha256([7; 32]);

        assert_eq!(cache.get(&digest), None);
        cache.put(&digest, &described());

        assert_eq!(cache.get(&digest), Some(described()));
        assert_eq!(cache.get(&Digest::from_sha256([8; 32])), None);
        cache.put(&Digest::from_sha256([8; 32]), &described_handlers());
        assert_eq!(cache.get(&Digest::from_sha256([8; 32])), Some(described_handlers()));
        assert_eq!(fs::metadata(dir.path().join("new")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_damaged_is_as_if_it_were_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Descriptors::new(Some(dir.path().to_owned()));
        let digest = Digest::from_sha256([7; 32]);
        for text in ["", "{", "{\"version\":1,\"providers\":[]}", "\0\u{1}"] {
            fs::write(dir.path().join(description_name(&digest)), text).unwrap();
            assert_eq!(cache.get(&digest), None, "{text:?}");
        }
        cache.put(&digest, &described());
        assert!(cache.get(&digest).is_some());
    }

    #[test]
    fn what_another_version_kept_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Descriptors::new(Some(dir.path().to_owned()));
        let plugin = tempfile::NamedTempFile::new().unwrap();
        let digest = cache.compute(plugin.path()).unwrap();
        // So the first versions called it.
        let earlier = dir.path().join(format!("{}.json", digest.to_hex()));
        fs::write(&earlier, "{\"version\":1}").unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * KEPT;
        fs::File::open(&earlier).unwrap().set_modified(long_ago).unwrap();
        let cache = Descriptors::new(Some(dir.path().to_owned()));
        cache.put(&digest, &described());
        assert_eq!(fs::read_to_string(earlier).unwrap(), "{\"version\":1}");
        assert_eq!(cache.get(&digest), Some(described()));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(dir.path(), mode).unwrap();
        let cache = Descriptors::new(Some(dir.path().to_owned()));
        cache.put(&Digest::from_sha256([7; 32]), &described());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_goes_when_something_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".descriptor-Ab12Cd");
        fs::write(&left, "half").unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(24 * 60 * 60);
        fs::File::open(&left).unwrap().set_modified(long_ago).unwrap();
        let cache = Descriptors::new(Some(dir.path().to_owned()));
        cache.put(&Digest::from_sha256([7; 32]), &described());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_kept_long_ago_of_a_file_that_is_gone_goes_when_something_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Descriptors::new(Some(folder.clone()));
        let [there, gone] = ["there", "gone"].map(|name| {
            let file = dir.path().join(name);
            fs::write(&file, name).unwrap();
            let digest = cache.compute(&file).unwrap();
            cache.put(&digest, &described());
            digest
        });
        // As an update leaves it behind.
        let replaced = Digest::from_sha256([7; 32]);
        cache.put(&replaced, &described());
        // As a crash of the machine does.
        fs::write(folder.join(format!("path-{}.json", "c".repeat(64))), "").unwrap();
        fs::write(folder.join("settings.json"), "somebody else's").unwrap();
        let of_late = Digest::from_sha256([8; 32]);
        let long_ago = std::time::SystemTime::now() - 2 * KEPT;
        for entry in fs::read_dir(&folder).unwrap() {
            fs::File::open(entry.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
        }
        fs::remove_file(dir.path().join("gone")).unwrap();

        let cache = Descriptors::new(Some(folder.clone()));
        cache.put(&of_late, &described());

        let kept = [there, gone, replaced, of_late].map(|digest| cache.get(&digest).is_some());
        assert_eq!(kept, [true, false, false, true]);
        assert!(folder.join("settings.json").exists());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
        assert!(cache.digest(&dir.path().join("there")).is_some());
    }

    #[test]
    fn a_digest_is_remembered_until_the_file_looks_different() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Descriptors::new(Some(dir.path().join("cache")));
        let file = dir.path().join("plugin");
        fs::write(&file, "one").unwrap();

        assert_eq!(cache.digest(&file), None);
        let digest = cache.compute(&file).unwrap();
        assert_eq!(cache.digest(&file), Some(digest));

        fs::write(&file, "other").unwrap();
        assert_eq!(cache.digest(&file), None);
        assert_ne!(cache.compute(&file).unwrap(), digest);

        cache.forget(&file);
        assert_eq!(cache.digest(&file), None);
    }

    /// A file may be replaced by one between two looks.
    #[test]
    fn a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let dir = tempfile::tempdir().unwrap();
        let (pipe, (done, ended)) = (dir.path().join("pipe"), std::sync::mpsc::channel());
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::thread::spawn(move || done.send(Descriptors::default().compute(&pipe).is_err()));
        // Generous: it is only ever waited out by a test that fails.
        assert!(ended.recv_timeout(Duration::from_secs(20)).unwrap());
    }

    #[test]
    fn a_folder_stays_where_it_was_and_has_a_name() {
        let of = |dir: &str| Descriptors::new(Some(dir.into())).dir;
        assert_eq!(of("cache"), Some(std::env::current_dir().unwrap().join("cache")));
        assert_eq!(of(""), None);
    }

    #[test]
    fn without_a_folder_things_are_kept_for_as_long_as_the_host_stands() {
        let cache = Descriptors::new(None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest = cache.compute(file.path()).unwrap();
        assert_eq!(digest.to_string(), empty);
        assert_eq!(cache.digest(file.path()), Some(digest));
        cache.forget(file.path());
        assert_eq!(cache.digest(file.path()), None);

        cache.put(&digest, &described());
        assert_eq!(cache.get(&digest), Some(described()));
    }
}
