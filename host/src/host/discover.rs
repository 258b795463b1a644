//! Searches directories for files that may be plugins, and of which sort.
//!
//! A file is recognized by its first bytes, never by its name. Nothing here starts anything or reads more
//! of a file than its head; [`Host`](super::Host) decides what may be started, and when. [`executables`] is
//! upstream's own rule; upstream starts everything that it returns (contract spec 4.2).

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_bundle::is_unfinished;
use portcullis_contract::{BackendName, PluginName};
use thiserror::Error;

use super::UnusableFile;
use crate::magic::{self, Magic};
use crate::regular;

/// A file that may be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// What the plugin is called: the file's name without its last extension.
    pub name: PluginName,
    /// What would run it.
    pub backend: BackendName,
}

/// What a file is, by its first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A WASI component.
    Component,
    /// A native program, for this or another machine.
    Executable,
    /// Something that is meant to be a plugin and cannot be one; the text says why, and what to do.
    Unusable(String),
    /// Empty, or zeros: what a crash of the machine leaves of a file that had just been written.
    Blank,
    /// None of these.
    Other,
}

/// Why a blank file cannot be a plugin, and what to do.
const BLANK: &str =
    "an empty file, or one that begins with zeros, as a crash of the machine leaves it; copy it again";

/// What was found in directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files that may be plugins: directories in the order given, files by name.
    pub candidates: Vec<Candidate>,
    /// The files that are meant to be plugins and cannot be, and those that cannot be read.
    pub unusable: Vec<UnusableFile>,
}

/// Why the directories could not be searched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// What is under its path cannot be found out.
    #[error("failed to stat plugin directory {}", dir.display())]
    Stat {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be listed.
    #[error("failed to read plugin directory {}", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Searches directories. A program counts only with an execute bit; a component needs none.
///
/// Missing directories are skipped, and so are links that lead to nothing.
///
/// # Errors
///
/// A directory that cannot be searched.
pub fn candidates(dirs: &[PathBuf]) -> Result<Found, DiscoverError> {
    let mut found = Found::default();
    for (path, entry) in entries(dirs)? {
        match form(&path) {
            Ok(Form::Component) => {
                found.candidates.push(Candidate::new(path, BackendName::Component));
            }
            Ok(Form::Executable) if may_run(&path, &entry) => {
                found.candidates.push(Candidate::new(path, BackendName::Process));
            }
            Ok(Form::Unusable(reason)) => found.unusable.push(UnusableFile { path, reason }),
            // Where the content says nothing, only this tells what it was to be.
            Ok(Form::Blank) if path.extension().is_some_and(|e| e == "wasm") || may_run(&path, &entry) => {
                found.unusable.push(UnusableFile { path, reason: BLANK.to_owned() });
            }
            Ok(Form::Executable | Form::Blank | Form::Other) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::debug!(path = %path.display(), %error, "file passed over");
            }
            Err(error) => found.unusable.push(UnusableFile { path, reason: unreadable(&error) }),
        }
    }
    Ok(found)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// Examines one file that was named.
///
/// # Errors
///
/// Why it cannot be a plugin, and what to do.
pub fn examine(path: &Path) -> Result<Candidate, UnusableFile> {
    let unusable = |reason: &str| Err(UnusableFile { path: path.to_owned(), reason: reason.to_owned() });
    let backend = match form(path) {
        Ok(Form::Component) => BackendName::Component,
        Ok(Form::Executable) => {
            let runs = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
            if !runs {
                return unusable("a program that may not be executed; chmod +x it to use it");
            }
            BackendName::Process
        }
        Ok(Form::Unusable(reason)) => return unusable(&reason),
        Ok(Form::Blank) => return unusable(BLANK),
        Ok(Form::Other) => return unusable("neither a component nor a program; name a plugin's file"),
        Err(error) => return unusable(&unreadable(&error)),
    };
    Ok(Candidate::new(path.to_owned(), backend))
}

/// Returns what upstream would start: every file with an execute bit, and every symbolic link.
///
/// # Errors
///
/// A directory that cannot be searched.
pub fn executables(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, DiscoverError> {
    let runs = |entry: &DirEntry| entry.metadata().is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    let entries = entries(dirs)?;
    Ok(entries.into_iter().filter(|(_, entry)| runs(entry)).map(|(path, _)| path).collect())
}

/// Returns the files of directories in upstream's order, each path once. Files whose names begin with a dot count, as
/// upstream has it, except those that are still being wrapped.
fn entries(dirs: &[PathBuf]) -> Result<Vec<(PathBuf, DirEntry)>, DiscoverError> {
    let mut all: Vec<(PathBuf, DirEntry)> = Vec::new();
    let mut seen = HashSet::new();
    for dir in dirs {
        match fs::metadata(dir) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => continue,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DiscoverError::Stat { dir: dir.clone(), source }),
        }
        let unreadable = |source| DiscoverError::Read { dir: dir.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if !entry.file_type().is_ok_and(|t| t.is_dir()) && !is_unfinished(&entry.file_name()) {
                files.push(entry);
            }
        }
        files.sort_by_key(DirEntry::file_name);
        for entry in files {
            // `.` and doubled slashes go; `..` stays, because what it leaves may be a link.
            let path: PathBuf = dir.join(entry.file_name()).components().collect();
            if seen.insert(path.clone()) {
                all.push((path, entry));
            }
        }
    }
    Ok(all)
}

