//! The main job on real input: the same provider from a Go plugin and from a component.
//!
//! Puts each in a plugin directory of its own under `target/demo` and runs the command on it, as a
//! user would; what it types is printed before what came of it. Called with arguments it is that
//! command itself, so that one program has to be built.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use portcullis_tests::{Door, fixtures};

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return portcullis_cli::main();
    }
    let own = std::env::current_exe().expect("a running program has a path");
    let target = own.ancestors().nth(2).expect("binaries lie in target/<profile>").join("demo");
    let native = place(Door::Process, &target.join("native"), "echo");
    let component = place(Door::Component, &target.join("component"), "echo.wasm");

    let mut fine = true;
    for directory in [native, component].into_iter().flatten() {
        fine &= run(&own, &["run", "echo", "message=hello", "times=3", "--plugin-dir"], &directory);
        fine &= run(&own, &["list", "--plugin-dir"], &directory);
        // Again: a component was compiled by the first run, and never will be after that.
        fine &= run(&own, &["run", "echo", "message=hello", "times=3", "--plugin-dir"], &directory);
    }
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Copies a plugin into a directory of its own, and returns the directory.
fn place(door: Door, directory: &Path, name: &str) -> Option<PathBuf> {
    if door == Door::Process && !cfg!(go_peers) {
        println!("Without Go there is no native plugin to show; install it, and touch tests/build.rs.\n");
        return None;
    }
    let file = directory.join(name);
    fs::create_dir_all(directory).expect("the target directory takes a directory");
    // A running plugin's file cannot be written, but it can be replaced.
    let _ = fs::remove_file(&file);
    fs::copy(fixtures::plugin(door, "echo"), &file).expect("the target directory takes a file");
    Some(directory.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "it does what a user does, and waits for the end of it")]
fn run(own: &Path, arguments: &[&str], directory: &Path) -> bool {
    let directory = directory.strip_prefix(std::env::current_dir().unwrap_or_default()).unwrap_or(directory);
    println!("$ portcullis {} {}", arguments.join(" "), directory.display());
    let started = Instant::now();
    let status = Command::new(own).args(arguments).arg(directory).status();
    println!("[{:.1} ms]\n", started.elapsed().as_secs_f64() * 1e3);
    status.is_ok_and(|status| status.success())
}
