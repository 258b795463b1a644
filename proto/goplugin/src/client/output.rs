//! What a child writes to its two pipes.
//!
//! Both are read as bytes, from the beginning to their end, whatever comes: a child whose pipe is full blocks.
//! Standard output carries the one line, and after that nothing that the protocol has a use for. Shortly after the
//! child ends, reading ends, too: a descendant that still holds a pipe is not waited for.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::FIRST_LINE;
use crate::lock::lock;
use crate::log::{Entry, Level, LogReader};
use crate::transport::Ended;
use crate::{Discard, Sink};

/// How much of the end of standard error is kept for errors.
const TAIL: usize = 4 * 1024;

/// How much is read at once. A guess; a smaller one costs more calls, and never more than that.
const CHUNK: usize = 8 * 1024;

/// How many pieces of an ended child's pipe are read without room in the sink, or after [`DRAIN`]: as much as a pipe
/// holds.
const LEFT: usize = 64 * 1024 / CHUNK;

/// How long pipes are read after the child's end. What it wrote itself is in them by then.
const DRAIN: Duration = Duration::from_millis(100);

/// How long such a piece is waited for after [`DRAIN`]: it is in the pipe, and the runtime has yet to see it. A guess.
const GLANCE: Duration = Duration::from_millis(10);

/// What the child wrote to its standard output first.
#[derive(Debug)]
pub(super) enum FirstLine {
    /// A line, or what there was of one when the output ended.
    Whole(Vec<u8>),
    /// The beginning of a line that has no end.
    Endless(Vec<u8>),
}

impl FirstLine {
    /// Returns what there is of it.
    pub(super) fn into_text(self) -> String {
        let (Self::Whole(line) | Self::Endless(line)) = self;
        String::from_utf8_lossy(&line).into_owned()
    }
}

impl Default for FirstLine {
    fn default() -> Self {
        Self::Whole(Vec::new())
    }
}

/// Reads standard output to its end: the first line for `first`, and the rest for nobody but the sink.
pub(super) async fn read_stdout(
    pipe: OwnedFd,
    ended: Ended,
    first: oneshot::Sender<FirstLine>,
    sink: Arc<dyn Sink>,
) -> io::Result<()> {
    let mut pipe = Pipe::new(pipe, ended)?;
    let mut line = Vec::new();
    let (first_line, rest) = loop {
        // This line is for us: a start does not wait for room in the sink.
        let chunk = pipe.read(&Discard).await;
        let (head, rest) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (chunk.get(..end).unwrap_or_default(), chunk.get(end + 1..)),
            // At the end of the output, what there is of a line is one.
            None => (chunk, chunk.is_empty().then_some(chunk)),
        };
        line.extend_from_slice(head);
        if line.len() >= FIRST_LINE {
            break (FirstLine::Endless(line), rest.unwrap_or_default());
        }
        if let Some(rest) = rest {
            break (FirstLine::Whole(line), rest);
        }
    };
    let (FirstLine::Whole(line) | FirstLine::Endless(line)) = &first_line;
    if !line.is_empty() {
        sink.first_line(&String::from_utf8_lossy(line));
    }
    if !rest.is_empty() {
        sink.raw_stdout(rest);
    }
    // If the start was dropped, nobody receives this.
    let _given_up = first.send(first_line);
    loop {
        match pipe.read(sink.as_ref()).await {
            [] => return Ok(()),
            piece => sink.raw_stdout(piece),
        }
    }
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
    let take = |entry: Entry| {
        tail.push(&entry);
        sink.log(entry);
    };
    loop {
        let chunk = pipe.read(sink.as_ref()).await;
        if chunk.is_empty() {
            log.finish(take);
            return Ok(());
        }
        sink.raw_stderr(chunk);
        log.read(chunk, take);
    }
}

/// A pipe that ends no later than shortly after the child.
struct Pipe {
    pipe: Receiver,
    ended: Ended,
    /// When reading stops, but for what is left; known from the child's end on.
    until: Option<Instant>,
    /// How many more pieces may be read without room, or after that time.
    left: usize,
    buffer: Vec<u8>,
}

impl Pipe {
    fn new(pipe: OwnedFd, ended: Ended) -> io::Result<Self> {
        Ok(Self {
            pipe: Receiver::from_owned_fd(pipe)?,
            ended,
            until: None,
            left: LEFT,
            buffer: vec![0; CHUNK],
        })
    }

