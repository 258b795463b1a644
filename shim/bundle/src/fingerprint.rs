//! The fingerprint of a wrapped file, which identifies it.

use std::fmt;

/// The BLAKE3 of everything behind the program in a file, and of the program's own BLAKE3.
///
/// It is not a SHA-256, as the digest is that people write down: a file is hashed each time it starts, and one with the
/// runtime of a language in it has tens of megabytes.
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
