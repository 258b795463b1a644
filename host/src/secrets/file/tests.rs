//! Files as people leave them lying about, and changes that meet each other.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use tempfile::TempDir;

use super::*;

/// A directory with a secrets file of that text and mode in it.
fn file(text: impl AsRef<[u8]>, mode: u32) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("s.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    (dir, path)
}

/// Opens a store that looks at the file at every call.
fn opened(path: &Path) -> FileStore {
    FileStore::open_fresh_for(path, Duration::ZERO).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Everything that an error says, its sources and its `Debug` included.
fn all_words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        words.push_str(&error.to_string());
        next = error.source();
    }
    words
}

/// Refuses a text; what is said contains `expected` and no value.
fn check(text: impl AsRef<[u8]>, expected: &str) {
    let (_dir, path) = file(text.as_ref(), 0o600);
    let error = FileStore::open(&path).expect_err(expected);
    let shown = error.to_string();
    assert!(shown.contains(expected), "{shown}\nexpected {expected}");
    assert!(!all_words(&error).contains("hunter"), "{error:?}");
}

#[tokio::test]
async fn a_store_says_what_its_file_says_sorted_by_name() {
    let (_dir, path) =
        file(r#" { "b": "2", "a.x": "", "B": "\u00e9\u0000\n", "\u0061": "hunter2" } "#, 0o600);
    let store = FileStore::open(&path).unwrap();
    assert_eq!(store.names().await.unwrap(), ["B", "a", "a.x", "b"]);
    assert_eq!(store.secret("a").await.unwrap().as_deref(), Some("hunter2"));
    assert_eq!(store.secret("a.x").await.unwrap().as_deref(), Some(""));
    assert_eq!(store.secret("B").await.unwrap().as_deref(), Some("\u{e9}\0\n"));
    assert_eq!(store.secret("c").await.unwrap(), None);
    assert!(!format!("{store:?}").contains("hunter"), "{store:?}");
}

#[test]
fn a_text_that_is_no_object_of_texts_is_refused_without_a_word_of_a_value() {
    for nothing in ["", " \n"] {
        check(nothing, "it is empty; write {} into it");
    }
    check("{\"a\": \"hunter2\",\n  \"b\": hunter3}", "it is not JSON from line 2, column 8");
    check("{\"a\": \"hunter2\"} hunter3", "it is not JSON from line 1");
    check("{\"a\": \"hunter2\" \"b\"}", "it is not JSON");
    check("hunter2", "it is not JSON");
    check(b"{\"a\": \"hunter2\xff\"}", "it is not JSON");
    check("\u{feff}{}", "it is not JSON");
    for other in ["[\"hunter2\"]", "\"hunter2\"", "12", "-1", "true", "null"] {
        check(other, "it is other JSON; write {} for an empty one");
    }
    for value in ["17", "null", "true", "[\"hunter2\"]", "{\"b\": \"hunter2\"}", "\"\\ud800 hunter2\""] {
        check(format!("{{\"a\": {value}}}"), "the value of \"a\" is not a text; put it in quotes");
    }
    check("{\"a\": \"hunter2\", \"\\u0061\": \"hunter3\"}", "\"a\" occurs twice; delete one");
    check("{\"\": \"hunter2\"}", "a name in it is empty");
    check(format!("{{\"a\": {}", "[".repeat(1_000_000)), "it is not JSON");
    check(format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000)), "is not a text");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777] {
        let (_dir, path) = file("{}", mode);
        let error = FileStore::open(&path).unwrap_err();
        assert!(matches!(error, FileError::Exposed { mode: found, .. } if found == mode), "{error:?}");
        assert!(error.to_string().ends_with(&format!("run: chmod 600 {}", path.display())), "{error}");
    }
    for mode in [0o600, 0o400, 0o700] {
        let (_dir, path) = file("{}", mode);
        assert!(FileStore::open(&path).is_ok(), "{mode:o}");
    }
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let (_dir, path) = file("{}", 0o600);
    let opened = File::open(&path).unwrap();
    let mut us = rustix::process::geteuid().as_raw();
    if us == 0 {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
    } else {
        us += 1;
    }
    let refused = stamp_as(us, &opened, &path);
    assert!(matches!(refused, Err(FileError::NotOurs { us: found, .. }) if found == us));
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let (dir, path) = file("{}", 0o600);
    assert!(matches!(FileStore::open(dir.path()), Err(FileError::NotAFile { .. })));
    assert!(matches!(FileStore::open(Path::new("/dev/null")), Err(FileError::NotAFile { .. })));
    assert!(matches!(FileStore::open(&dir.path().join("none")), Err(FileError::Unreadable { .. })));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    assert!(matches!(FileStore::open(&pipe), Err(FileError::NotAFile { .. })));
    let (unnamed, _writer) = std::io::pipe().unwrap();
    let unnamed = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unnamed));
    assert!(matches!(FileStore::open(Path::new(&unnamed)), Err(FileError::NotAFile { .. })));

    let large = File::options().write(true).open(&path).unwrap();
    large.set_len(LARGEST_FILE + 1).unwrap();
    assert!(matches!(FileStore::open(&path), Err(FileError::TooLarge { .. })));
}