    /// Returns the next bytes once the sink has room for them, or none at the end.
    async fn read(&mut self, sink: &dyn Sink) -> &[u8] {
        let room = tokio::select! {
            biased;
            () = sink.room() => true,
            // There is no child any more to hold up.
            () = self.ended.clone().wait() => false,
        };
        if self.until.is_none() && self.ended.has_come() {
            self.until = Some(Instant::now() + DRAIN);
        }
        if !room || self.until.is_some_and(|until| until <= Instant::now()) {
            // What the child itself wrote is no more than this. Whoever still writes has left its group, and may never
            // stop.
            match self.left.checked_sub(1) {
                Some(left) => self.left = left,
                None => return &[],
            }
        }
        let (ended, until) = (self.ended.clone(), self.until);
        let over = async move {
            let until = match until {
                Some(until) => until.max(Instant::now() + GLANCE),
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

/// The end of what was written to standard error, as a person would want to read it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<String>>);

impl Tail {
    fn push(&self, entry: &Entry) {
        let structured = entry.timestamp.is_some() || entry.target.is_some() || !entry.fields.is_empty();
        // What a plugin logs of its own accord says why it ended only from this level on.
        if structured && entry.level < Level::Info {
            return;
        }
        let mut tail = lock(&self.0);
        if structured {
            // Writing to a string does not fail.
            let _written = write!(tail, "[{}] ", entry.level.name().to_uppercase());
        }
        tail.push_str(&entry.message);
        for (key, value) in &entry.fields {
            let _written = write!(tail, " {key}={value}");
        }
        tail.push('\n');
        if tail.len() > TAIL {
            // Whole lines are left, unless the last one alone is too long.
            let surplus = tail.len() - TAIL;
            let cut = tail.ceil_char_boundary(surplus);
            let end = tail.get(cut..).and_then(|rest| rest.find('\n')).map_or(cut, |end| cut + end + 1);
            let cut = if end == tail.len() { cut } else { end };
            tail.drain(..cut);
        }
    }

    /// Returns it as text, one line each.
    pub(super) fn text(&self) -> String {
        lock(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::pin::Pin;

    use tokio::time::timeout;

    use super::*;

    /// Generous: it is only ever waited out by a test that fails.
    const LONG: Duration = Duration::from_secs(20);

    /// Has no room, and counts what it is brought all the same.
    #[derive(Default)]
    struct Full(Mutex<usize>);

    impl Sink for Full {
        fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }

        fn raw_stderr(&self, piece: &[u8]) {
            *self.0.lock().unwrap() += piece.len();
        }
    }

    #[tokio::test]
    async fn a_pipe_without_room_is_left_alone_until_its_child_has_ended() {
        let (pipe, mut child) = std::io::pipe().unwrap();
        let (has_ended, ended) = Ended::new();
        let sink = Arc::new(Full::default());
        let reading = tokio::spawn(read_stderr(
            pipe.into(),
            ended,
            FIRST_LINE,
            Arc::clone(&sink) as _,
            Tail::default(),
        ));
        child.write_all(&[b'x'; LEFT * CHUNK]).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*sink.0.lock().unwrap(), 0);
        // What it wrote is read. The pipe stays open, as a descendant would keep it.
        has_ended.send_replace(true);
        reading.await.unwrap().unwrap();
        assert_eq!(*sink.0.lock().unwrap(), LEFT * CHUNK);
    }

    #[tokio::test]
    async fn the_first_line_is_read_without_room() {
        let (pipe, mut child) = std::io::pipe().unwrap();
        let (_has_ended, ended) = Ended::new();
        let (first, line) = oneshot::channel();
        let _reading = tokio::spawn(read_stdout(pipe.into(), ended, first, Arc::new(Full::default())));
        child.write_all(b"1|1|unix|/x|grpc|\n").unwrap();
        let line = timeout(LONG, line).await.unwrap().unwrap();
        assert_eq!(line.into_text(), "1|1|unix|/x|grpc|");
    }

    /// Takes as long over its first piece as pipes are read after the child's end.
    #[derive(Default)]
    struct Slow(Mutex<usize>);

    impl Sink for Slow {
        fn raw_stderr(&self, piece: &[u8]) {
            let mut taken = self.0.lock().unwrap();
            if *taken == 0 {
                std::thread::sleep(DRAIN);
            }
            *taken += piece.len();
        }
    }

    #[tokio::test]
    async fn what_a_child_wrote_is_read_however_long_the_sink_takes() {
        let (pipe, mut child) = std::io::pipe().unwrap();
        child.write_all(&[b'x'; LEFT * CHUNK]).unwrap();
        let (has_ended, ended) = Ended::new();
        has_ended.send_replace(true);
        let sink = Arc::new(Slow::default());
        // The pipe stays open, as a descendant would keep it.
        let reading = read_stderr(pipe.into(), ended, FIRST_LINE, Arc::clone(&sink) as _, Tail::default());
        reading.await.unwrap();
        assert_eq!(*sink.0.lock().unwrap(), LEFT * CHUNK);
    }

    fn check(written: &str, expected: &str) {
        let (tail, mut log) = (Tail::default(), LogReader::new(FIRST_LINE));
        log.read(written.as_bytes(), |entry| tail.push(&entry));
        log.finish(|entry| tail.push(&entry));
        assert_eq!(tail.text(), expected);
    }

    #[test]
    fn the_tail_is_readable() {
        check("", "");
        check("panic: no\n\tat once", "panic: no\n\tat once\n");
        check(
            concat!(
                r#"{"@level":"debug","@message":"plugin address","@timestamp":"2026-01-01T00:00:00.000000Z"}"#,
                "\n",
                r#"{"@level":"error","@message":"plugin init error","error":"no room","@module":"x"}"#,
            ),
            "[ERROR] plugin init error error=\"no room\"\n",
        );
    }

    #[test]
    fn the_tail_is_the_last_whole_lines() {
        let line = format!("{}\n", "x".repeat(999));
        check(&line.repeat(6), &line.repeat(4));
        check(&format!("lost\n{}", "y".repeat(TAIL)), &format!("{}\n", "y".repeat(TAIL - 1)));
        check(&"ä".repeat(TAIL), &format!("{}\n", "ä".repeat((TAIL - 1) / 2)));
    }
}
