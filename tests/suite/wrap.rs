//! What a person sees who makes a native plugin of a component.

use std::error::Error;
use std::fs;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::path::{Path, PathBuf};

use portcullis_bundle::{Bundle, Durability, Existing, Parts, write};
use portcullis_tests::{TestResult, fixtures};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use serde_json::json;

use crate::person::{Person, answer, fails, say_hi, stderr, stdout};

#[test]
fn a_wrapped_component_runs_as_the_component_does() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let wrap = person.types(&["wrap", "plugins/echo.wasm"])?;
    assert!(wrap.status.success(), "{}", stderr(&wrap));
    assert!(stderr(&wrap).starts_with("wrote scafctl-plugin-echo ("), "{}", stderr(&wrap));
    assert_eq!(stdout(&wrap), "");

    let run = |file: &str| person.types(&["run", file, "--provider", "echo", "message=hello", "times=2"]);
    let wrapped = answer(&run("./scafctl-plugin-echo")?);
    assert_eq!(wrapped["data"], json!({"message": "hello", "times": 2}));
    assert_eq!(wrapped, answer(&run("./plugins/echo.wasm")?));
    Ok(())
}

/// A shim that tells when it is started, and nothing else.
fn telltale(person: &Person) -> Result<PathBuf, std::io::Error> {
    let path = person.path("telltale");
    let ran = person.path("ran");
    let mark = [portcullis_bundle::MARK, portcullis::component::FINGERPRINT, portcullis_bundle::HTTP, ""];
    fs::write(&path, format!("#!/bin/sh\ntouch '{}'\nexit 1\n{}", ran.display(), mark.join("\0")))?;
    Ok(path)
}

#[test]
fn a_wrapped_component_is_listed_and_inspected_without_being_started() -> TestResult {
    let person = Person::new()?;
    let telltale = telltale(&person)?;
    let types = |arguments: &[&str]| person.command(arguments).env("PORTCULLIS_SHIM", &telltale).output();
    let (component, output) = (fixtures::guest("keeper"), person.path("plugins/any-name"));
    let policy = person.has_policy(&component, "secrets.read = [\"app.*\"]\nlimits.memory = \"16MiB\"")?;
    let [component, output] = [component, output].map(|path| path.display().to_string());
    let wrapped = types(&["wrap", &component, "--policy", &policy, "-o", &output])?;
    assert!(wrapped.status.success(), "{}", stderr(&wrapped));

    let listed = answer(&types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["name"], "keeper");
    assert_eq!(listed[0]["backend"], "process");
    assert_eq!(listed[0]["version"], "1.2.3");
    assert_eq!(listed[0]["mayTouch"], json!(["secrets"]));

    let page = types(&["inspect", "keeper"])?;
    let text = stdout(&page);
    for line in [
        "Provider keeper 1.2.3",
        "  run as  a sandboxed component, a fresh instance for every call, in a process of its own",
        "  policy  its own, which is part of the file",
        "  - may read secrets matching app.*",
        "  - may use 16MiB of memory in an instance",
        "  - may open no file",
        "What it could ask for\n  - secrets",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("rights of the user"), "{text}");

    assert!(!person.path("ran").exists(), "it was started");
    // Which would have been noticed:
    assert!(!types(&["run", "keeper", "operation=list"])?.status.success());
    assert!(person.path("ran").exists());
    Ok(())
}

/// Returns what stands behind the program of a wrapped file, and where in the file its image lies.
pub(crate) fn behind(file: &Path) -> Result<(Bundle, Range<usize>), Box<dyn Error>> {
    let bundle = Bundle::read(&fs::File::open(file)?)?.ok_or("it is wrapped")?;
    let image = usize::try_from(bundle.seal().image().start)?..usize::try_from(bundle.seal().image().end)?;
    Ok((bundle, image))
}

/// The kernel would start it, and it would die without a word.
#[test]
fn a_wrapped_file_that_is_cut_within_its_program_says_so() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("echo", "echo", "")?;
    let (_, image) = behind(&path)?;
    let whole = fs::read(&path)?;
    for length in [image.start / 2, 100] {
        fs::write(&path, &whole[..length])?;
        let sentence = "it is an ELF file that is cut short";
        fails(&person.types(&say_hi("./echo"))?, 1, sentence);
        let page = stdout(&person.types(&["inspect", "./echo"])?);
        assert!(page.contains(sentence), "{page}");
    }
    Ok(())
}

