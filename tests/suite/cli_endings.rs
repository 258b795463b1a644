//! How a command ends when its time is over, nobody reads it any more, it is interrupted, or its file changes under it.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use portcullis_tests::cli::Signal;
#[cfg(go_peers)]
use portcullis_tests::expect_no_process;
use portcullis_tests::{TestResult, cli, fixtures};
use rustix::process::{Pid, kill_process};

use crate::person::{Person, answer, fails, say_hi, stderr, stdout};

#[test]
fn a_run_ends_when_its_time_is_over() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let late = person.types(&["run", "acrobat", "--timeout", "200ms", "operation=slow", "millis=600000"])?;
    fails(&late, 9, "no answer within 200ms");
    Ok(())
}

/// Whoever stops all processes of a name stops it, too.
#[test]
fn a_run_ends_even_if_the_process_that_watches_over_it_was_stopped() -> TestResult {
    let person = Person::new()?;
    let native = fixtures::native("acrobat").display().to_string();
    let slow = ["run", &native, "--provider", "acrobat", "operation=slow", "millis=2000"];
    let mut run = person.command(&slow).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let threads = format!("/proc/{}/task", run.id());
    // Threads and processes come and go meanwhile.
    let children = || {
        let threads = fs::read_dir(&threads).into_iter().flatten().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .collect::<String>()
    };
    let is_watcher = |child: &&str| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "goplugin-watch\n")
    };
    let watcher: i32 = loop {
        if let Some(watcher) = children().split_whitespace().find(is_watcher) {
            break watcher.parse()?;
        }
        assert!(run.try_wait()?.is_none(), "nobody watched");
    };
    let watcher = Pid::from_raw(watcher).ok_or("it is a process")?;
    kill_process(watcher, Signal::STOP)?;
    assert_eq!(cli::ended(run)?.code(), Some(0));
    Ok(())
}

/// Nobody writes to any of these pipes.
#[test]
fn a_run_that_waits_for_its_inputs_ends_when_its_time_is_over() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    cli::make_pipe(&person.path("pipe"))?;
    for input in ["@pipe", "message=@pipe", "@-", "message=@-"] {
        let (stdin, _held_open) = io::pipe()?;
        let mut run = person.command(&["run", "echo", "--timeout", "200ms", input]);
        fails(&run.stdin(stdin).output()?, 9, "no answer within 200ms");
    }
    Ok(())
}

/// With as little time it would never be compiled.
#[test]
fn a_run_that_ends_while_its_component_is_compiled_says_so() -> TestResult {
    let person = Person::new()?;
    let _at_it = is_compiled_elsewhere(&person)?;
    let late = "no answer within 5s; its component was being compiled, which happens once and may take a minute: give it \
         a longer --timeout";
    let run = ["run", "echo", "--timeout", "5s", "message=hi"];
    fails(&person.alone(&run).output()?, 9, late);
    Ok(())
}

/// What one file asks for would stand beside the digest of another.
#[test]
fn a_component_that_changes_while_it_is_inspected_is_not_told_of() -> TestResult {
    let person = Person::new()?;
    let at_it = is_compiled_elsewhere(&person)?;
    // It has to be asked.
    fs::remove_dir_all(person.path("cache/descriptors"))?;
    let mut inspect = person.alone(&["inspect", "./plugins/echo.wasm"]);
    let mut inspect = inspect.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(inspect.stderr.take().expect("a pipe"));
    let mut said = String::new();
    log.read_line(&mut said)?;
    assert!(said.contains("waiting for another process that compiles the component"), "{said}");
    fs::rename(person.path("plugins/keeper.wasm"), person.path("plugins/echo.wasm"))?;
    drop(at_it);
    log.read_to_string(&mut said)?;
    assert!(said.contains("echo.wasm changed while it was read"), "{said}");
    let ended = inspect.wait_with_output()?;
    assert_eq!((ended.status.code(), stdout(&ended)), (Some(1), String::new()));
    Ok(())
}

/// Makes it look as if another process were compiling echo, until the returned lock is dropped.
fn is_compiled_elsewhere(person: &Person) -> Result<fs::File, Box<dyn Error>> {
    person.has_guest("echo")?;
    person.has_guest("keeper")?;
    answer(&person.alone(&["run", "echo", "message=hi"]).output()?);
    for file in cli::files_below(&person.path("cache/components")) {
        if file.extension().is_some_and(|extension| extension == "cwasm") {
            let lock = fs::File::open(file.with_extension("lock"))?;
            lock.try_lock()?;
            fs::remove_file(file)?;
            return Ok(lock);
        }
    }
    Err("nothing was compiled".into())
}

