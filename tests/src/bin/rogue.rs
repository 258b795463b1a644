//! A child that breaks the protocol, in the way that its own file name says: `rogue-<way>`.
//!
//! A plugin is started without arguments and with little environment, so the name is all that a test
//! can tell it. Nothing here uses an SDK: what a correct peer would never send has to be written by
//! hand.
//!
//! Whatever the way, it ends by itself after two minutes, for which no test ought to wait. It does not watch its
//! parent: no child may outlive its host, and that is the host's to see to and to be tested for.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// After this long it ends, whatever it is in the middle of.
const LIFE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let started = Instant::now();
    std::thread::spawn(move || {
        // A parked thread may wake for no reason.
        while let Some(left) = LIFE.checked_sub(started.elapsed()) {
            std::thread::park_timeout(left);
        }
        std::process::exit(99)
    });
    let name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let way = name.strip_prefix("rogue-").unwrap_or_default();
    // What it cannot print any more, it need not: the reader has gone.
    match misbehave(way) {
        Ok(code) => code,
        Err(_gone) => ExitCode::FAILURE,
    }
}

fn misbehave(way: &str) -> io::Result<ExitCode> {
    match way {
        // Prints what is no handshake and waits for applause.
        "garbage" => say("Hello! I am a perfectly normal program.\n"),
        // Prints the beginning of a line and never its end.
        "half" => say("1|1|unix|/tmp/plu"),
        // Prints a second line after a good one, whose socket nobody serves.
        "two-lines" => say("1|1|unix|/nowhere/at/all|grpc|\n1|1|unix|/nowhere/else|grpc|\n"),
        // Becomes the program that its arguments name, or else the file `plugin` beside it, with every signal blocked:
        // so may whoever reads its own signals from a descriptor start others.
        "deafened" => return Err(deafened()),
        // Says nothing at all.
        "nothing-exit0" => return Ok(ExitCode::SUCCESS),
        // Says why on stderr.
        "nothing-exit3-stderr" => {
            io::stderr().write_all(b"cannot open the stderr of the universe\n")?;
            return Ok(ExitCode::from(3));
        }
        // Never says anything.
        "hang" => Ok(()),
        // Leaves its pipes to a child that says nothing either.
        "fork-exit" => {
            leave_a_child()?;
            return Ok(ExitCode::SUCCESS);
        }
        // Never stops talking, without a line.
        "flood-stdout" => return flood(io::stdout()),
        "flood-stderr" => return flood(io::stderr()),
        // A field of the line that is not what it has to be.
        "bad-core" => say("2|1|unix|/nowhere|grpc|\n"),
        "bad-version" => say("1|99|unix|/nowhere|grpc|\n"),
        "bad-network" => say("1|1|carrier-pigeon|/nowhere|grpc|\n"),
        "netrpc" => say("1|1|unix|/nowhere|netrpc|\n"),
        "bad-address" => say("1|1|unix|/nowhere/at/all|grpc|\n"),
        "cert" => serve(&format!("|{}", "TUlJQ2VydGlmaWNhdGU".repeat(20)), |_| Ok(())),
        // Accepts, and never says a word.
        "deaf" => serve("|", |_| Ok(())),
        // Accepts, and hangs up.
        "hangup" => serve("|", |stream| stream.shutdown(std::net::Shutdown::Both)),
        // Ends at the first connection.
        "die-later" => serve("|", |_| std::process::exit(9)),
        // Answers in another protocol.
        "not-grpc" => serve("|", |stream| {
            let _ = stream.read(&mut [0; 64])?;
            stream.write_all(b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n")
        }),
        _ => {
            io::stderr().write_all(b"rogue: name the way after the program's name: rogue-<way>\n")?;
            return Ok(ExitCode::from(2));
        }
    }?;
    wait()
}

fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn flood(mut to: impl io::Write) -> io::Result<ExitCode> {
    loop {
        to.write_all(&[b'x'; 4096])?;
    }
}

/// Prints a good line, but for what follows the protocol, and does the same to every connection.
#[expect(clippy::disallowed_methods, reason = "the host names the socket's directory in the environment")]
fn serve(after: &str, to: impl Fn(&mut UnixStream) -> io::Result<()>) -> io::Result<()> {
    let directory = std::env::var_os("PLUGIN_UNIX_SOCKET_DIR").map(PathBuf::from);
    let directory = directory.unwrap_or_else(std::env::temp_dir);
    let path = directory.join(format!("plugin{}", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    say(&format!("1|1|unix|{}|grpc{after}\n", path.display()))?;
    let mut open = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream?;
        let _ = to(&mut stream);
        open.push(stream);
    }
    Ok(())
}

/// Becomes another program, or returns why not.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "what a program blocks has no safe form; it is none of ours"
)]
fn deafened() -> io::Error {
    let mut arguments = std::env::args_os();
    let beside = arguments.next().map(|name| PathBuf::from(name).with_file_name("plugin").into());
    let mut other = Command::new(arguments.next().or(beside).unwrap_or_default());
    other.args(arguments);
    // SAFETY: these are two system calls, and the set is filled before it is used.
    unsafe {
        other.pre_exec(|| {
            let mut all = MaybeUninit::uninit();
            libc::sigfillset(all.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
            Ok(())
        });
    }
    other.exec()
}

#[expect(clippy::disallowed_methods, reason = "leaving a child behind is what this way is about")]
fn leave_a_child() -> io::Result<()> {
    let own = std::env::current_exe()?;
    let hang = own.with_file_name("rogue-hang");
    if !hang.exists() {
        std::fs::hard_link(&own, &hang)?;
    }
    Command::new(hang).spawn()?;
    Ok(())
}

/// Waits for the end that the first thread prepares.
fn wait() -> io::Result<ExitCode> {
    loop {
        std::thread::park();
    }
}
