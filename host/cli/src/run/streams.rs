//! Where a provider's own words go while it runs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::host::OutputSink;
use tokio::sync::Notify;

use super::tame::Tame;
use crate::output::{Format, complain_aside, print};
use crate::stderr;

/// Shows what a provider prints. Next to data on stdout there is room for nothing else, so that in those
/// forms all of it goes to stderr.
#[derive(Debug)]
pub(super) struct Streams {
    /// Where what it prints to its two outputs goes.
    stdout: Place,
    stderr: Place,
    /// Our own two.
    out: Screen,
    err: Screen,
    nobody_reads: Arc<Notify>,
    /// Why stdout took no more, if it is not that its reader has gone.
    failed: Option<anyhow::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Stdout,
    Stderr,
    Nowhere,
}

/// One of our outputs.
#[derive(Debug)]
struct Screen {
    /// Whether its last line has no end yet.
    is_unfinished: bool,
    /// What passes to it, if it is a terminal.
    tame: Option<Tame>,
}

impl Screen {
    fn new(is_terminal: bool) -> Self {
        Self { is_unfinished: false, tame: is_terminal.then(Tame::default) }
    }
}

impl Streams {
    /// Makes the streams that go with a form, where stdout and stderr may be terminals. `nobody_reads` is told when stdout
    /// takes no more.
    pub(super) fn new(format: Format, terminals: [bool; 2], nobody_reads: Arc<Notify>) -> Self {
        let (stdout, stderr) = match format {
            Format::Table => (Place::Stdout, Place::Stderr),
            Format::Json | Format::Yaml => (Place::Stderr, Place::Stderr),
            Format::Quiet => (Place::Nowhere, Place::Nowhere),
        };
        let [out, err] = terminals.map(Screen::new);
        Self { stdout, stderr, out, err, nobody_reads, failed: None }
    }

    /// Returns why something that was to be shown is lost, once. That somebody stopped reading is no such reason.
    pub(super) fn take_failure(&mut self) -> Option<anyhow::Error> {
        self.failed.take()
    }

    /// Ends the last line on stdout, if it has no end: what follows there is a table.
    pub(super) async fn end_stdout_line(&mut self) {
        self.end(Place::Stdout).await;
        if self.out.is_unfinished {
            self.write(Place::Stdout, Bytes::from_static(b"\n")).await;
        }
    }

    /// Ends what was shown on stderr, and its last line, because more follows there. The log may have ended that already.
    pub(super) async fn end_stderr_line(&mut self) {
        self.end_stderr().await;
        if self.err.is_unfinished {
            let _gone = stderr::shared().end_line().await;
        }
    }

    /// Ends what was shown on stderr.
    pub(super) async fn end_stderr(&mut self) {
        self.end(Place::Stderr).await;
    }

    /// Shows what is left of a stream, of which no more comes.
    async fn end(&mut self, place: Place) {
        if let Some(left) = self.tame(place).map(Tame::end) {
            // What only changes colours begins no line.
            let before = left.starts_with('\u{1b}').then_some(self.unfinished());
            self.write(place, left.into()).await;
            self.set_unfinished(before.unwrap_or(self.unfinished()));
        }
    }

    fn unfinished(&self) -> [bool; 2] {
        [self.out.is_unfinished, self.err.is_unfinished]
    }

    fn set_unfinished(&mut self, [out, err]: [bool; 2]) {
        (self.out.is_unfinished, self.err.is_unfinished) = (out, err);
    }

    fn tame(&mut self, place: Place) -> Option<&mut Tame> {
        match place {
            Place::Stdout => self.out.tame.as_mut(),
            Place::Stderr => self.err.tame.as_mut(),
            Place::Nowhere => None,
        }
    }

    async fn show(&mut self, place: Place, bytes: Bytes) {
        let tamed = self.tame(place).map(|tame| tame.take(&bytes).into());
        self.write(place, tamed.unwrap_or(bytes)).await;
    }

    async fn write(&mut self, place: Place, bytes: Bytes) {
        let Some(last) = bytes.last() else { return };
        let is_unfinished = *last != b'\n';
        let [out, err] = self.unfinished();
        // The end of a line on a terminal is that of every line there.
        let apart = self.out.tame.is_none() || self.err.tame.is_none();
        let unfinished = match place {
            Place::Nowhere => return,
            Place::Stdout => [is_unfinished, err && apart],
            Place::Stderr => [out && apart, is_unfinished],
        };
        // Stays unset if this is dropped: a reader who is stuck here would not read the end of the line either.
        self.set_unfinished([false; 2]);
        match place {
            Place::Nowhere => {}
            Place::Stdout => {
                let printed = print(bytes).await;
                if !matches!(printed, Ok(true)) {
                    self.nobody_reads.notify_one();
                }
                self.failed = self.failed.take().or(printed.err());
            }
            // Waiting for it keeps the order, and a slow reader slows the plugin.
            Place::Stderr => complain_aside(bytes).await,
        }
        self.set_unfinished(unfinished);
    }
}

#[async_trait]
impl OutputSink for Streams {
    async fn stdout(&mut self, bytes: Bytes) {
        self.show(self.stdout, bytes).await;
    }

    async fn stderr(&mut self, bytes: Bytes) {
        self.show(self.stderr, bytes).await;
    }
}
