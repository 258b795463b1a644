//! What a guest prints and logs, passed to whoever takes its prints, and to our own log.
//!
//! Beside its result a guest has three ways to speak: its standard streams, the interface `log`, and the chunks of a
//! streaming call. All of them count against one limit, past which the call ends. Its prints go where the plugin's
//! specification says, or else are logged line by line under the plugin's name. The last of stderr is kept, too,
//! because a guest that traps leaves no other word behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::FutureExt as _;
use portcullis_contract::{Chunk, LimitHit, LimitName, PluginName, PrintStream, Prints, tree};
use serde_json::Value;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use crate::component::bindings::portcullis::plugin::log::{Host as LogHost, Level};
use crate::component::bindings::portcullis::plugin::output::{Channel, Host as OutputHost, WriteError};
use crate::component::state::State;
use crate::lock::lock;

/// How much of a guest's stderr is kept for the error that may follow.
const LAST_WORDS: usize = 4 << 10;
/// The longest line that is logged in one piece.
const LINE: usize = 8 << 10;
/// What a stream takes at once.
const PERMIT: usize = 64 << 10;

/// What the guest of one call has printed so far. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Printed {
    inner: Arc<Mutex<Inner>>,
    prints: Option<Arc<dyn Prints>>,
}

#[derive(Debug)]
struct Inner {
    plugin: PluginName,
    limit: u64,
    used: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    last_words: VecDeque<u8>,
}