/// For want of them libraries panic. With fewer than four no program finds its own.
#[test]
fn a_command_that_may_open_next_to_no_files_says_so() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let native = fixtures::native("echo").display().to_string();
    // Compiled for the others.
    answer(&person.types(&say_hi("./plugins/echo.wasm"))?);
    for most in 4..=24 {
        for arguments in [&["list"][..], &say_hi("./plugins/echo.wasm"), &say_hi(&native)] {
            let output = person.after(&format!("ulimit -n {most}"), arguments).output()?;
            if !output.status.success() {
                fails(&output, 1, "Too many open files");
            }
            for never in ["panicked at", "(os error 24): Too many open files"] {
                assert!(!stderr(&output).contains(never), "{most} files: {}", stderr(&output));
            }
        }
    }
    Ok(())
}

/// No stack can be as large as that. Without a thread libraries panic.
#[test]
fn a_command_that_may_start_no_thread_says_so() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    for arguments in [&["list"][..], &say_hi("./plugins/echo.wasm")] {
        let mut command = person.command(arguments);
        let output = command.env("RUST_MIN_STACK", (1_u64 << 50).to_string()).output()?;
        fails(&output, 1, "no command can do without a second thread");
    }
    Ok(())
}

#[test]
fn a_reader_who_has_gone_ends_the_command_quietly() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let mut child = person
        .command(&["run", "acrobat", "operation=big", "bytes=1000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let mut complaints = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut complaints)?;
    assert!(child.wait()?.success());
    assert_eq!(complaints, "");
    Ok(())
}

/// A program that shares our terminal may leave it like that. The first of the output is read byte by byte, so that
/// there is no room for the rest.
#[test]
fn output_that_is_not_waited_for_comes_whole_all_the_same() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let (mut reader, writer) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    let mut run = person.command(&["run", "acrobat", "operation=big", "bytes=1000000"]);
    let child = run.stdout(OwnedFd::from(writer)).stderr(Stdio::piped()).spawn()?;
    // It has the other end as well.
    drop(run);
    for _ in 0..64 << 10 {
        reader.read_exact(&mut [0])?;
    }
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest)?;
    let ended = child.wait_with_output()?;
    assert!(ended.status.success(), "{}", stderr(&ended));
    assert!(rest.len() > 900_000 && rest.ends_with(b"}\n"), "{} bytes", rest.len());
    Ok(())
}

#[test]
fn what_is_shown_and_cannot_be_written_is_no_success() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let stream =
        ["run", "acrobat", "-o", "table", "operation=stream", "chunks=2", "size=4", "pauseMillis=600000"];
    let full = fs::File::options().write(true).open("/dev/full")?;
    let output = person.command(&stream).stdout(full).output()?;
    fails(&output, 1, "cannot write to stdout: No space left on device");
    Ok(())
}

#[test]
fn help_that_cannot_be_written_is_no_success() -> TestResult {
    let person = Person::new()?;
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let full = fs::File::options().write(true).open("/dev/full")?;
        let output = person.command(arguments).stdout(full).output()?;
        fails(&output, 1, "cannot write to stdout: No space left on device");
    }
    Ok(())
}

/// A run that prints a chunk and never ends.
const ENDLESS: [&str; 7] =
    ["run", "acrobat", "operation=stream", "chunks=2", "size=4", "stderrEvery=1", "pauseMillis=600000"];

/// Starts a run, and returns it once its chunk is there.
fn begun(mut run: Command) -> Result<Child, Box<dyn std::error::Error>> {
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line)?;
    assert!(!line.is_empty(), "the run shows that it has begun");
    Ok(child)
}

#[test]
fn who_is_asked_to_end_ends_and_everything_it_started() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let run = begun(person.command(&ENDLESS))?;
        assert_eq!(cli::end_by(signal, run)?, Some(code));
    }
    Ok(())
}

/// What the provider printed last was on stderr, which does not end the line on stdout.
#[test]
fn a_table_begins_in_a_line_of_its_own_behind_what_was_streamed() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let stream = ["run", "acrobat", "-o", "table", "operation=stream", "chunks=2", "size=4", "stderrEvery=1"];
    let output = person.types(&stream)?;
    let (streamed, table) =
        stdout(&output).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unzip();
    assert!(streamed.is_some_and(|line| !line.contains("KEY")), "{}", stdout(&output));
    assert!(table.is_some_and(|table| table.starts_with("KEY")), "{}", stdout(&output));
    Ok(())
}

/// As `nohup` has it.
#[test]
fn a_signal_that_a_command_was_started_to_ignore_does_not_end_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let run = begun(person.after("trap '' HUP", &ENDLESS))?;
    cli::signal(&run, Signal::HUP)?;
    assert_eq!(cli::end_by(Signal::TERM, run)?, Some(143));
    Ok(())
}

/// Makes a command that is started with every signal blocked.
fn deafened(person: &Person, arguments: &[&str]) -> Command {
    let _deafening = fixtures::rogue("deafened", person.scratch());
    person.after("set -- ./rogue-deafened \"$@\"", arguments)
}

