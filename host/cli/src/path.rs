//! Directories, named as Go names them: by the way that led there, and not by where links lead.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use anyhow::{anyhow, bail};
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
    match fs::metadata(target) {
        Ok(meta) if !meta.is_dir() => bail!("path {} is not a directory", quoted(&whole)),
        Ok(_) => std::env::set_current_dir(target).map_err(|error| system(&error, "chdir", &whole))?,
        Err(error) => {
            let why = system(&error, "stat", &whole);
            bail!("directory {} does not exist: {why}", quoted(&whole))
        }
    }
    Ok(whole)
}

/// Says why a directory cannot be made, in upstream's form: by the first part of its path that is none.
pub(crate) fn not_made(whole: &Path, error: &io::Error) -> anyhow::Error {
    let parts: Vec<_> = whole.ancestors().collect();
    let first = parts.into_iter().rev().find(|part| !part.is_dir()).unwrap_or(whole);
    let named = first.display().to_string();
    match first.exists() {
        true => system(&ErrorKind::NotADirectory.into(), "mkdir", &named),
        false => system(error, "mkdir", &named),
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

    /// Where it fails nobody has gone anywhere.
    #[test]
    fn what_is_no_directory_is_told_in_upstreams_words() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        fs::write(at("file"), "").unwrap();
        let refused = |path: &str| enter(Path::new(path), || unreachable!()).unwrap_err().to_string();
        assert_eq!(refused(&at("file")), format!("path {:?} is not a directory", at("file")));
        let (gone, under) = (at("gone"), at("file/x"));
        let missing = format!("directory {gone:?} does not exist: stat {gone}: no such file or directory");
        assert_eq!(refused(&gone), missing);
        assert_eq!(
            refused(&under),
            format!("directory {under:?} does not exist: stat {under}: not a directory")
        );

        for unmade in [at("file"), under] {
            let error = fs::create_dir_all(&unmade).unwrap_err();
            let told = not_made(Path::new(&unmade), &error).to_string();
            assert_eq!(told, format!("mkdir {}: not a directory", at("file")));
        }
        let error = fs::create_dir_all("/proc/x/y").unwrap_err();
        assert_eq!(
            not_made(Path::new("/proc/x/y"), &error).to_string(),
            "mkdir /proc/x: no such file or directory"
        );
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
