//! What is not wrapped, and what a wrap that failed leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::Command;

use portcullis_tests::{TestResult, cli, fixtures};
use test_case::test_case;

use crate::kernel::die_of_changing_modes;
use crate::person::{Person, fails, stderr};

/// Types `wrap` with more arguments, and expects to find nothing written.
#[track_caller]
fn refused(person: &Person, arguments: &[&str], code: i32, sentence: &str) {
    let all: Vec<_> = ["wrap"].into_iter().chain(arguments.iter().copied()).collect();
    let output = person.types(&all).expect("the command starts");
    fails(&output, code, sentence);
    let left: Vec<_> = cli::files_below(person.scratch())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("wrap")))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_wrapped_is_refused_with_a_reason() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("text"), "hello")?;
    fs::write(person.path("module.wasm"), b"\0asm\x01\0\0\0")?;
    fs::write(person.path("empty.wasm"), wat::parse_str("(component)")?)?;
    let greedy = r#"(component (import "evil:corp/backdoor@6.6.6" (instance))
        (instance $provider) (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#;
    fs::write(person.path("greedy.wasm"), wat::parse_str(greedy)?)?;
    let whole = fs::read(fixtures::guest("echo"))?;
    fs::write(person.path("cut.wasm"), &whole[..whole.len() / 2])?;
    let mute = fixtures::trapping_provider(|module| module);
    fs::write(person.path("mute.wasm"), mute)?;

    refused(&person, &["nothing.wasm"], 4, "No such file");
    refused(&person, &["text"], 4, "neither a component nor a program");
    refused(&person, &["module.wasm"], 4, "build it for wasm32-wasip2");
    refused(&person, &["empty.wasm"], 1, "exports no interface of portcullis:plugin");
    refused(&person, &["greedy.wasm"], 1, "evil:corp/backdoor@6.6.6");
    refused(&person, &["cut.wasm"], 1, "cut");
    refused(&person, &["mute.wasm"], 1, "does not say what it offers");

    fs::write(person.path("mine"), "mine")?;
    refused(&person, &["plugins/echo.wasm", "-o", "mine"], 3, "mine exists; --force replaces it");
    assert_eq!(fs::read(person.path("mine"))?, b"mine");
    let itself = ["plugins/echo.wasm", "-o", "plugins/echo.wasm", "--force"];
    refused(&person, &itself, 3, "is the component itself");
    refused(&person, &["plugins/echo.wasm", "-o", "plugins"], 3, "plugins is not a regular file");
    refused(&person, &["plugins/echo.wasm", "-o", "plugins", "--force"], 3, "plugins is not a regular file");
    let no_where = "cannot write no/where: the directory no: No such file";
    refused(&person, &["plugins/echo.wasm", "-o", "no/where"], 1, no_where);
    refused(&person, &["plugins/echo.wasm", "-o", "text/x"], 1, "cannot write text/x: text is no directory");
    let takes_none = "cannot write /proc/x: the directory /proc: ";
    refused(&person, &["plugins/echo.wasm", "-o", "/proc/x"], 1, takes_none);
    refused(&person, &["plugins/echo.wasm", "-o", "-"], 3, "written to a file and not to stdout");
    assert!(!person.path("-").exists());
    let native = fixtures::shim().display().to_string();
    refused(&person, &[&native], 3, "a native program; only components are wrapped");

    fs::write(person.path("bad.toml"), "[plugin.x]\ngrants = 1\n")?;
    refused(&person, &["plugins/echo.wasm", "--policy", "bad.toml"], 7, "bad.toml:2:1: unknown key");
    fs::write(person.path("other.toml"), "")?;
    refused(&person, &["plugins/echo.wasm", "--policy", "other.toml"], 7, "other.toml says nothing of");
    Ok(())
}

#[test]
fn what_is_wrapped_is_not_wrapped_again() -> TestResult {
    let person = Person::new()?;
    let wrapped = person.has_wrapped("echo", "plugin", "")?.display().to_string();
    let again = person.types(&["wrap", &wrapped, "-o", "again"])?;
    fails(&again, 3, "wrapped already; name the component that it was made of");
    // Nor is it a shim, for all that it has one in it.
    let component = fixtures::guest("echo").display().to_string();
    let output =
        person.command(&["wrap", &component, "-o", "again"]).env("PORTCULLIS_SHIM", &wrapped).output()?;
    fails(&output, 1, "it is a wrapped component, and no bare shim");
    Ok(())
}

