//! Handshakes between identities, right and wrong ones.

use std::io;

use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;
use crate::tls::is_rejection;
use crate::transport::{Link, Socket};

fn identity() -> Identity {
    Identity::generate(provider()).unwrap()
}

impl Identity {
    fn trusts(&self, other: &Self) -> Tls {
        self.trusting(vec![other.certificate.clone()]).unwrap()
    }
}

/// Lets `client` dial `server`; both say a word if they can.
async fn talk(client: &Tls, server: &Tls) -> (io::Result<Link>, io::Result<Link>) {
    let (there, here) = UnixStream::pair().unwrap();
    let (dial, accept) = (client.connect(Socket::Unix(there)), server.accept(Socket::Unix(here)));
    let accept = async {
        let mut link = accept.await?;
        let Link::Tls(stream) = &mut link else { panic!() };
        stream.write_all(b"word").await?;
        stream.flush().await?;
        Ok(link)
    };
    let dial = async {
        let mut link = dial.await?;
        let Link::Tls(stream) = &mut link else { panic!() };
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        assert_eq!(&word, b"word");
        Ok(link)
    };
    tokio::join!(dial, accept)
}

#[tokio::test]
async fn two_that_know_each_other_talk_whoever_dials() {
    let (host, plugin) = (identity(), identity());
    let (ours, theirs) = (host.trusts(&plugin), plugin.trusts(&host));
    for (client, server, client_is) in [(&ours, &theirs, &host), (&theirs, &ours, &plugin)] {
        let (dialled, accepted) = talk(client, server).await;
        let (Ok(Link::Tls(dialled)), Ok(Link::Tls(accepted))) = (dialled, accepted) else { panic!() };
        assert_eq!(dialled.get_ref().1.alpn_protocol(), Some(&b"h2"[..])); // H-41, P-28
        let tokio_rustls::TlsStream::Server(accepted) = *accepted else { panic!() };
        let connection = accepted.get_ref().1;
        assert_eq!(connection.server_name(), Some("localhost")); // H-41, P-31
        assert_eq!(connection.peer_certificates(), Some(&[client_is.certificate.clone()][..])); // H-42
    }
}

#[tokio::test]
async fn a_peer_on_any_curve_of_go_is_accepted_as_its_own_authority() {
    let host = identity();
    let curves = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
        // H-38, P-25, P-26: Go's own is on this one, which ring has no keys on; see `ring.rs`.
        #[cfg(feature = "aws-lc-rs")]
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ];
    for curve in curves {
        let peer = Identity::generate_on(curve, provider()).unwrap();
        let (ours, theirs) = (host.trusts(&peer), peer.trusts(&host));
        assert!(matches!(talk(&ours, &theirs).await, (Ok(_), Ok(_))));
        assert!(matches!(talk(&theirs, &ours).await, (Ok(_), Ok(_))));
    }
}

#[tokio::test]
async fn another_certificate_with_the_same_name_is_refused_in_either_role() {
    let (host, plugin, stranger) = (identity(), identity(), identity());
    // The stranger knows both, and neither knows it.
    let (dialled, _) = talk(&host.trusts(&plugin), &stranger.trusts(&host)).await;
    assert!(dialled.is_err()); // H-39, H-44: there is nothing else to go by
    let (dialled, accepted) = talk(&stranger.trusts(&plugin), &plugin.trusts(&host)).await;
    assert!(accepted.is_err()); // P-25
    let error = dialled.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied); // H-43
    assert!(is_rejection(&error));
}

