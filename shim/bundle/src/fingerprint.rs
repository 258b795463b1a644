//! What tells one file from all others.

use std::fmt;

/// The BLAKE3 of everything behind the program in a file, and of the program's own BLAKE3.
///
/// Not a SHA-256, as a component's digest is, which people write down: a file is hashed each time it starts, and with
/// a whole language in it there are tens of megabytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

/// Writes 64 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
