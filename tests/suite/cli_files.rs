//! How many files a command may have open, and its plugins with it.

use std::fs;

use portcullis_tests::{TestResult, fixtures};
use serde_json::json;

use crate::person::{Person, answer};

/// Grants a directory with a file `note` to the acrobat.
fn grant(person: &Person) -> Result<String, std::io::Error> {
    let directory = person.path("files");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("note"), "hello")?;
    Ok(format!("fs = [{{ host = {directory:?}, guest = \"/data\", access = \"read\" }}]"))
}

/// A soft limit is for programs that wait by `select`, which a plugin may be and we are not.
#[test]
fn a_soft_limit_on_open_files_is_passed_on_and_keeps_no_component_from_more() -> TestResult {
    let person = Person::new()?;
    let lines = grant(&person)?;
    let under_a_limit = |file: &str, more: &[&str]| {
        let run = [&["run", file, "--provider", "acrobat"][..], more].concat();
        Ok::<_, std::io::Error>(answer(&person.after("ulimit -S -n 64", &run).output()?))
    };
    let open = ["operation=files", "path=/data/note", "chunks=200"];

    person.has_guest("acrobat")?;
    let policy = person.has_policy(&fixtures::guest("acrobat"), &lines)?;
    let component =
        under_a_limit("./plugins/acrobat.wasm", &[&open[..], &["--policy", policy.as_str()]].concat())?;
    assert_eq!(component["data"], json!({"files": 200, "refused": null}));
    person.has_wrapped("acrobat", "wrapped", &lines)?;
    assert_eq!(under_a_limit("./wrapped", &open)?, component);

    let native = fixtures::native("acrobat").display().to_string();
    let told = under_a_limit(&native, &["operation=read", "path=/proc/self/limits"])?;
    let limits = told["data"]["text"].as_str().unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    assert_eq!(soft, Some("64"), "{limits}");
    Ok(())
}

#[test]
fn a_policy_says_how_many_files_a_native_program_opens() -> TestResult {
    let person = Person::new()?;
    let native = fixtures::native("acrobat");
    let file = native.display().to_string();
    let digest = answer(&person.types(&["inspect", &file, "-o", "json"])?)["digest"].clone();
    fs::write(
        person.path("policy.toml"),
        format!("[plugin.it]\ndigests = [{digest}]\nlimits.handles = 32\n"),
    )?;
    let run = ["run", &file, "--policy", "policy.toml", "--provider", "acrobat"];
    let told = answer(&person.types(&[&run[..], &["operation=read", "path=/proc/self/limits"]].concat())?);
    let limits = told["data"]["text"].as_str().unwrap_or_default();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let open: Option<Vec<_>> = open.map(|line| line.split_whitespace().take(2).collect());
    assert_eq!(open, Some(vec!["32", "32"]), "{limits}");
    Ok(())
}

/// To write the secrets anew takes files of the host's own.
#[test]
fn a_guest_that_opens_all_files_that_it_may_leaves_the_host_some() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let policy = person.has_policy(&fixtures::guest("acrobat"), &grant(&person)?)?;
    person.has_secrets(r#"{"app.token": "old"}"#)?;
    let run = ["run", "acrobat", "--policy", policy.as_str(), "--secrets-file", "secrets.json"];
    let hoard = ["operation=files", "path=/data/note", "chunks=200", "name=app.token", "text=new"];
    let told = answer(&person.after("ulimit -n 64", &[&run[..], &hoard].concat()).output()?);
    assert_eq!(told["data"]["refused"], "insufficient-memory", "{told}");
    assert!(fs::read_to_string(person.path("secrets.json"))?.contains("new"));
    Ok(())
}
