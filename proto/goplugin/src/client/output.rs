//! What a child writes to its two pipes.
//!
//! Both are read as bytes from the first moment until their end, whatever comes: a child whose pipe is
//! full stops. Standard output carries the one line and then nothing that anybody asked for. An end
//! of the child bounds the end of its pipes: a descendant that still holds one is not waited for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::FIRST_LINE;
use crate::Sink;
use crate::log::LogReader;
use crate::transport::Ended;

/// How much of the end of standard error is kept for errors.
const TAIL: usize = 4 * 1024;

/// How much is read at once. A guess; a smaller one costs more calls, and never more than that.
const CHUNK: usize = 8 * 1024;

/// How long pipes are read after the child's end. What it wrote itself is in them by then.
const DRAIN: Duration = Duration::from_millis(100);

/// What the child wrote to its standard output first.
#[derive(Debug)]
pub(super) enum FirstLine {
    /// A line, or what there was of one when the output ended.
    Whole(Vec<u8>),
    /// The beginning of a line that has no end.
    Endless(Vec<u8>),
}

impl Default for FirstLine {
    fn default() -> Self {
        Self::Whole(Vec::new())
    }
}

/// Reads standard output to its end: the first line for `first`, and the rest for nobody.
pub(super) async fn read_stdout(
    pipe: OwnedFd,
    ended: Ended,
    first: oneshot::Sender<FirstLine>,
) -> io::Result<()> {
    let mut pipe = Pipe::new(pipe, ended)?;
    let mut line = Vec::new();
    let first_line = loop {
        let chunk = pipe.read().await;
        let (head, whole) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (chunk.get(..end).unwrap_or_default(), true),
            None => (chunk, chunk.is_empty()),
        };
        line.extend_from_slice(head);
        if line.len() >= FIRST_LINE {
            break FirstLine::Endless(line);
        }
        if whole {
            break FirstLine::Whole(line);
        }
    };
    // A start that was given up does not listen any more.
    let _given_up = first.send(first_line);
    while !pipe.read().await.is_empty() {}
    Ok(())
}

/// Reads standard error to its end, for the sink and for the tail.
pub(super) async fn read_stderr(
    pipe: OwnedFd,
    ended: Ended,
    line_limit: usize,
    sink: Arc<dyn Sink>,
    tail: Tail,
) -> io::Result<()> {
    let mut pipe = Pipe::new(pipe, ended)?;
    let mut log = LogReader::new(line_limit);
    loop {
        let chunk = pipe.read().await;
        if chunk.is_empty() {
            log.finish(|entry| sink.log(entry));
            return Ok(());
        }
        tail.push(chunk);
        sink.raw_stderr(chunk);
        log.read(chunk, |entry| sink.log(entry));
    }
}

/// A pipe that ends no later than shortly after the child.
struct Pipe {
    pipe: Receiver,
    ended: Ended,
    /// When reading stops, known from the child's end on.
    until: Option<Instant>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn new(pipe: OwnedFd, ended: Ended) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, ended, until: None, buffer: vec![0; CHUNK] })
    }

    /// Returns the next bytes, or none at the end.
    async fn read(&mut self) -> &[u8] {
        if self.until.is_none() && self.ended.has_come() {
            self.until = Some(Instant::now() + DRAIN);
        }
        if self.until.is_some_and(|until| until <= Instant::now()) {
            // Who still writes has left the group, and may do so for ever.
            return &[];
        }
        let (ended, until) = (self.ended.clone(), self.until);
        let over = async move {
            let until = match until {
                Some(until) => until,
                None => {
                    ended.wait().await;
                    Instant::now() + DRAIN
                }
            };
            sleep_until(until).await;
        };
        let read = tokio::select! {
            // What is there is read first.
            biased;
            read = self.pipe.read(&mut self.buffer) => read.unwrap_or_default(),
            () = over => 0,
        };
        self.buffer.get(..read).unwrap_or_default()
    }
}

/// The end of what was written to standard error.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    fn push(&self, chunk: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(chunk);
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..surplus);
    }

    /// Returns it as text. A first line that is cut is left out, unless it is all there is.
    pub(super) fn text(&self) -> String {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whole = tail.as_slice();
        if tail.len() == TAIL
            && let Some(end) = tail.iter().position(|byte| *byte == b'\n').filter(|end| end + 1 < tail.len())
        {
            whole = tail.get(end + 1..).unwrap_or_default();
        }
        String::from_utf8_lossy(whole).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], expected: &str) {
        let tail = Tail::default();
        for chunk in chunks {
            tail.push(chunk.as_bytes());
        }
        assert_eq!(tail.text(), expected);
    }

    #[test]
    fn the_tail_is_the_last_whole_lines() {
        check(&[], "");
        check(&["one\n", "two"], "one\ntwo");
        let line = format!("{}\n", "x".repeat(999));
        check(&[&line, &line, &line, &line, &line, "end"], &format!("{0}{0}{0}{0}end", line));
        let endless = "y".repeat(TAIL);
        check(&["lost", &endless], &endless);
    }
}