#[test]
fn a_signal_that_a_command_was_started_to_block_ends_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    assert_eq!(cli::end_by(Signal::TERM, begun(deafened(&person, &ENDLESS))?)?, Some(143));
    Ok(())
}

/// The engine learns of a trap by a signal. If that is blocked, the kernel ends the process.
#[test]
fn a_trap_is_told_by_who_was_started_to_block_every_signal() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let trap = ["operation=panic", "message=oh dear"];
    let own = deafened(&person, &[&["run", "acrobat"][..], &trap].concat()).output()?;
    fails(&own, 1, "oh dear");

    // A wrapped file has to see to it itself.
    person.has_wrapped("acrobat", "plugins/plugin", "")?;
    let deafening = fixtures::rogue("deafened", &person.path("plugins")).display().to_string();
    let run = [&["run", &deafening, "--provider", "acrobat"][..], &trap].concat();
    // Every rogue is one file, and what this one offers is not what others do.
    fails(&person.alone(&run).output()?, 1, "oh dear");
    Ok(())
}

/// Nobody may ever write to it. As the first process of a container a command has to listen: the kernel then ends it by
/// no signal that it does not take.
#[test]
fn a_command_that_waits_for_its_inputs_takes_signals() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    cli::make_pipe(&person.path("in.json"))?;
    let run = person.command(&["run", "echo", "@in.json"]).stdout(Stdio::null()).spawn()?;
    // Opened once somebody reads.
    let _writer = fs::OpenOptions::new().write(true).open(person.path("in.json"))?;
    assert_eq!(cli::end_by(Signal::TERM, run)?, Some(143));
    Ok(())
}

/// As programs start others that do not care how their own children end.
#[test]
#[expect(unsafe_code, reason = "what a child ignores has no safe form")]
fn how_a_plugin_ended_is_known_to_a_command_that_was_started_to_ignore_it() -> TestResult {
    let person = Person::new()?;
    let doorman = fixtures::native("doorman").display().to_string();
    let mut run = person.command(&["run", &doorman]);
    // SAFETY: it is one system call, between fork and exec.
    unsafe {
        run.pre_exec(|| {
            libc::signal(libc::SIGCHLD, libc::SIG_IGN);
            Ok(())
        });
    }
    fails(&run.output()?, 1, "is no provider");
    Ok(())
}

/// A byte of it is read, so that the rest is being written when the signal comes.
#[test]
fn ctrl_c_ends_a_run_whose_output_nobody_reads() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let stream = ["run", "acrobat", "-o", "table", "operation=stream", "chunks=2", "size=200000"];
    let mut child = person.command(&stream).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut unread = child.stdout.take().expect("a pipe");
    unread.read_exact(&mut [0])?;
    assert_eq!(cli::interrupt(child)?, Some(130));
    Ok(())
}

/// What is no plugin is told when everything has been looked at, and only the table is left to write.
#[test]
fn ctrl_c_ends_a_list_that_nobody_reads() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("plugins/module.wasm"), b"\0asm\x01\0\0\0")?;
    let (_unread, full) = cli::full_pipe()?;
    let mut child = person.command(&["list"]).stdout(full).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line)?;
    assert!(line.contains("module.wasm"), "{line}");
    assert_eq!(cli::interrupt(child)?, Some(130));
    Ok(())
}

/// A byte of it is read, so that the rest is being written when the signal comes.
#[test]
fn ctrl_c_ends_a_command_whose_complaints_nobody_reads() -> TestResult {
    let person = Person::new()?;
    for n in 0..1_000 {
        fs::write(person.path(&format!("plugins/module{n}.wasm")), b"\0asm\x01\0\0\0")?;
    }
    let nobody = "x".repeat(100_000);
    for arguments in [&["list"][..], &["run", &nobody]] {
        let mut child = person.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut unread = child.stderr.take().expect("a pipe");
        unread.read_exact(&mut [0])?;
        assert_eq!(cli::interrupt(child)?, Some(130), "{}", arguments[0]);
    }
    Ok(())
}

#[cfg(go_peers)]
#[test]
fn ctrl_c_ends_a_native_plugin_too() -> TestResult {
    let person = Person::new()?;
    person.has_peer("acrobat")?;
    let child = begun(person.command(&ENDLESS))?;
    assert_eq!(cli::interrupt(child)?, Some(130));
    Ok(())
}

/// The drop of the person looks for what is left; the next start sweeps the sockets.
#[cfg(go_peers)]
#[test]
fn a_host_that_is_killed_takes_its_plugins_along() -> TestResult {
    let person = Person::new()?;
    person.has_peer("acrobat")?;
    let mut child = begun(person.command(&ENDLESS))?;
    cli::signal(&child, Signal::KILL)?;
    child.wait()?;
    expect_no_process(person.scratch());
    let next = person.command(&["run", "acrobat", "operation=ok"]).stdout(Stdio::null()).status()?;
    assert!(next.success());
    Ok(())
}
