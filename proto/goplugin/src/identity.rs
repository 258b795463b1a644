//! AutoMTLS: our certificate for one launch, and the check of the other side's.
//!
//! Each side makes a key and a certificate for this one launch and hands the certificate over: the host in the child's
//! environment, the plugin in its line. From then on either accepts exactly that certificate, byte for byte, from
//! whoever proves to have its key. No authority is involved, and the system's are never asked. What an ordinary
//! verifier looks at, the name, the time, the chain, decides nothing here; our certificates have it all the same,
//! because Go's peers look (protocol spec 9).

#[cfg(test)]
mod fuzz;
mod pin;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
mod ring;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SerialNumber, SignatureAlgorithm,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, version};
use thiserror::Error as ThisError;

use self::pin::Pin;
use crate::tls::Tls;

/// The name in either side's certificate, which the other side asks for.
const NAME: &str = "localhost";

/// How long before now a certificate becomes valid, for clocks that differ.
const BACKDATED: Duration = Duration::from_secs(30);

/// How long a certificate is valid. Long: plugins may run for years, and the key dies with the process.
const VALID: Duration = Duration::from_secs(262_980 * 60 * 60);

/// How long a line of PEM is.
const PEM_LINE: usize = 64;

/// How many certificates a host's variable may hold. It holds one; rotation is a reason for two.
const PEM_CERTIFICATES: usize = 8;

/// Go reads no padding and writes none; others may.
pub(crate) const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One side's key and certificate, good for one launch.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// Makes a new one, whose handshakes use `provider`.
    ///
    /// It takes a tenth of a millisecond; the first in a process waits for the provider's random numbers to get going.
    pub(crate) fn generate(provider: Arc<CryptoProvider>) -> Result<Self, IdentityError> {
        Self::generate_on(&rcgen::PKCS_ECDSA_P256_SHA256, provider)
    }

    fn generate_on(
        curve: &'static SignatureAlgorithm,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(curve).map_err(not_made)?;
        let certificate = profile(&provider)?.self_signed(&key).map_err(not_made)?;
        Ok(Self {
            certificate: certificate.into(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            provider,
        })
    }

    /// Returns the certificate as a host puts it into `PLUGIN_CLIENT_CERT`.
    pub(crate) fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.certificate);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_at_checked(PEM_LINE) {
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        if !rest.is_empty() {
            pem.push_str(rest);
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }

    /// Returns the certificate as a plugin puts it into its line.
    pub(crate) fn to_field(&self) -> String {
        BASE64_STANDARD_NO_PAD.encode(&self.certificate)
    }

    /// Returns a TLS setup that accepts only a peer with one of the certificates `peers` and its key.
    pub(crate) fn trusting(&self, peers: Vec<CertificateDer<'static>>) -> Result<Tls, IdentityError> {
        let provider = &self.provider;
        let pin = Arc::new(Pin::new(peers, provider));
        let versions = &[&version::TLS13, &version::TLS12];
        let chain = vec![self.certificate.clone()];
        let key = PrivateKeyDer::from(self.key.clone_key());

        let mut client = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&pin) as _)
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(pin)
            .with_single_cert(chain, key)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let name = ServerName::try_from(NAME).map_err(|_| IdentityError::Name)?;
        Ok(Tls::new(client, server, name))
    }
}

/// Leaves out the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate.len()).finish_non_exhaustive()
    }
}

/// Returns the provider that this build was made with.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "aws-lc-rs"))]
    let provider = self::ring::provider();
    Arc::new(provider)
}

/// Reads the certificate in field 6 of a plugin's line.
pub(crate) fn read_field(text: &str) -> Result<CertificateDer<'static>, CertificateError> {
    let der = FORGIVING.decode(text).map_err(|_| CertificateError::Base64)?;
    checked(CertificateDer::from(der))
}

/// Reads the certificates in a host's `PLUGIN_CLIENT_CERT`; there is at least one.
pub(crate) fn read_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()).take(PEM_CERTIFICATES) {
        found.push(checked(certificate.map_err(|_| CertificateError::Pem)?)?);
    }
    if found.is_empty() { Err(CertificateError::Pem) } else { Ok(found) }
}

/// Refuses what is not a certificate. What it says is not read here: certificates are only compared.
fn checked(certificate: CertificateDer<'static>) -> Result<CertificateDer<'static>, CertificateError> {
    match rustls::server::ParsedCertificate::try_from(&certificate) {
        Ok(_) => Ok(certificate),
        Err(_) => Err(CertificateError::Der),
    }
}

fn not_made(error: rcgen::Error) -> IdentityError {
    IdentityError::Certificate(Box::new(error))
}

/// Says what Go's peers expect of a certificate. They accept any curve, and P-256 is what every provider has.
fn profile(provider: &CryptoProvider) -> Result<CertificateParams, IdentityError> {
    let mut profile = CertificateParams::new([NAME.to_owned()]).map_err(not_made)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "HashiCorp");
    name.push(DnType::CommonName, NAME);
    profile.distinguished_name = name;

    let mut serial = [0_u8; 16];
    provider.secure_random.fill(&mut serial).map_err(|_| IdentityError::Random)?;
    profile.serial_number = Some(SerialNumber::from_slice(&serial));

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    profile.not_before = epoch + now.saturating_sub(BACKDATED);
    profile.not_after = epoch + now + VALID;

    profile.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    profile.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyAgreement,
        KeyUsagePurpose::KeyCertSign,
    ];
    profile.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(profile)
}

/// Why AutoMTLS cannot be set up.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[source] Box<dyn Error + Send + Sync>),
    /// There are no random numbers.
    #[error("cannot make a certificate: there are no random numbers")]
    Random,
    /// The certificate cannot be used.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The name in both certificates is not a valid one in this build.
    #[error("cannot set up TLS: {NAME} is not a valid name")]
    Name,
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum CertificateError {
    /// It is not in base64, as in a plugin's line.
    #[error("it is not in base64")]
    Base64,
    /// It is not in PEM, as in a host's variable.
    #[error("it is not in PEM")]
    Pem,
    /// Its content is not a certificate.
    #[error("it is not an X.509 certificate")]
    Der,
}
