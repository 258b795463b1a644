//! What a wrapped component says to a person who starts it by hand.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use portcullis_tests::TestResult;

use crate::person::{Person, answer, fails, stderr, stdout};
use crate::wrap::behind;

impl Person {
    /// Makes a command of a program of this scratch directory.
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    fn by_hand(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("TMPDIR", self.scratch());
        command
    }

    /// Starts it.
    fn starts(
        &self,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> std::io::Result<Output> {
        self.by_hand(program).args(arguments).envs(variables.iter().copied()).output()
    }
}

#[test]
fn a_wrapped_component_explains_itself() -> TestResult {
    let person = Person::new()?;
    let policy = "http = [\"https://api.example\"]\nlimits.cpu = \"250ms\"";
    let path = person.has_wrapped("echo", "scafctl-plugin-echo", policy)?;

    let by_hand = person.starts(&path, &[], &[])?;
    let page = stderr(&by_hand);
    assert_eq!((by_hand.status.code(), stdout(&by_hand).as_str()), (Some(1), ""));
    for line in [
        "This program is a plugin: another program, its host, starts it and talks to it.",
        "offers the providers echo 1.2.3, noop 1.2.3, raw 1.2.3.",
        "  - may reach https://api.example, and nothing else on the network",
        "  - may compute for 250ms a call",
        "  - has a fresh instance for every call",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let help = person.starts(&path, &["--help"], &[])?;
    assert!(help.status.success() && page.ends_with(&stdout(&help)), "{}", stdout(&help));

    let version = person.starts(&path, &["--version"], &[])?;
    assert!(
        stdout(&version).contains("wrapped by portcullis 0.1.0\ncomponent sha256:"),
        "{}",
        stdout(&version)
    );
    let policy = person.starts(&path, &["--policy"], &[])?;
    assert!(stdout(&policy).contains("\nmay open no file\n"), "{}", stdout(&policy));
    let verify = person.starts(&path, &["--verify"], &[])?;
    assert!(verify.status.success() && stdout(&verify).starts_with("whole: "), "{}", stdout(&verify));
    Ok(())
}

#[test]
fn what_a_wrapped_component_is_asked_and_cannot_be_written_is_no_success() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("echo", "echo", "")?;
    for question in ["--policy", "--verify"] {
        let full = fs::File::options().write(true).open("/dev/full")?;
        let told = person.by_hand(&path).arg(question).stdout(full).output()?;
        fails(&told, 1, "cannot write to stdout: No space left on device");
    }
    Ok(())
}

/// Hosts start every file in a directory, and log what they are told.
#[test]
fn a_host_that_looks_for_another_kind_is_told_no_page() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("doorman", "doorman", "")?;
    let variables = [("PLUGIN_PROTOCOL_VERSIONS", "1"), ("SCAFCTL_PLUGIN", "scafctl_provider_plugin")];
    let told = person.starts(&path, &[], &variables)?;
    assert_eq!((told.status.code(), stderr(&told).lines().count()), (Some(1), 2), "{}", stderr(&told));
    Ok(())
}

