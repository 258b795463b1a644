//! The plugins that tests start, and where they are.
//!
//! Guests and Go peers are built by the build script. What no guest in Rust could express, a
//! component that loops before it was ever called, say, is put together here from the component
//! contract itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use portcullis::compile::Worker;
use portcullis::component::{CacheOptions, ComponentBackend, ComponentOptions};
use portcullis::contract::Backend;
use portcullis::process::{ProcessBackend, ProcessOptions};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

use crate::Door;

/// What is set in the environment of every test host, for its plugins to see or not to see.
const VARIABLES: [(&str, &str); 2] = [("PATH", "/usr/bin:/bin"), ("HOST_TOKEN", "hush")];

/// Makes the backend behind a door; whatever it writes for its children stands in `scratch`.
///
/// # Panics
///
/// When it cannot be made.
#[must_use]
pub fn backend(door: Door, scratch: &Path, start_timeout: Duration) -> Arc<dyn Backend> {
    match door {
        Door::Process | Door::Native | Door::Shim => Arc::new(ProcessBackend::new(ProcessOptions {
            environment: [("TMPDIR".into(), scratch.into())]
                .into_iter()
                .chain(VARIABLES.map(|(name, value)| (name.into(), value.into())))
                .collect(),
            runtime_dir: Some(scratch.to_owned()),
            start_timeout,
        })),
        Door::Component => {
            let backend = ComponentBackend::new(component_options());
            Arc::new(backend.expect("this machine can run components"))
        }
    }
}

/// Returns what the component backend of a test is made of.
///
/// # Panics
///
/// When the command, which compiles, is not where Cargo puts it.
#[must_use]
pub fn component_options() -> ComponentOptions {
    ComponentOptions {
        cache: Some(CacheOptions {
            directory: shared_cache().join("cache/components"),
            key_directory: shared_cache().join("data"),
        }),
        worker: Some(Worker { program: portcullis(), args: vec!["__compile-worker".into()] }),
        environment: VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ComponentOptions::default()
    }
}

/// Returns the file of a plugin that stands behind every door.
///
/// # Panics
///
/// When there is none of that name.
#[must_use]
pub fn plugin(door: Door, name: &str) -> PathBuf {
    let found = match door {
        Door::Process => peer(name),
        Door::Native => native(name),
        Door::Component | Door::Shim => guest(name),
    };
    assert!(found.is_file(), "{} is built by the build script", found.display());
    found
}

/// Returns the component of a guest of this repository.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    Path::new(env!("GUESTS")).join(format!("portcullis_guest_{name}.wasm"))
}

/// Returns the program of a guest of this repository.
///
/// # Panics
///
/// When it is not where Cargo puts it.
#[must_use]
pub fn native(name: &str) -> PathBuf {
    beside_the_tests(&format!("native-{name}"))
}

/// Returns the shim.
#[must_use]
pub fn shim() -> PathBuf {
    PathBuf::from(env!("SHIM"))
}

/// Returns a Go plugin.
#[must_use]
pub fn peer(name: &str) -> PathBuf {
    Path::new(option_env!("PEERS").unwrap_or("go-peers-were-not-built")).join(name)
}

/// Returns the Go host on that version of go-plugin: 1.8, 1.6 or 1.4.
#[must_use]
pub fn go_host(version: &str) -> PathBuf {
    Path::new(option_env!("GO_HOSTS").unwrap_or("go-hosts-were-not-built")).join(version)
}

/// Returns the command, as it was built for the tests.
///
/// # Panics
///
/// When it is not where Cargo puts it.
#[must_use]
pub fn portcullis() -> PathBuf {
    beside_the_tests("portcullis")
}

/// Returns the child that breaks the protocol, under the name that makes it break it in that way.
///
/// # Panics
///
/// When it cannot be copied.
#[must_use]
pub fn rogue(way: &str, scratch: &Path) -> PathBuf {
    let path = scratch.join(format!("rogue-{way}"));
    if !path.exists() {
        copy(&beside_the_tests("rogue"), &path).expect("the scratch directory takes a file");
    }
    path
}

/// Copies a program to where a test starts it.
///
/// Another process (`cp`) does the copying. A child that another test starts at the same moment inherits the files that
/// this process has open, and the kernel does not start a program that is open for writing anywhere.
///
/// # Errors
///
/// When it cannot be copied.
#[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let copied = Command::new("cp").arg(from).arg(to).status()?;
    if copied.success() { Ok(()) } else { Err(io::Error::other("cp did not copy it")) }
}

/// A test runs from Cargo's `deps` folder; the binaries of the package lie above it, or where Cargo says, which keeps the
/// two apart under `build.build-dir`.
fn beside_the_tests(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "Cargo tells a test by its environment where programs are")]
    let told = std::env::var_os(format!("CARGO_BIN_EXE_{name}"));
    let path = told.map_or_else(|| profile_dir().join(name), PathBuf::from);
    assert!(path.is_file(), "{} is built with the tests", path.display());
    path
}

fn profile_dir() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let directory = own.parent().expect("a program lies in a directory");
    let above = directory.parent().filter(|_| directory.ends_with("deps"));
    above.unwrap_or(directory).to_owned()
}

/// Tests share what was compiled, as the user's programs do; otherwise each would compile for itself.
pub(crate) fn shared_cache() -> PathBuf {
    profile_dir().join("portcullis-tests")
}

