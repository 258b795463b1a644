//! Sizes and durations as a policy writes them: a whole number and a unit, nothing in between.
//!
//! A number alone is refused, because nobody can tell from `wall = 30` whether it was meant in
//! seconds. What is read here an [`Amount`](portcullis_contract::Amount) shows in the same words.

use std::time::Duration;

const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a size: `"64MiB"`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    amount(text, &SIZES, "a size is a whole number with B, KiB, MiB, GiB or TiB, like \"64MiB\"")
}

/// Reads a duration: `"250ms"`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    amount(text, &TIMES, "a duration is a whole number with ms, s, m or h, like \"250ms\"")
        .map(Duration::from_millis)
}

fn amount(text: &str, units: &[(&str, u64)], form: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let (Some(factor), false) = (factor, digits.is_empty()) else {
        return Err(format!("{text:?} is not understood; {form}"));
    };
    let amount = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match amount {
        Some(0) => Err(format!("{text:?} would allow nothing at all; leave the key out for the default")),
        Some(amount) => Ok(amount),
        None => Err(format!("{text:?} is more than can be counted")),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Amount;

    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(
        read: impl Fn(&str) -> Result<T, String>,
        text: &str,
        expected: Result<T, &str>,
    ) {
        match (read(text), expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{text:?}"),
            (Err(found), Err(part)) => assert!(found.contains(part), "{text:?}: {found}"),
            (found, wanted) => panic!("{text:?}: {found:?}, expected {wanted:?}"),
        }
    }

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        check(size, "100B", Ok(100));
        check(size, "512KiB", Ok(512 << 10));
        check(size, "64MiB", Ok(64 << 20));
        check(size, "1GiB", Ok(1 << 30));
        check(size, "18446744073709551615B", Ok(u64::MAX));
        for bad in
            ["", "64", "MiB", "64MB", "64 MiB", "64mib", "-1B", "+1B", "1.5MiB", "1e3B", "٣B", "64MiB "]
        {
            check(size, bad, Err("a size is a whole number"));
        }
    }

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        check(duration, "1s", Ok(Duration::from_secs(1)));
        check(duration, "250ms", Ok(Duration::from_millis(250)));
        check(duration, "2m", Ok(Duration::from_secs(120)));
        check(duration, "1h", Ok(Duration::from_secs(3600)));
        for bad in ["", "1", "s", "1 s", "1S", "1.5s", "-1s", "1d", "1s1ms"] {
            check(duration, bad, Err("a duration is a whole number"));
        }
    }

    #[test]
    fn nothing_and_more_than_can_be_counted_are_no_amounts() {
        check(size, "0B", Err("nothing at all"));
        check(size, "000GiB", Err("nothing at all"));
        check(duration, "0ms", Err("nothing at all"));
        check(size, "18446744073709551616B", Err("more than can be counted"));
        check(size, "16777216TiB", Err("more than can be counted"));
        check(duration, "18446744073709551615h", Err("more than can be counted"));
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        for bytes in [1, 100, 1023, 1024, 64 << 20, (64 << 20) + 1, 3 << 30, 1 << 40, u64::MAX] {
            check(size, &Amount::Bytes(bytes).to_string(), Ok(bytes));
        }
        for millis in [1, 250, 1000, 1500, 60_000, 90_000, 3_600_000] {
            let time = Duration::from_millis(millis);
            check(duration, &Amount::Time(time).to_string(), Ok(time));
        }
    }
}