fn may_run(path: &Path, entry: &DirEntry) -> bool {
    let own = entry.metadata().is_ok_and(|m| m.permissions().mode() & 0o111 != 0);
    own && (!entry.file_type().is_ok_and(|t| t.is_symlink()) || fs::metadata(path).is_ok_and(|m| m.is_file()))
}

/// Returns what a file is, by its first bytes. Opens regular files only, and never blocks on a pipe.
///
/// # Errors
///
/// Why it cannot be read.
pub fn form(path: &Path) -> io::Result<Form> {
    // Opening a device may have effects.
    if !fs::metadata(path)?.is_file() {
        return Ok(Form::Other);
    }
    let mut head = Vec::new();
    regular::open(path)?.take(magic::LENGTH).read_to_end(&mut head)?;
    let unusable = |reason: &str| Form::Unusable(reason.to_owned());
    Ok(match Magic::of(&head) {
        Magic::Component => Form::Component,
        Magic::CoreModule => unusable(
            "a core WebAssembly module, not a component; build it for wasm32-wasip2, or make a component of it with \
             `wasm-tools component new`",
        ),
        Magic::UnknownWasm => {
            unusable("a WebAssembly file of an unknown version; build it with a current toolchain")
        }
        Magic::CutWasm => unusable("a WebAssembly file that ends after a few bytes; copy it again"),
        Magic::Elf | Magic::Script | Magic::Windows | Magic::MacOs => Form::Executable,
        Magic::Blank => Form::Blank,
        Magic::Other => Form::Other,
    })
}

impl Candidate {
    /// Makes a candidate of a file.
    #[must_use]
    pub fn new(path: PathBuf, backend: BackendName) -> Self {
        Self { name: plugin_name(&path), path, backend }
    }

    /// Returns whether the file is called like a provider: it has that name, or its name ends in `-` and that name.
    #[must_use]
    pub fn is_meant_by(&self, provider: &str) -> bool {
        let name = self.name.as_str();
        name == provider
            || name.strip_suffix(provider).is_some_and(|n| n.ends_with('-') && !provider.is_empty())
    }
}

