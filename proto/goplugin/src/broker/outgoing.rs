//! The messages that wait to be sent to the other side, and the stream that sends them now.
//!
//! Messages may come before there is a stream, and a plugin may see several streams, one after another. So the
//! queue belongs to the broker, and a stream takes from it only until the next stream comes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::stream::Stream;
use tokio::sync::{mpsc, watch};

use crate::lock::lock;
use crate::wire::ConnInfo;

/// How many messages may wait for the other side to read them. A guess; further ones wait in their caller.
const ROOM: usize = 64;

/// The messages that wait.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<ConnInfo>,
    waiting: Arc<Mutex<mpsc::Receiver<ConnInfo>>>,
    /// The number of the stream that takes them now.
    turn: watch::Sender<u64>,
}

impl Queue {
    /// Starts with none.
    pub(crate) fn new() -> Self {
        let (sender, waiting) = mpsc::channel(ROOM);
        Self { sender, waiting: Arc::new(Mutex::new(waiting)), turn: watch::Sender::new(0) }
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

    /// Returns what takes the messages from now on, until `closed` or the next call of this.
    pub(crate) fn outgoing(&self, closed: impl Future<Output = ()> + Send + Sync + 'static) -> Outgoing {
        self.turn.send_modify(|turn| *turn = turn.wrapping_add(1));
        let mut turn = self.turn.subscribe();
        let over = async move {
            tokio::select! {
                _ = turn.changed() => {}
                () = closed => {}
            }
        };
        Outgoing { waiting: Arc::clone(&self.waiting), over: Some(Box::pin(over)) }
    }
}

/// The messages for the other side, as they come.
pub(crate) struct Outgoing {
    waiting: Arc<Mutex<mpsc::Receiver<ConnInfo>>>,
    /// `None` once it has come.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Stream for Outgoing {
    type Item = ConnInfo;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnInfo>> {
        let Some(over) = &mut self.over else { return Poll::Ready(None) };
        if over.poll_unpin(cx).is_ready() {
            self.over = None;
            return Poll::Ready(None);
        }
        lock(&self.waiting).poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
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
    async fn a_later_stream_takes_over() {
        let queue = Queue::new();
        let mut first = queue.outgoing(pending());
        assert_eq!(first.next().now_or_never(), None);
        let mut second = queue.outgoing(pending());
        queue.send(info(1)).await.unwrap();
        assert_eq!(first.next().await, None);
        assert_eq!(second.next().await, Some(info(1))); // P-55
        drop(second);
        queue.send(info(2)).await.unwrap();
        assert_eq!(queue.outgoing(pending()).next().await, Some(info(2)));
    }

    #[tokio::test]
    async fn closing_ends_the_stream() {
        let queue = Queue::new();
        assert_eq!(queue.outgoing(async {}).next().await, None);
    }
}
