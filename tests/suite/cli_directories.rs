//! Directories that a command is given, and those that it makes for itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use portcullis_tests::{TestResult, fixtures};
use serde_json::json;

use crate::person::{Person, answer, fails};

#[test]
fn an_output_directory_that_no_action_uses_is_not_left() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = |more: &[&str]| person.types(&[&["run", "--output-dir", "out/there"][..], more].concat());
    fails(&run(&["nobody"])?, 4, "not found");
    answer(&run(&["echo", "message=hi"])?);
    assert!(!person.path("out").exists());
    answer(&run(&["echo", "--capability", "action", "message=hi"])?);
    assert!(person.path("out/there").is_dir());
    Ok(())
}

/// The shell got there by a link.
#[test]
fn directories_are_told_as_the_person_named_them() -> TestResult {
    let person = Person::new()?;
    fs::create_dir_all(person.path("a/b"))?;
    symlink("a/b", person.path("link"))?;
    let native = fixtures::native("acrobat").display().to_string();
    let run = |first: &str, more: &[&str]| {
        let run = ["run", &native, "--provider", "acrobat", "--capability", "action"];
        Ok::<_, std::io::Error>(
            answer(&person.after(first, &[&run[..], more].concat()).output()?)["data"].clone(),
        )
    };
    let by_link = "cd link; export PWD";
    let path = |name: &str| person.path(name).display().to_string();
    let out = run(by_link, &["operation=context", "--output-dir", "./x/../../out/"])?;
    assert_eq!(out["outputDirectory"], path("out"));
    assert!(person.path("out").is_dir());
    let cwd = run("export PWD", &["operation=context", "--cwd", "link/", "--output-dir", "out"])?;
    assert_eq!(
        (&cwd["workingDirectory"], &cwd["outputDirectory"]),
        (&json!(path("link")), &json!(path("link/out")))
    );

    let pwd = ["operation=env", "name=PWD"];
    assert_eq!(run(by_link, &pwd)?["value"], path("link"));
    assert_eq!(run("export PWD", &[&pwd[..], &["--cwd", "link"]].concat())?["value"], path("link"));
    for stale in ["PWD=/; export PWD", "PWD=.; export PWD"] {
        assert_eq!(run(stale, &pwd)?["value"], "", "{stale}");
    }
    Ok(())
}

#[test]
fn a_directory_that_is_no_text_is_refused() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::create_dir(person.path("").join(OsStr::from_bytes(b"\xff")))?;
    let unspeakable = format!("--cwd: {}\u{fffd} is not UTF-8\n", person.path("").display());
    for (option, code, sentence) in
        [("--output-dir", 3, "failed to resolve output directory"), ("--cwd", 1, &unspeakable)]
    {
        let mut run = person.command(&["run", "echo", "message=hi", option]);
        fails(&run.arg(OsStr::from_bytes(b"\xff")).output()?, code, sentence);
    }
    Ok(())
}

#[test]
fn a_dry_run_has_the_output_directory_that_its_plugin_was_granted_and_leaves_none() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let grant = "fs = [{ host = \"./out\", guest = \"/out\", access = \"write\" }]";
    let policy = person.has_policy(&fixtures::guest("acrobat"), grant)?;
    let run = ["run", "acrobat", "operation=ok", "--policy", &policy, "--capability", "action"];
    answer(&person.types(&[&run[..], &["--output-dir", "out", "--dry-run"]].concat())?);
    assert!(!person.path("out").exists());
    Ok(())
}

/// A umask that takes the right to enter from the owner, too.
#[test]
fn directories_of_ours_can_be_entered_whatever_the_umask() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let first = "export PORTCULLIS_CACHE_DIR=$PWD/a/b PORTCULLIS_DATA_DIR=$PWD/c/d; umask 177";
    answer(&person.after(first, &["run", "echo", "message=hi"]).output()?);
    for directory in ["a", "a/b", "a/b/components", "a/b/descriptors", "c", "c/d"] {
        let mode = fs::metadata(person.path(directory))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory}");
    }
    Ok(())
}
