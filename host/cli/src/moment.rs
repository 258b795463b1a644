//! Moments as people and programs read them: `2023-11-14T22:13:20Z`, and how far off one is.
//!
//! Moments come from plugins, so every number is accepted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_contract::UnixSeconds;

/// The first and the last second that have a year of four digits.
const FIRST: UnixSeconds = -62_167_219_200;
const LAST: UnixSeconds = 253_402_300_799;

/// Returns the present.
pub(crate) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(LAST)
}

/// Writes a moment in UTC, or as a plain number if its year has not four digits.
pub(crate) fn to_text(moment: UnixSeconds) -> String {
    if !(FIRST..=LAST).contains(&moment) {
        return moment.to_string();
    }
    let (days, second) = (moment.div_euclid(86_400), moment.rem_euclid(86_400));
    // Years are counted from March, so that the leap day is the last; 400 of them always have the same length.
    let since_march_of_year_0 = days + 719_468;
    let (era, day) = (since_march_of_year_0.div_euclid(146_097), since_march_of_year_0.rem_euclid(146_097));
    let year_of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns how far off a moment is: no time, when it has passed.
pub(crate) fn left(moment: UnixSeconds, now: UnixSeconds) -> Duration {
    Duration::from_secs(u64::try_from(moment.saturating_sub(now)).unwrap_or_default())
}

/// Writes how far off a moment is, in upstream's two units; nothing when it has passed.
pub(crate) fn until(moment: UnixSeconds, now: UnixSeconds) -> Option<String> {
    let left = left(moment, now).as_secs();
    let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
    match (hours, minutes, seconds) {
        (0, 0, 0) => None,
        (0, 0, _) => Some(format!("{seconds}s")),
        (0, ..) => Some(format!("{minutes}m{seconds}s")),
        (..=24, ..) => Some(format!("{hours}h{minutes}m")),
        _ => Some(format!("{}d{}h", hours / 24, hours % 24)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(moment: UnixSeconds, expected: &str) {
        assert_eq!(to_text(moment), expected, "{moment}");
    }

    #[test]
    fn moments_are_written_in_utc() {
        check(0, "1970-01-01T00:00:00Z");
        check(1_700_000_000, "2023-11-14T22:13:20Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(FIRST, "0000-01-01T00:00:00Z");
        check(LAST, "9999-12-31T23:59:59Z");
        check(LAST + 1, "253402300800");
        check(UnixSeconds::MIN, "-9223372036854775808");
    }

    #[test]
    fn what_is_left_is_told_in_two_units() {
        let check = |left: i64, expected: Option<&str>| {
            assert_eq!(until(1000 + left, 1000).as_deref(), expected, "{left}");
        };
        check(5, Some("5s"));
        check(125, Some("2m5s"));
        check(3 * 3600 + 61, Some("3h1m"));
        // Upstream's day begins an hour late.
        check(24 * 3600 + 60, Some("24h1m"));
        check(26 * 3600, Some("1d2h"));
        check(0, None);
        check(-5, None);
        assert_eq!(until(UnixSeconds::MIN, UnixSeconds::MAX), None);
        assert!(until(UnixSeconds::MAX, UnixSeconds::MIN).is_some());
    }
}
