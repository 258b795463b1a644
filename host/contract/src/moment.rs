//! Moments, and what stands for none.

/// A moment, in whole seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = i64;

/// The zero value of Go's type for times, the beginning of the year 1, as moments are counted.
pub(crate) const GO_ZERO: UnixSeconds = -62_135_596_800;

/// Reads a moment of somebody else's. `None` for the values that languages use for "no time" (contract spec 7.4).
#[must_use]
pub fn moment(seconds: UnixSeconds) -> Option<UnixSeconds> {
    (seconds != 0 && seconds != GO_ZERO).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract item 137.
    #[test]
    fn what_stands_for_no_time_is_none() {
        assert_eq!([0, -62_135_596_800, 1, -1].map(moment), [None, None, Some(1), Some(-1)]);
    }
}
