//! What a person at a terminal is asked, and what becomes of what they type.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use portcullis_tests::{TestResult, cli};

use crate::person::Person;

#[test]
fn an_address_at_which_no_browser_ends_up_is_asked_for_again() -> TestResult {
    let person = Person::new()?;
    person.has_guest("doorman")?;
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
