//! What a connection tells of a Go plugin that nobody knows.

use std::time::Duration;

use portcullis_goplugin::{Asked, Health, Standing};
use test_case::test_case;

use crate::scene::Mode::{self, Both, Plain, Tls};
use crate::scene::{LONG, Outcome, scene};

/// Long enough for what a Go plugin would refuse to be refused. It refuses nothing, and this is waited out.
const PATIENCE: Duration = Duration::from_millis(200);

#[test_case("1.8", Both, "v1"; "multiplexed and encrypted")]
#[test_case("1.6", Tls, "v1"; "encrypted")]
#[test_case("1.4", Plain, "v1alpha"; "with the older reflection")]
#[tokio::test]
async fn a_go_plugin_is_looked_at(version: &str, mode: Mode, reflection: &str) -> Outcome {
    let scene = scene(version, mode);
    let (plugin, _) = scene.start().await?;
    for (service, expected) in
        [("plugin", Health::Serving), ("", Health::Serving), ("nobody", Health::NoSuchService)]
    {
        assert_eq!(plugin.health(service, LONG).await?, expected, "{service:?}");
    }
    let services = plugin.services(LONG).await?.ok_or("it has server reflection")?;
    assert_eq!(services.reflection, reflection);
    for name in
        ["grpc.health.v1.Health", "plugin.GRPCBroker", "plugin.GRPCController", "portcullis.test.Peer"]
    {
        assert!(services.names.iter().any(|found| found == name), "{name}: {services:?}");
    }
    let streams = plugin.streams(PATIENCE).await;
    assert_eq!((streams.broker, streams.stdio), (Standing::Open, Standing::Open));

    let encrypted = matches!(mode, Tls | Both);
    assert_eq!(plugin.peer_certificate().is_some(), encrypted);
    let session = plugin.tls_session().map(|session| (session.version.as_str(), session.alpn.as_deref()));
    assert_eq!(session, encrypted.then_some(("TLS 1.3", Some("h2"))));

    let ending = plugin.stop_and_tell(LONG).await;
    assert!(matches!(ending.asked, Asked::Answered | Asked::Cut), "{ending:?}");
    assert!(!ending.killed && ending.exit.status.is_some_and(|status| status.success()), "{ending:?}");
    // With multiplexing go-plugin leaves its socket (protocol spec 15.8).
    assert_eq!(ending.exit.sockets_left.len(), usize::from(mode == Both), "{ending:?}");
    scene.expect_nothing_left();
    Ok(())
}
