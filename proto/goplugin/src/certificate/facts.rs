//! What a certificate says, in words.
//!
//! Everything in it is the plugin's own claim, and is shown as such.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::CertificateError;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number, in hexadecimal pairs.
    pub serial: String,
    /// The names that it is good for; those of hosts as they are, others with their kind.
    pub names: Vec<String>,
    /// The kind of its key, for instance `ECDSA P-521`.
    pub key: String,
    /// From when on it is good, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is good, in seconds since 1970.
    pub not_after: i64,
    /// Whether it may sign other certificates, as those that Go makes may.
    pub authority: bool,
    /// Whether it may be shown by a server.
    pub server: bool,
    /// Whether it may be shown by a client.
    pub client: bool,
}

impl CertificateFacts {
    /// Tells whether it is good at that time.
    #[must_use]
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        (self.not_before..=self.not_after).contains(&seconds)
    }
}

pub(super) fn read(der: &[u8]) -> Result<CertificateFacts, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Der)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Der)?;
    let names = names.map(|names| names.value.general_names.iter().map(name).collect());
    let uses = certificate.extended_key_usage().map_err(|_| CertificateError::Der)?;
    // A certificate that names no uses is good for all.
    let (server, client) = uses.map_or((true, true), |uses| {
        let uses = uses.value;
        (uses.any || uses.server_auth, uses.any || uses.client_auth)
    });
    Ok(CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        names: names.unwrap_or_default(),
        key: key(certificate.public_key()),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        authority: certificate.is_ca(),
        server,
        client,
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        other => other.to_string(),
    }
}

fn key(key: &SubjectPublicKeyInfo<'_>) -> String {
    const EC: &str = "1.2.840.10045.2.1";
    const CURVES: [(&str, &str); 3] =
        [("1.2.840.10045.3.1.7", "P-256"), ("1.3.132.0.34", "P-384"), ("1.3.132.0.35", "P-521")];

    let algorithm = key.algorithm.algorithm.to_id_string();
    match (algorithm.as_str(), key.parsed()) {
        (EC, _) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|named| named.as_oid().ok());
            let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
            let known = CURVES.iter().find(|(oid, _)| *oid == curve);
            format!("ECDSA {}", known.map_or(curve.as_str(), |(_, name)| name))
        }
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        (_, Ok(PublicKey::RSA(key))) => format!("RSA {}", key.key_size()),
        _ => algorithm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Certificate;
    use crate::identity::{Identity, provider};

    #[test]
    fn our_own_certificate_says_what_go_looks_for() {
        let field = Identity::generate(provider()).unwrap().to_field();
        let facts = Certificate::from_field(&field).unwrap().facts().unwrap();
        assert_eq!(
            (facts.subject.as_str(), facts.issuer.as_str()),
            ("O=HashiCorp, CN=localhost", "O=HashiCorp, CN=localhost")
        );
        assert_eq!((facts.names, facts.key.as_str()), (vec!["localhost".to_owned()], "ECDSA P-256"));
        assert!(facts.authority && facts.server && facts.client);
        let valid = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(facts.not_after - facts.not_before, 262_980 * 60 * 60 + 30);
        let begin = u64::try_from(facts.not_before).unwrap();
        for (time, expected) in [(begin - 1, false), (begin, true), (begin + 31, true), (begin << 8, false)] {
            let facts = Certificate::from_field(&field).unwrap().facts().unwrap();
            assert_eq!(facts.is_valid_at(valid(time)), expected, "{time}");
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        assert_eq!(read(b"").unwrap_err(), CertificateError::Der);
        assert_eq!(read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).unwrap_err(), CertificateError::Der);
    }
}