/// Anybody can write a program and put the words of a harmless component behind it.
#[test]
fn what_stands_behind_a_program_that_is_no_known_shim_is_not_believed() -> TestResult {
    let person = Person::new()?;
    let genuine = person.has_wrapped("echo", "genuine", "")?;
    let whole = fs::read(&genuine)?;
    let (bundle, image) = behind(&genuine)?;
    let program = fs::read(telltale(&person)?)?;
    let parts = Parts { program: &program, image: &whole[image], manifest: bundle.manifest() };
    write(&person.path("plugins/any-name"), &parts, Existing::Keep, Durability::Passing)?;

    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["note"], "not yet described; wrapped elsewhere");
    assert_eq!(listed[0]["mayTouch"], json!(["all that its user may"]));
    fails(&person.types(&["run", "echo"])?, 4, "nobody knows what these native plugins offer");
    assert!(!person.path("ran").exists(), "it was started because of what it says");
    Ok(())
}

/// Behind a genuine shim may stand other machine code than what became of the component: no look at the file tells.
#[test]
fn what_was_not_wrapped_here_is_not_believed_whatever_its_shim() -> TestResult {
    let person = Person::new()?;
    let genuine = person.has_wrapped("echo", "plugins/genuine", "")?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));

    let whole = fs::read(&genuine)?;
    let (bundle, image) = behind(&genuine)?;
    let mut forged = whole[image].to_vec();
    *forged.last_mut().ok_or("it has an image")? ^= 1;
    let program = fs::read(fixtures::shim())?;
    let parts = Parts { program: &program, image: &forged, manifest: bundle.manifest() };
    write(&genuine, &parts, Existing::Replace, Durability::Passing)?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["note"], "not yet described; wrapped elsewhere");
    assert_eq!(listed[0]["mayTouch"], json!(["all that its user may"]));
    fails(&person.types(&["run", "echo", "message=hi"])?, 4, "nobody knows what these native plugins offer");

    // The very same file is known again, wherever it lies.
    fs::write(&genuine, whole)?;
    fs::rename(&genuine, person.path("plugins/elsewhere"))?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));
    Ok(())
}

/// After an update, for instance, or in a build that carries none.
#[test]
fn what_was_wrapped_here_is_known_whatever_shim_there_is_by_now() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("echo", "plugins/echo", "")?;
    let listed = answer(&person.command(&["list", "-o", "json"]).env_remove("PORTCULLIS_SHIM").output()?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));
    Ok(())
}

#[test]
fn what_cannot_be_remembered_is_wrapped_and_it_is_said_where_that_failed() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    let mut wrap = person.command(&["wrap", &component, "-o", "echo"]);
    let output = wrap.env("PORTCULLIS_DATA_DIR", "/proc/nowhere").output()?;
    assert!(output.status.success() && person.path("echo").is_file(), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("was wrapped here: /proc/nowhere/wrapped: No such file"), "{said}");
    Ok(())
}

#[test]
fn the_environment_narrows_a_wrapped_component_under_our_own_host() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "acrobat", "")?;
    let run = |variables: &[(&str, &str)]| {
        let mut run =
            person.command(&["run", "./acrobat", "--provider", "acrobat", "operation=hoard", "mib=30"]);
        run.envs(variables.iter().copied()).output()
    };
    assert!(run(&[])?.status.success());
    fails(&run(&[("PORTCULLIS_LIMIT_MEMORY", "4MiB")])?, 1, "allowed 4MiB");
    fails(&run(&[("PORTCULLIS_DENY", "everything")])?, 1, "is not a grant");
    Ok(())
}

/// The kernel starts nothing that somebody may still write to, and a host may start it as soon as it has its name.
#[test]
fn a_wrapped_file_is_closed_before_it_has_its_name() -> TestResult {
    let person = Person::new()?;
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let plugins = person.path("plugins");
    inotify::add_watch(&watch, plugins.as_path(), WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)?;
    person.has_wrapped("echo", "plugins/echo", "")?;

    let mut buffer = [MaybeUninit::uninit(); 512];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    for expected in [ReadFlags::CLOSE_WRITE, ReadFlags::MOVED_TO] {
        assert_eq!(events.next()?.events(), expected);
    }
    assert_eq!(events.next().err(), Some(Errno::AGAIN));
    Ok(())
}

#[test]
fn the_same_component_makes_the_same_file_whatever_is_in_the_cache() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    for (output, cache) in [("one", None), ("other", Some("cache"))] {
        let mut wrap = person.command(&["wrap", &component, "-o", output, "--quiet"]);
        if let Some(cache) = cache {
            wrap.env("PORTCULLIS_CACHE_DIR", person.path(cache));
        }
        let wrap = wrap.output()?;
        assert!(wrap.status.success(), "{}", stderr(&wrap));
        assert_eq!(stderr(&wrap), "");
    }
    assert!(fs::read(person.path("one"))? == fs::read(person.path("other"))?);
    Ok(())
}
