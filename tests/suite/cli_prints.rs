//! What a person at a terminal sees of a plugin's own prints.

use std::fs;
use std::process::{Output, Stdio};

use portcullis_tests::{TestResult, cli};
use serde_json::json;

use crate::person::{Person, answer, fails, stderr, stdout};

/// Twice what fits into what lies between a plugin and us (a pipe, and two windows of 64 KiB each), and more: half of it has to
/// be read while the plugin prints.
#[cfg(go_peers)]
const LINES: usize = 100_000;

/// Writes down what acrobat is to print, and returns the arguments that have it do so.
fn print(
    person: &Person,
    stream: &str,
    text: &str,
    repeat: usize,
) -> Result<[&'static str; 3], std::io::Error> {
    let input = json!({ "operation": "print", "stream": stream, "text": text, "repeat": repeat });
    fs::write(person.path("in.json"), input.to_string())?;
    Ok(["run", "acrobat", "@in.json"])
}

#[test]
fn what_a_component_prints_goes_to_stderr_under_its_name_and_data_to_stdout() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    for stream in ["stdout", "stderr"] {
        let output = person.types(&print(&person, stream, "two\nlines \u{1b}[2J", 1)?)?;
        assert_eq!(answer(&output), json!({ "data": { "bytes": 14 } }));
        assert_eq!(stderr(&output), "acrobat: two\nacrobat: lines \\u{1b}[2J\n");
    }
    Ok(())
}

/// A terminal would obey the rest: one sequence clears the screen, the other fills the clipboard.
#[test]
fn what_a_provider_streams_to_a_terminal_may_colour_it_and_no_more() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let text = "\u{1b}[31mred\u{1b}[0m \u{1b}[2J\u{1b}]52;c;aGk=\u{7}";
    let input = json!({ "operation": "stream-text", "text": text });
    fs::write(person.path("in.json"), input.to_string())?;
    let arguments = ["run", "acrobat", "@in.json", "-o", "table"];
    let piped = person.types(&arguments)?;
    assert!(stdout(&piped).starts_with(text), "{:?}", stdout(&piped));

    let shown = String::from_utf8(cli::on_a_terminal(person.command(&arguments))?)?;
    let expected = "\u{1b}[31mred\u{1b}[0m \\u{1b}[2J\\u{1b}]52;c;aGk=\\u{7}\r\n";
    assert!(shown.contains(expected), "{shown:?}");
    Ok(())
}

#[test]
fn what_is_wrong_with_the_command_line_commands_no_terminal() -> TestResult {
    let person = Person::new()?;
    for arguments in [["list", "--a\u{1b}]0;b\u{7}"], ["run", "--timeout=\u{1b}[2J"]] {
        let shown = String::from_utf8(cli::on_a_terminal(person.command(&arguments))?)?;
        assert!(shown.contains("error: ") && !shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    }
    Ok(())
}

#[test]
fn whoever_wants_quiet_sees_no_prints() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let [run, acrobat, input] = print(&person, "stdout", "words\n", 1)?;
    let output = person.types(&[run, acrobat, input, "-o", "quiet"])?;
    assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
    let output = person.types(&["--quiet", run, acrobat, input])?;
    assert_eq!(answer(&output), json!({ "data": { "bytes": 6 } }));
    assert_eq!(stderr(&output), "");
    Ok(())
}

/// Asserts that a plugin's last words, `oh dear`, are told in that way and in no other.
#[track_caller]
fn tells_once(output: &Output, how: &str) {
    let told = stderr(output);
    assert!(told.contains(how), "{told}");
    assert_eq!(told.matches("oh dear").count(), 1, "{told}");
}

#[test]
fn what_a_component_says_last_is_told_once() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let panics = ["run", "acrobat", "operation=panic", "message=oh dear"];
    // It is print, whatever it looks like.
    fs::write(person.path("in.json"), r#"{"operation":"panic","message":"[ERROR] oh dear"}"#)?;
    for (arguments, how) in [
        (panics.to_vec(), "acrobat: oh dear\n"),
        (vec!["run", "acrobat", "@in.json"], "acrobat: [ERROR] oh dear\n"),
        ([&["--quiet"][..], &panics].concat(), "; its last words: "),
    ] {
        let output = person.types(&arguments)?;
        fails(&output, 1, "the plugin stopped before it answered: ");
        tells_once(&output, how);
    }
    Ok(())
}