/// A component of the provider world whose every function traps when it is called, after `change`
/// had its way with the text of its core module.
///
/// # Panics
///
/// When the changed text is no module.
#[must_use]
pub fn trapping_provider(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let (resolve, world) = contract();
    let module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let text = change(wasmprinter::print_bytes(&module).expect("a dummy module prints"));
    encode(wat::parse_str(&text).expect("the changed text is a module"), &resolve, world)
}

/// The same, with another function in the place of one that it exports. `function` is the text of one without a name.
///
/// # Panics
///
/// When it exports no function of that name.
#[must_use]
pub fn exporting(module: &str, name: &str, function: &str) -> String {
    let export = format!("(export \"{name}\" (func ");
    let at = module.find(&export).expect("a dummy exports what the world says") + export.len();
    let end = at + module[at..].find(')').expect("its number ends");
    let named = format!("{}$\"{name}\"{}", &module[..at], &module[end..]);
    with_fields(&named, &format!("(func $\"{name}\" {function})"))
}

/// Has a module whose memory is empty offer so many providers, each under four digits.
///
/// # Panics
///
/// When the module has no memory.
#[must_use]
pub fn naming(module: &str, count: u32) -> String {
    let bytes = |numbers: &[u32]| -> String {
        numbers.iter().flat_map(|number| number.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
    };
    let places: Vec<u32> = (0..count).flat_map(|number| [0x4000 + 4 * number, 4]).collect();
    let names: String = (0..count).map(|number| format!("{number:04}")).collect();
    let (told, places) = (bytes(&[0, 64, count]), bytes(&places));
    let data = format!(
        r#"(data (i32.const 16) "{told}") (data (i32.const 64) "{places}") (data (i32.const 0x4000) "{names}")"#
    );
    let at = module.find("(memory").expect("a dummy has a memory");
    let end = at + module[at..].find(" 0)").expect("it is empty");
    let module = format!("{} 1){}", &module[..end], &module[end + " 0)".len()..]);
    let module =
        exporting(&with_fields(&module, &data), &provider("list-providers"), "(result i32) i32.const 16");
    // What it is told is never looked at.
    exporting(&module, "cabi_realloc", "(param i32 i32 i32 i32) (result i32) i32.const 0x8000")
}

/// Returns the name under which a module exports a function of a provider.
#[must_use]
pub fn provider(function: &str) -> String {
    format!("portcullis:plugin/provider@0.1.0#{function}")
}

/// A guest with `fields` added to its core module, such as a start function that every instance runs first.
///
/// # Panics
///
/// When the guest does not print, or the changed text is no component.
#[must_use]
pub fn begun_with(fields: &str, guest: &Path) -> Vec<u8> {
    let text = wasmprinter::print_file(guest).expect("a guest prints");
    // Its own module comes first, and ends with the first parenthesis that is indented as its beginning is.
    let module = text.find("\n  (core module").expect("a guest has a module");
    let end = text[module..].find("\n  )").expect("a module ends") + module;
    wat::parse_str(format!("{}\n{fields}{}", &text[..end], &text[end..])).expect("it is a component still")
}

/// A guest that brings along two more components, one of which hands a text to the other: what tools make that join
/// components into one.
///
/// # Panics
///
/// When the guest does not print.
#[must_use]
pub fn joined(guest: &Path) -> Vec<u8> {
    let text = wasmprinter::print_file(guest).expect("a guest prints");
    wat::parse_str(with_fields(&text, TWO_MORE)).expect("it is a component still")
}

/// Two components, each with a memory of its own.
const TWO_MORE: &str = r#"
  (component $taker
    (core module $code
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
      (func (export "take") (param i32 i32)))
    (core instance $code (instantiate $code))
    (alias core export $code "memory" (core memory $memory))
    (alias core export $code "realloc" (core func $realloc))
    (alias core export $code "take" (core func $take))
    (func (export "take") (param "text" string)
      (canon lift (core func $take) (memory $memory) (realloc $realloc))))
  (component $giver
    (import "take" (func $take (param "text" string)))
    (core module $space (memory (export "memory") 1))
    (core instance $space (instantiate $space))
    (alias core export $space "memory" (core memory $memory))
    (core func $take (canon lower (func $take) (memory $memory)))
    (core module $code
      (import "" "take" (func $take (param i32 i32)))
      (func (export "give") (call $take (i32.const 0) (i32.const 0))))
    (core instance $code (instantiate $code (with "" (instance (export "take" (func $take))))))
    (alias core export $code "give" (core func $give))
    (func (export "give") (canon lift (core func $give))))
  (instance $taker (instantiate $taker))
  (instance $giver (instantiate $giver (with "take" (func $taker "take"))))
"#;

/// Appends fields to the text of a core module or of a component.
#[must_use]
pub fn with_fields(module: &str, fields: &str) -> String {
    let open = module.trim_end().strip_suffix(')').expect("a module ends with a parenthesis");
    format!("{open}{fields})")
}

fn contract() -> (Resolve, WorldId) {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).expect("the component contract parses");
    let world = resolve.select_world(&[package], Some("provider-plugin")).expect("the world of providers");
    (resolve, world)
}

fn encode(mut module: Vec<u8>, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    wit_component::embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8)
        .expect("the world fits the module");
    let encoder = ComponentEncoder::default().validate(false).module(&module).expect("a module");
    { encoder }.encode().expect("a component")
}
