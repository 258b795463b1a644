//! Passes what a plugin prints to the host.
//!
//! After the handshake nobody reads a plugin's standard output; what is meant for the host's user goes through a
//! service instead. An application writes to an [`Output`], and the one stream that the host keeps open takes it from
//! there. Writing never waits, because a host that does not read must not stop a plugin. What finds no room is dropped,
//! and the log says how much (in protocol spec 16.1 it blocks). A writer that can wait waits for room first, and loses
//! nothing as long as the host reads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::stream::Stream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Status;

use crate::Stdio;
use crate::lock::lock;
use crate::wire::StdioData;
use crate::wire::stdio_data::Channel as Origin;

/// How long a piece is at most. Go's plugins cut there, too.
const PIECE: usize = 1024;

/// What a piece takes of the limit at least: it is an allocation of its own. A program that prints letters to the two
/// outputs by turns would otherwise have fifty times as much kept.
const LEAST: usize = 64;

/// How long to wait for a host that takes no prints. A guess: a host that reads takes some at once, and one that takes
/// none for this long may never do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes what the application prints to one of its two outputs. Cheap to clone.
///
/// It is a [`Write`] that never fails and never waits. As long as the host reads, everything arrives, once and in
/// order, cut anywhere; what is written before the host connects is kept for it. While the host does not read, at most
/// [`Serve::output_limit`](crate::Serve::output_limit) bytes are kept for both outputs together, and each change
/// between the two outputs takes at least 64 of them. What does not fit is dropped, the newest first, and the plugin's
/// log says how many bytes that were.
#[derive(Clone, Debug)]
pub struct Output {
    origin: Stdio,
    prints: Prints,
}

impl Output {
    /// Waits until there is room, if the host reads. It does not wait for a host that has not asked for prints yet, or
    /// has taken none for five seconds. Needs a runtime with time. May be dropped at any time.
    pub async fn room(&self) {
        loop {
            let taken = self.prints.state().taken;
            if timeout(PATIENCE, self.prints.until(State::has_room)).await.is_ok() {
                return;
            }
            self.prints.state().was_waited_for_since(taken);
        }
    }

    /// As [`room`](Self::room), for a thread of its own.
    pub(super) fn wait_for_room(&self) {
        let mut state = self.prints.state();
        while !state.has_room() {
            let taken = state.taken;
            let waited = self.prints.0.freed_for_threads.wait_timeout(state, PATIENCE);
            let (next, result) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            if result.timed_out() {
                state.was_waited_for_since(taken);
            }
        }
    }

    /// Has nobody wait for room any more: the plugin ends.
    pub(super) fn hurry(&self) {
        self.prints.state().hurried = true;
        self.prints.0.tell_freed();
    }

    /// Takes a print for which somebody has waited for [`room`](Self::room): all of it, if the host reads, even if
    /// others have used up the room meanwhile. Never waits.
    pub fn take(&self, bytes: &[u8]) {
        self.prints.push(self.origin, bytes, Waited::ForRoom);
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.prints.push(self.origin, bytes, Waited::ForNothing);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was printed and not taken yet. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Prints(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells those who wait for room that there may be some.
    freed: Notify,
    /// The same for threads.
    freed_for_threads: Condvar,
}

impl Shared {
    fn tell_freed(&self) {
        self.freed.notify_waiters();
        self.freed_for_threads.notify_all();
    }
}

/// Whether somebody has waited for room before a print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    ForRoom,
    ForNothing,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<(Stdio, Vec<u8>)>,
    /// How many bytes the pieces are, and how many they may be.
    length: usize,
    limit: usize,
    dropped: u64,
    /// How many pieces the host has taken.
    taken: u64,
    /// The number of the stream that takes them now.
    turn: u64,
    /// Whether there is such a stream.
    asked_for: bool,
    /// Whether somebody has waited in vain for that stream to take something, and it still has not.
    in_vain: bool,
    /// Whether nobody is to wait for room.
    hurried: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Prints {
    pub(super) fn new(limit: usize) -> Self {
        let state = State {
            pieces: VecDeque::new(),
            length: 0,
            limit,
            dropped: 0,
            taken: 0,
            turn: 0,
            asked_for: false,
            in_vain: false,
            hurried: false,
            closed: false,
            waker: None,
        };
        let (freed, freed_for_threads) = (Notify::new(), Condvar::new());
        Self(Arc::new(Shared { state: Mutex::new(state), freed, freed_for_threads }))
    }

    pub(super) fn output(&self, origin: Stdio) -> Output {
        Output { origin, prints: self.clone() }
    }

    /// Returns what takes the pieces from now on, until the next call of this.
    ///
    /// The stream of a lost connection may not know it yet when the next one begins.
    pub(super) fn stream(&self) -> Pieces {
        let mut state = self.state();
        state.turn = state.turn.wrapping_add(1);
        state.asked_for = true;
        state.in_vain = false;
        state.wake();
        Pieces { turn: state.turn, prints: self.clone() }
    }

    /// Lets the stream end once it has taken what there is.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.wake();
        self.0.tell_freed();
    }

    /// Returns what nobody has taken, in whole lines, when no host will.
    pub(super) fn rest(&self) -> Vec<u8> {
        let mut rest: Vec<_> = self.state().pieces.drain(..).flat_map(|(_, piece)| piece).collect();
        if rest.last().is_some_and(|last| *last != b'\n') {
            rest.push(b'\n');
        }
        rest
    }

    /// Waits until no stream takes anything any more.
    pub(super) async fn are_taken(&self) {
        self.until(|state| !state.asked_for).await;
    }

    async fn until(&self, enough: impl Fn(&State) -> bool) {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if enough(&self.state()) {
                return;
            }
            freed.await;
        }
    }

