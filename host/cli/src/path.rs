//! Directories, named as Go names them: by the way that led there, and not by where links lead.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use anyhow::anyhow;
use portcullis_contract::quoted;

use crate::inputs::system;

/// Returns whether a path is one of the directory that we are in. A shell has `PWD` be one: the way by which a person got
/// there.
pub(crate) fn leads_here(path: &Path) -> bool {
    let looks = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    path.is_absolute() && looks(path).is_some_and(|there| looks(Path::new(".")) == Some(there))
}

/// Goes to a directory, and returns its [`whole`] path.
pub(crate) fn enter(directory: &Path, here: impl FnOnce() -> io::Result<PathBuf>) -> anyhow::Result<String> {
    let whole = whole(directory, here)?;
    // Who may not search what lies above can go down all the same, but up only by the whole name: a link leads away.
    let down = directory.is_relative() && directory.components().all(|part| part != Component::ParentDir);
    let target = if down { directory } else { Path::new(&whole) };
    match std::env::set_current_dir(target) {
        Ok(()) => Ok(whole),
        Err(error) => Err(not_entered(&error, &whole)),
    }
}

/// Says why a directory cannot be gone to, in upstream's form.
fn not_entered(error: &io::Error, whole: &str) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotADirectory => anyhow!("path {} is not a directory", quoted(whole)),
        ErrorKind::NotFound => {
            let why = system(error, "stat", whole);
            anyhow!("directory {} does not exist: {why}", quoted(whole))
        }
        _ => system(error, "chdir", whole),
    }
}

/// Returns a path from the root on, without `.` and `..`; what is relative starts `here`. Each `..` takes away the name
/// before it, whatever that leads to. Plugins are told it, so it has to be text.
pub(crate) fn whole(path: &Path, here: impl FnOnce() -> io::Result<PathBuf>) -> anyhow::Result<String> {
    let start = if path.is_absolute() { PathBuf::new() } else { here()? };
    let mut whole = PathBuf::new();
    for part in start.components().chain(path.components()) {
        match part {
            Component::ParentDir => _ = whole.pop(),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole.into_os_string().into_string().map_err(|path| anyhow!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        assert_eq!(whole(Path::new(path), || Ok("/home/lnk".into())).unwrap(), expected);
    }

    #[test]
    fn a_path_is_whole_and_plain() {
        check("out", "/home/lnk/out");
        check("./a//b/.././", "/home/lnk/a");
        check("../../../out", "/out");
        check("/a/../..//b/", "/b");
        check(".", "/home/lnk");
        assert_eq!(whole(Path::new("../out"), || Ok("/home/..".into())).unwrap(), "/out");
    }

    #[test]
    fn a_link_leads_where_it_leads() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("here");
        std::os::unix::fs::symlink(std::env::current_dir().unwrap(), &link).unwrap();
        assert!(leads_here(&link));
        assert!(!leads_here(root.path()));
        assert!(!leads_here(Path::new(".")));
    }
}
