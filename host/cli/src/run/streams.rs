//! Where a provider's own words go while it runs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::host::Sink;
use tokio::sync::Notify;

use super::tame::Tame;
use crate::output::{Format, complain_aside, print};
use crate::stderr;

/// Shows what a provider prints. Next to data on stdout there is room for nothing else, so that in those
/// forms all of it goes to stderr.
#[derive(Debug)]
pub(super) struct Streams {
    stdout: Place,
    stderr: Place,
    /// Where the last line has no end yet: on stdout, and on stderr.
    unfinished: [bool; 2],
    /// What passes to them, where they are terminals.
    tame: [Option<Tame>; 2],
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

impl Streams {
    /// Makes the streams that go with a form, where stdout and stderr may be terminals. `nobody_reads` is told when stdout
    /// takes no more.
    pub(super) fn new(format: Format, terminals: [bool; 2], nobody_reads: Arc<Notify>) -> Self {
        let (stdout, stderr) = match format {
            Format::Table => (Place::Stdout, Place::Stderr),
            Format::Json | Format::Yaml => (Place::Stderr, Place::Stderr),
            Format::Quiet => (Place::Nowhere, Place::Nowhere),
        };
        let tame = terminals.map(|is_terminal| is_terminal.then(Tame::default));
        Self { stdout, stderr, unfinished: [false; 2], tame, nobody_reads, failed: None }
    }

    /// Returns why something that was to be shown is lost, once. That somebody stopped reading is no such reason.
    pub(super) fn take_failure(&mut self) -> Option<anyhow::Error> {
        self.failed.take()
    }

    /// Ends the last line on stdout, if it has no end: what follows there is a table.
    pub(super) async fn end_stdout_line(&mut self) {
        self.end(Place::Stdout).await;
        if self.unfinished[0] {
            self.write(Place::Stdout, Bytes::from_static(b"\n")).await;
        }
    }

    /// Ends what was shown on stderr and, if more follows there, its last line. The log may have ended that already.
    pub(super) async fn end_stderr(&mut self, more_follows: bool) {
        self.end(Place::Stderr).await;
        if more_follows && self.unfinished[1] {
            let _gone = stderr::shared().end_line().await;
        }
    }

    /// Shows what is left of a stream, of which no more comes.
    async fn end(&mut self, place: Place) {
        if let Some(left) = self.tame(place).map(Tame::end) {
            // What only changes colours begins no line.
            let unfinished = left.starts_with('\u{1b}').then_some(self.unfinished);
            self.write(place, left.into()).await;
            self.unfinished = unfinished.unwrap_or(self.unfinished);
        }
    }

    fn tame(&mut self, place: Place) -> Option<&mut Tame> {
        let [stdout, stderr] = &mut self.tame;
        match place {
            Place::Stdout => stdout.as_mut(),
            Place::Stderr => stderr.as_mut(),
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
        let [stdout, stderr] = self.unfinished;
        // The end of a line on a screen is that of every line there.
        let apart = !matches!(self.tame, [Some(_), Some(_)]);
        let unfinished = match place {
            Place::Nowhere => return,
            Place::Stdout => [is_unfinished, stderr && apart],
            Place::Stderr => [stdout && apart, is_unfinished],
        };
        // Stays unset if this is dropped: a reader who is stuck here would not read the end of the line either.
        self.unfinished = [false; 2];
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
        self.unfinished = unfinished;
    }
}

#[async_trait]
impl Sink for Streams {
    async fn stdout(&mut self, bytes: Bytes) {
        self.show(self.stdout, bytes).await;
    }

    async fn stderr(&mut self, bytes: Bytes) {
        self.show(self.stderr, bytes).await;
    }
}
