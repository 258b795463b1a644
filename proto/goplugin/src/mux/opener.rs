//! The task that opens streams, one after the other.
//!
//! From a knock to the first answer on its stream no other stream may begin. When a knock is answered after its dialler
//! has given up, a stream is opened and dropped at once: the other side waits for one, would take the next one for it,
//! and Go's plugins answer no further knock before.

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{ANSWER, Dial, DialError, PATIENCE, Stream, driver};
use crate::broker::Queue;
use crate::wire::ConnInfo;
use crate::wire::conn_info::Knock;

/// How many unanswered knocks are remembered. A guess: past that the oldest is forgotten, and a late answer to it gets
/// no stream.
pub(super) const UNANSWERED: usize = 4096;

/// The other side's answer to a knock for `id`: admitted, or why not.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) id: u32,
    pub(super) refused: Option<String>,
}

/// What the task works with.
pub(super) struct Opener {
    opens: mpsc::Sender<driver::Open>,
    acks: mpsc::Receiver<Ack>,
    queue: Queue,
    /// The numbers of all unanswered knocks, whether or not their diallers still wait.
    unanswered: VecDeque<u32>,
}

impl Opener {
    pub(super) fn new(opens: mpsc::Sender<driver::Open>, acks: mpsc::Receiver<Ack>, queue: Queue) -> Self {
        Self { opens, acks, queue, unanswered: VecDeque::new() }
    }

    /// Opens the streams that are asked for, until nobody can ask any more.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Dial>) {
        loop {
            tokio::select! {
                // A late answer gets its stream before the next knock.
                biased;
                Some(ack) = self.acks.recv() => self.make_good(ack).await,
                dial = waiting.recv() => match dial {
                    Some(dial) => self.dial(dial).await,
                    None => return,
                },
            }
        }
    }

    async fn dial(&mut self, Dial { id, mut reply }: Dial) {
        let admitted = match id {
            None => Ok(()),
            Some(id) => self.knock(id, &mut reply).await,
        };
        let opened = match admitted {
            Ok(()) => self.open().await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(stream) => {
                let (stream, answered) = Stream::outbound(stream);
                // If the dialler has given up, the stream is dropped here; the other side sees it come and go.
                drop(reply.send(Ok(stream)));
                // If it takes longer, somebody holds the stream and does nothing with it, or nobody answers.
                let _in_vain = timeout(ANSWER, answered).await;
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Knocks for the server `id`, and waits for the answer for as long as somebody waits for `reply`.
    async fn knock<T>(&mut self, id: u32, reply: &mut oneshot::Sender<T>) -> Result<(), DialError> {
        let until = Instant::now() + PATIENCE;
        let knock = Knock { knock: true, ack: false, error: String::new() };
        let knock = ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() };
        tokio::select! {
            // Before the knock it costs nothing to give up.
            biased;
            () = reply.closed() => return Err(DialError::Unanswered),
            sent = timeout_at(until, self.queue.send(knock)) => match sent {
                Ok(Ok(())) => {}
                Ok(Err(_closed)) => return Err(DialError::Closed),
                Err(_elapsed) => return Err(DialError::Unanswered),
            },
        }
        if self.unanswered.len() == UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(id);
        loop {
            tokio::select! {
                // An answer that has come by then counts as late.
                biased;
                () = reply.closed() => return Err(DialError::Unanswered),
                () = self.opens.closed() => return Err(DialError::Closed),
                () = sleep_until(until) => return Err(DialError::Unanswered),
                ack = self.acks.recv() => match ack {
                    Some(ack) if ack.id == id => {
                        self.forget(id);
                        return ack.refused.map_or(Ok(()), |reason| Err(DialError::Refused { reason }));
                    }
                    Some(ack) => self.make_good(ack).await,
                    None => return Err(DialError::Closed),
                },
            }
        }
    }

    /// Handles an answer for which nobody waits any more: if it admits a stream, one is opened and dropped.
    async fn make_good(&mut self, Ack { id, refused }: Ack) {
        if self.forget(id) && refused.is_none() {
            // A stream that is dropped at once is what the other side needs to see.
            drop(self.open().await.map(Stream::outbound));
        }
    }

    /// Tells whether there was a knock for `id` without an answer, and forgets it.
    fn forget(&mut self, id: u32) -> bool {
        let at = self.unanswered.iter().position(|unanswered| *unanswered == id);
        at.and_then(|at| self.unanswered.remove(at)).is_some()
    }

    async fn open(&self) -> Result<yamux::Stream, DialError> {
        let (open, opened) = oneshot::channel();
        self.opens.send(open).await.map_err(|_| DialError::Closed)?;
        opened.await.map_err(|_| DialError::Closed)
    }
}
