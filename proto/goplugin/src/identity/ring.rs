//! The provider of the feature `ring`, with the curve that it lacks.
//!
//! Go's certificates are on P-521 (protocol spec 9.2), and a provider that cannot check signatures of that curve finds
//! no Go peer to talk to: it does not offer the scheme, and they then show no certificate. Keys of our own are on
//! another curve, so checking is all that is added here; what is checked is public, and no time that it takes tells
//! anything.

use std::sync::LazyLock;

use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use p521::ecdsa::{DerSignature, VerifyingKey};
use rustls::SignatureScheme;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// One way to check a signature, as rustls holds them.
type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// The schemes that the curve adds to or adds itself to. TLS 1.3 has it in the last one only; with TLS 1.2 a scheme
/// names the hash, and the key may be on any curve.
const ADDED: [(SignatureScheme, Algorithm); 3] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, &P521(Hash::Sha256)),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &P521(Hash::Sha384)),
    (SignatureScheme::ECDSA_NISTP521_SHA512, &P521(Hash::Sha512)),
];

/// What ring knows and what is added, in the form in which rustls wants them: tables that last for ever.
static SUPPORTED: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| {
    let ring = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let mut schemes: Vec<_> =
        ring.mapping.iter().map(|(scheme, algorithms)| (*scheme, algorithms.to_vec())).collect();
    for (scheme, algorithm) in ADDED {
        match schemes.iter_mut().find(|(known, _)| *known == scheme) {
            Some((_, algorithms)) => algorithms.push(algorithm),
            None => schemes.push((scheme, vec![algorithm])),
        }
    }
    let leak = |(scheme, algorithms): (SignatureScheme, Vec<Algorithm>)| (scheme, &*algorithms.leak());
    let all = ring.all.iter().copied().chain(ADDED.map(|(_, algorithm)| algorithm));
    WebPkiSupportedAlgorithms {
        all: all.collect::<Vec<_>>().leak(),
        mapping: schemes.into_iter().map(leak).collect::<Vec<_>>().leak(),
    }
});

/// Returns ring's own provider, made to know the curve.
pub(super) fn provider() -> CryptoProvider {
    let ring = rustls::crypto::ring::default_provider();
    CryptoProvider { signature_verification_algorithms: *SUPPORTED, ..ring }
}

/// ECDSA on P-521, over a message that is hashed in one of the ways that TLS has.
#[derive(Debug)]
struct P521(Hash);

#[derive(Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl SignatureVerificationAlgorithm for P521 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = DerSignature::try_from(signature).map_err(|_| InvalidSignature)?;
        let valid = match self.0 {
            Hash::Sha256 => key.verify_prehash(&Sha256::digest(message), &signature),
            Hash::Sha384 => key.verify_prehash(&Sha384::digest(message), &signature),
            Hash::Sha512 => key.verify_prehash(&Sha512::digest(message), &signature),
        };
        valid.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    /// What Go's `crypto/ecdsa` signed, and with which key.
    const MESSAGE: &[u8] = b"what was signed";
    const KEY: &str = concat!(
        "BAGyBuWV1NDeZNBaAtbgzEVazIivI9CklQfO5L1qyb2O6z6Gh18EyZaYDjfCm2wUXSf8hsoT20JhXw+1uAFvzTBM1AAejhtCB9y8DLpq",
        "4cWofCSoXriuQ4AusAomlc5AgoEIwEf1lYfSAym/GujBsV1OygInjpNh/Q+6HRouGYlr649jDw==",
    );
    const SIGNATURES: [&str; 3] = [
        concat!(
            "MIGIAkIBpNaVsECjs8AXHt5zisK977ozcxTI+WUinwbstdpAKi74UF8YK1luFWFke6Temq/JGUs7X8CtYa8sDuku24jgh8sCQgHo",
            "MIo7bwAo1Chwgoau/TqxZSwvr5SEHjGdDm28lfE+v+0jBhk8l6N/ZZlilKwJFZFmXZquLfD7UKvRuObxLUcYVQ==",
        ),
        concat!(
            "MIGIAkIA86+6oZUt9d4iHLDRrLvvrc7WI+N+CcsKVmrK3fNFq+IGeAXbJ9Yi332Of/Y90IyDaX+BWeTy+d25s1IjHZkF9TcCQgFM",
            "56VASlHx2ccyicmQ/F8aRKD0f1a6tpAIo8+gH4GVJ2SSCo2GTpiXPaq4Py7oUwGpPu4MMZfhjoglUxyZ3k6PSg==",
        ),
        concat!(
            "MIGHAkFRcZIMhG9B0kdJ+AHyySyjV8Rl4wpiJYVoPRRESktfV0A+obA1pvJ40lmzMdvykIHd6QqofUwByEySGtpw6YsB0QJCANKz",
            "WM+fnFx+9rdON9owrmQYXro0kE/2WD8zfX6U9VJ27O83NVENFkMtGAN3TRrvJBCqcuIwVMDVaCanv2/EBxvB",
        ),
    ];

    #[test]
    fn what_go_signed_is_valid_with_its_own_hash_and_for_its_own_message() {
        let key = BASE64_STANDARD.decode(KEY).unwrap();
        for (index, (_, algorithm)) in ADDED.iter().enumerate() {
            for (other, signature) in SIGNATURES.iter().enumerate() {
                let signature = BASE64_STANDARD.decode(signature).unwrap();
                let valid = algorithm.verify_signature(&key, MESSAGE, &signature);
                assert_eq!(valid.is_ok(), index == other, "{algorithm:?}, signature {other}");
                assert!(algorithm.verify_signature(&key, b"what was not", &signature).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_key_or_no_signature_is_refused() {
        let key = BASE64_STANDARD.decode(KEY).unwrap();
        let signature = BASE64_STANDARD.decode(SIGNATURES[2]).unwrap();
        let check =
            |key: &[u8], signature: &[u8]| P521(Hash::Sha512).verify_signature(key, MESSAGE, signature);
        assert!(check(&key, &signature).is_ok());
        for length in 0..key.len() {
            assert!(check(&key[..length], &signature).is_err(), "a key of {length} bytes");
        }
        for length in 0..signature.len() {
            assert!(check(&key, &signature[..length]).is_err(), "a signature of {length} bytes");
        }
        for index in 0..key.len() {
            let mut other = key.clone();
            other[index] ^= 1;
            assert!(check(&other, &signature).is_err(), "a key that is wrong at {index}");
        }
    }

    #[test]
    fn the_scheme_of_gos_certificates_is_offered_and_leads_to_its_curve_first() {
        let supported = provider().signature_verification_algorithms;
        let scheme = SignatureScheme::ECDSA_NISTP521_SHA512;
        assert!(supported.supported_schemes().contains(&scheme)); // H-38
        let (_, algorithms) = supported.mapping.iter().find(|(known, _)| *known == scheme).unwrap();
        assert_eq!(algorithms[0].public_key_alg_id(), alg_id::ECDSA_P521);
    }
}
