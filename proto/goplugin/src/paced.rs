//! Bodies from which a task reads no more in one turn than tokio's budget allows.
//!
//! HTTP/2 hands over what has come as soon as it is asked. A task that reads from a peer that is always ahead would
//! never wait, and nothing else in it would run: no deadline, no Ctrl-C.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use tokio::task::coop::poll_proceed;

/// A body that is read in turns.
#[derive(Debug)]
pub(crate) struct Paced<B>(pub(crate) B);

impl<B: Body + Unpin> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let turn = ready!(poll_proceed(cx));
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        turn.made_progress();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
