//! The certificate of a plugin, for people to inspect.
//!
//! What it says decides nothing in this crate (see `identity.rs`). But Go's hosts do decide by it, so people who look
//! for a fault want to see it. The feature `x509` reads it.

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use crate::CertificateError;
use crate::identity;

#[cfg(feature = "x509")]
mod facts;

#[cfg(feature = "x509")]
pub use self::facts::CertificateFacts;

/// A certificate that a plugin showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Reads the sixth field of a handshake.
    pub fn from_field(text: &str) -> Result<Self, CertificateError> {
        identity::read_field(text).map(Self)
    }

    /// Returns the certificate itself: X.509 in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Returns its SHA-256, by which people compare certificates.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// Reads it, and returns what it says.
    #[cfg(feature = "x509")]
    pub fn facts(&self) -> Result<CertificateFacts, CertificateError> {
        facts::read(&self.0)
    }
}

impl From<CertificateDer<'static>> for Certificate {
    fn from(der: CertificateDer<'static>) -> Self {
        Self(der)
    }
}
