//! The house rules that a compiler does not hold.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::component::FINGERPRINT;
use portcullis_tests::TestResult;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(dir: &Path) -> Result<Vec<String>, std::io::Error> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    names.sort();
    Ok(names)
}

#[test]
fn every_test_file_is_part_of_its_suite() -> TestResult {
    for (parent, dir) in [
        ("proto/goplugin/tests/client/main.rs", "proto/goplugin/tests/client"),
        ("proto/goplugin/tests/server/main.rs", "proto/goplugin/tests/server"),
        ("shim/serve/tests/contract/main.rs", "shim/serve/tests/contract"),
        ("tests/goplugin/suite/main.rs", "tests/goplugin/suite"),
        ("tests/suite/main.rs", "tests/suite"),
        ("tests/suite/go_host.rs", "tests/suite/go_host"),
        ("tests/suite/parity.rs", "tests/suite/parity"),
    ] {
        let text = fs::read_to_string(root().join(parent))?;
        for name in names(&root().join(dir))?.iter().filter_map(|n| n.strip_suffix(".rs")) {
            assert!(name == "main" || text.contains(&format!("mod {name};")), "{dir}/{name} is in no suite");
        }
    }
    Ok(())
}

#[test]
fn every_guest_is_tested() -> TestResult {
    let mut suite = String::new();
    for dir in ["tests/suite", "tests/suite/parity"] {
        for name in names(&root().join(dir))?.iter().filter(|n| n.ends_with(".rs")) {
            suite += &fs::read_to_string(root().join(dir).join(name))?;
        }
    }
    for guest in names(&root().join("guests"))?.iter().filter(|n| *n != "sdk") {
        assert!(suite.contains(&format!("\"{guest}\"")), "no test starts the guest {guest}");
    }
    Ok(())
}

/// The walls of the house (README, "Architecture") as far as no build shows them. What is no backend, and does not join
/// them, is a room.
#[test]
fn rooms_do_not_know_the_backends_and_the_backends_do_not_know_each_other() -> TestResult {
    let source = root().join("host/src");
    let strangers = |path: PathBuf, words: &[&str]| -> TestResult {
        for file in walk(&path)? {
            let text = fs::read_to_string(&file)?;
            for word in words {
                assert!(!text.contains(word), "{} speaks of {word}", file.display());
            }
        }
        Ok(())
    };
    for name in names(&source)? {
        let words: &[&str] = match name.trim_end_matches(".rs") {
            "backends" | "lib" => continue,
            "process" => &["crate::component", "wasmtime"],
            "component" | "compile" => &["crate::process", "tonic::", "prost::"],
            _ => &["crate::process", "crate::component", "wasmtime", "tonic::", "prost::", "rustls::"],
        };
        strangers(source.join(&name), words)?;
    }
    // The command speaks go-plugin with strangers, and sees plain types all the same.
    strangers(root().join("host/cli/src"), &["tonic::", "prost::", "rustls::", "wasmtime::"])?;
    Ok(())
}

/// What is longer is about more than one thing.
#[test]
fn no_source_file_is_longer_than_can_be_kept_in_mind() -> TestResult {
    const MOST: usize = 500;
    for dir in ["guests", "host", "proto", "shim", "tests"] {
        let sources = walk(&root().join(dir))?;
        for file in sources.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        {
            let lines = fs::read_to_string(file)?.lines().count();
            assert!(lines <= MOST, "{} has {lines} lines; {MOST} are the most", file.display());
        }
    }
    Ok(())
}

/// What is compiled by the one loads in the other only if both were built alike: most features of the runtime
/// change the compiled form.
#[test]
fn the_shim_has_the_runtime_of_the_command_and_no_compiler() -> TestResult {
    let features = |package: &str| -> Result<Vec<String>, Box<dyn Error>> {
        let text =
            cargo(&["tree", "-e", "normal", "--prefix", "none", "--format", "{p} {f}", "-p", package])?;
        let line = text.lines().find_map(|line| line.strip_prefix("wasmtime v"));
        let line = line.ok_or_else(|| format!("{package} has no runtime"))?;
        Ok(line.replace(" (*)", "").split([' ', ',']).map(str::to_owned).collect())
    };
    let (mut command, shim) = (features("portcullis-cli")?, features("portcullis-shim")?);
    assert!(command.iter().any(|feature| feature == "cranelift"), "{command:?}");
    command.retain(|feature| !["cranelift", "parallel-compilation"].contains(&feature.as_str()));
    assert_eq!(command, shim);
    Ok(())
}

/// What another version compiled is not loaded: it may have been wrong.
#[test]
fn what_is_compiled_is_named_by_the_version_of_what_compiles_it() -> TestResult {
    let locked = fs::read_to_string(root().join("Cargo.lock"))?;
    for (package, name) in [("wasmtime", "wasmtime"), ("cranelift-codegen", "cranelift")] {
        let (_, after) = locked.split_once(&format!("name = \"{package}\"\nversion = \"")).ok_or(package)?;
        let (version, _) = after.split_once('"').ok_or("it has a version")?;
        assert!(
            FINGERPRINT.contains(&format!(", {name} {version}, ")),
            "{FINGERPRINT}: {package} is {version}"
        );
    }
    Ok(())
}

/// What others depend on has nothing of ours around it where it was taken over, as by `cargo vendor`.
#[test]
fn the_component_contract_is_part_of_the_packages_that_are_built_from_it() -> TestResult {
    for package in ["portcullis", "portcullis-sdk"] {
        let files = cargo(&["package", "--list", "--allow-dirty", "-p", package])?;
        assert!(files.lines().any(|file| file == "wit/plugin.wit"), "{package} consists of {files}");
    }
    Ok(())
}

/// Who hands on the command, or a file that was wrapped with its shim, hands on all that either is built from.
#[test]
fn what_is_shipped_is_under_licences_that_ask_for_no_more_than_their_notices() -> TestResult {
    let known = [
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "ISC",
        "MIT",
        "MIT-0",
        "Unicode-3.0",
        "Unlicense",
        "Zlib",
    ];
    for shipped in ["portcullis-cli", "portcullis-shim"] {
        let tree =
            cargo(&["tree", "-e", "normal", "--prefix", "none", "--format", "{l}|{p}", "-p", shipped])?;
        assert!(tree.lines().count() > 100, "{tree}");
        for (licences, package) in tree.lines().filter_map(|line| line.split_once('|')) {
            let licences = licences.replace(['(', ')'], "").replace(" AND ", "/").replace(" OR ", "/");
            for licence in licences.split('/').map(str::trim) {
                assert!(known.contains(&licence), "{package} is under {licence:?}");
            }
        }
    }
    Ok(())
}

/// Asks Cargo something that it knows without a network.
fn cargo(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    let mut cargo = std::process::Command::new(env!("CARGO"));
    let done = cargo.current_dir(root()).args(["--locked", "--offline"]).args(arguments).output()?;
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout)?),
        false => Err(String::from_utf8(done.stderr)?.into()),
    }
}

fn walk(path: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    // What was built somewhere is not ours.
    for name in names(path)?.into_iter().filter(|name| name != "target") {
        files.extend(walk(&path.join(name))?);
    }
    Ok(files)
}
