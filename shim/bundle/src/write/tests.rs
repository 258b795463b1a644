//! Files as they are written, and as they are damaged.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::SystemTime;

use portcullis_contract::{Grants, InstanceReuse, Kind, Limits, PluginName};

use super::*;
use crate::{Bundle, ReadError};

fn manifest() -> Manifest {
    Manifest {
        version: "0.1.0".to_owned(),
        name: PluginName::new("echo"),
        kind: Kind::Provider,
        component: Digest::from_sha256([7; 32]),
        imports: Vec::new(),
        engine: "an engine".to_owned(),
        class: 1,
        instances: InstanceReuse::PerCall,
        grants: Grants::default(),
        limits: Limits::default(),
        offers: Vec::new(),
        description: String::new(),
    }
}

const PROGRAM: &[u8] = b"a program";
const IMAGE: &[u8] = b"a compiled component";

fn write_to(path: &Path, existing: Existing) -> Result<(), WriteError> {
    let parts = Parts { program: PROGRAM, image: IMAGE, manifest: &manifest() };
    let written = write(path, &parts, existing, Durability::Passing)?;
    assert_eq!(read(path).unwrap().map(|bundle| bundle.seal().fingerprint()), Some(written.fingerprint));
    let whole = std::fs::read(path).unwrap();
    assert_eq!(written.file, Digest::from_sha256(Sha256::digest(whole).into()));
    Ok(())
}

fn read(path: &Path) -> Result<Option<Bundle>, ReadError> {
    Bundle::read(&File::open(path).unwrap())
}

/// Returns what is wrong with a file, looking at all of it.
fn verify(path: &Path) -> Result<(), ReadError> {
    let file = File::open(path).unwrap();
    Bundle::read(&file)?.ok_or(ReadError::WrongLengths)?.seal().verify_program(&file)
}

#[test]
fn what_was_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    write_to(&path, Existing::Keep).unwrap();

    let bundle = read(&path).unwrap().unwrap();
    assert_eq!(*bundle.manifest(), manifest());
    let whole = std::fs::read(&path).unwrap();
    let image = bundle.seal().image();
    assert_eq!(image.start % 65536, 0);
    assert_eq!(whole[image.start as usize..image.end as usize], *IMAGE);
    assert!(whole.starts_with(PROGRAM));
    verify(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o700, 0o700);
}

#[test]
fn the_same_parts_make_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    write_to(&one, Existing::Keep).unwrap();
    write_to(&other, Existing::Replace).unwrap();
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap());
}

#[test]
fn every_changed_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    write_to(&path, Existing::Keep).unwrap();
    let good = std::fs::read(&path).unwrap();
    let image = read(&path).unwrap().unwrap().seal().image();
    // Between program and component are zeros, of which a few stand for all.
    let sampled = |at: &usize| *at < 64 || at.is_multiple_of(9973) || *at as u64 >= image.start - 64;
    for at in (0..good.len()).filter(sampled) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let magic = good.len() - 8;
        match verify(&path).unwrap_err() {
            ReadError::ProgramDamaged => assert!(at < PROGRAM.len(), "{at}"),
            ReadError::Damaged => assert!((PROGRAM.len()..magic).contains(&at), "{at}"),
            ReadError::WrongLengths => assert!(at >= image.end as usize, "{at}"),
            other => panic!("{at}: {other}"),
        }
    }
}

#[test]
fn a_file_that_was_cut_or_added_to_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    write_to(&path, Existing::Keep).unwrap();
    let good = std::fs::read(&path).unwrap();
    for length in (0..good.len()).filter(|at| *at < 300 || at.is_multiple_of(9973) || good.len() - at < 500) {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(read(&path).unwrap().is_none(), "{length}");
    }
    std::fs::write(&path, [&good[..], b"\n"].concat()).unwrap();
    assert!(read(&path).unwrap().is_none());
    // Cut out of the middle, its end is still there, and fits nothing.
    std::fs::write(&path, &good[1..]).unwrap();
    assert!(matches!(read(&path), Err(ReadError::WrongLengths)));
}

#[test]
fn what_is_there_stays_unless_it_is_a_file_to_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(write_to(&path, Existing::Keep), Err(WriteError::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    write_to(&path, Existing::Replace).unwrap();
    verify(&path).unwrap();

    let link = dir.path().join("link");
    symlink("/dev/null", &link).unwrap();
    for odd in [dir.path(), &link] {
        assert!(matches!(write_to(odd, Existing::Replace), Err(WriteError::NoFile { .. })));
        assert!(matches!(write_to(odd, Existing::Keep), Err(WriteError::Exists { .. })));
    }
    let nowhere = dir.path().join("missing/plugin");
    assert!(matches!(write_to(&nowhere, Existing::Keep), Err(WriteError::Unwritable { .. })));
    let names = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
    assert_eq!(names(dir.path()), 2, "nothing unfinished is left");
}

#[test]
fn what_a_killed_writer_left_is_removed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [dead, living, newborn, stranger] =
        [".portcullis-wrap-dead", ".portcullis-wrap-living", ".portcullis-wrap-newborn", "stranger"].map(
            |name| {
                let path = dir.path().join(name);
                std::fs::write(&path, "half a program").unwrap();
                path
            },
        );
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for old in [&dead, &living, &stranger] {
        File::open(old).unwrap().set_modified(long_ago).unwrap();
    }
    let held = File::open(&living).unwrap();
    held.try_lock().unwrap();
    write_to(&dir.path().join("plugin"), Existing::Keep).unwrap();

    assert!(!dead.exists());
    assert!([&living, &newborn, &stranger].iter().all(|path| path.exists()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn a_part_that_is_missing_is_no_part() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = manifest();
    let (shim, component) = ("the shim is empty", "the compiled component is empty");
    for (program, image, said) in [(&b""[..], IMAGE, shim), (PROGRAM, &b""[..], component)] {
        let parts = Parts { program, image, manifest: &manifest };
        let path = dir.path().join("plugin");
        let error = write(&path, &parts, Existing::Keep, Durability::Passing).unwrap_err();
        assert_eq!(error.to_string(), said);
    }
}