/// Returns the name of the plugin in a file (contract spec 4.1): that of `a.b.c` is `a.b`, that of `.hidden` is empty.
#[must_use]
pub fn plugin_name(path: &Path) -> PluginName {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.rsplit_once('.').map_or(name.as_ref(), |(stem, _)| stem);
    PluginName::new(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    struct Dir(tempfile::TempDir);

    impl Dir {
        fn new(files: &[(&str, &[u8], u32)]) -> Self {
            let dir = Self(tempfile::tempdir().unwrap());
            for (name, content, mode) in files {
                let path = dir.path().join(name);
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            dir
        }

        fn path(&self) -> PathBuf {
            self.0.path().to_owned()
        }
    }

    fn names(found: &Found) -> Vec<(&str, BackendName)> {
        found.candidates.iter().map(|c| (c.name.as_str(), c.backend)).collect()
    }

    /// Contract items 65, 66 and 68.
    #[test]
    fn files_are_told_by_their_first_bytes() {
        let dir = Dir::new(&[
            ("z-native", b"\x7fELF", 0o755),
            ("a.wasm", COMPONENT, 0o644),
            ("script", b"#!/bin/sh\n", 0o700),
            ("not-run", b"\x7fELF", 0o644),
            ("text", b"hello there", 0o755),
            ("empty", b"", 0o755),
            ("marker", b"", 0o644),
            ("zeros.wasm", &[0; 9], 0o644),
            ("core.wasm", MODULE, 0o755),
            ("cut.wasm", b"\0asm\x0d", 0o755),
            ("component-without-extension", COMPONENT, 0o755),
        ]);
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b.wasm"), COMPONENT).unwrap();

        let found = candidates(&[dir.path()]).unwrap();

        let (component, process) = (BackendName::Component, BackendName::Process);
        let expected = [
            ("a", component),
            ("component-without-extension", component),
            ("script", process),
            ("z-native", process),
        ];
        assert_eq!(names(&found), expected);
        let reasons: Vec<_> = found.unusable.iter().map(|m| m.reason.as_str()).collect();
        assert!(reasons[0].contains("not a component; build it for wasm32-wasip2"), "{reasons:?}");
        assert!(reasons[1].contains("ends after a few bytes"), "{reasons:?}");
        assert_eq!(reasons[2..], [BLANK, BLANK]);
    }

    #[test]
    fn a_file_that_is_still_being_wrapped_is_no_plugin() {
        let dir =
            Dir::new(&[(".portcullis-wrap-Ab12Cd", b"\x7fELF", 0o755), (".hidden.wasm", COMPONENT, 0o644)]);
        let found = candidates(&[dir.path()]).unwrap();
        assert_eq!(names(&found), [(".hidden", BackendName::Component)]);
        assert_eq!(executables(&[dir.path()]).unwrap(), Vec::<PathBuf>::new());
    }

    /// Contract items 63, 68 and 69.
    #[test]
    fn directories_are_looked_through_in_order_and_each_path_once() {
        let first = Dir::new(&[("b.wasm", COMPONENT, 0o644), ("a.wasm", COMPONENT, 0o644)]);
        let second = Dir::new(&[("0.wasm", COMPONENT, 0o644)]);
        let a_file = second.path().join("0.wasm");

        let same = first.path().join(".");
        let dirs = [first.path(), first.path().join("missing"), a_file, second.path(), same];
        let found = candidates(&dirs).unwrap();

        let (a, b, zero) = (BackendName::Component, BackendName::Component, BackendName::Component);
        assert_eq!(names(&found), [("a", a), ("b", b), ("0", zero)]);
    }

    /// Contract items 66, 67 and 69.
    #[test]
    fn upstreams_rule_takes_every_execute_bit_and_every_link() {
        let dir =
            Dir::new(&[("run", b"any", 0o711), ("not", b"\x7fELF", 0o644), ("c.wasm", COMPONENT, 0o755)]);
        symlink("not", dir.path().join("link")).unwrap();
        symlink("/", dir.path().join("root")).unwrap();
        symlink("nowhere", dir.path().join("gone")).unwrap();

        let found = executables(&[dir.path(), dir.path()]).unwrap();
        let names: Vec<_> = found.iter().map(|p| plugin_name(p).to_string()).collect();
        assert_eq!(names, ["c", "gone", "link", "root", "run"]);

        // What is told by its content needs a file behind the link.
        assert_eq!(candidates(&[dir.path()]).unwrap().candidates.len(), 2);
    }

    /// Contract item 64. Nothing is unreadable to root, so a name too long stands in for the rest.
    #[test]
    fn a_directory_that_cannot_be_looked_at_is_an_error() {
        let dir = PathBuf::from("/").join("x".repeat(300));
        let said = candidates(std::slice::from_ref(&dir)).unwrap_err().to_string();
        assert_eq!(said, format!("failed to stat plugin directory {}", dir.display()));
    }

    /// Nothing is unreadable to root, so a link to itself stands in for the rest.
    #[test]
    fn a_file_that_cannot_be_read_is_told_and_a_link_to_nothing_is_not() {
        let dir = Dir::new(&[("a.wasm", COMPONENT, 0o644)]);
        symlink("nowhere", dir.path().join("gone")).unwrap();
        symlink("keeper", dir.path().join("keeper")).unwrap();
        let found = candidates(&[dir.path()]).unwrap();
        assert_eq!(names(&found), [("a", BackendName::Component)]);
        let [unusable] = &found.unusable[..] else { panic!("{:?}", found.unusable) };
        assert_eq!(unusable.path, dir.path().join("keeper"));
        assert!(unusable.reason.starts_with("cannot be read: "), "{unusable:?}");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let dir = Dir::new(&[]);
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o755),
            0,
        )
        .unwrap();
        assert_eq!(form(&pipe).unwrap(), Form::Other);
    }

    fn check_name(path: &str, expected: &str) {
        assert_eq!(plugin_name(Path::new(path)).as_str(), expected, "{path}");
    }

    /// Contract item 71.
    #[test]
    fn a_plugin_is_called_by_its_files_name_without_the_last_extension() {
        check_name("/p/echo", "echo");
        check_name("my-plugin.exe", "my-plugin");
        check_name("a.b.c", "a.b");
        check_name(".hidden", "");
    }

    #[test]
    fn a_file_is_meant_by_its_name_or_the_end_of_it() {
        let check = |file: &str, provider: &str, expected: bool| {
            let candidate = Candidate::new(PathBuf::from(file), BackendName::Process);
            assert_eq!(candidate.is_meant_by(provider), expected, "{file} and {provider}");
        };
        check("scafctl-plugin-echo", "echo", true);
        check("echo.wasm", "echo", true);
        check("notecho", "echo", false);
        check("echo-two", "echo", false);
        check("x-", "", false);
    }
}
