//! Where a plugin's log and prints go.

use std::fmt;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;

use crate::log::Entry;

/// Takes what a plugin logs and prints.
///
/// Every method is called from the task that reads the stream in question, in the order of that stream. Nothing
/// more is read while it runs, so a slow sink slows the plugin down and costs no memory. If one panics, what it was given
/// is lost, and the rest is read on. A method must not block
/// for long, because it holds up a thread of the runtime; a sink that passes things on to something slower lets
/// [`room`](Self::room) wait. By default a method discards what it gets.
pub trait Sink: Send + Sync + 'static {
    /// Waits until more can be taken.
    ///
    /// Except for the first line, nothing is read before there is room, so a plugin that goes on writing blocks in the
    /// end. What it had written when it ended is read without room; that is no more than fits into a pipe. The future
    /// may be dropped at any time.
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    /// Takes the first line that the plugin printed, before it is parsed: normally the handshake.
    ///
    /// The beginning of a line without an end comes here, too. Not called if the plugin prints nothing.
    fn first_line(&self, line: &str) {
        let _discarded = line;
    }

    /// Takes a piece of the raw standard output after that line, cut anywhere.
    ///
    /// The protocol has no use for it, and hosts discard it; a plugin's own prints arrive over its stdio service.
    fn raw_stdout(&self, piece: &[u8]) {
        let _discarded = piece;
    }

    /// Takes one entry of the log: a line on the raw standard error, read by [`crate::log`].
    fn log(&self, entry: Entry) {
        drop(entry);
    }

    /// Takes a piece of what the plugin printed after its handshake, cut anywhere, at most 64 KiB.
    ///
    /// It arrived over the plugin's stdio service.
    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let _discarded = (stdio, piece);
    }

    /// Takes a piece of the raw standard error, cut anywhere, before it is parsed as log entries.
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

/// A sink whose panics, which the panic hook reports, do not keep a plugin's output from being read.
pub(crate) struct Contained(pub(crate) Arc<dyn Sink>);

impl Contained {
    fn give(&self, give: impl FnOnce(&dyn Sink)) {
        let _lost = catch_unwind(AssertUnwindSafe(|| give(self.0.as_ref())));
    }
}

impl Sink for Contained {
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let room = AssertUnwindSafe(async { self.0.room().await }).catch_unwind();
        Box::pin(room.map(|_lost| ()))
    }

    fn first_line(&self, line: &str) {
        self.give(|sink| sink.first_line(line));
    }

    fn raw_stdout(&self, piece: &[u8]) {
        self.give(|sink| sink.raw_stdout(piece));
    }

    fn log(&self, entry: Entry) {
        self.give(|sink| sink.log(entry));
    }

    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        self.give(|sink| sink.stdio(stdio, piece));
    }

    fn raw_stderr(&self, piece: &[u8]) {
        self.give(|sink| sink.raw_stderr(piece));
    }
}

impl fmt::Debug for dyn Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
