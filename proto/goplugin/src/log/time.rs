//! Times in hclog's one form: six digits of a fraction, and a zone (protocol spec 8.3).

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes a time as hclog does: in UTC, to the microsecond.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros(),
    )
}

/// Returns the date that many days after the first of January 1970.
///
/// Counted from the first of March of the year 0, every year, four years, century and four centuries ends
/// with its irregular day.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 { (year, month + 3, day_of_month) } else { (year + 1, month - 9, day_of_month) }
}

/// Tells whether `text` is a time in hclog's one form: exactly six digits of a fraction, and a zone.
pub(super) fn is_timestamp(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000";
    let bytes = text.as_bytes();
    let Some((time, zone)) = bytes.split_at_checked(FORM.len()) else { return false };
    let formed = FORM.iter().zip(time).all(|(form, found)| match form {
        b'0' => found.is_ascii_digit(),
        mark => found == mark,
    });
    let zoned = match zone {
        b"Z" => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            [a, b, c, d].iter().all(|digit| digit.is_ascii_digit())
                && number(&[*a, *b]) <= 24
                && number(&[*c, *d]) < 60
        }
        _ => false,
    };
    formed && zoned && {
        let at = |range: Range<usize>| number(time.get(range).unwrap_or_default());
        let (year, month, day) = (at(0..4), at(5..7), at(8..10));
        (1..=12).contains(&month)
            && (1..=days(year, month)).contains(&day)
            && at(11..13) < 24
            && at(14..16) < 60
            && at(17..19) < 60
    }
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit.saturating_sub(b'0')))
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_time(seconds: u64, micros: u32, expected: &str) {
        let found = timestamp(UNIX_EPOCH + Duration::new(seconds, micros * 1000 + 999));
        assert_eq!(found, expected);
        assert!(is_timestamp(&found)); // P-44
    }

    #[test]
    fn times_have_six_digits() {
        check_time(0, 0, "1970-01-01T00:00:00.000000Z");
        check_time(951_782_399, 5, "2000-02-28T23:59:59.000005Z");
        check_time(951_782_400, 120_000, "2000-02-29T00:00:00.120000Z");
        check_time(951_868_800, 999_999, "2000-03-01T00:00:00.999999Z");
        check_time(4_107_542_400, 0, "2100-03-01T00:00:00.000000Z");
        check_time(1_798_761_599, 1, "2026-12-31T23:59:59.000001Z");
    }
}
