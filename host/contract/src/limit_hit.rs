//! Which limit was reached, and by how much.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A plugin, or a request to it, went past one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("limit {which} reached: asked {asked:#}, allowed {allowed}")]
pub struct LimitHit {
    /// Which one, by its name in the policy.
    pub which: LimitName,
    /// How much the plugin or the request needed.
    pub asked: Amount,
    /// How much it was allowed.
    pub allowed: Amount,
}

impl LimitHit {
    /// Refuses more bytes than a limit allows.
    ///
    /// # Errors
    ///
    /// When more are asked than allowed.
    pub fn check(which: LimitName, asked: u64, allowed: u64) -> Result<(), Self> {
        if asked <= allowed {
            return Ok(());
        }
        let [asked, allowed] = [asked, allowed].map(Amount::Bytes);
        Err(Self { which, asked, allowed })
    }

    /// Says that something took longer than a call may. How long it would have taken nobody knows.
    #[must_use]
    pub fn wall(allowed: Duration) -> Self {
        Self { which: LimitName::Wall, asked: Amount::Unknown, allowed: Amount::Time(allowed) }
    }
}

/// A limit, by its name in the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitName {
    /// Bytes of all memories and tables of an instance, or of a child.
    Memory,
    /// Processor time of one call.
    Cpu,
    /// Time of one call, waiting included.
    Wall,
    /// Bytes of one request or result.
    Message,
    /// Bytes that one call prints.
    Output,
    /// Files, streams and requests that an instance has open, or open files of a process of a child.
    Handles,
    /// Calls at the same time.
    Concurrency,
}

impl LimitName {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 7] =
        [Self::Memory, Self::Cpu, Self::Wall, Self::Message, Self::Output, Self::Handles, Self::Concurrency];

    /// Returns its key in a policy.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Message => "message",
            Self::Output => "output",
            Self::Handles => "handles",
            Self::Concurrency => "concurrency",
        }
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Time.
    Time(Duration),
    /// Things to count.
    Count(u64),
    /// More than a number can hold, or an amount that is not known.
    Unknown,
}

/// The units of time that a policy knows, in nanoseconds.
const TIMES: [(u128, &str); 4] =
    [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];

/// Shows it as a policy writes it. The alternate form is for what was asked: bytes that are no whole number of a unit
/// are rounded up to a tenth, so that more than was allowed also looks like more.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => {
                for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
                    if *bytes < (1 << shift) {
                        continue;
                    }
                    if bytes.is_multiple_of(1 << shift) {
                        return write!(f, "{}{unit}", bytes >> shift);
                    }
                    if f.alternate() {
                        return tenths(f, *bytes, shift, unit);
                    }
                }
                write!(f, "{bytes}B")
            }
            Self::Time(time) => {
                let nanos = time.as_nanos();
                match TIMES.into_iter().find(|(whole, _)| nanos >= *whole && nanos.is_multiple_of(*whole)) {
                    Some((whole, unit)) => write!(f, "{}{unit}", nanos / whole),
                    None => write!(f, "{time:?}"),
                }
            }
            Self::Count(count) => write!(f, "{count}"),
            Self::Unknown => f.write_str("more"),
        }
    }
}

/// Shows bytes in a unit of two to the power of `shift`, rounded up to a tenth of it.
fn tenths(f: &mut fmt::Formatter<'_>, bytes: u64, shift: u32, unit: &str) -> fmt::Result {
    let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
    let tenths = whole * 10 + (rest * 10).div_ceil(1 << shift);
    write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: u64, allowed: u64, text: &str) {
        let [asked, allowed] = [asked, allowed].map(Amount::Bytes);
        let said = LimitHit { which: LimitName::Memory, asked, allowed }.to_string();
        assert_eq!(said, format!("limit memory reached: {text}"));
    }

    #[test]
    fn what_was_asked_is_easily_read_and_never_looks_like_what_was_allowed() {
        check(67_613_856, 64 << 20, "asked 64.5MiB, allowed 64MiB");
        check((64 << 20) + 1, 64 << 20, "asked 64.1MiB, allowed 64MiB");
        check((65 << 20) - 1, 64 << 20, "asked 65.0MiB, allowed 64MiB");
        check(128 << 20, 64 << 20, "asked 128MiB, allowed 64MiB");
        check(1_001, 1_000, "asked 1001B, allowed 1000B");
        check(1_600, 1 << 10, "asked 1.6KiB, allowed 1KiB");
        // What a policy says is shown as it says it.
        check(1_600_000, 1_500_000, "asked 1.6MiB, allowed 1500000B");
        check(u64::MAX, 1 << 40, "asked 16777216.0TiB, allowed 1TiB");
    }
}
