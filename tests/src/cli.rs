//! The command as a child of a test, with an environment that holds nothing of the machine's own.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::{LONG, fixtures};

/// Makes a command that keeps what it writes in `scratch`, but for what is compiled, which tests share.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test ends what it starts")]
pub fn command(scratch: &Path) -> Command {
    let mut command = Command::new(fixtures::portcullis());
    command.env_clear();
    command.env("HOME", scratch).env("TMPDIR", scratch);
    command.env("PORTCULLIS_CACHE_DIR", fixtures::shared_cache().join("cache"));
    command.env("PORTCULLIS_DATA_DIR", fixtures::shared_cache().join("data"));
    // The command is built before the shim is, so it usually has no shim inside.
    command.env("PORTCULLIS_SHIM", fixtures::shim());
    command
}

/// Sends a signal to a child that was not waited for yet.
///
/// # Errors
///
/// When it has ended.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = Pid::from_child(child);
    Ok(kill_process(pid, signal)?)
}

/// Types Ctrl-C, and returns the code that a command ends with.
///
/// # Errors
///
/// When it had ended already, or had to be killed.
pub fn interrupt(child: Child) -> io::Result<Option<i32>> {
    end_by(Signal::INT, child)
}

/// Sends a signal, and returns the code that a command ends with.
///
/// # Errors
///
/// When it had ended already, or had to be killed.
pub fn end_by(by: Signal, child: Child) -> io::Result<Option<i32>> {
    signal(&child, by)?;
    Ok(ended(child)?.code())
}

/// Waits for the end of a child.
///
/// # Errors
///
/// When it had to be killed.
pub fn ended(mut child: Child) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait()));
    ended.recv_timeout(LONG).unwrap_or_else(|_| {
        let _has_ended = kill_process(pid, Signal::KILL);
        Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end"))
    })
}

/// Makes a named pipe.
///
/// # Errors
///
/// When it cannot be made.
pub fn make_pipe(path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

/// Makes a pipe that is full of empty lines: who writes to it stands still until somebody reads.
///
/// # Errors
///
/// When it cannot be made.
pub fn full_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    while rustix::io::write(&writer, &[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false)?;
    Ok((reader, writer))
}

/// Makes a terminal: what a person has of it, and what a command does.
///
/// # Errors
///
/// When it cannot be made.
pub fn terminal() -> io::Result<(File, File)> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags)?;
    unlockpt(&person)?;
    let command = ioctl_tiocgptpeer(&person, flags)?;
    Ok((person.into(), command.into()))
}

/// Runs a command whose stdout and stderr are a terminal, and returns what that shows.
///
/// # Errors
///
/// When there is no terminal, or the command does not start.
pub fn on_a_terminal(mut command: Command) -> io::Result<Vec<u8>> {
    let (mut screen, terminal) = terminal()?;
    let mut child = command.stdout(terminal.try_clone()?).stderr(terminal).spawn()?;
    // It has the terminal as well.
    drop(command);
    let mut shown = Vec::new();
    // A terminal that nobody else has ends with an error.
    let _nobody = screen.read_to_end(&mut shown);
    child.wait()?;
    Ok(shown)
}

/// Returns every file below a directory.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            _ => vec![entry.path()],
        })
        .collect()
}
