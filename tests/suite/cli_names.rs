//! What a person is told of a name that more than one plugin has: any of them may claim what is another's.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use portcullis_tests::{TestResult, fixtures};

use crate::person::{Person, answer, fails, stderr, stdout};

#[test]
fn which_of_several_plugins_with_a_name_answers_is_told_and_which_does_not() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = || person.types(&["run", "echo", "message=hi"]);
    let alone = run()?;
    answer(&alone);
    assert_eq!(stderr(&alone), "");

    let [first, second] = ["a.wasm", "echo.wasm"].map(|name| person.path("plugins").join(name));
    fs::copy(fixtures::guest("echo"), &first)?;
    let [first, second] = [first, second].map(|path| path.display().to_string());
    let listing = stdout(&person.types(&["list"])?);
    assert!(listing.contains(&format!("hidden by {first}")), "{listing}");

    let told = format!("answers kind=provider name=\"echo\" file={first} passed_over={second}\n");
    for output in [run()?, person.types(&["inspect", "echo"])?] {
        assert!(output.status.success());
        assert_eq!(stderr(&output).matches(&told).count(), 1, "{}", stderr(&output));
    }
    Ok(())
}

/// A link in one directory, and another directory that is one.
#[test]
fn a_plugin_that_links_lead_to_is_one_and_nobody_is_warned_of_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let [plugins, more] = ["plugins", "more"].map(|name| person.path(name));
    symlink("echo.wasm", plugins.join("my-echo.wasm"))?;
    symlink(&plugins, &more)?;
    let directories = format!("{}:{}", plugins.display(), more.display());
    let mut run = person.command(&["run", "echo", "message=hi"]);
    let output = run.env("PORTCULLIS_PLUGIN_DIR", directories).output()?;
    answer(&output);
    assert_eq!(stderr(&output), "");
    Ok(())
}

/// Only a start could tell what that offers.
#[test]
fn that_a_component_has_the_name_of_a_native_program_is_told() -> TestResult {
    let person = Person::new()?;
    person.has_native("echo")?;
    fs::copy(fixtures::guest("echo"), person.path("plugins/z.wasm"))?;
    let output = person.types(&["run", "echo", "message=hi"])?;
    answer(&output);
    let [component, native] = ["z.wasm", "echo"].map(|name| person.path("plugins").join(name));
    let told = format!("file={} passed_over={}\n", component.display(), native.display());
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    Ok(())
}

#[test]
fn which_of_several_auth_handlers_with_a_name_is_used_is_told() -> TestResult {
    let person = Person::new()?;
    person.has_guest("doorman")?;
    fs::copy(fixtures::guest("doorman"), person.path("plugins/a.wasm"))?;
    let [first, second] = ["a.wasm", "doorman.wasm"].map(|name| person.path("plugins").join(name));
    let told = format!("file={} passed_over={}\n", first.display(), second.display());
    for (arguments, times) in [(&["auth", "status"][..], 2), (&["auth", "status", "side"], 1)] {
        let said = stderr(&person.types(arguments)?);
        assert_eq!(said.matches(&told).count(), times, "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_name_that_nobody_offers_may_be_that_of_a_plugin_that_could_not_be_asked() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("plugins/broken.wasm"), b"\0asm\x0d\0\x01\0 and no component")?;
    let output = person.types(&["run", "nobody", "message=hi"])?;
    fails(&output, 4, "provider \"nobody\" not found");
    let told = "plugins that may offer it could not be asked";
    assert!(stderr(&output).contains(told) && stderr(&output).contains("broken"), "{}", stderr(&output));
    // Whoever is found is found, whatever else is there.
    let found = person.types(&["run", "echo", "message=hi"])?;
    answer(&found);
    assert!(!stderr(&found).contains(told), "{}", stderr(&found));
    Ok(())
}

#[test]
fn a_file_may_have_a_name_that_is_no_text() -> TestResult {
    let person = Person::new()?;
    let file = person.path("plugins").join(OsStr::from_bytes(b"e\xff.wasm"));
    fs::copy(fixtures::guest("echo"), &file)?;
    answer(&person.command(&["run"]).arg(&file).args(["--provider", "echo", "message=hi"]).output()?);
    let told = person.command(&["inspect"]).arg(&file).output()?;
    assert!(told.status.success(), "{}", stderr(&told));
    Ok(())
}

#[test]
fn what_cannot_be_inspected_is_named() -> TestResult {
    let person = Person::new()?;
    let bytes = fs::read(fixtures::guest("echo"))?;
    fs::write(person.path("part.wasm"), &bytes[..bytes.len() / 2])?;
    let inspected = person.types(&["inspect", "./part.wasm"])?;
    fails(&inspected, 1, "plugin part: not a plugin that can be run: it is ");
    Ok(())
}
