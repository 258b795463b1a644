//! Guests behind the shim: wrapped by the command, as a person would, with a policy for what a test grants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use portcullis::contract::{Access, Grants, IdentityGrant, InstanceReuse, Limits, RunAs};
use portcullis::policy::every_secret;

use crate::{LONG, cli, fixtures};

/// Wraps a guest with a policy that grants all that a host may offer, once for all tests, and returns the file.
///
/// # Panics
///
/// When the command does not do it.
#[must_use]
pub fn trusted(name: &str) -> PathBuf {
    static WRAPPED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // What a test that failed has left is whole.
    let mut wrapped = WRAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let wrap = || {
        let directory = fixtures::shared_cache().join("wrapped");
        fs::create_dir_all(&directory).expect("the build's folder takes a directory");
        let handlers = vec!["github".to_owned()];
        let identity = Some(IdentityGrant { handlers, token: true });
        let grants = Grants { secrets: every_secret(), identity, ..Grants::default() };
        // What is tried is no limit.
        let limits = Limits { output: Some(1 << 30), cpu: Some(LONG), ..Limits::default() };
        // Another run of the tests may be at it, too.
        let own = tempfile::tempdir_in(&directory).expect("the build's folder takes a directory");
        let made = self::wrapped(name, own.path(), &grants, &limits, &RunAs::default());
        let file = directory.join(name);
        fs::rename(made, &file).expect("a file may be moved within a folder");
        file
    };
    wrapped.entry(name.to_owned()).or_insert_with(wrap).clone()
}

/// Wraps a guest into `scratch`, and returns the file. One that is there is replaced: it may be running.
///
/// # Panics
///
/// When the command does not do it.
#[must_use]
pub fn wrapped(name: &str, scratch: &Path, grants: &Grants, limits: &Limits, run_as: &RunAs) -> PathBuf {
    let component = fixtures::guest(name);
    let policy = scratch.join(format!("{name}.toml"));
    fs::write(&policy, table(&component, grants, limits, run_as))
        .expect("the scratch directory takes a file");
    let output = scratch.join(name);
    let mut wrap = cli::command(scratch);
    wrap.arg("wrap").arg(&component).arg("--policy").arg(&policy).arg("-o").arg(&output).arg("--force");
    let done = wrap.output().expect("the command starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    output
}

/// Returns a policy's table of a component.
fn table(component: &Path, grants: &Grants, limits: &Limits, run_as: &RunAs) -> String {
    let digest = portcullis::component::inspect(component).expect("a guest is a component").digest;
    let mut text = format!("[plugin.it]\ndigests = [\"{digest}\"]\n");
    let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").expect("a text takes more");
    let patterns = |patterns: &[portcullis::contract::NamePattern]| {
        list(patterns.iter().map(portcullis::contract::NamePattern::as_str))
    };
    line("secrets.read", patterns(&grants.secrets.read));
    line("secrets.write", patterns(&grants.secrets.write));
    if let Some(identity) = &grants.identity {
        line("identity.handlers", list(identity.handlers.iter().map(String::as_str)));
        line("identity.token", identity.token.to_string());
    }
    let http: Vec<_> = grants.http.iter().map(ToString::to_string).collect();
    line("http", list(http.iter().map(String::as_str)));
    let fs = grants.fs.iter().map(|fs| {
        let access = match fs.access {
            Access::Read => "read",
            Access::Write => "write",
        };
        format!("{{ host = {:?}, guest = {:?}, access = {access:?} }}", fs.host, fs.guest)
    });
    line("fs", format!("[{}]", fs.collect::<Vec<_>>().join(", ")));
    line("env", list(grants.env.iter().map(String::as_str)));
    let instances = match run_as.instances {
        InstanceReuse::PerCall => "per-call".to_owned(),
        InstanceReuse::Single => "single".to_owned(),
        InstanceReuse::Pooled(count) => format!("pooled:{count}"),
    };
    line("instances", format!("{instances:?}"));
    for (name, bytes) in [("memory", limits.memory), ("message", limits.message), ("output", limits.output)] {
        if let Some(bytes) = bytes {
            line(&format!("limits.{name}"), format!("\"{bytes}B\""));
        }
    }
    for (name, time) in [("cpu", limits.cpu), ("wall", limits.wall)] {
        if let Some(time) = time {
            line(&format!("limits.{name}"), format!("\"{}ms\"", time.as_millis()));
        }
    }
    for (name, count) in [("handles", limits.handles), ("concurrency", limits.concurrency)] {
        if let Some(count) = count {
            line(&format!("limits.{name}"), count.to_string());
        }
    }
    text
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(", "))
}