impl Printed {
    pub(crate) fn new(plugin: PluginName, prints: Option<Arc<dyn Prints>>, limit: Option<u64>) -> Self {
        let inner = Inner {
            plugin,
            limit: limit.unwrap_or(u64::MAX),
            used: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            last_words: VecDeque::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), prints }
    }

    /// Forgets what earlier calls printed.
    pub(crate) fn restart(&self) {
        let mut inner = self.lock();
        inner.used = 0;
        inner.last_words.clear();
    }

    /// Counts bytes that were said in some way.
    pub(crate) fn count(&self, bytes: usize) -> Result<(), LimitHit> {
        self.lock().count(bytes)
    }

    /// Waits until the prints can be taken. A guest that waits here uses no processor time, and its deadline goes on.
    async fn room(&self) {
        if let Some(prints) = &self.prints {
            prints.room().await;
        }
    }

    /// Counts a line for the log: one byte more than it says, so that empty ones are not free.
    fn count_line(&self, words: usize) -> Result<(), LimitHit> {
        self.count(words.saturating_add(1))
    }

    /// Logs lines that were begun and not ended.
    pub(crate) fn flush(&self) {
        let mut inner = self.lock();
        for stream in [PrintStream::Stdout, PrintStream::Stderr] {
            inner.end_line(stream);
        }
    }

    /// Returns the last of what went to stderr.
    pub(crate) fn last_words(&self) -> String {
        let mut inner = self.lock();
        let kept = String::from_utf8_lossy(inner.last_words.make_contiguous());
        kept.trim_start_matches(char::REPLACEMENT_CHARACTER).trim_end().to_owned()
    }

    /// Returns the guest's stdout.
    pub(crate) fn stdout(&self) -> GuestStream {
        GuestStream { printed: self.clone(), stream: PrintStream::Stdout, permitted: 0 }
    }

    /// Returns the guest's stderr.
    pub(crate) fn stderr(&self) -> GuestStream {
        GuestStream { printed: self.clone(), stream: PrintStream::Stderr, permitted: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn count(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.used = self.used.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        LimitHit::check(LimitName::Output, self.used, self.limit)
    }

    fn keep_last_words(&mut self, bytes: &[u8]) {
        let kept = bytes.get(bytes.len().saturating_sub(LAST_WORDS)..).unwrap_or_default();
        self.last_words.extend(kept);
        let surplus = self.last_words.len().saturating_sub(LAST_WORDS);
        self.last_words.drain(..surplus);
    }

    fn log(&mut self, stream: PrintStream, bytes: &[u8]) {
        if !tracing::enabled!(target: "portcullis::plugin", tracing::Level::DEBUG) {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            for part in text.chunks(LINE) {
                let line = self.line(stream);
                let full = line.len().saturating_add(part.len()) > LINE;
                if full {
                    self.end_line(stream);
                }
                self.line(stream).extend_from_slice(part);
            }
            if ended {
                self.end_line(stream);
            }
        }
    }

    fn line(&mut self, stream: PrintStream) -> &mut Vec<u8> {
        match stream {
            PrintStream::Stdout => &mut self.stdout,
            PrintStream::Stderr => &mut self.stderr,
        }
    }

    fn end_line(&mut self, stream: PrintStream) {
        let line = std::mem::take(self.line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        if text.is_empty() {
            return;
        }
        let stream = match stream {
            PrintStream::Stdout => "stdout",
            PrintStream::Stderr => "stderr",
        };
        tracing::debug!(target: "portcullis::plugin", plugin = %self.plugin, stream, "{text}");
    }
}

/// One of a guest's standard streams.
#[derive(Clone, Debug)]
pub(crate) struct GuestStream {
    printed: Printed,
    stream: PrintStream,
    /// How many bytes it may write now. Only enforced where somebody takes the prints.
    permitted: usize,
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and no guest of it is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {
        self.printed.room().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let Self { printed: Printed { inner, prints }, stream, permitted } = self;
        let mut inner = lock(inner);
        inner.count(bytes.len()).map_err(|hit| StreamError::Trap(hit.into()))?;
        if *stream == PrintStream::Stderr {
            inner.keep_last_words(&bytes);
        }
        let Some(prints) = prints else {
            inner.log(*stream, &bytes);
            return Ok(());
        };
        let Some(left) = permitted.checked_sub(bytes.len()) else {
            // No guest that is built with a library does this.
            let printed = bytes.len();
            let said = format!("the guest printed {printed} bytes and was permitted {permitted}");
            return Err(StreamError::trap(&said));
        };
        *permitted = left;
        if !bytes.is_empty() {
            prints.take(&inner.plugin, *stream, bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        let room = self.printed.prints.as_ref().is_none_or(|prints| prints.room().now_or_never().is_some());
        self.permitted = if room { PERMIT } else { 0 };
        Ok(self.permitted)
    }
}

impl OutputHost for State {
    async fn write(&mut self, channel: Channel, chunk: Vec<u8>) -> wasmtime::Result<Result<(), WriteError>> {
        let Some(reader) = self.output() else { return Ok(Err(WriteError::Closed)) };
        self.printed().count(chunk.len())?;
        if chunk.is_empty() {
            return Ok(Ok(()));
        }
        let chunk = match channel {
            Channel::Stdout => Chunk::Stdout(chunk.into()),
            Channel::Stderr => Chunk::Stderr(chunk.into()),
        };
        Ok(reader.send(chunk).await.map_err(|_| WriteError::Closed))
    }
}

impl LogHost for State {
    async fn write(&mut self, level: Level, message: String, fields: String) -> wasmtime::Result<()> {
        let printed = self.printed().clone();
        printed.count_line(message.len().saturating_add(fields.len()))?;
        // The log waits for the reader of the prints, as a child's log does, which comes over its standard error.
        printed.room().await;
        let plugin = self.plugin();
        macro_rules! log {
            ($level:ident) => {
                tracing::event!(
                    target: "portcullis::plugin",
                    tracing::Level::$level,
                    %plugin,
                    fields = shown(&fields).map(display),
                    "{message}"
                )
            };
        }
        match level {
            Level::Trace => log!(TRACE),
            Level::Debug => log!(DEBUG),
            Level::Info => log!(INFO),
            Level::Warn => log!(WARN),
            Level::Error => log!(ERROR),
        }
        Ok(())
    }
}

/// Returns fields in the form in which a child's are shown. What is no object stays as it is.
fn shown(fields: &str) -> Option<String> {
    match tree(fields) {
        Ok(Value::Object(read)) if read.is_empty() => None,
        Ok(Value::Object(read)) => Some(Value::Object(read).to_string()),
        Ok(_) | Err(_) => Some(fields.to_owned()).filter(|fields| !fields.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Amount;

    use super::*;

    fn printed(limit: u64) -> Printed {
        Printed::new(PluginName::new("p"), None, Some(limit))
    }

    #[test]
    fn what_is_printed_is_allowed_up_to_the_limit_and_not_a_byte_more() {
        let printed = printed(10);
        assert!(printed.stdout().write(Bytes::from_static(b"12345")).is_ok());
        assert!(printed.stderr().write(Bytes::from_static(b"67890")).is_ok());
        let hit = printed.count(1).unwrap_err();
        assert_eq!((hit.which, hit.asked), (LimitName::Output, Amount::Bytes(11)));

        printed.restart();
        assert!(printed.count(10).is_ok());
    }

    /// `serde_json` would show what the text says.
    #[test]
    fn fields_are_shown_as_they_are() {
        let hidden = r#"{"x":{"$serde_json::private::RawValue":"[1]"}}"#;
        assert_eq!(shown(hidden).as_deref(), Some(hidden));
        assert_eq!(shown(r#"{ "a": 1 }"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!((shown("[1]").as_deref(), shown("{}"), shown("")), (Some("[1]"), None, None));
    }

    #[test]
    fn lines_of_nothing_come_to_an_end_too() {
        let printed = printed(10);
        assert_eq!((0..20).take_while(|_| printed.count_line(0).is_ok()).count(), 10);
    }

    #[test]
    fn the_last_words_are_the_end_of_stderr() {
        let printed = printed(u64::MAX);
        printed.stdout().write(Bytes::from_static(b"not this")).unwrap();
        printed.stderr().write(Bytes::from(vec![b'a'; 3 * LAST_WORDS])).unwrap();
        printed.stderr().write(Bytes::from_static(b"the end\n")).unwrap();
        let words = printed.last_words();
        assert!(words.ends_with("aathe end"), "{words}");
        assert!(words.len() <= LAST_WORDS);
    }
}
