//! A call that shows something before it answers, as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::future::BoxFuture;
use portcullis_contract::CallError;
use tokio::sync::mpsc;

/// How many items may wait for the reader before the guest does. A guess: a few hide the reader's delays, many hold
/// memory.
const WAITING: usize = 16;

/// A call and what it shows, polled together: unless somebody reads, nothing runs.
///
/// What was shown comes first, and the answer or an error last.
pub(crate) struct Streaming<T> {
    shown: mpsc::Receiver<T>,
    state: Streamed<T>,
}

impl<T> Streaming<T> {
    /// Makes a stream of a call, which gets the sender to its reader.
    pub(crate) fn new<F>(call: impl FnOnce(mpsc::Sender<T>) -> F) -> Self
    where
        F: Future<Output = Result<T, CallError>> + Send + 'static,
    {
        let (sender, shown) = mpsc::channel(WAITING);
        Self { shown, state: Streamed::Running(Box::pin(call(sender))) }
    }
}

enum Streamed<T> {
    Running(BoxFuture<'static, Result<T, CallError>>),
    Answered(Box<Result<T, CallError>>),
    Done,
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(Some(item)) = this.shown.poll_recv(cx) {
                return Poll::Ready(Some(Ok(item)));
            }
            match std::mem::replace(&mut this.state, Streamed::Done) {
                Streamed::Done => return Poll::Ready(None),
                Streamed::Answered(answer) => {
                    // What is left in the channel comes first.
                    let Ok(item) = this.shown.try_recv() else {
                        return Poll::Ready(Some(*answer));
                    };
                    this.state = Streamed::Answered(answer);
                    return Poll::Ready(Some(Ok(item)));
                }
                Streamed::Running(mut call) => match call.as_mut().poll(cx) {
                    Poll::Ready(answer) => this.state = Streamed::Answered(Box::new(answer)),
                    Poll::Pending => {
                        this.state = Streamed::Running(call);
                        // It may have shown something just now.
                        return match this.shown.poll_recv(cx) {
                            Poll::Ready(Some(item)) => Poll::Ready(Some(Ok(item))),
                            Poll::Ready(None) | Poll::Pending => Poll::Pending,
                        };
                    }
                },
            }
        }
    }
}
