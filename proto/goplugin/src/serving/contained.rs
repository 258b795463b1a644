//! Ends a call that panics or is late: it alone, and with a status that says so.
//!
//! A panic would otherwise end the task that answers, and the stream would be reset as if the call were cancelled, which is
//! what hosts then tell their users. In Go the whole plugin dies of a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

use super::placement::UnderWay;
use crate::timeout;

/// Waits for an answer, and makes an answer of a panic.
pub(super) async fn contained<E>(
    answer: impl Future<Output = Result<http::Response<Body>, E>>,
) -> Result<http::Response<Body>, E> {
    // Services have to live with calls that are dropped anywhere; a panic is one more way to.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|panic| Ok(broken(&*panic).into_http()))
}

/// Makes a status of a panic in a stream of answers, which ends with it.
///
/// A panic anywhere in a call becomes a status without this. But answers are written in batches, and those that a
/// stream gave just before it panicked are lost unless the panic is caught here.
pub fn contained_stream<T>(
    answers: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    AssertUnwindSafe(answers).catch_unwind().map(|answer| answer.unwrap_or_else(|panic| Err(broken(&*panic))))
}

/// What a call that is late ends with.
pub(super) fn late() -> Status {
    Status::new(Code::DeadlineExceeded, "Timeout expired")
}

/// The body of an answer, and its call, which is under way until then.
///
/// A panic in it, or that the call's time is over, is the status that it ends with; while its reader has no room for
/// more of it, nobody looks.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Option<Body>,
    /// When the call's time is over, and the wait for that.
    until: Option<Instant>,
    over: Option<Pin<Box<Sleep>>>,
    _call: Option<UnderWay>,
}

impl AnswerBody {
    pub(super) fn new(body: Body, until: Option<Instant>, call: Option<UnderWay>) -> Self {
        Self { body: Some(body), until, over: None, _call: call }
    }

    fn end_with(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.body = None;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let until = self.until;
        // One that is always ahead of its reader is never waited for.
        if self.body.is_some() && until.is_some_and(|until| until <= Instant::now()) {
            return Poll::Ready(Some(self.end_with(&late())));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = || timeout::answering_now(until, || Pin::new(body).poll_frame(cx));
        match catch_unwind(AssertUnwindSafe(next)) {
            Ok(Poll::Pending) => {
                let Some(until) = until else { return Poll::Pending };
                let over = self.over.get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(over.as_mut().poll(cx));
                Poll::Ready(Some(self.end_with(&late())))
            }
            Ok(frame) => frame,
            Err(panic) => Poll::Ready(Some(self.end_with(&broken(&*panic)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Makes a status of a panic, which the panic hook has reported.
fn broken(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Status::internal(format!("panic: {}", text.unwrap_or("a value that is no text")))
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    /// A body that always has more.
    struct Ahead;

    impl http_body::Body for Ahead {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_always_ahead_of_its_reader_ends_when_its_time_is_over() {
        let time = std::time::Duration::from_secs(1);
        let mut answer = AnswerBody::new(Body::new(Ahead), Some(Instant::now() + time), None);
        let mut next = || {
            let polled = Pin::new(&mut answer).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
            match polled {
                Poll::Ready(frame) => frame.map(Result::unwrap),
                Poll::Pending => panic!("it is always ahead"),
            }
        };
        assert_eq!(next().unwrap().into_data().unwrap(), "more");
        tokio::time::advance(time).await;
        let end = next().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&end).unwrap().code(), Code::DeadlineExceeded);
        assert!(next().is_none());
    }

    #[tokio::test]
    async fn a_panic_ends_a_stream_after_what_came_before_and_says_why() {
        let mut items = 0..3;
        let stream = futures_util::stream::poll_fn(move |_| match items.next() {
            Some(2) => panic!("enough"),
            item => std::task::Poll::Ready(item.map(Ok::<_, Status>)),
        });
        let seen: Vec<_> =
            contained_stream(stream).map(|item| item.map_err(|s| s.message().to_owned())).collect().await;
        assert_eq!(seen, [Ok(0), Ok(1), Err("panic: enough".to_owned())]);
    }
}
