//! Directories, named as Go names them: by the way that led there, and not by where links lead.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use anyhow::anyhow;

/// Returns the directory that we are in: as `pwd` names it, if it does, for a shell puts there how a person got to it.
pub(crate) fn here(pwd: Option<&OsStr>) -> io::Result<PathBuf> {
    let looks = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let here = looks(Path::new("."));
    let named = pwd.map(Path::new).filter(|pwd| pwd.is_absolute());
    match named.filter(|pwd| here.is_ok_and(|here| looks(pwd).is_ok_and(|there| there == here))) {
        Some(pwd) => Ok(pwd.to_owned()),
        None => std::env::current_dir(),
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
    fn the_shell_is_believed_where_it_is_right() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("here");
        std::os::unix::fs::symlink(std::env::current_dir().unwrap(), &link).unwrap();
        assert_eq!(here(Some(link.as_os_str())).unwrap(), link);
        for wrong in [None, Some(root.path()), Some(Path::new("."))] {
            assert_eq!(here(wrong.map(Path::as_os_str)).unwrap(), std::env::current_dir().unwrap());
        }
    }
}
