//! What goes to stdout, and in which form; and what is said beside it.
//!
//! Data is JSON text first and only then formatted, so that every format says the same. If the reader goes
//! away, as `head` does when it has enough, the output ends quietly.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use anyhow::{Context as _, anyhow};
use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use crate::exit::{Exit, Failure, OrExit as _};
use crate::json::Document;
use crate::signals::Signals;
use crate::{stderr, table, yaml};

/// The form of what goes to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    /// Nothing: the exit code says it all.
    Quiet,
}

impl Format {
    /// Reads the value of `-o`; without one, the command's default holds.
    pub(crate) fn parse(text: Option<&str>, default: Self) -> Result<Self, Failure> {
        match text {
            None => Ok(default),
            // An empty one is `auto`, as upstream has it.
            Some("" | "table" | "auto") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some("yaml") => Ok(Self::Yaml),
            Some("quiet") => Ok(Self::Quiet),
            Some(other) => Err(anyhow!(
                "invalid output type: '{other}'. Valid types are: auto, table, json, yaml, quiet"
            ))
            .or_exit(Exit::InvalidInput),
        }
    }

    /// Gives JSON its form.
    pub(crate) fn render(self, document: &Document<'_>) -> String {
        match self {
            Self::Table => table::from_json(document),
            Self::Json => document.to_pretty() + "\n",
            Self::Yaml => yaml::from_json(document),
            Self::Quiet => String::new(),
        }
    }

    /// Gives anything its form.
    pub(crate) fn show(self, data: &(impl Serialize + ?Sized)) -> anyhow::Result<String> {
        let text = serde_json::to_string(data)?;
        Ok(self.render(&Document::parse(&text)?))
    }

    /// Gives rows their form; a table of none is empty.
    pub(crate) fn show_rows<R: table::Row>(self, rows: &[R]) -> anyhow::Result<String> {
        if self != Self::Table {
            return self.show(rows);
        }
        let cells: Vec<_> = rows.iter().map(R::cells).collect();
        Ok(if rows.is_empty() { String::new() } else { table::set(R::HEADINGS, &cells) })
    }
}

/// Writes to stdout, off the runtime's thread: a slow reader must not hold up signals and deadlines.
///
/// Returns whether somebody still reads.
pub(crate) async fn print(bytes: impl AsRef<[u8]> + Send + 'static) -> anyhow::Result<bool> {
    if bytes.as_ref().is_empty() {
        return Ok(true);
    }
    let written = tokio::task::spawn_blocking(move || write_all(io::stdout().lock(), bytes.as_ref()));
    match written.await? {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}

/// Does the same for a command that listens to signals, which a reader who never reads must not hold up. Returns how
/// the command ends if a signal comes first.
pub(crate) async fn print_or_end(
    bytes: impl AsRef<[u8]> + Send + 'static,
    signals: &mut Signals,
) -> anyhow::Result<Option<Exit>> {
    // A write that loses goes on until the process ends.
    tokio::select! {
        written = print(bytes) => written.map(|_somebody_reads| None),
        exit = signals.patience() => Ok(Some(exit)),
    }
}

/// Writes to stderr. There is nowhere to say that it failed.
///
/// Blocks while the reader is slow. What runs on the runtime uses [`complain_aside`].
pub(crate) fn complain(bytes: &[u8]) {
    // A thread that panicked has nothing to tell.
    let _gone = stderr::shared().text(bytes.to_vec()).blocking_recv();
}

/// Writes to stderr, off the runtime's thread.
pub(crate) async fn complain_aside(bytes: impl AsRef<[u8]> + Send + 'static) {
    if bytes.as_ref().is_empty() {
        return;
    }
    // A thread that panicked has nothing to tell.
    let _gone = stderr::shared().text(bytes.as_ref().to_vec()).await;
}

/// Does the same for a command that listens to signals. Returns how the command ends if a signal comes first.
pub(crate) async fn complain_or_end(
    bytes: impl AsRef<[u8]> + Send + 'static,
    signals: &mut Signals,
) -> Option<Exit> {
    // A write that loses goes on until the process ends.
    tokio::select! {
        () = complain_aside(bytes) => None,
        exit = signals.patience() => Some(exit),
    }
}

/// Waits until stderr, the log above all, is written. Returns `exit`, or how the command ends if a signal comes first.
pub(crate) async fn flush(exit: Exit, signals: &mut Signals) -> Exit {
    let Some(stderr) = stderr::unwritten() else { return exit };
    // The rest is still being written until the process ends.
    tokio::select! {
        _ = stderr.text(Vec::new()) => exit,
        exit = signals.patience() => exit,
    }
}

/// Writes all of a text, even to a terminal or pipe that another program made non-blocking.
pub(crate) fn write_all(to: impl Write + AsFd, text: &[u8]) -> io::Result<()> {
    let mut to = Patient(to);
    to.write_all(text)?;
    to.flush()
}

/// Waits until a non-blocking descriptor can be written to.
struct Patient<W>(W);

impl<W: Write + AsFd> Patient<W> {
    fn insist<T>(&mut self, mut attempt: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None))?;
                }
                done => return done,
            }
        }
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.insist(|to| to.write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.insist(W::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Format>) {
        assert_eq!(Format::parse(Some(text), Format::Json).ok(), expected, "{text:?}");
    }

    #[test]
    fn an_output_type_is_one_of_a_few() {
        check("", Some(Format::Table));
        check("json", Some(Format::Json));
        check("yaml", Some(Format::Yaml));
        check("auto", Some(Format::Table));
        check("quiet", Some(Format::Quiet));
        check("JSON", None);
        let Failure { exit, problem } = Format::parse(Some("xml"), Format::Table).unwrap_err();
        assert_eq!(exit, Exit::InvalidInput);
        assert_eq!(
            problem.to_string(),
            "invalid output type: 'xml'. Valid types are: auto, table, json, yaml, quiet"
        );
    }
}
