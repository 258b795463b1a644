//! Where a plugin's words go.

use std::fmt;
use std::future::ready;
use std::pin::Pin;

use crate::log::Entry;

/// Takes what a plugin logs and prints.
///
/// Every method is called from the task that reads that one stream, in the order of that stream, and
/// nothing is kept while it runs: a sink that takes its time slows the plugin down and costs no
/// memory. It must not block for long, because it holds up a thread of the runtime; one that hands
/// over to somebody slower says in [`room`](Self::room) when there may be more. A method that is not
/// written discards what it is given.
pub trait Sink: Send + Sync + 'static {
    /// Waits until more can be taken.
    ///
    /// Nothing but the first line is read before there is room, so a plugin that writes on stands still. What it had
    /// written when it ended is read without room: no more than fits into a pipe. The future may be dropped at any
    /// time.
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    /// Takes the first line that the plugin printed, before it is read: the handshake, if all is well.
    ///
    /// What is there of a line that has no end comes here too. A plugin that prints nothing has none.
    fn first_line(&self, line: &str) {
        let _discarded = line;
    }

    /// Takes a piece of what came on the raw standard output after that line, cut anywhere.
    ///
    /// It is meant for nobody, and hosts let it go; a plugin's own prints arrive over its stdio service.
    fn raw_stdout(&self, piece: &[u8]) {
        let _discarded = piece;
    }

    /// Takes one entry of the log: a line on the raw standard error, read by [`crate::log`].
    fn log(&self, entry: Entry) {
        drop(entry);
    }

    /// Takes a piece of what the plugin printed after its handshake, cut anywhere and 64 KiB at most.
    ///
    /// This is what arrives over the plugin's stdio service.
    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let _discarded = (stdio, piece);
    }

    /// Takes a piece of the raw standard error, cut anywhere, before it is read as log entries.
    fn raw_stderr(&self, piece: &[u8]) {
        let _discarded = piece;
    }
}

/// Which of its two outputs a plugin printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stdio {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes everything and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Sink for Discard {}

impl fmt::Debug for dyn Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
