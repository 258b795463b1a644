//! Stderr: one thread writes everything that goes there, in the order in which it came. Only the redrawing of
//! [progress bars](crate::progress) goes past it.
//!
//! So nothing on the runtime blocks in a write to a slow reader, where it would hear no signal. The queue is bounded
//! all the same: errors wait until they are written, and plugins that print wait for [room](Prints::room), so a slow
//! reader slows down them alone. Lines of the log come from code that cannot wait; they may fill the queue further than
//! plugins may, and those that find it full are left out and counted. When the reader is gone, everything is dropped.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use tokio::runtime;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;
use crate::output;

mod lines;
mod page;

use page::Page;

/// How many bytes may be queued before plugins that print have to wait. A guess: a terminal takes it in a blink.
const ROOM: usize = 256 << 10;

/// How many bytes may be queued before lines of the log are left out. A guess: far more than plugins may fill, so that
/// the host's own lines find room behind theirs.
const LOG_ROOM: usize = 4 * ROOM;

/// How long a line that a plugin has begun waits for its end. A guess: the pieces of a line follow each other within a
/// millisecond, and nobody minds to see a question so much later.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of what a plugin writes to its stderr is remembered. More than a backend keeps for an error.
const TAIL: usize = 8 << 10;

/// The one of this process, once there is something to write.
static SHARED: OnceLock<Arc<Stderr>> = OnceLock::new();

/// Returns the one of this process.
pub(crate) fn shared() -> &'static Arc<Stderr> {
    SHARED.get_or_init(|| Arc::new(Stderr::to(write)))
}

/// Returns the one of this process if anything waits to be written.
pub(crate) fn unwritten() -> Option<&'static Arc<Stderr>> {
    SHARED.get().filter(|stderr| !stderr.is_written())
}

/// Ends the lines that plugins began, if anything was ever written. What it returns resolves when that is done.
pub(crate) fn end_prints() -> Option<oneshot::Receiver<()>> {
    SHARED.get().map(|stderr| stderr.end_prints())
}

/// Returns whether these words are the last that some plugin wrote to its stderr, and so were shown already.
pub(crate) fn has_shown(words: &str) -> bool {
    SHARED.get().is_some_and(|stderr| stderr.has_shown(words))
}

/// Formats a line of the log that says how many were left out.
pub(crate) type Note = fn(u64) -> String;

/// The sender to the thread that writes.
#[derive(Debug)]
pub(crate) struct Stderr {
    jobs: mpsc::UnboundedSender<Job>,
    waiting: Arc<Waiting>,
    left_out: Mutex<Option<LeftOut>>,
    /// The last of what each plugin wrote to its stderr.
    tails: Mutex<HashMap<PluginName, Vec<u8>>>,
}

/// How many bytes are queued.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    less: Notify,
}

/// How many lines of the log were left out since the last job.
#[derive(Debug)]
struct LeftOut {
    lines: u64,
    note: Note,
}

enum Job {
    /// What a plugin printed.
    Piece(PluginName, PrintStream, Bytes),
    /// A line of the log.
    Line(Vec<u8>),
    /// Any other text. The sender fires when it is written.
    Text(Vec<u8>, oneshot::Sender<()>),
    /// Ends unfinished lines. The sender fires when that is written.
    End(Unfinished, oneshot::Sender<()>),
    /// Something that draws on the terminal itself.
    Drawing(Box<dyn FnOnce() + Send>),
}

/// Which lines are to end.
#[derive(Clone, Copy)]
enum Unfinished {
    Any,
    Prints,
    /// Our question's: the person's Enter has ended it.
    Question,
}

impl Stderr {
    /// Starts the thread. It ends with the sender, or with the process if a write blocks.
    fn to(write: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let writing = {
            let waiting = Arc::clone(&waiting);
            move || write_all(queue, &waiting, write)
        };
        // If it does not start, the queue is closed from the beginning.
        let _thread = thread::Builder::new().name("stderr".to_owned()).spawn(writing);
        Self { jobs, waiting, left_out: Mutex::default(), tails: Mutex::default() }
    }

    /// Queues a line of the log without waiting. If the queue is full the line is left out, and `note` stands in its
    /// place.
    pub(crate) fn log(&self, line: Vec<u8>, note: Note) {
        if self.waiting.bytes.load(Ordering::Acquire) < LOG_ROOM {
            self.send(Job::Line(line));
            return;
        }
        let mut left_out = lock(&self.left_out);
        left_out.get_or_insert(LeftOut { lines: 0, note }).lines += 1;
    }

