//! Numbers that look random, from a name: the same name, the same numbers.

/// A small generator (xorshift). It decides what is tried, and keeps no secret.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts with a name (FNV-1a), so that two runs of one name are alike.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash | 1)
    }

    /// Returns the next one.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `limit`, or 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        // The low bits of this generator are its weakest.
        usize::try_from((self.number() >> 11) % limit).unwrap_or_default()
    }

    /// Returns one of `things`. There is at least one.
    pub fn one_of<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        &things[self.below(things.len())]
    }
}
