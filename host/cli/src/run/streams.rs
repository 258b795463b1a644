//! Where a provider's own words go while it runs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::host::Sink;
use tokio::sync::Notify;

use crate::output::{Format, complain_aside, print};
use crate::stderr;

/// Shows what a provider prints. Next to data on stdout there is room for nothing else, so that in those
/// forms all of it goes to stderr.
#[derive(Debug)]
pub(super) struct Streams {
    stdout: Place,
    stderr: Place,
    /// Where the last line has no end yet.
    unfinished: Option<Place>,
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
    /// Makes the streams that go with a form. `nobody_reads` is told when stdout takes no more.
    pub(super) fn new(format: Format, nobody_reads: Arc<Notify>) -> Self {
        let (stdout, stderr) = match format {
            Format::Table => (Place::Stdout, Place::Stderr),
            Format::Json | Format::Yaml => (Place::Stderr, Place::Stderr),
            Format::Quiet => (Place::Nowhere, Place::Nowhere),
        };
        Self { stdout, stderr, unfinished: None, nobody_reads, failed: None }
    }

    /// Returns why something that was to be shown is lost, once. That somebody stopped reading is no such reason.
    pub(super) fn take_failure(&mut self) -> Option<anyhow::Error> {
        self.failed.take()
    }

    /// Ends the last line on stdout, if it has no end: what follows there is a table.
    pub(super) async fn end_stdout_line(&mut self) {
        if self.unfinished == Some(Place::Stdout) {
            self.show(Place::Stdout, Bytes::from_static(b"\n")).await;
        }
    }

    /// Ends the last line on stderr, if it has no end. The log may have ended it already.
    pub(super) async fn end_stderr_line(&self) {
        if self.unfinished == Some(Place::Stderr) {
            let _gone = stderr::shared().end_line().await;
        }
    }

    async fn show(&mut self, place: Place, bytes: Bytes) {
        let Some(last) = bytes.last() else { return };
        let unfinished = (*last != b'\n').then_some(place);
        // Stays unset if this is dropped: a reader who is stuck here would not read the end of the line either.
        self.unfinished = None;
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