    /// Queues a text, which may be empty. The receiver resolves when the text and everything before it are written.
    pub(crate) fn text(&self, text: Vec<u8>) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        self.send(Job::Text(text, done));
        written
    }

    /// Queues something that draws: it runs on the thread that writes, after everything before it.
    pub(crate) fn draw(&self, drawing: impl FnOnce() + Send + 'static) {
        self.send(Job::Drawing(Box::new(drawing)));
    }

    /// Ends an unfinished line, whoever began it.
    pub(crate) fn end_line(&self) -> oneshot::Receiver<()> {
        self.end(Unfinished::Any)
    }

    /// Ends the lines that plugins began.
    fn end_prints(&self) -> oneshot::Receiver<()> {
        self.end(Unfinished::Prints)
    }

    /// Marks the line of a question as ended: the person who answered pressed Enter.
    pub(crate) fn answered(&self) -> oneshot::Receiver<()> {
        self.end(Unfinished::Question)
    }

    fn end(&self, which: Unfinished) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        self.send(Job::End(which, done));
        written
    }

    fn has_shown(&self, words: &str) -> bool {
        let tails = lock(&self.tails);
        let ends = |tail: &Vec<u8>| String::from_utf8_lossy(tail).trim_end().ends_with(words.trim_end());
        !words.is_empty() && tails.values().any(ends)
    }

    fn remember(&self, plugin: &PluginName, piece: &[u8]) {
        let mut tails = lock(&self.tails);
        let tail = tails.entry(plugin.clone()).or_default();
        tail.extend_from_slice(piece);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }

    fn is_written(&self) -> bool {
        let left_out = lock(&self.left_out);
        left_out.is_none() && self.waiting.bytes.load(Ordering::Acquire) == 0
    }

    fn send(&self, job: Job) {
        // Locked to the end, so that nothing comes between the note and the job.
        let mut left_out = lock(&self.left_out);
        if let Some(LeftOut { lines, note }) = left_out.take() {
            self.hand_over(Job::Line(note(lines).into_bytes()));
        }
        self.hand_over(job);
    }

    fn hand_over(&self, job: Job) {
        let size = job.size();
        self.waiting.bytes.fetch_add(size, Ordering::AcqRel);
        let Err(SendError(job)) = self.jobs.send(job) else { return };
        self.waiting.take_away(size);
        // Without a thread, why a command failed is written all the same, and what plugins and the log say of that.
        write(&alone(job));
    }
}

impl Waiting {
    fn take_away(&self, size: usize) {
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.less.notify_waiters();
    }
}

impl Job {
    /// Returns its share of the queue in bytes. Ending a line and drawing count as one.
    fn size(&self) -> usize {
        match self {
            Self::Piece(_, _, piece) => piece.len(),
            Self::Line(text) | Self::Text(text, _) => text.len(),
            Self::End(..) | Self::Drawing(_) => 1,
        }
    }
}

#[async_trait]
impl Prints for Stderr {
    async fn room(&self) {
        loop {
            let less = self.waiting.less.notified();
            // Created before the check: `notify_waiters` reaches it from here on.
            if self.waiting.bytes.load(Ordering::Acquire) < ROOM || self.jobs.is_closed() {
                return;
            }
            less.await;
        }
    }

    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes) {
        if stream == PrintStream::Stderr {
            self.remember(plugin, &piece);
        }
        self.send(Job::Piece(plugin.clone(), stream, piece));
    }
}

/// What plugins print. The thread is started when one does: most print nothing.
#[derive(Debug)]
pub(crate) struct PluginPrints;

#[async_trait]
impl Prints for PluginPrints {
    async fn room(&self) {
        if let Some(stderr) = SHARED.get() {
            stderr.room().await;
        }
    }

    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes) {
        shared().take(plugin, stream, piece);
    }
}

/// Returns what a job writes where none is before it and none after it.
fn alone(job: Job) -> Vec<u8> {
    let mut page = Page::default();
    match job {
        Job::Piece(plugin, stream, piece) => {
            page.print((plugin, stream), &piece);
            page.end_prints();
        }
        Job::Line(line) => page.log(&line),
        Job::Text(text, _) => page.say(&text),
        Job::End(..) | Job::Drawing(_) => {}
    }
    page.turn()
}

/// Writes one job after the other, and all that are queued at once.
fn write_all(mut jobs: mpsc::UnboundedReceiver<Job>, waiting: &Waiting, mut write: impl FnMut(&[u8])) {
    let mut page = Page::default();
    let clock = runtime::Builder::new_current_thread().enable_time().build();
    loop {
        let due = page.since().map(|since| Instant::from(since) + PAUSE);
        let job = match clock.as_ref().ok().zip(due) {
            Some((clock, due)) => clock.block_on(async { timeout_at(due, jobs.recv()).await }),
            None => Ok(jobs.blocking_recv()),
        };
        let mut next = match job {
            Ok(None) => break,
            Ok(job) => job,
            Err(_elapsed) => None,
        };
        let (mut taken, mut told) = (0, Vec::new());
        while let Some(job) = next {
            taken += job.size();
            match job {
                Job::Piece(plugin, stream, piece) => page.print((plugin, stream), &piece),
                Job::Line(line) => page.log(&line),
                Job::Text(text, done) => {
                    page.say(&text);
                    told.push(done);
                }
                Job::End(which, done) => {
                    match which {
                        Unfinished::Any => page.end_line(),
                        Unfinished::Prints => page.end_prints(),
                        Unfinished::Question => page.answered(),
                    }
                    told.push(done);
                }
                Job::Drawing(draw) => {
                    write(&page.turn());
                    draw();
                }
            }
            next = if page.len() < ROOM { jobs.try_recv().ok() } else { None };
        }
        page.go_on(PAUSE);
        write(&page.turn());
        waiting.take_away(taken);
        for done in told {
            let _nobody_waits = done.send(());
        }
    }
}

/// Writes to stderr. Errors are ignored: there is nowhere to report them.
fn write(text: &[u8]) {
    let _ = output::write_all(io::stderr().lock(), text);
}

#[cfg(test)]
mod tests;
