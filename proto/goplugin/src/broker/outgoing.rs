//! The messages that wait to be sent to the other side, and the stream that sends them now.
//!
//! Messages may come before there is a stream, and a plugin may see several streams, one after another or, if a second
//! host attaches to it, at a time. So the queue belongs to the broker. Of several streams the latest takes from it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use futures_util::stream::Stream;
use tokio::sync::mpsc;

use crate::lock::lock;
use crate::wire::ConnInfo;

/// How many messages may wait for the other side to read them. A guess; further ones wait in their caller.
const ROOM: usize = 64;

/// The messages that wait.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<ConnInfo>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    messages: mpsc::Receiver<ConnInfo>,
    /// The streams that there are, by their numbers, with what wakes them. The last one takes the messages; each earlier one
    /// waits for it to end.
    streams: Vec<(u64, Option<Waker>)>,
    /// The number of the next stream.
    next: u64,
}

impl Queue {
    /// Starts with none.
    pub(crate) fn new() -> Self {
        let (sender, messages) = mpsc::channel(ROOM);
        Self { sender, waiting: Arc::new(Mutex::new(Waiting { messages, streams: Vec::new(), next: 0 })) }
    }

    /// Adds a message; waits while there is no room.
    pub(crate) async fn send(&self, info: ConnInfo) -> Result<(), mpsc::error::SendError<ConnInfo>> {
        self.sender.send(info).await
    }

    /// Waits for room for one message.
    pub(crate) async fn reserve(&self) -> Result<mpsc::Permit<'_, ConnInfo>, mpsc::error::SendError<()>> {
        self.sender.reserve().await
    }

    /// Returns room for one message, if there is any.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, ConnInfo>> {
        self.sender.try_reserve().ok()
    }

    /// Returns what takes the messages from now on, until `closed` or, while there is a later one, after that.
    pub(crate) fn outgoing(&self, closed: impl Future<Output = ()> + Send + Sync + 'static) -> Outgoing {
        let mut waiting = lock(&self.waiting);
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.streams.push((number, None));
        Outgoing { number, waiting: Arc::clone(&self.waiting), closed: Some(Box::pin(closed)) }
    }
}

/// The messages for the other side, as they come.
pub(crate) struct Outgoing {
    number: u64,
    waiting: Arc<Mutex<Waiting>>,
    /// `None` once it has come.
    closed: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Stream for Outgoing {
    type Item = ConnInfo;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnInfo>> {
        let Some(closed) = &mut self.closed else { return Poll::Ready(None) };
        if closed.poll_unpin(cx).is_ready() {
            self.closed = None;
            return Poll::Ready(None);
        }
        let mut waiting = lock(&self.waiting);
        let Waiting { messages, streams, .. } = &mut *waiting;
        // The latest as well: it may be an earlier one before it is polled again.
        if let Some((_, waker)) = streams.iter_mut().find(|(number, _)| *number == self.number) {
            *waker = Some(cx.waker().clone());
        }
        // Under the lock: a stream that is not the latest must not be woken in place of that.
        match streams.last() {
            Some((latest, _)) if *latest == self.number => messages.poll_recv(cx),
            _ => Poll::Pending,
        }
    }
}

/// Lets the stream before it take the messages again, if it was the latest.
impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.streams.retain(|(number, _)| *number != self.number);
        let earlier = waiting.streams.last_mut().and_then(|(_, waker)| waker.take());
        // Whoever is woken may look at once.
        drop(waiting);
        if let Some(earlier) = earlier {
            earlier.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Weak;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use futures_util::{StreamExt as _, future::pending};

    use super::*;

    fn info(id: u32) -> ConnInfo {
        ConnInfo { service_id: id, ..ConnInfo::default() }
    }

    #[tokio::test]
    async fn what_is_said_early_waits_for_the_stream() {
        let queue = Queue::new();
        queue.send(info(1)).await.unwrap();
        let mut stream = queue.outgoing(pending());
        assert_eq!(stream.next().await, Some(info(1))); // P-54
        assert_eq!(stream.next().now_or_never(), None);
        queue.send(info(2)).await.unwrap();
        assert_eq!(stream.next().await, Some(info(2)));
    }

    #[tokio::test]
    async fn a_later_stream_takes_over_until_it_ends() {
        let queue = Queue::new();
        let mut first = queue.outgoing(pending());
        assert_eq!(first.next().now_or_never(), None);
        let mut second = queue.outgoing(pending());
        queue.send(info(1)).await.unwrap();
        assert_eq!(first.next().now_or_never(), None);
        assert_eq!(second.next().await, Some(info(1))); // P-55
        drop(second);
        queue.send(info(2)).await.unwrap();
        assert_eq!(first.next().await, Some(info(2)));
        drop(first);
        queue.send(info(3)).await.unwrap();
        assert_eq!(queue.outgoing(pending()).next().await, Some(info(3)));
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Tried often, because what a stream looks at first may be left to chance.
    #[tokio::test]
    async fn a_later_stream_is_woken_even_if_it_began_while_an_earlier_one_was_polled() {
        for _ in 0..32 {
            let (queue, woken, later) = (Queue::new(), Arc::<Woken>::default(), Arc::new(Mutex::new(None)));
            let mut first = {
                let (queue, woken, later) = (queue.clone(), Arc::clone(&woken), Arc::clone(&later));
                // What another thread could do just then.
                queue.clone().outgoing(poll_fn(move |_| {
                    lock(&later).get_or_insert_with(|| {
                        let mut second = queue.outgoing(pending());
                        let waker = Waker::from(Arc::clone(&woken));
                        assert!(second.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
                        second
                    });
                    Poll::Pending
                }))
            };
            assert_eq!(first.next().now_or_never(), None);
            queue.send(info(1)).await.unwrap();
            assert!(woken.0.load(Ordering::Relaxed));
        }
    }

    /// Notes whether what is woken could look at the messages at once.
    struct Looking(Weak<Mutex<Waiting>>, AtomicBool);

    impl Wake for Looking {
        fn wake(self: Arc<Self>) {
            let can_look = self.0.upgrade().is_some_and(|waiting| waiting.try_lock().is_ok());
            self.1.store(can_look, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_earlier_stream_is_woken_to_look_at_once() {
        let queue = Queue::new();
        let looking = Arc::new(Looking(Arc::downgrade(&queue.waiting), AtomicBool::default()));
        let mut first = queue.outgoing(pending());
        let waker = Waker::from(Arc::clone(&looking));
        assert!(first.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        let mut second = queue.outgoing(pending());
        assert!(second.poll_next_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(second);
        assert!(looking.1.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn closing_ends_the_stream() {
        let queue = Queue::new();
        assert_eq!(queue.outgoing(async {}).next().await, None);
    }
}