/// Everybody may wrap a component with a policy of their own, and call the program what they like.
#[test]
fn what_others_wrote_begins_no_line_of_a_page() -> TestResult {
    let person = Person::new()?;
    let policy = r#"env = ["LANG\n  - may do all", "\u001B[2J"]
                    http = ["https://a.example"]"#;
    let path = person.has_wrapped("echo", "echo", policy)?;
    let mut by_hand = person.by_hand(&path);
    by_hand.arg0("echo\n  - may do all\u{1b}[2J").env("PORTCULLIS_DENY", "fs,\nhttp");
    let notice = stderr(&by_hand.output()?);
    assert!(notice.contains("ask it something: echo\\n  - may do all\\u{1b}[2J --version"), "{notice}");
    assert!(notice.contains("was narrowed by PORTCULLIS_DENY=fs,\\nhttp\n"), "{notice}");

    let policy = stdout(&person.starts(&path, &["--policy"], &[])?);
    let page = stdout(&person.types(&["inspect", "./echo"])?);
    for text in [notice, policy, page] {
        assert!(text.contains("sees of the environment LANG\\n  - may do all and \\u{1b}[2J\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("- may do all")), "{text}");
    }
    Ok(())
}

#[test]
fn a_wrapped_auth_handler_says_what_it_may_in_any_case() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("doorman", "doorman", "")?;
    let policy = stdout(&person.starts(&path, &["--policy"], &[])?);
    let notice = stderr(&person.starts(&path, &[], &[])?);
    for sentence in [
        "may show codes, and ask whoever is at the terminal for an answer, while somebody logs in\n",
        "may take as long over a login as its caller allows\n",
    ] {
        assert!(policy.contains(sentence) && notice.contains(sentence), "{sentence}{policy}{notice}");
    }
    Ok(())
}

#[test]
fn the_environment_narrows_the_policy_and_does_not_widen_it() -> TestResult {
    let person = Person::new()?;
    let policy = "http = [\"https://api.example\"]\nenv = [\"LANG\"]\nlimits.wall = \"5s\"";
    let path = person.has_wrapped("acrobat", "acrobat", policy)?;
    let says = |variables: &[(&str, &str)]| -> Result<String, std::io::Error> {
        let said = person.starts(&path, &["--policy"], variables)?;
        assert!(said.status.success(), "{}", stderr(&said));
        Ok(stdout(&said))
    };
    let narrowed = says(&[("PORTCULLIS_DENY", "http"), ("PORTCULLIS_LIMIT_WALL", "1s")])?;
    for line in ["may reach nothing on the network", "sees of the environment LANG", "may take 1s a call"] {
        assert!(narrowed.contains(line), "{line}\n{narrowed}");
    }
    assert!(narrowed.contains("was narrowed by PORTCULLIS_DENY=http"), "{narrowed}");
    let same = says(&[("PORTCULLIS_LIMIT_WALL", "1h"), ("PORTCULLIS_LIMIT_MEMORY", "1TiB")])?;
    assert!(same.contains("may take 5s a call") && same.contains("may use 64MiB of memory"), "{same}");
    assert!(!same.contains("was narrowed"), "{same}");

    let refused = person.starts(&path, &["--policy"], &[("PORTCULLIS_DENY", "network")])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("\"network\" is not a grant; these are: all, env"),
        "{}",
        stderr(&refused)
    );

    // And what is said holds, under a host that hands all of its environment on.
    let sees = |deny: &str| -> Result<bool, std::io::Error> {
        let mut run =
            person.command(&["run", "./acrobat", "--provider", "acrobat", "--env", "inherit", "@env.json"]);
        let seen = answer(&run.env("PORTCULLIS_DENY", deny).env("LANG", "C").output()?);
        Ok(seen["data"]["set"] == true)
    };
    fs::write(person.path("env.json"), r#"{"operation":"env","name":"LANG"}"#)?;
    assert!(sees("")?);
    assert!(!sees("env")?);
    Ok(())
}

/// Returns what the file has to say to a person, and what a host shows of it.
fn refusals(person: &Person, path: &Path) -> Result<[String; 2], std::io::Error> {
    let by_hand = person.starts(path, &["--version"], &[])?;
    assert_eq!((by_hand.status.code(), stdout(&by_hand).as_str()), (Some(1), ""));
    let program = format!("./{}", path.file_name().unwrap_or_default().display());
    let hosted = person.types(&["run", &program, "--provider", "echo", "message=x"])?;
    assert_eq!(hosted.status.code(), Some(1));
    Ok([stderr(&by_hand), stderr(&hosted)])
}

#[test]
fn a_damaged_file_refuses_to_start_and_says_why() -> TestResult {
    let person = Person::new()?;
    let good = person.has_wrapped("echo", "good", "")?;
    let whole = fs::read(&good)?;
    let image = behind(&good)?.1.start;
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let damages = [
        ("code", changed(image + 5000), "the component or its manifest has changed since it was wrapped"),
        ("manifest", changed(whole.len() - 300), "has changed since it was wrapped"),
        ("length", changed(whole.len() - 93), "its parts do not have the lengths that its trailer names"),
        ("cut", whole[..whole.len() - 1].to_vec(), "this program carries no plugin"),
        ("stripped", whole[..image].to_vec(), "this program carries no plugin"),
    ];
    for (name, bytes, reason) in damages {
        let path = person.has_program(name, bytes)?;
        for said in refusals(&person, &path)? {
            assert!(said.contains(reason) && said.contains("portcullis wrap"), "{name}: {said}");
        }
    }
    // A program that is damaged may well run. Whoever asks is told.
    let near_its_end = image - 70_000;
    let path = person.has_program("program", changed(near_its_end))?;
    let verify = person.starts(&path, &["--verify"], &[])?;
    assert!(!verify.status.success(), "{}", stdout(&verify));
    Ok(())
}
