//! What a child prints and logs: to whoever wants its prints, and into our logs.
//!
//! Four streams of a child end here (protocol spec 8): what it writes to its stderr, where log entries are told from
//! print; what it writes to its stdout after the handshake; and what it prints to both after its start, which its
//! library sends us. All of it is a stranger's text. Prints go where the plugin's specification says. Without such a
//! place they are logged like the rest: to `tracing` under one target, with the plugin's name beside it, in pieces of
//! bounded length, and nothing here keeps more than the line that is not finished yet.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use portcullis_goplugin::log::{Entry, Level};
use portcullis_goplugin::{Sink, Stdio};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tracing::field::display;
use tracing::{debug, error, info, trace, warn};

use crate::lock::lock;

/// The target of everything that a plugin says. Targets cannot be made at run time, so the plugin's
/// name is a field.
const TARGET: &str = "portcullis::plugin";

/// A line longer than this comes in pieces. A guess: no person reads a longer one, and a plugin that
/// never ends its line costs no more memory than this.
const LONGEST: usize = 8 << 10;

/// How long no print comes after the last one. A guess, some twenty times what one piece takes; too short, and the last
/// line is lost.
const MOMENT: Duration = Duration::from_millis(5);

/// The most bytes of a piece that [`Prints`] take.
const LARGEST: usize = 64 << 10;

/// Where one child's words go.
#[derive(Debug)]
pub(super) struct Words {
    plugin: PluginName,
    prints: Option<Arc<dyn Prints>>,
    /// Counts the pieces of print.
    printed: AtomicU64,
    /// What the child writes to its stdout, past its library.
    raw: Mutex<Lines>,
    stdout: Mutex<Lines>,
    stderr: Mutex<Lines>,
}

impl Words {
    /// Makes a place for the words of one plugin, and for its prints if nobody else takes them.
    pub(super) fn new(plugin: PluginName, prints: Option<Arc<dyn Prints>>) -> Self {
        let [raw, stdout, stderr] = Default::default();
        Self { plugin, prints, printed: AtomicU64::default(), raw, stdout, stderr }
    }

    /// Waits until the child has printed nothing for a moment, but no longer than this. If nobody reads its prints they
    /// are only logged, and a log may miss a line.
    pub(super) async fn settle(&self, most: Duration) {
        let Some(prints) = &self.prints else { return };
        let settled = async {
            loop {
                let before = self.printed.load(Ordering::Relaxed);
                prints.room().await;
                sleep(MOMENT).await;
                if self.printed.load(Ordering::Relaxed) == before {
                    break;
                }
            }
        };
        let _late = timeout(most, settled).await;
    }

    /// Hands a piece of print to who takes it, or logs the lines that it completes.
    fn print(&self, stream: PrintStream, piece: &[u8], unfinished: &Mutex<Lines>) {
        let Self { plugin, prints, printed, .. } = self;
        printed.fetch_add(1, Ordering::Relaxed);
        match prints {
            Some(prints) => prints.take(plugin, stream, Bytes::copy_from_slice(piece)),
            None => lock(unfinished).take(piece, |line| log_print(plugin, stream, line)),
        }
    }
}

/// Logs a line of print.
fn log_print(plugin: &PluginName, stream: PrintStream, line: &str) {
    let stream = match stream {
        PrintStream::Stdout => "stdout",
        PrintStream::Stderr => "stderr",
    };
    debug!(target: TARGET, %plugin, stream, "{line}");
}

/// Tells whether a line on stderr is print: it has neither the form of a log entry nor a level of its own. (That a
/// panic is an error was guessed from its words.)
fn is_print(entry: &Entry) -> bool {
    let Entry { level, message, .. } = entry;
    let tag = match level {
        Level::Debug => "[DEBUG]",
        Level::Error => "[ERROR]",
        Level::Trace | Level::Info | Level::Warn => return false,
    };
    !entry.is_structured && !message.starts_with(tag)
}

impl Sink for Words {
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        match &self.prints {
            Some(prints) => prints.room(),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn raw_stdout(&self, piece: &[u8]) {
        self.print(PrintStream::Stdout, piece, &self.raw);
    }

    fn log(&self, entry: Entry) {
        let Self { plugin, .. } = self;
        if let Some(prints) = self.prints.as_ref().filter(|_| is_print(&entry)) {
            let mut line = entry.message;
            if !entry.goes_on {
                line.push('\n');
            }
            let mut line = Bytes::from(line);
            while !line.is_empty() {
                prints.take(plugin, PrintStream::Stderr, line.split_to(line.len().min(LARGEST)));
            }
            return;
        }
        let Entry { level, message, target, timestamp, fields, .. } = entry;
        // A logger with the plugin's own name adds nothing.
        let module = target.as_deref().filter(|module| *module != plugin.as_str());
        let at = timestamp.as_deref();
        // The names of fields cannot be made at run time either.
        let fields = (!fields.is_empty()).then(|| display(Value::Object(fields.into_iter().collect())));
        match level {
            Level::Trace => trace!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Debug => debug!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Info => info!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Warn => warn!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Error => error!(target: TARGET, %plugin, module, at, fields, "{message}"),
        }
    }

    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        match stdio {
            Stdio::Stdout => self.print(PrintStream::Stdout, piece, &self.stdout),
            Stdio::Stderr => self.print(PrintStream::Stderr, piece, &self.stderr),
        }
    }
}

/// Hands over what the plugin never finished.
impl Drop for Words {
    fn drop(&mut self) {
        let Self { plugin, raw, stdout, stderr, .. } = self;
        let streams =
            [(raw, PrintStream::Stdout), (stdout, PrintStream::Stdout), (stderr, PrintStream::Stderr)];
        for (lines, stream) in streams {
            let lines = lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            lines.end(|line| log_print(plugin, stream, line));
        }
    }
}