#[test_case("/no/where", "PORTCULLIS_SHIM: /no/where"; "it is not there")]
#[test_case("/bin/sh", "/bin/sh is no shim of portcullis"; "it is another program")]
fn without_a_shim_nothing_is_wrapped(shim: &str, reason: &str) -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    fails(&person.command(&["wrap", &component]).env("PORTCULLIS_SHIM", shim).output()?, 1, reason);
    Ok(())
}

/// As a rule it carries none. A packager may have named one for all that is built.
#[test]
fn where_no_shim_is_named_the_command_takes_the_one_that_it_carries() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    let wrap = person.command(&["wrap", &component]).env_remove("PORTCULLIS_SHIM").output()?;
    if option_env!("PORTCULLIS_SHIM").is_none_or(str::is_empty) {
        fails(&wrap, 1, "this build of portcullis carries no shim");
    } else {
        assert!(wrap.status.success(), "{}", stderr(&wrap));
    }
    Ok(())
}

/// It would not find what is written behind it.
#[test]
fn a_shim_that_reads_files_of_another_form_wraps_nothing() -> TestResult {
    let person = Person::new()?;
    let mut old = fs::read(fixtures::shim())?;
    for at in 0..old.len() {
        if old[at..].starts_with(b"PCSHIM02") {
            old[at + 7] = b'1';
        }
    }
    fs::write(person.path("old"), old)?;
    let component = fixtures::guest("echo").display().to_string();
    let output = person.command(&["wrap", &component]).env("PORTCULLIS_SHIM", person.path("old")).output()?;
    fails(&output, 1, "old is no shim of portcullis, or one of another version");
    Ok(())
}

/// Nobody writes to the pipe, and of the others there is no end.
#[test]
fn a_shim_that_never_ends_is_not_read() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    cli::make_pipe(&person.path("pipe"))?;
    fs::File::create(person.path("sparse"))?.set_len(1 << 40)?;
    for (shim, reason) in [
        (person.path("pipe"), "pipe: not a regular file"),
        ("/dev/zero".into(), "/dev/zero: not a regular file"),
        (person.path("sparse"), "sparse: it is larger than 256 MiB"),
    ] {
        let output = person.command(&["wrap", &component]).env("PORTCULLIS_SHIM", &shim).output()?;
        fails(&output, 1, "PORTCULLIS_SHIM: ");
        fails(&output, 1, reason);
    }
    Ok(())
}

/// Wraps echo, which was compiled beforehand, so that `first` can only harm the wrapped file.
fn wrapping(person: &Person, first: &str) -> Result<Command, Box<dyn std::error::Error>> {
    let component = fixtures::guest("echo").display().to_string();
    assert!(person.types(&["inspect", &component])?.status.success());
    Ok(person.after(&format!("ulimit -c 0; {first}"), &["wrap", &component, "-o", "plugin"]))
}

fn half_written(person: &Person) -> Vec<PathBuf> {
    let all = cli::files_below(person.scratch()).into_iter();
    all.filter(|path| path.to_string_lossy().contains("wrap-")).collect()
}

#[test]
fn a_disk_without_room_leaves_nothing_behind() -> TestResult {
    let person = Person::new()?;
    // No file may be larger than that, and the wrapped one would be.
    fails(&wrapping(&person, "ulimit -f 4096")?.output()?, 1, "cannot write plugin");
    assert_eq!(half_written(&person), Vec::<PathBuf>::new());
    assert!(!person.path("plugin").exists());
    Ok(())
}

/// Killed at the last moment at which it is none.
#[test]
#[expect(unsafe_code, reason = "what a child may ask for has no safe form")]
fn what_a_killed_wrap_leaves_is_no_program() -> TestResult {
    let person = Person::new()?;
    let mut wrap = wrapping(&person, ":")?;
    // SAFETY: it makes two system calls, between fork and exec.
    unsafe { wrap.pre_exec(die_of_changing_modes) };
    assert_eq!(wrap.output()?.status.signal(), Some(rustix::process::Signal::SYS.as_raw()));
    assert!(!person.path("plugin").exists());
    let left = half_written(&person);
    assert_eq!(left.len(), 1, "{left:?}");
    for path in left {
        let meta = fs::metadata(&path)?;
        assert!(meta.len() > 0);
        assert_eq!(meta.permissions().mode() & 0o111, 0, "{}", path.display());
    }
    Ok(())
}