#[tokio::test]
async fn a_change_keeps_the_rest_and_leaves_a_file_of_its_owner_alone() {
    let (dir, path) = file(r#"{"z":"26","a":"1"}"#, 0o400);
    let store = FileStore::open(&path).unwrap();
    store.set("m", "13 \" \u{1f600}").await.unwrap();
    store.set("a", "one").await.unwrap();
    store.delete("z").await.unwrap();
    store.delete("never there").await.unwrap();

    assert_eq!(mode_of(&path), 0o600);
    let again = FileStore::open(&path).unwrap();
    for store in [&store, &again] {
        assert_eq!(store.names().await.unwrap(), ["a", "m"]);
        assert_eq!(store.secret("a").await.unwrap().as_deref(), Some("one"));
        assert_eq!(store.secret("m").await.unwrap().as_deref(), Some("13 \" \u{1f600}"));
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["s.json"]);
}

#[tokio::test]
async fn what_a_killed_change_left_is_removed_by_the_next_and_nothing_else() {
    let (dir, path) = file("{}", 0o600);
    let [dead, living, newborn, other] =
        [".portcullis-secrets-dead", ".portcullis-secrets-living", ".portcullis-secrets-newborn", "other"]
            .map(|name| dir.path().join(name));
    for path in [&dead, &living, &newborn, &other] {
        fs::write(path, "{}").unwrap();
    }
    for old in [&dead, &living, &other] {
        File::open(old).unwrap().set_modified(SystemTime::now() - 2 * NEWBORN).unwrap();
    }
    let held = File::open(&living).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    opened(&path).set("a", "1").await.unwrap();

    assert!(!dead.exists());
    assert!([&living, &newborn, &other].iter().all(|path| path.exists()));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let (_dir, path) = file(r#"{"a":"1"}"#, 0o600);
    let before = fs::metadata(&path).unwrap().ino();
    let store = FileStore::open(&path).unwrap();
    store.set("a", "1").await.unwrap();
    store.delete("b").await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[tokio::test]
async fn a_link_is_followed_and_stays_a_link() {
    let (dir, path) = file("{}", 0o600);
    let link = dir.path().join("link.json");
    symlink(&path, &link).unwrap();
    FileStore::open(&link).unwrap().set("a", "1").await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(opened(&path).secret("a").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn what_somebody_else_wrote_is_seen() {
    let (_dir, path) = file("{}", 0o600);
    let (one, other) = (opened(&path), opened(&path));
    one.set("a", "1").await.unwrap();
    assert_eq!(other.secret("a").await.unwrap().as_deref(), Some("1"));
    other.delete("a").await.unwrap();
    assert_eq!(one.names().await.unwrap(), Vec::<String>::new());

    // The same size, and faster than the file system's clock moves.
    for n in ["1", "2", "3", "4", "5"].repeat(20) {
        fs::write(&path, format!("{{\"a\":\"{n}\"}}")).unwrap();
        assert_eq!(other.secret("a").await.unwrap().as_deref(), Some(n));
    }
    fs::write(&path, "{}").unwrap();

    // What the checks at the start refuse, they refuse later as well.
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let error = one.secret("a").await.unwrap_err();
    assert!(matches!(error, StoreError::Read(_)) && all_words(&error).contains("chmod 600"), "{error:?}");
    assert!(matches!(one.set("a", "hunter2").await, Err(StoreError::Write(_))));
    assert_eq!(fs::read_to_string(&path).unwrap().trim(), "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_at_the_same_time_are_all_kept() {
    let (dir, path) = file(r#"{"first":"1"}"#, 0o600);
    let stores = [opened(&path), opened(&path), opened(&path)];
    let mut changes = tokio::task::JoinSet::new();
    for n in 0..24 {
        let store = stores[n % stores.len()].clone();
        changes.spawn(async move { store.set(&format!("n{n}"), &n.to_string()).await });
    }
    while let Some(change) = changes.join_next().await {
        change.unwrap().unwrap();
    }
    let names: BTreeSet<_> = opened(&path).names().await.unwrap().into_iter().collect();
    let expected: BTreeSet<_> = (0..24).map(|n| format!("n{n}")).chain(["first".to_owned()]).collect();
    assert_eq!(names, expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_change_that_is_not_looked_at_again_keeps_no_other_from_being_made() {
    let (_dir, path) = file("{}", 0o600);
    let store = opened(&path);
    let other = File::open(&path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    // The first waits for the file, and the second for the first.
    let [mut first, mut unread] = [store.set("a", "1"), store.set("b", "2")];
    assert!((&mut first).now_or_never().is_none() && (&mut unread).now_or_never().is_none());

    drop(other);
    first.await.unwrap();
    let third = tokio::time::timeout(Duration::from_secs(60), store.set("c", "3")).await;

    third.expect("it is kept from it").unwrap();
    assert_eq!(store.names().await.unwrap(), ["a", "b", "c"]);
}

/// As between two calls of `block_on`.
#[test]
fn a_change_whose_runtime_stands_still_keeps_no_other_from_being_made() {
    let (_dir, path) = file("{}", 0o600);
    let store = opened(&path);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (still, moving) = (runtime(), runtime());
    let other = File::open(&path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let mut first = store.set("a", "1");
    still.block_on(async {
        assert!((&mut first).now_or_never().is_none());
        tokio::task::yield_now().await;
    });

    drop(other);
    let second = async { tokio::time::timeout(Duration::from_secs(60), store.set("b", "2")).await };

    moving.block_on(second).expect("it is kept from it").unwrap();
}

#[test]
fn changes_that_wait_for_each_other_keep_no_thread_from_who_needs_one() {
    let (_dir, path) = file("{}", 0o600);
    let store = opened(&path);
    let other = File::open(&path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(2).build().unwrap();

    let changed = runtime.block_on(async {
        // The first change waits for it, and has one of the threads.
        let unlock = async { tokio::task::spawn_blocking(move || drop(other)).await };
        tokio::join!(store.set("a", "1"), store.set("b", "2"), unlock)
    });

    assert!(matches!(changed, (Ok(()), Ok(()), Ok(()))), "{changed:?}");
}

#[tokio::test]
async fn a_change_that_fails_loses_nothing_and_says_no_value() {
    let (dir, path) = file(r#"{"a":"hunter1"}"#, 0o600);
    let store = FileStore::open(&path).unwrap();
    fs::write(&path, "{ broken").unwrap();
    let error = store.set("b", "hunter2").await.unwrap_err();
    assert!(matches!(error, StoreError::Write(_)) && !all_words(&error).contains("hunter"), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{ broken");
    assert_eq!(error.to_string(), "the store cannot be written");

    // A directory that is gone takes no new file, whoever we are.
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(store.delete("a").await.is_err());
}

#[tokio::test]
async fn a_change_that_nobody_could_read_again_is_not_made() {
    let (_dir, path) = file(r#"{"a":"hunter1"}"#, 0o600);
    let store = opened(&path);
    // Twelve bytes each, as it is written.
    let much = "hunter\u{1}".repeat(usize::try_from(LARGEST_FILE / 12).unwrap());
    let error = store.set("b", &much).await.unwrap_err();
    assert!(matches!(error, StoreError::Write(_)) && !all_words(&error).contains("hunter"));
    assert!(all_words(&error).contains("of at most 67108864"), "{error:?}");
    let error = store.set("", "hunter2").await.unwrap_err();
    assert!(matches!(error, StoreError::Write(_)) && !all_words(&error).contains("hunter"), "{error:?}");

    for store in [&store, &opened(&path)] {
        assert_eq!(store.names().await.unwrap(), ["a"]);
    }
    store.set("b", "hunter2").await.unwrap();
}

#[test]
fn a_file_that_is_locked_for_too_long_is_busy() {
    let (_dir, path) = file("{}", 0o600);
    let store = FileStore::open(&path).unwrap();
    let other = File::open(&path).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let outcome = store.shared.lock_within(Duration::ZERO);
    assert!(matches!(outcome, Err(FileError::Busy { .. })), "{outcome:?}");
    // Patient, because a child that another test has just forked may still hold what we closed.
    drop(other);
    assert!(store.shared.lock_within(LOCK_PATIENCE).is_ok());
}

/// To mount a file takes root.
#[test]
fn of_a_file_that_is_mounted_by_itself_it_is_said_what_to_do() {
    let said = |errno: Errno| advised(errno.into()).to_string();
    assert!(said(Errno::BUSY).ends_with("(os error 16); mount its directory in place of the file alone"));
    assert_eq!(said(Errno::ROFS), io::Error::from(Errno::ROFS).to_string());
}

/// To mount NFS takes root, and a server.
#[test]
fn what_is_locked_is_open_to_be_written_as_nfs_wants_it() {
    let locked = |mode| {
        let (_dir, path) = file("{}", mode);
        FileStore::open(&path).unwrap().shared.lock_within(LOCK_PATIENCE).unwrap()
    };
    assert!(rustix::fs::fcntl_getfl(locked(0o600)).unwrap().contains(OFlags::RDWR));
    // One that nobody may write to is replaced all the same.
    locked(0o400);
}

#[tokio::test]
async fn a_hundred_thousand_secrets_are_found_without_reading_the_file_again() {
    let mut text = "{\"n\": \"0\"".to_owned();
    for n in 0..100_000 {
        text.push_str(&format!(",\"n{n}\":\"{n}\""));
    }
    text.push('}');
    let (_dir, path) = file(text, 0o600);
    let store = FileStore::open_fresh_for(&path, Duration::MAX).unwrap();
    // Gone, so that whoever looks at the file fails.
    fs::remove_file(&path).unwrap();
    for n in 0..10_000 {
        assert_eq!(store.secret(&format!("n{n}")).await.unwrap(), Some(n.to_string()));
    }
    assert_eq!(store.names().await.unwrap().len(), 100_001);
}
