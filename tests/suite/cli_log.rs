//! The log of a command: what becomes of it if it says more than anybody reads, and what others wrote in it.

use std::error::Error;
use std::fs;
use std::io::{PipeReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

use portcullis_tests::{LONG, TestResult, cli, fixtures};

use crate::person::{Person, answer, fails, say_hi, stderr};

/// More lines than wait for a reader, at a kilobyte each.
const TOO_MANY: usize = 4_000;

/// As many as wait for one.
const SOME: usize = 100;

/// What stands in every line.
fn filling() -> String {
    "x".repeat(1_000)
}

/// A command whose plugin has written all it has to its stderr, while nobody reads the command's own.
struct Flood {
    person: Person,
    run: Child,
    unread: PipeReader,
}

impl Flood {
    /// Each line begins with a tag: what has none is print.
    fn start(options: &[&str], tag: &str, lines: usize) -> Result<Self, Box<dyn Error>> {
        Self::before(":", &[options, &["run", "./flood"]].concat(), tag, lines)
    }

    /// After its lines the plugin runs `program`, and tells when that has ended.
    fn before(program: &str, arguments: &[&str], tag: &str, lines: usize) -> Result<Self, Box<dyn Error>> {
        let person = Person::new()?;
        let [said, go] = ["said", "go"].map(|name| person.path(name));
        cli::make_pipe(&said)?;
        cli::make_pipe(&go)?;
        let (filling, tells, waits) = (filling(), said.display(), go.display());
        let script = format!(
            "#!/bin/sh\nn=0\nwhile [ $n -lt {lines} ]; do n=$((n+1)); echo \"{tag} $n {filling}\" >&2; done\n\
             '{program}'\necho > '{tells}'\nread go < '{waits}'\nexit 3\n"
        );
        person.has_program("flood", script)?;

        let (unread, full) = cli::full_pipe()?;
        let mut run = person.command(arguments).stdout(Stdio::null()).stderr(full).spawn()?;
        let (heard, hearing) = mpsc::channel();
        thread::spawn(move || heard.send(fs::read(said)));
        if hearing.recv_timeout(LONG).is_err() {
            run.kill()?;
            run.wait()?;
            return Err("the program cannot say what it has to".into());
        }
        Ok(Self { person, run, unread })
    }

    /// Reads at last, and lets the program end. Returns what there is to read.
    fn read(self) -> Result<String, Box<dyn Error>> {
        let Self { person, mut run, mut unread } = self;
        let reading = thread::spawn(move || {
            let mut text = String::new();
            unread.read_to_string(&mut text).map(|_| text)
        });
        fs::write(person.path("go"), "\n")?;
        let text = reading.join().map_err(|_| "the reader panicked")??;
        assert_eq!(run.wait()?.code(), Some(1), "{text}");
        Ok(text)
    }
}

#[test]
fn ctrl_c_ends_a_command_whose_log_nobody_reads() -> TestResult {
    for (options, lines) in [(vec!["--quiet"], TOO_MANY), (vec![], SOME)] {
        let Flood { run, unread: _unread, person: _person } = Flood::start(&options, "[WARN]", lines)?;
        assert_eq!(cli::interrupt(run)?, Some(130), "{options:?}");
    }
    Ok(())
}

#[test]
fn ctrl_c_ends_a_command_whose_plugins_prints_nobody_reads() -> TestResult {
    let Flood { run, unread: _unread, person: _person } = Flood::start(&[], "words", SOME)?;
    assert_eq!(cli::interrupt(run)?, Some(130));
    Ok(())
}

/// What has served and ended says so, and the shell around it is waited for.
#[test]
fn one_ctrl_c_is_enough_while_plugins_are_being_stopped() -> TestResult {
    let run = ["run", "./flood", "--provider", "acrobat", "operation=ok"];
    let status = ["auth", "status", "./flood", "--handler", "door"];
    let both: [&[&str]; 2] = [&[], &["--quiet"]];
    for (plugin, command) in [("acrobat", &run[..]), ("doorman", &status[..])] {
        let program = fixtures::native(plugin).display().to_string();
        for options in both {
            let arguments = [options, command].concat();
            let Flood { run, unread: _unread, person: _person } =
                Flood::before(&program, &arguments, "[WARN]", SOME)?;
            assert_eq!(cli::interrupt(run)?, Some(130), "{arguments:?}");
        }
    }
    Ok(())
}

/// Every line that is shown is whole and in its place, and so is the one that says how many are left out.
#[test]
fn lines_of_the_log_that_nobody_reads_are_counted_and_why_the_command_failed_comes_last() -> TestResult {
    let text = Flood::start(&["--quiet"], "[WARN]", TOO_MANY)?.read()?;
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let (mut counted, mut left_out) = (0, 0);
    let error = loop {
        let line = lines.next().ok_or("it is said why the command failed")?;
        if let Some(entry) = line.strip_prefix(" WARN portcullis::plugin: [WARN] ") {
            counted += 1;
            assert_eq!(entry, format!("{counted} {} plugin=flood", filling()));
        } else if let Some(note) = line.strip_prefix(" WARN portcullis: ") {
            let (number, words) = note.split_once(' ').ok_or("there is a number")?;
            assert_eq!(words, "lines of the log were left out, as nobody read them");
            left_out += number.parse::<usize>()?;
            counted += number.parse::<usize>()?;
        } else {
            break line;
        }
    };
    assert!(error.contains("exit status: 3"), "{error}");
    assert!(!lines.any(|line| line.starts_with(" WARN")));
    assert_eq!(counted, TOO_MANY);
    assert!(left_out > 0);
    Ok(())
}

/// What a plugin is called is one of many things in it that others wrote.
#[test]
fn nothing_in_the_log_moves_a_cursor() -> TestResult {
    let person = Person::new()?;
    fs::copy(fixtures::guest("acrobat"), person.path("a\u{1b}[2J.wasm"))?;
    let acrobat = ["run", "./a\u{1b}[2J.wasm", "--provider", "acrobat", "--no-validate"];
    let output = person.types(&[&acrobat[..], &["operation=http", "url=http://127.0.0.1/"]].concat())?;
    fails(
        &output,
        1,
        "HTTP request denied; the plugin's table in the policy can allow it plugin=a\\u001b[2J ",
    );
    assert!(!stderr(&output).contains('\u{1b}'), "{}", stderr(&output));
    Ok(())
}

#[test]
fn the_log_tells_whether_a_component_was_compiled() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = [&say_hi("./plugins/echo.wasm")[..], &["--log-level", "debug"]].concat();
    for was_compiled in [false, true] {
        let output = person.alone(&run).output()?;
        answer(&output);
        let log = stderr(&output);
        assert!(log.contains(&format!(" was_compiled={was_compiled}\n")), "{log}");
        assert_eq!(
            log.contains("INFO portcullis::component::compiling: component compiled path="),
            !was_compiled,
            "{log}"
        );
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_reached_is_told_with_whoever_asked_for_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    // Nobody listens there any more.
    let server = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let grant = format!("http = [\"http://{server}\"]");
    let policy = person.has_policy(&fixtures::guest("acrobat"), &grant)?;
    let url = format!("url=http://{server}/");
    let run = ["run", "acrobat", "--policy", &policy, "--no-validate", "operation=http", &url];
    let output = person.types(&run)?;
    fails(
        &output,
        1,
        "no HTTP connection: connection error: Connection refused (os error 111) plugin=acrobat ",
    );
    let log = stderr(&output);
    assert!(log.contains(&format!(" asked=\"http://{server}\"")), "{log}");
    assert_eq!(log.matches("Connection refused").count(), 1, "{log}");
    Ok(())
}

#[test]
fn debug_tells_of_a_plugin_and_of_each_call_from_the_beginning_to_the_end() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let native = fixtures::native("echo").display().to_string();
    for (file, backend) in [("./plugins/echo.wasm", "component"), (native.as_str(), "process")] {
        let output = person.types(&[&say_hi(file)[..], &["--log-level", "debug"]].concat())?;
        answer(&output);
        let log = stderr(&output);
        let line = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(
            line(&["plugin is up", " kind=provider", &format!(" backend={backend} "), " took="]),
            "{log}"
        );
        assert!(line(&["call begins", " method=\"configure\" offering=echo"]), "{log}");
        assert!(line(&["call begins", " method=\"execute\" offering=echo"]), "{log}");
        assert!(line(&["call ended", " outcome=\"answered\"", " method=\"execute\" offering=echo"]), "{log}");
        assert!(line(&["plugin is shut down", " grace="]), "{log}");
        let is_child = backend == "process";
        assert_eq!(line(&["a child serves", " pid=", " protocol=1 "]), is_child, "{log}");
        assert_eq!(line(&["a child has ended", " pid=", " requested=true "]), is_child, "{log}");
    }
    Ok(())
}