/// Go's own peers settle on TLS 1.3; a thief would not.
#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing_in_any_version() {
    let (host, plugin, thief) = (identity(), identity(), identity());
    for version in [&version::TLS12, &version::TLS13] {
        // Shows the certificate of the first with the key of the second, and trusts the third.
        let tls = |shown: &Identity, owner: &Identity, other: &Identity| {
            let key = PrivateKeyDer::from(owner.key.clone_key());
            let key = provider().key_provider.load_private_key(key).unwrap();
            let shown = CertifiedKey::new(vec![shown.certificate.clone()], key);
            let shown = Arc::new(SingleCertAndKey::from(shown));
            let pin = Arc::new(Pin::new(vec![other.certificate.clone()], &provider()));
            let client = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&pin) as _)
                .with_client_cert_resolver(Arc::clone(&shown) as _);
            let server = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_client_cert_verifier(pin)
                .with_cert_resolver(shown);
            Tls::new(client, server, ServerName::try_from(NAME).unwrap())
        };
        // H-40
        let (dialled, _) = talk(&host.trusts(&plugin), &tls(&plugin, &thief, &host)).await;
        assert!(dialled.is_err());
        let (dialled, accepted) = talk(&tls(&host, &thief, &plugin), &plugin.trusts(&host)).await;
        assert!(dialled.is_err() && accepted.is_err());
        // P-28
        let honest = talk(&host.trusts(&plugin), &tls(&plugin, &plugin, &host)).await;
        assert!(matches!(honest, (Ok(_), Ok(_))));
        let honest = talk(&tls(&host, &host, &plugin), &plugin.trusts(&host)).await;
        assert!(matches!(honest, (Ok(_), Ok(_))));
    }
}

#[tokio::test]
async fn whoever_speaks_in_the_clear_is_not_heard() {
    let (host, plugin) = (identity(), identity());
    let (mut there, here) = UnixStream::pair().unwrap();
    there.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(plugin.trusts(&host).accept(Socket::Unix(here)).await.is_err()); // P-29
}

#[test]
fn no_hint_says_whose_certificates_are_wanted() {
    let pin = Pin::new(vec![identity().certificate], &provider());
    let pin: &dyn ClientCertVerifier = &pin;
    assert!(pin.root_hint_subjects().is_empty()); // P-27
    assert!(pin.client_auth_mandatory()); // P-25
}

#[test]
fn every_launch_has_its_own() {
    let (one, other) = (identity(), identity());
    assert_ne!(one.certificate, other.certificate); // H-37
    assert_ne!(one.key.secret_pkcs8_der(), other.key.secret_pkcs8_der());
}

#[cfg(feature = "x509")]
#[test]
fn a_certificate_says_what_go_asks_for() {
    let facts = crate::Certificate::from(identity().certificate).facts().unwrap();
    // H-37, P-24
    assert_eq!((facts.names, facts.key), (vec!["localhost".to_owned()], "ECDSA P-256".to_owned()));
    assert!(facts.authority && facts.server && facts.client);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert!(facts.not_before <= now - 30 && facts.not_before > now - 90, "{} at {now}", facts.not_before);
    let years = (facts.not_after - now) / (365 * 24 * 60 * 60);
    assert_eq!(years, 30);
}

#[test]
fn what_is_written_is_read_again() {
    let identity = identity();
    let pem = identity.to_pem();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n")); // H-05
    assert!(pem.lines().all(|line| line.len() <= PEM_LINE));
    assert_eq!(read_pem(&pem), Ok(vec![identity.certificate.clone()]));
    assert_eq!(read_pem(&format!("{pem}{pem}")).map(|found| found.len()), Ok(2));
    let field = identity.to_field();
    assert!(!field.contains('=')); // P-11
    assert_eq!(read_field(&field), Ok(identity.certificate.clone()));
}

#[test]
fn what_is_no_certificate_is_refused() {
    for (text, error) in [
        ("", CertificateError::Pem),
        ("certificate", CertificateError::Pem),
        ("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n", CertificateError::Pem),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CertificateError::Der),
    ] {
        assert_eq!(read_pem(text), Err(error), "{text:?}"); // P-30
    }
    assert_eq!(read_field("a b"), Err(CertificateError::Base64));
    assert_eq!(read_field("AAAA"), Err(CertificateError::Der));
}
