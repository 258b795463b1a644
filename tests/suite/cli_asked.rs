//! What a person at a terminal is asked, and what becomes of what they type.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use portcullis_tests::{Door, TestResult, cli};
use test_case::test_case;

use crate::cli_auth::with_doorman;
use crate::person::Person;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn an_address_at_which_no_browser_ends_up_is_asked_for_again(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let (mut typist, terminal) = cli::terminal()?;
    let mut login =
        person.command(&["auth", "login", "door", "--flow", "interactive", "--callback-port", "8400"]);
    login.stdin(terminal.try_clone()?).stdout(Stdio::null()).stderr(terminal);
    let mut child = login.spawn()?;
    // It has the terminal as well.
    drop(login);
    typist.write_all(b"https://door.example/authorize\nhttp://127.0.0.1:8400/?code=1\n")?;

    // A terminal that nobody else has ends with an error.
    let mut shown = Vec::new();
    let _nobody = typist.read_to_end(&mut shown);
    assert!(child.wait()?.success());
    let shown = String::from_utf8_lossy(&shown);
    let again = "That is another one. Enter the address that begins with http://127.0.0.1:8400/:";
    assert_eq!(shown.matches(again).count(), 1, "{shown}");
    assert!(shown.contains("logged in with Door"), "{shown}");
    Ok(())
}

/// Returns what a person sees who is asked whether all logins are meant, and types that.
fn asked(person: &Person, options: &[&str], answer: &[u8]) -> Result<String, Box<dyn std::error::Error>> {
    let (mut screen, terminal) = cli::terminal()?;
    let mut command = person.command(&[&["auth", "logout", "--all"], options].concat());
    command.stdin(terminal.try_clone()?).stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn()?;
    // Reading the terminal ends when no command has it open any more, so our own handle must go first.
    drop(command);
    let (mut seen, mut part, mut answer) = (Vec::new(), [0; 1024], Some(answer));
    while let Ok(read @ 1..) = screen.read(&mut part) {
        seen.extend_from_slice(&part[..read]);
        if String::from_utf8_lossy(&seen).contains("[y/N] ")
            && let Some(answer) = answer.take()
        {
            screen.write_all(answer)?;
        }
    }
    assert!(child.wait()?.success());
    Ok(String::from_utf8(seen)?)
}

#[test]
fn what_is_asked_and_answered_is_one_line() -> TestResult {
    let person = with_doorman(Door::Native)?;
    let question = "Log out from all 2 handler(s) [door side]? [y/N] ";
    assert_eq!(asked(&person, &[], b"n\n")?, format!("{question}n\r\nLogout cancelled.\r\n"));
    // Ctrl-D, which is not shown.
    assert_eq!(asked(&person, &[], b"\x04")?, format!("{question}\r\nLogout cancelled.\r\n"));
    let logged = asked(&person, &["--quiet", "--debug", "--no-color"], b"n\n")?;
    assert!(logged.contains("DEBUG") && !logged.contains("\r\n\r\n"), "{logged}");
    Ok(())
}