    fn push(&self, origin: Stdio, bytes: &[u8], waited: Waited) {
        let mut state = self.state();
        let bounded = waited == Waited::ForNothing || !state.is_read();
        let room = if bounded { state.limit.saturating_sub(state.length) } else { bytes.len() };
        let (mut bytes, lost) = bytes.split_at(bytes.len().min(room));
        let mut lost = lost.len();
        while !bytes.is_empty() {
            let crowded = bounded && state.is_crowded();
            let piece = match state.pieces.back_mut() {
                Some((last, piece)) if *last == origin && piece.len() < PIECE => piece,
                _ if crowded => {
                    lost += bytes.len();
                    break;
                }
                _ => {
                    state.pieces.push_back((origin, Vec::new()));
                    continue;
                }
            };
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE - piece.len()));
            piece.extend_from_slice(fits);
            state.length += fits.len();
            bytes = rest;
        }
        state.dropped = state.dropped.saturating_add(lost.try_into().unwrap_or(u64::MAX));
        state.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl State {
    /// Returns whether the host takes what is printed, as far as is known.
    fn is_read(&self) -> bool {
        self.asked_for && !self.in_vain && !self.closed
    }

    /// Returns whether there is room, or no use in waiting for it.
    fn has_room(&self) -> bool {
        self.hurried || !self.is_read() || (self.length < self.limit && !self.is_crowded())
    }

    /// Notes that somebody has waited long for room, from when `taken` pieces were taken. A slow host has taken more by
    /// now.
    fn was_waited_for_since(&mut self, taken: u64) {
        self.in_vain |= self.taken == taken;
    }

    /// Returns whether there are more pieces than their bytes need.
    fn is_crowded(&self) -> bool {
        self.pieces.len() > self.limit / LEAST
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The pieces, as the host takes them.
#[derive(Debug)]
pub(crate) struct Pieces {
    turn: u64,
    prints: Prints,
}

impl Stream for Pieces {
    type Item = Result<StdioData, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.prints.state();
        if state.turn != self.turn {
            return Poll::Ready(None);
        }
        let was_full = !state.has_room();
        let Some((origin, data)) = state.pieces.pop_front() else {
            if state.closed {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.length -= data.len();
        state.taken = state.taken.wrapping_add(1);
        state.in_vain = false;
        if was_full && state.has_room() {
            self.prints.0.tell_freed();
        }
        let dropped = std::mem::take(&mut state.dropped);
        // Whoever writes the log may print, and so need this lock.
        drop(state);
        if dropped > 0 {
            tracing::warn!(dropped, "the host did not read what was printed, and bytes of it were dropped");
        }
        let origin = match origin {
            Stdio::Stdout => Origin::Stdout,
            Stdio::Stderr => Origin::Stderr,
        };
        Poll::Ready(Some(Ok(StdioData { channel: origin.into(), data: data.into() })))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut state = self.prints.state();
        if state.turn == self.turn {
            state.asked_for = false;
            self.prints.0.tell_freed();
        }
    }
}

#[cfg(test)]
mod tests;
