//! Builds the Go peers, once for every version of go-plugin that they are tried with.
//!
//! Hands over `GO_PEERS`, a directory with one of each version's name in it, and the cfg `go_peers` when there
//! is a Go toolchain. Without one it says that the tests against them are left out; in CI it fails instead.

#![expect(
    clippy::disallowed_methods,
    reason = "Cargo tells a build script everything by the environment, and building means running compilers"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The versions' names, and the module files that choose them.
const VERSIONS: [(&str, &str); 3] = [("1.8", "go.mod"), ("1.6", "go16.mod"), ("1.4", "go14.mod")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(go_peers)");
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-env-changed=PATH");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("peers");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let module = here.parent().ok_or("the tests lie in the workspace")?.join("go/goplugin");
    if has_go() {
        for (version, file) in VERSIONS {
            build(&module, file, &out.join(version))?;
        }
        println!("cargo::rerun-if-changed={}", module.display());
        println!("cargo::rustc-env=GO_PEERS={}", out.display());
        println!("cargo::rustc-cfg=go_peers");
        return Ok(());
    }
    let sentence = "there is no Go toolchain on the PATH: go-plugin";
    if env::var_os("CI").is_some() {
        return Err(format!("{sentence} cannot be tried with Go peers").into());
    }
    println!("cargo::warning={sentence} is not tried with Go peers, and all of these tests are left out");
    Ok(())
}

fn has_go() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|done| done.status.success())
}

fn build(module: &Path, file: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    let mut go = Command::new("go");
    // Without C the peers are plain static programs, whatever compilers the machine has.
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        // A workspace around the checkout, or a repository that git distrusts, is none of its business.
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-buildvcs=false", "-modfile", file, "-o"])
        .arg(out)
        .arg("./cmd/...");
    let done = go.output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("the Go peers of {file} do not build:\n{}", String::from_utf8_lossy(&done.stderr)).into())
}
