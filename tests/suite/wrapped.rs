//! What holds of a component behind the shim, and only there: it has two hosts, the one that started it and the policy in
//! its file. What it has in common with every plugin is tested in `parity`.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use portcullis_tests::{TestResult, cli, expect_nothing_left};
use serde_json::json;

use crate::cli::{Person, answer, fails};

#[test]
fn the_policy_in_the_file_is_what_a_component_may() -> TestResult {
    let person = Person::new()?;
    fs::create_dir(person.path("data"))?;
    fs::write(person.path("data/open"), "hello")?;
    let policy = "fs = [{ host = \"data\", guest = \"/data\", access = \"read\" }]\nenv = [\"LANG\"]";
    person.has_wrapped("acrobat", "plugins/acrobat", policy)?;
    let run = |input: serde_json::Value| {
        fs::write(person.path("in.json"), input.to_string())?;
        person.command(&["run", "acrobat", "@in.json", "--env", "inherit"]).env("LANG", "C").output()
    };
    assert_eq!(answer(&run(json!({"operation": "read", "path": "/data/open"}))?)["data"]["text"], "hello");
    let other = json!({"operation": "write", "path": "/data/open", "text": "x"});
    assert!(!run(other)?.status.success());
    assert!(!run(json!({"operation": "read", "path": "/etc/passwd"}))?.status.success());
    assert_eq!(answer(&run(json!({"operation": "env", "name": "LANG"}))?)["data"]["value"], "C");
    assert_eq!(answer(&run(json!({"operation": "env", "name": "HOME"}))?)["data"]["set"], false);
    Ok(())
}

#[test]
fn a_host_that_grants_everything_grants_nothing_that_the_file_does_not() -> TestResult {
    let person = Person::new()?;
    use std::os::unix::fs::PermissionsExt as _;
    let secrets = person.path("secrets.json");
    fs::write(&secrets, r#"{"app.one":"1","other":"2"}"#)?;
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600))?;
    person.has_wrapped("keeper", "plugins/keeper", "secrets.read = [\"app.*\"]")?;
    let get = |name: &str| {
        let name = format!("name={name}");
        person.types(&["run", "keeper", "operation=get", &name, "--secrets-file", "secrets.json"])
    };
    assert_eq!(answer(&get("app.one")?)["data"], json!({"found": true, "value": "1"}));
    fails(&get("other")?, 1, "access denied: secret name outside allowed scope");
    // Nor does the file grant what this host does not.
    let ungranted = person.types(&["run", "keeper", "operation=get", "name=app.one"])?;
    fails(&ungranted, 1, "secret");
    Ok(())
}

#[test]
fn limits_bind_as_in_the_sandbox_of_the_host_itself() -> TestResult {
    let person = Person::new()?;
    let policy = "[plugin.it.limits]\ncpu = \"200ms\"\nmemory = \"8MiB\"\nwall = \"300ms\"";
    person.has_wrapped("acrobat", "plugins/acrobat", policy)?;
    let run = |input: serde_json::Value| {
        fs::write(person.path("in.json"), input.to_string())?;
        person.types(&["run", "acrobat", "@in.json"])
    };
    fails(&run(json!({"operation": "spin"}))?, 1, "limit cpu reached");
    fails(&run(json!({"operation": "hoard", "mib": 32}))?, 1, "limit memory reached");
    fails(&run(json!({"operation": "slow", "millis": 20_000}))?, 1, "limit wall reached");
    answer(&run(json!({"operation": "ok"}))?);
    Ok(())
}

/// Hosts give no sign when they die.
#[test]
fn nothing_is_left_when_the_host_is_killed() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "plugins/acrobat", "limits.wall = \"1h\"")?;
    let input = r#"{"operation":"stream","chunks":2,"size":10,"pauseMillis":3600000}"#;
    fs::write(person.path("in.json"), input)?;
    let mut host =
        person.command(&["run", "acrobat", "@in.json", "-o", "table"]).stdout(Stdio::piped()).spawn()?;
    // The first chunk shows that the call is under way.
    let mut first = [0; 10];
    host.stdout.as_mut().ok_or("it has a stdout")?.read_exact(&mut first)?;
    cli::signal(&host, cli::Signal::KILL)?;
    host.wait()?;
    expect_nothing_left(&person.path(""));
    Ok(())
}
