//! Builds what the tests start: every guest for `wasm32-wasip2`, the shim, and the Go peers.
//!
//! Hands over `GUESTS`, `PEERS` and `GO_HOSTS`, the directories that hold them, `SHIM`, the program, and the cfg `go_peers`
//! when there is a Go toolchain. Without one it says how many tests are left out; in CI it fails instead.

#![expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script everything by the environment, and building means running compilers"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "build/go.rs"]
mod go;

/// The versions of go-plugin that the Go host is built with, and the module files that choose them.
const VERSIONS: [(&str, &str); 3] = [("1.8", "go.mod"), ("1.6", "go16.mod"), ("1.4", "go14.mod")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(go_peers)");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let tests = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = tests.parent().ok_or("the tests lie in the workspace")?;

    // Beside all else that is built in this profile, and not in a folder of this script's run, of which checking the
    // tests has another than running them: nothing is built twice.
    let profile = out.ancestors().nth(3).ok_or("the folder of this run lies in that of the profile")?;
    let built = profile.join("built-for-tests");

    guests(root, &built.join("guests"))?;
    // If a target was named, by whatever setting, cargo builds into a folder of its name, for the shim as well.
    let triple = env::var("TARGET")?;
    let named = profile.parent().is_some_and(|folder| folder.ends_with(&triple));
    shim(root, &built.join("shim"), named.then_some(triple.as_str()))?;
    if go::is_there() {
        peers(&tests.join("go"), &built)?;
        println!("cargo::rustc-cfg=go_peers");
    } else {
        let left_out = count_go_tests(&tests.join("suite"))?;
        let sentence =
            format!("there is no Go toolchain on the PATH: {left_out} tests against real Go peers");
        if env::var_os("CI").is_some() {
            return Err(format!("{sentence} cannot be built").into());
        }
        // Cargo does not notice what is new in a directory that was on the PATH before.
        println!("cargo::warning={sentence} are left out; once there is one: touch tests/build.rs");
    }
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-env-changed=PATH");
    Ok(())
}

/// Builds the guests in a target folder of their own: the outer build holds the lock of its own one.
fn guests(root: &Path, target: &Path) -> Result<(), Box<dyn Error>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(root.join("guests"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "sdk" && entry.path().join("Cargo.toml").is_file() {
            names.push(format!("portcullis-guest-{name}"));
        }
    }
    cargo(root, target, "guests", |cargo| {
        cargo.args(["--profile", "guest", "--target", "wasm32-wasip2"]);
        for name in &names {
            cargo.args(["--package", name]);
        }
    })?;
    for path in ["guests", "wit", ".cargo", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo::rustc-env=GUESTS={}", target.join("wasm32-wasip2/guest").display());
    Ok(())
}

/// Builds the shim by itself: with anything else in the same call it would get the compiler of components. For a
/// benchmark it is built as it is shipped; for tests without the optimiser, and without debug information, which
/// every wrapped file would hold.
fn shim(root: &Path, target: &Path, triple: Option<&str>) -> Result<(), Box<dyn Error>> {
    let shipped = is_release();
    cargo(root, target, "shim", |cargo| {
        cargo.args(["--package", "portcullis-shim"]);
        cargo.args(triple.map(|triple| format!("--target={triple}")));
        match shipped {
            true => cargo.args(["--profile", "shim"]),
            false => cargo.args(["--config", "profile.dev.package.portcullis-shim.strip=true"]),
        };
    })?;
    for path in ["host", "proto", "shim"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let directory = target.join(triple.unwrap_or_default()).join(if shipped { "shim" } else { "debug" });
    println!("cargo::rustc-env=SHIM={}", directory.join("portcullis-shim").display());
    Ok(())
}

fn is_release() -> bool {
    env::var_os("PROFILE").is_some_and(|profile| profile == "release")
}

fn cargo(
    root: &Path,
    target: &Path,
    what: &str,
    choose: impl FnOnce(&mut Command),
) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.current_dir(root).args(["build", "--locked", "--target-dir"]).arg(target);
    choose(&mut cargo);
    // Whatever `build.build-dir` says: the outer build holds the lock of that, and would be waited for without end.
    cargo.env("CARGO_BUILD_BUILD_DIR", target);
    // What the outer build set for itself would take the place of the workspace's own settings.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"] {
        cargo.env_remove(variable);
    }
    let done = cargo.output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("the {what} did not build:\n{}", String::from_utf8_lossy(&done.stderr)).into())
}

fn peers(module: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let (peers, hosts) = (out.join("peers"), out.join("hosts"));
    fs::create_dir_all(&peers)?;
    fs::create_dir_all(&hosts)?;
    // As plugins are shipped: a benchmark looks at their size.
    let shipped: &[&str] = if is_release() { &["-ldflags", "-s -w"] } else { &[] };
    go::build(module, |go| go.args(shipped).arg("-o").arg(&peers).arg("./cmd/..."))?;
    for (version, file) in VERSIONS {
        let host = hosts.join(version);
        go::build(module, |go| go.args(shipped).args(["-modfile", file, "-o"]).arg(&host).arg("./cmd/host"))?;
    }
    println!("cargo::rerun-if-changed={}", module.display());
    println!("cargo::rustc-env=PEERS={}", peers.display());
    println!("cargo::rustc-env=GO_HOSTS={}", hosts.display());
    Ok(())
}

/// Counts the tests that name the cfg: one for each door behind which a Go peer would stand, each by itself, and one
/// for each in a module of such tests.
fn count_go_tests(suite: &Path) -> Result<usize, Box<dyn Error>> {
    let mut count = 0;
    for entry in fs::read_dir(suite)? {
        let path = entry?.path();
        if path.is_dir() {
            count += count_go_tests(&path)?;
        } else {
            let text = fs::read_to_string(&path)?;
            count += text.matches("cfg_attr(go_peers, test_case").count();
            count += text.matches("#[cfg(go_peers)]\n#[test]").count();
            count += text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("#[test_matrix("))
                .map(cases)
                .sum::<usize>();
            // By convention a module of such tests is the last thing in its file.
            if let Some((_, module)) = text.split_once("#[cfg(go_peers)]\nmod ") {
                count += count_tests(module);
            }
        }
    }
    println!("cargo::rerun-if-changed={}", suite.display());
    Ok(count)
}

/// Returns how many tests a matrix makes: the product of the lengths of its lists.
fn cases(matrix: &str) -> usize {
    let lists = matrix.trim_end_matches(")]").split("], [");
    // Between brackets a comma parts two values, but for those within a pair.
    lists.map(|list| 1 + list.matches(", ").count() - list.matches("(\"").count()).product()
}

/// Counts the tests of a module, one for each case of those that have cases.
fn count_tests(module: &str) -> usize {
    let (mut count, mut cases) = (0, 0);
    for line in module.lines().map(str::trim) {
        if line.starts_with("#[test_case(") {
            cases += 1;
        } else if line == "#[test]" || line.starts_with("#[tokio::test") {
            cases = cases.max(1);
        } else if line.contains("fn ") {
            count += cases;
            cases = 0;
        }
    }
    count
}
