//! Durations as people write them, in upstream's notation: `500ms`, `1m30s`, `2.5s`.

use std::time::Duration;

use anyhow::bail;
use portcullis_contract::quoted;

/// Reads a duration that has to be one.
pub(crate) fn parse(text: &str) -> anyhow::Result<Duration> {
    let duration = parse_or_zero(text)?;
    if duration.is_zero() {
        bail!("a duration is longer than nothing");
    }
    Ok(duration)
}

/// Reads a duration: numbers, each with its unit, after a `+` or none; only a bare `0` needs no unit.
pub(crate) fn parse_or_zero(text: &str) -> anyhow::Result<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    loop {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            // The second has the sign for micro, the third the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => bail!("a duration is a number with a unit, for instance 500ms, 30s or 1m30s"),
        };
        let part = digits.parse::<f64>().ok().and_then(|n| Duration::try_from_secs_f64(n * seconds).ok());
        let Some(sum) = part.and_then(|part| total.checked_add(part)) else {
            bail!("{} is not a number of {unit}", quoted(digits));
        };
        total = sum;
        if after.is_empty() {
            return Ok(total);
        }
        rest = after;
    }
}

/// Writes a duration, rounded to milliseconds.
pub(crate) fn to_text(duration: Duration) -> String {
    let millis = (duration.as_nanos() + 500_000) / 1_000_000;
    let (seconds, rest) = (millis / 1000, millis % 1000);
    if seconds == 0 {
        return if rest == 0 { "0s".to_owned() } else { format!("{rest}ms") };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = format!(".{rest:03}");
    let tail = format!("{}{}s", seconds % 60, fraction.trim_end_matches('0').trim_end_matches('.'));
    match (hours, minutes) {
        (0, 0) => tail,
        (0, _) => format!("{minutes}m{tail}"),
        _ => format!("{hours}h{minutes}m{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: u64, written: &str) {
        let parsed = parse(text).unwrap();
        assert_eq!(parsed, Duration::from_millis(millis), "{text:?}");
        assert_eq!(to_text(parsed), written);
    }

    #[test]
    fn durations_are_read_and_written_as_upstream_does() {
        check("500ms", 500, "500ms");
        check("1s", 1000, "1s");
        check("2.5s", 2500, "2.5s");
        check("1m30s", 90_000, "1m30s");
        check("60m", 3_600_000, "1h0m0s");
        check("+1s", 1000, "1s");
        for micros in ["2000us", "2000\u{b5}s", "2000\u{3bc}s"] {
            check(micros, 2, "2ms");
        }
        assert_eq!(to_text(Duration::from_micros(400)), "0s");
        assert_eq!(to_text(Duration::from_micros(1500)), "2ms");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in ["", "5", "s", "-1s", "+", "++1s", "1x", "1..s", "1s2", "99999999999999999999h"] {
            assert!(parse_or_zero(bad).is_err(), "{bad:?}");
        }
        for nothing in ["0", "0s"] {
            assert_eq!(parse_or_zero(nothing).unwrap(), Duration::ZERO);
            assert!(parse(nothing).is_err(), "{nothing:?}");
        }
    }
}
