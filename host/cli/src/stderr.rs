//! Where what plugins print of their own accord goes: to stderr, as it appears, each line under its plugin's name.
//!
//! Stdout is for data, so that nothing of it goes there. It is a stranger's text: what could move a cursor is made
//! visible, and a line that somebody begins says whose it is. One task writes, beside the runtime, so that a slow
//! reader slows down who prints and nobody else; what waits for it is bounded. When nobody reads any more it goes
//! nowhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::output::complain;

mod lines;

use lines::Lines;

/// How much may wait to be written before those who print have to. A guess: a terminal takes it in a blink.
const ROOM: usize = 256 << 10;

/// The end of the queue that plugins print to.
#[derive(Debug)]
struct Queue {
    sender: mpsc::UnboundedSender<Job>,
    waiting: Arc<Waiting>,
}

/// How much waits.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    less: Notify,
}

enum Job {
    Piece(PluginName, PrintStream, Bytes),
    /// Everything before it is to be written, and then this is told.
    Flush(oneshot::Sender<()>),
}

/// Writes what plugins print, until it is dropped.
#[derive(Debug)]
pub(crate) struct Printing {
    queue: Arc<Queue>,
    writer: JoinHandle<()>,
}

impl Printing {
    /// Begins.
    pub(crate) fn start() -> Self {
        Self::to(complain)
    }

    fn to(write: impl Fn(&[u8]) + Clone + Send + 'static) -> Self {
        let (sender, jobs) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let writer = tokio::spawn(write_all(jobs, Arc::clone(&waiting), write));
        Self { queue: Arc::new(Queue { sender, waiting }), writer }
    }

    /// Returns where plugins print to.
    pub(crate) fn prints(&self) -> Arc<dyn Prints> {
        Arc::clone(&self.queue) as _
    }

    /// Waits until all that came so far is written, and ends a line that has no end.
    pub(crate) async fn finish(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.sender.send(Job::Flush(done)).is_ok() {
            // A writer that panicked writes no more.
            let _gone = written.await;
        }
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

#[async_trait]
impl Prints for Queue {
    async fn room(&self) {
        loop {
            let less = self.waiting.less.notified();
            // From here on no news is missed: what is taken away later is told to who waits already.
            if self.waiting.bytes.load(Ordering::Acquire) < ROOM || self.sender.is_closed() {
                return;
            }
            less.await;
        }
    }

    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes) {
        self.waiting.bytes.fetch_add(piece.len(), Ordering::AcqRel);
        // A writer that is gone takes nothing, and leaves room for all that is lost.
        let _gone = self.sender.send(Job::Piece(plugin.clone(), stream, piece));
    }
}

/// Writes piece after piece, and as many at once as have come.
async fn write_all(
    mut jobs: mpsc::UnboundedReceiver<Job>,
    waiting: Arc<Waiting>,
    write: impl Fn(&[u8]) + Clone + Send + 'static,
) {
    let mut lines = HashMap::<(PluginName, PrintStream), Lines>::new();
    let mut unfinished: Option<(PluginName, PrintStream)> = None;
    while let Some(job) = jobs.recv().await {
        let (mut text, mut taken, mut flushed) = (String::new(), 0, Vec::new());
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Piece(plugin, stream, piece) => {
                    taken += piece.len();
                    let origin = (plugin, stream);
                    if unfinished.as_ref().is_some_and(|other| *other != origin) {
                        // Somebody else's line would go on with this one's.
                        text.push('\n');
                        if let Some(lines) = unfinished.take().and_then(|other| lines.get_mut(&other)) {
                            lines.interrupt();
                        }
                    }
                    let lines = lines.entry(origin.clone()).or_insert_with(|| Lines::of(&origin.0));
                    lines.take(&piece, &mut text);
                    unfinished = lines.is_unfinished().then_some(origin);
                }
                Job::Flush(done) => {
                    for lines in lines.values_mut() {
                        lines.finish(&mut text);
                    }
                    unfinished = None;
                    flushed.push(done);
                }
            }
            next = if text.len() < ROOM { jobs.try_recv().ok() } else { None };
        }
        let write = write.clone();
        // Whether it could be written is told to nobody: what nobody can read is lost.
        let _ = spawn_blocking(move || write(text.as_bytes())).await;
        waiting.bytes.fetch_sub(taken, Ordering::AcqRel);
        waiting.less.notify_waiters();
        for done in flushed {
            let _nobody_waits = done.send(());
        }
    }
}

#[cfg(test)]
mod tests;
