//! The timeout of a call, as gRPC sends it.

use std::io;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout};

/// The header of the timeout.
pub(crate) const HEADER: &str = "grpc-timeout";

/// Replaces a time that the clock cannot represent, as in tokio's own timeouts: thirty years.
const LIFETIME: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Returns the moment `limit` after `begin`.
pub(crate) fn end(begin: Instant, limit: Duration) -> Instant {
    begin.checked_add(limit).unwrap_or_else(|| begin + LIFETIME)
}

/// Waits for `work`, and fails with [`io::ErrorKind::TimedOut`] if it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Returns how long the call with these headers may take; `None` if they set no timeout.
#[must_use]
pub fn of(headers: &HeaderMap) -> Option<Duration> {
    headers.get(HEADER).and_then(|value| parse(value.to_str().ok()?))
}

/// Reads up to eight digits and a unit; `None` for anything else.
fn parse(text: &str) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        assert_eq!(parse(text), expected, "{text:?}");
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
}
