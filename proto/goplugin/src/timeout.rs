//! The timeout of a call, as gRPC sends it, and how it passes on to the calls that are made for it.

use std::io;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout};

/// The header of the timeout.
pub(crate) const HEADER: &str = "grpc-timeout";

tokio::task_local! {
    /// When the time of the call that is being answered is over.
    static UNTIL: Option<Instant>;
}

/// Does the work of answering a call whose time is over then. Calls over a [`Channel`](crate::Channel) that are made in
/// it end by then, too, and tell the other side so, as in Go those do that are made with the handler's context. What it
/// has others do, tasks and threads, has to be wrapped anew.
pub fn answering<F: Future>(until: Option<Instant>, work: F) -> impl Future<Output = F::Output> {
    UNTIL.scope(until, work)
}

/// Does a step of such work.
pub(crate) fn answering_now<T>(until: Option<Instant>, step: impl FnOnce() -> T) -> T {
    UNTIL.sync_scope(until, step)
}

/// Returns when the time of a call is over that is made now with these headers, and has the headers say so.
pub(crate) fn of_a_call(headers: &mut HeaderMap) -> Option<Instant> {
    let now = Instant::now();
    let own = of(headers).map(|limit| end(now, limit));
    let inherited = UNTIL.try_with(|until| *until).ok().flatten();
    let until = own.into_iter().chain(inherited).min();
    if let Some(sooner) = until.filter(|_| until != own)
        && let Ok(value) = HeaderValue::try_from(written(sooner.saturating_duration_since(now)))
    {
        headers.insert(HEADER, value);
    }
    until
}

/// Writes a timeout, in the finest unit in which it has no more than eight digits.
fn written(limit: Duration) -> String {
    let units = [("n", 1), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000)];
    let fits = |(unit, nanos): (&str, u128)| {
        let number = limit.as_nanos() / nanos;
        (number < 100_000_000).then(|| format!("{number}{unit}"))
    };
    // Three years are as good as longer.
    units.into_iter().find_map(fits).unwrap_or_else(|| "99999999S".to_owned())
}

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
        for limit in [0, 7, 99_999_999, 100_000_001, 30_000_000_000, 123_456_789_012_345] {
            let limit = Duration::from_nanos(limit);
            let read = parse(&written(limit)).unwrap();
            assert!(read <= limit && limit - read <= limit / 100_000, "{limit:?}");
        }
        assert_eq!(written(Duration::MAX), "99999999S");
        for bad in ["", "S", "1", "-1S", "+1S", "1.5S", "100000000S", "1s", "1\u{e9}", "1 S"] {
            check(bad, None);
        }
    }
}
