//! The shim: a program that runs the component at the end of its own file.
//!
//! It reads its own file, checks that everything in it is whole, and serves a go-plugin plugin, whose calls the
//! component answers in its sandbox. What the component may touch is in the file, too; the environment can take from
//! that and add nothing. Run by hand, the program explains all this.
//!
//! Nothing is compiled here, and there is no compiler. Files are written by `portcullis wrap`.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write as _};
use std::mem::MaybeUninit;
use std::process::ExitCode;
use std::ptr::null_mut;
use std::time::SystemTime;

use portcullis_contract::{Kind, visible_line};
use portcullis_serve::{Entry, Level, raise_open_files};

mod mark;
mod narrow;
mod own;
mod page;
mod plugin;
mod prints;

use own::{Own, Refusal};

/// The one place that reads arguments and environment.
fn main() -> ExitCode {
    share_heaps();
    unblock_signals();
    raise_open_files();
    outlive_large_files();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let question = std::env::args_os().nth(1).and_then(|argument| page::Question::parse(&argument));
    let program = std::env::args_os().next().unwrap_or_default();
    let own = match Own::read(&variables) {
        Ok(own) => own,
        Err(refusal) => return refuse(&refusal, &variables),
    };
    match question {
        None => plugin::serve(own, &program.to_string_lossy(), variables).exit_code().into(),
        Some(page::Question::Verify) => match own.verify() {
            Ok(()) => tell(&page::whole(&own)),
            Err(refusal) => refuse(&refusal, &variables),
        },
        Some(page::Question::Known(asked)) => tell(&page::answer(asked, &own, &program.to_string_lossy())),
    }
}

/// Has the threads share two heaps. One for each thread would cost more memory than a component, and time at the start;
/// with a single one, a host that keeps two threads busy gets a tenth fewer answers.
fn share_heaps() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a setting of the allocator has no safe form")]
    // SAFETY: the call takes two numbers, and is made before there is another thread.
    let _set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

/// Has the signals that we rely on reach us, if whoever started us has blocked them: SIGTERM, by which hosts end us, and
/// those by which the engine learns of a guest's traps. A blocked one of these would end the process.
fn unblock_signals() {
    let needed = [libc::SIGTERM, libc::SIGILL, libc::SIGSEGV, libc::SIGFPE, libc::SIGBUS];
    let mut all = MaybeUninit::uninit();
    #[expect(unsafe_code, reason = "what signals do has no safe form")]
    // SAFETY: the set is made before it is used, and there is no other thread yet.
    unsafe {
        libc::sigemptyset(all.as_mut_ptr());
        for signal in needed {
            libc::sigaddset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, all.as_ptr(), null_mut());
    }
}

/// Has a file that a component makes larger than `ulimit -f` fail like a full disk, instead of ending us by SIGXFSZ.
fn outlive_large_files() {
    #[expect(unsafe_code, reason = "what a signal does has no safe form")]
    // SAFETY: no handler is installed. We start no programs, so none inherits that the signal is ignored.
    let _usual = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Writes what somebody asked for. A reader who has gone does not matter.
fn tell(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(problem) if problem.kind() != ErrorKind::BrokenPipe => {
            let _gone = writeln!(io::stderr(), "cannot write to stdout: {problem}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Says why the file is of no use: to a host as an error in the form of its log, and to a person in plain words.
fn refuse(refusal: &Refusal, variables: &[(OsString, OsString)]) -> ExitCode {
    let text = portcullis_contract::chain(refusal);
    // A host reads a log, and not a page.
    let cookies = [Kind::Provider, Kind::AuthHandler].map(|kind| kind.cookie().0);
    let from_host = variables.iter().any(|(key, _)| cookies.iter().any(|cookie| key == cookie));
    let line = if from_host {
        let fields = vec![("error".to_owned(), text.into())];
        let entry = Entry { fields, ..Entry::plain(Level::Error, "plugin init error") };
        entry.to_line(SystemTime::now())
    } else {
        format!("{}\n", visible_line(&text))
    };
    // If stderr is closed, there is nowhere to report that.
    let _gone = io::stderr().lock().write_all(line.as_bytes());
    ExitCode::FAILURE
}
