//! One call, as its host made it: what it brings, and how far a panic in it reaches.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_util::{FutureExt as _, StreamExt as _};
use portcullis_contract::Call;
use tonic::{Request, Status};

/// Where gRPC says how long a call may take.
const TIMEOUT: &str = "grpc-timeout";

/// Returns what goes with a call. The connection ends the call itself when its time is over, or its host has gone.
pub(crate) fn of<T>(request: &Request<T>) -> Call {
    let text = request.metadata().get(TIMEOUT).and_then(|value| value.to_str().ok());
    Call { deadline: text.and_then(timeout).and_then(|timeout| Instant::now().checked_add(timeout)) }
}

/// Reads up to eight digits and a unit. Nothing comes of anything else, which the connection has refused before.
fn timeout(text: &str) -> Option<Duration> {
    let (last, unit) = text.char_indices().last()?;
    let digits = text.get(..last)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(number * 3600),
        'M' => Duration::from_secs(number * 60),
        'S' => Duration::from_secs(number),
        'm' => Duration::from_millis(number),
        'u' => Duration::from_micros(number),
        'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Waits for a call, and makes a status of a panic in it.
pub(crate) async fn contained<T>(call: impl Future<Output = T>) -> Result<T, Status> {
    // Whoever implements a plugin has to live with calls that are dropped anywhere; a panic is one more way to.
    AssertUnwindSafe(call).catch_unwind().await.map_err(|panic| broken(&*panic))
}

/// The same for a call whose answer is a stream. It ends after the status.
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

    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(timeout(text), expected, "{text:?}");
    }

    #[test]
    fn a_timeout_is_eight_digits_and_a_unit() {
        check("1H", Some(Duration::from_secs(3600)));
        check("2M", Some(Duration::from_secs(120)));
        check("99999999S", Some(Duration::from_secs(99_999_999)));
        check("5m", Some(Duration::from_millis(5)));
        check("5u", Some(Duration::from_micros(5)));
        check("0n", Some(Duration::ZERO));
        for bad in ["", "S", "1", "-1S", "+1S", "1.5S", "100000000S", "1s", "1\u{e9}", "1 S"] {
            check(bad, None);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_one_call_and_says_why() {
        let status = contained::<()>(async { panic!("number {}", 7) }).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::Internal, "panic: number 7"));

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
