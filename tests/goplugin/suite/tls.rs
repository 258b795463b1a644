//! Encryption that goes wrong, or is set up by hand.

use std::sync::Arc;

use portcullis_goplugin::{Encryption, Environment, HandshakeError, StartError, Tls as GivenTls};
use portcullis_goplugin_tests::CALLED_BACK;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use test_case::test_matrix;

use crate::scene::Mode::{self, Both, Mux, Plain, Tls};
use crate::scene::{LONG, Outcome, called_back, offered, scene};

fn variable(name: &str, value: &str) -> Environment {
    Environment::Only(vec![(name.into(), value.into())])
}

#[test_matrix(["1.8", "1.6"], [Tls, Both])]
#[tokio::test]
async fn a_plugin_that_does_not_accept_our_certificate_says_so(version: &str, mode: Mode) {
    let mut scene = scene(version, mode); // H-43
    scene.launch.environment = variable("PEER_STRANGER", "yes");
    let error = scene.launch.start().await.expect_err("it knows nobody");
    assert!(matches!(error, StartError::Rejected { .. }), "{error}");
    scene.expect_nothing_left();
}

#[test_matrix("1.8", [Tls, Both])]
#[tokio::test]
async fn a_plugin_with_tls_of_its_own_has_no_certificate_to_show(version: &str, mode: Mode) -> Outcome {
    let mut scene = scene(version, mode); // H-23
    write_certificate(scene.base.path())?;
    scene.launch.environment = variable("PEER_TLS", &scene.base.path().to_string_lossy());
    let error = scene.launch.start().await.expect_err("it has other plans");
    assert!(matches!(error, StartError::Handshake { error: HandshakeError::NoCertificate, .. }), "{error}");
    Ok(())
}

/// Writes a certificate for `plugin.test` and its key where the plugin finds them.
fn write_certificate(
    directory: &std::path::Path,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Box<dyn std::error::Error>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["plugin.test".to_owned()])?.self_signed(&key)?;
    std::fs::write(directory.join("cert.pem"), certificate.pem())?;
    std::fs::write(directory.join("key.pem"), key.serialize_pem())?;
    Ok((certificate.into(), PrivateKeyDer::try_from(key.serialize_der())?))
}

/// Describes a host's TLS with the certificate that is written to `directory`.
fn given(directory: &std::path::Path) -> Result<Encryption, Box<dyn std::error::Error>> {
    let (certificate, key) = write_certificate(directory)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(Encryption::Given(GivenTls::new(client, server, ServerName::try_from("plugin.test")?)))
}

#[test_matrix("1.8", [Plain, Mux])]
#[tokio::test]
async fn tls_that_was_set_up_by_hand_works(version: &str, mode: Mode) -> Outcome {
    let mut scene = scene(version, mode);
    let files = tempfile::tempdir()?;
    scene.launch.encryption = given(files.path())?;
    scene.launch.environment = variable("PEER_TLS", &files.path().to_string_lossy());

    let (plugin, peer) = scene.start().await?;
    plugin.ping(LONG).await?;
    assert_eq!(peer.call::<_, Vec<u8>>("Echo", CALLED_BACK.to_vec()).await?, CALLED_BACK);
    plugin.stop(LONG).await;
    scene.expect_nothing_left();
    Ok(())
}

#[test_matrix([Plain, Mux])]
#[tokio::test]
async fn our_plugin_may_be_set_up_by_hand_as_well(mode: Mode) -> Outcome {
    let mut scene = scene("1.8", mode);
    let files = tempfile::tempdir()?;
    scene.launch.executable = env!("CARGO_BIN_EXE_goplugin-peer-for-go").into();
    scene.launch.encryption = given(files.path())?;
    scene.launch.arguments = vec![format!("tls={}", files.path().display()).into()];

    let (plugin, peer) = scene.start().await?;
    assert_eq!(peer.call::<_, Vec<u8>>("Echo", CALLED_BACK.to_vec()).await?, CALLED_BACK);
    let _serving = called_back(&plugin, &peer).await?;
    let offered = offered(&plugin, &peer).await?;
    assert_eq!(offered.call::<_, Vec<u8>>("Echo", CALLED_BACK.to_vec()).await?, CALLED_BACK);
    plugin.stop(LONG).await;
    scene.expect_nothing_left();

    // A host's own certificate is passed over then, and none is shown in return. P-11, P-23
    scene.launch.encryption = Encryption::AutoMtls;
    let error = scene.launch.start().await.expect_err("it has other plans");
    assert!(matches!(error, StartError::Handshake { error: HandshakeError::NoCertificate, .. }), "{error}");
    Ok(())
}
