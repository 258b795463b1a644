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

#[path = "../build/go.rs"]
mod go;

/// The versions' names, and the module files that choose them.
const VERSIONS: [(&str, &str); 3] = [("1.8", "go.mod"), ("1.6", "go16.mod"), ("1.4", "go14.mod")];

/// Hosts and plugins among go-plugin's own examples.
const EXAMPLES: [&str; 6] = [
    "bidirectional",
    "bidirectional/plugin-go-grpc",
    "grpc",
    "grpc/plugin-go-grpc",
    "negotiated",
    "negotiated/plugin-go",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(go_peers)");
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-env-changed=PATH");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("peers");
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    // What our own plugins serve, beside the Go ones.
    let library = here.join("../../proto/goplugin");
    for (file, directory) in [("peer.proto", "tests/proto"), ("kv.proto", "examples")] {
        let directory = library.join(directory);
        println!("cargo::rerun-if-changed={}", directory.join(file).display());
        tonic_prost_build::configure().bytes(".").compile_fds(protox::compile([file], [directory])?)?;
    }
    let modules = here.parent().ok_or("the tests lie in the workspace")?.join("go");
    let module = modules.join("goplugin");
    if go::is_there() {
        for (version, file) in VERSIONS {
            build(&module, file, &out.join(version))?;
        }
        upstream(&modules.join("upstream"), &out.join("upstream"))?;
        println!("cargo::rerun-if-changed={}", modules.join("upstream").display());
        println!("cargo::rerun-if-changed={}", module.display());
        println!("cargo::rustc-env=GO_PEERS={}", out.display());
        println!("cargo::rustc-cfg=go_peers");
        return Ok(());
    }
    let sentence = "there is no Go toolchain on the PATH: go-plugin";
    if env::var_os("CI").is_some() {
        return Err(format!("{sentence} cannot be tried with Go peers").into());
    }
    // Cargo does not notice what is new in a directory that was on the PATH before.
    println!(
        "cargo::warning={sentence} is not tried with Go; once there is one: touch tests/goplugin/build.rs"
    );
    Ok(())
}

fn build(module: &Path, file: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    go::build(module, |go| go.args(["-modfile", file, "-o"]).arg(out).arg("./cmd/..."))
}

/// Builds go-plugin's own examples from the module that it is published as, each under its own path.
fn upstream(module: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    for example in EXAMPLES {
        let package = format!("github.com/hashicorp/go-plugin/examples/{example}");
        go::build(module, |go| go.arg("-o").arg(out.join(example.replace('/', "-"))).arg(package))?;
    }
    Ok(())
}
