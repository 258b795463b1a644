//! One call, as its host made it: what it brings, and how far a panic in its stream reaches.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_core::Stream;
use futures_util::StreamExt as _;
use portcullis_contract::Call;
use portcullis_goplugin::timeout;
use tonic::{Request, Status};

/// Returns what goes with a call. The connection ends the call itself when its time is over, or its host has gone.
pub(crate) fn of<T>(request: &Request<T>) -> Call {
    let text = request.metadata().get(timeout::HEADER).and_then(|value| value.to_str().ok());
    Call { deadline: text.and_then(timeout::parse).and_then(|timeout| Instant::now().checked_add(timeout)) }
}

/// Makes a status of a panic in a stream, which ends after it. The connection answers for a panic anywhere in a call, but by
/// then has lost what the stream brought just before.
pub(crate) fn contained_stream<T>(
    items: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    AssertUnwindSafe(items).catch_unwind().map(|item| item.unwrap_or_else(|panic| Err(broken(&*panic))))
}

/// What became of it was printed by the hook for panics.
fn broken(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Status::internal(format!("panic: {}", text.unwrap_or("a value that is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