#[test]
fn what_a_wrapped_component_says_last_is_told_once() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "plugins/acrobat", "")?;
    let output = person.types(&["run", "acrobat", "operation=panic", "message=oh dear"])?;
    fails(&output, 1, "the plugin stopped before it answered: ");
    tells_once(&output, "acrobat: oh dear\n");
    Ok(())
}

#[test]
fn what_a_child_says_last_is_told_once() -> TestResult {
    let person = Person::new()?;
    person.has_native("acrobat")?;
    let output = person.types(&["run", "acrobat", "operation=panic", "message=oh dear"])?;
    fails(&output, 1, "the plugin stopped before it answered: exit status: 2");
    tells_once(&output, "acrobat: panic: oh dear\n");
    Ok(())
}

#[test]
fn what_a_program_says_that_does_not_start_is_told_once() -> TestResult {
    let person = Person::new()?;
    let logged = r#"{"@level":"error","@message":"oh dear","@timestamp":"2026-01-01T00:00:00.000000Z"}"#;
    for (line, options, how) in [
        ("oh dear", &[] as &[&str], "talks: oh dear\n"),
        ("oh dear", &["--log-level", "debug"], "talks: oh dear\n"),
        ("oh dear", &["--quiet"], "; its last words: oh dear\n"),
        (logged, &[], "ERROR portcullis::plugin: oh dear plugin=talks "),
        (logged, &["--log-level", "none"], "; its last words: [ERROR] oh dear\n"),
    ] {
        person.has_program("talks", format!("#!/bin/sh\necho '{line}' >&2\nexit 3\n"))?;
        let output = person.types(&[options, &["run", "./talks"]].concat())?;
        fails(&output, 1, "plugin talks: did not start: ended before it served: exit status: 3");
        tells_once(&output, how);
    }
    Ok(())
}

#[test]
fn prints_that_nobody_can_read_keep_nobody_from_the_answer() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let arguments = print(&person, "stdout", "words\n", 10_000)?;
    let mut child = person.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stderr.take());
    let output = child.wait_with_output()?;
    assert_eq!(answer(&output), json!({ "data": { "bytes": 60_000 } }));
    Ok(())
}

#[cfg(go_peers)]
#[test]
fn what_a_child_prints_goes_to_stderr_under_its_name_and_data_to_stdout() -> TestResult {
    let person = Person::new()?;
    person.has_peer("acrobat")?;
    for stream in ["stdout", "stderr"] {
        let output = person.types(&print(&person, stream, "tick\n", LINES)?)?;
        assert_eq!(answer(&output), json!({ "data": { "bytes": 5 * LINES } }));
        let shown = stderr(&output);
        // What it printed last may be lost with it: Go's library ends without looking after it.
        assert!(shown.lines().count() > LINES / 2, "{} lines", shown.lines().count());
        // That is a part of a line at the most.
        assert!(shown.lines().rev().skip(1).all(|line| line == "acrobat: tick"), "{shown}");
    }
    Ok(())
}

/// It may take seconds, and what takes seconds is not to look stuck.
#[test]
fn that_a_component_is_compiled_is_shown_on_a_terminal_and_there_alone() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let says = "compiling ";
    let list = || {
        let mut list = person.alone(&["list"]);
        list.env("TERM", "xterm");
        list
    };
    let shown = || cli::on_a_terminal(list()).map(|shown| String::from_utf8_lossy(&shown).into_owned());
    let first = shown()?;
    assert!(first.contains(says) && first.contains("echo.wasm") && first.contains(", once"), "{first:?}");
    let next = shown()?;
    assert!(next.contains("echo") && !next.contains(says), "{next:?}");
    fs::remove_dir_all(person.path("cache"))?;
    let piped = list().output()?;
    assert_eq!(stderr(&piped), "");
    Ok(())
}