/// One of a plugin's two streams of print, cut into lines.
#[derive(Debug, Default)]
struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes, cut anywhere, and hands over the lines that they complete.
    fn take(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = LONGEST - self.unfinished.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            let (length, skipped) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, 1),
                None => (window.len(), 0),
            };
            let (piece, rest) = bytes.split_at(length);
            self.unfinished.extend_from_slice(piece);
            bytes = rest.get(skipped..).unwrap_or_default();
            if skipped == 1 || self.unfinished.len() == LONGEST {
                line(&String::from_utf8_lossy(&self.unfinished));
                self.unfinished.clear();
            }
        }
    }

    /// Hands over what was never finished.
    fn end(&mut self, line: impl FnOnce(&str)) {
        if !self.unfinished.is_empty() {
            line(&String::from_utf8_lossy(&self.unfinished));
            self.unfinished.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_goplugin::log::LogReader;
    use tokio::time::Instant;

    use super::*;
    use crate::fake::Log;

    /// Keeps what it is brought.
    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<(PrintStream, Bytes)>>);

    #[async_trait::async_trait]
    impl Prints for Kept {
        async fn room(&self) {}

        fn take(&self, _: &PluginName, stream: PrintStream, piece: Bytes) {
            self.0.lock().unwrap().push((stream, piece));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_prints_are_those_that_nothing_follows() {
        let kept = Arc::new(Kept::default());
        let words = Arc::new(Words::new(PluginName::new("p"), Some(Arc::clone(&kept) as _)));
        let printing = |times: usize| {
            let words = Arc::clone(&words);
            tokio::spawn(async move {
                for _ in 0..times {
                    words.stdio(Stdio::Stdout, b"x");
                    sleep(MOMENT / 2).await;
                }
            })
        };
        let (begun, long) = (Instant::now(), Duration::from_secs(3600));
        let some = printing(100);
        tokio::task::yield_now().await;
        words.settle(long).await;
        assert!(some.is_finished() && begun.elapsed() < long);
        assert_eq!(kept.0.lock().unwrap().len(), 100);

        // One that has no last print is not waited for.
        let endless = printing(usize::MAX);
        let begun = Instant::now();
        words.settle(MOMENT * 10).await;
        assert_eq!(begun.elapsed(), MOMENT * 10);
        endless.abort();
    }

    #[test]
    fn a_line_on_stderr_is_print_unless_it_says_that_it_is_logged() {
        let kept = Arc::new(Kept::default());
        let words = Words::new(PluginName::new("p"), Some(Arc::clone(&kept) as _));
        let lines = concat!(
            "printed\n",
            "[DEBUG] logged\n",
            "[WARN] logged\n",
            "[ERROR] logged\n",
            "{\"@level\":\"debug\",\"@message\":\"logged\",\"@timestamp\":\"2026-01-01T00:00:00.000000Z\"}\n",
            "{\"@level\":\"error\",\"@message\":\"logged\"}\n",
            "{\"level\":\"of another log\"}\n",
            "panic: printed\n",
            "\tand what follows\n",
        );
        let mut reader = LogReader::new(1024);
        reader.read(lines.as_bytes(), |entry| words.log(entry));
        reader.finish(|entry| words.log(entry));
        words.raw_stdout(b"half");
        words.stdio(Stdio::Stdout, b"piece");
        words.stdio(Stdio::Stderr, b"piece");
        drop(words);
        let expected = [
            (PrintStream::Stderr, "printed\n"),
            (PrintStream::Stderr, "{\"level\":\"of another log\"}\n"),
            (PrintStream::Stderr, "panic: printed\n"),
            (PrintStream::Stderr, "\tand what follows\n"),
            (PrintStream::Stdout, "half"),
            (PrintStream::Stdout, "piece"),
            (PrintStream::Stderr, "piece"),
        ];
        let kept = kept.0.lock().unwrap();
        assert_eq!(*kept, expected.map(|(stream, text)| (stream, Bytes::from(text))));
    }

    #[test]
    fn what_nobody_takes_is_logged_wherever_it_was_printed() {
        let logged = Log::of(|| {
            let words = Words::new(PluginName::new("p"), None);
            words.raw_stdout(b"raw and ");
            words.stdio(Stdio::Stdout, b"sent\n");
            words.raw_stdout(b"whole\n");
            words.stdio(Stdio::Stderr, b"unfinished");
        });
        let line = |stream: &str, text: &str| format!("message={text} plugin=p stream={stream:?} ");
        let expected =
            [line("stdout", "sent"), line("stdout", "raw and whole"), line("stderr", "unfinished")];
        assert_eq!(logged, expected);
    }

    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.take(chunk, |line| found.push(line.to_owned()));
        }
        lines.end(|line| found.push(line.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn print_is_cut_into_lines_however_it_arrives() {
        check(&[b"one\ntwo\n"], &["one", "two"]);
        check(&[b"o", b"ne\n\nth", b"ree"], &["one", "", "three"]);
        check(&["\u{e9}\n".as_bytes().split_at(1).0, "\u{e9}\n".as_bytes().split_at(1).1], &["\u{e9}"]);
        check(&[b"\xff\n"], &["\u{fffd}"]);
        check(&[], &[]);
    }

    #[test]
    fn a_line_that_never_ends_comes_in_pieces() {
        let long = "x".repeat(2 * LONGEST + 5);
        let pieces = [&long[..LONGEST], &long[..LONGEST], "xxxxx"];
        check(&[long.as_bytes()], &pieces);
        check(&long.as_bytes().chunks(1000).collect::<Vec<_>>(), &pieces);
    }
}
