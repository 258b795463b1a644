//! What a plugin serves besides its own, to hosts that come and go.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::child::{Plugin, broker, connect, invited};
use crate::peer::peer_client::PeerClient;
use crate::peer::{Nothing, Number, Text};
use crate::wire::grpc_controller_client::GrpcControllerClient;
use crate::wire::grpc_stdio_client::GrpcStdioClient;
use crate::wire::{ConnInfo, Empty};
use crate::{LONG, TestResult, data};

#[tokio::test]
async fn its_health_is_known_under_its_name() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let client = HealthClient::new(plugin.connect().await);
    let check = |service: &str| {
        let (mut client, service) = (client.clone(), service.to_owned());
        async move { client.check(HealthCheckRequest { service }).await.map(|answer| answer.get_ref().status()) }
    };
    assert_eq!(check("plugin").await?, ServingStatus::Serving); // P-32
    assert_eq!(check("").await?, ServingStatus::Serving);
    assert_eq!(check("Plugin").await.map_err(|status| status.code()), Err(Code::NotFound));
    Ok(())
}

/// As of a Go plugin with a later gRPC.
#[tokio::test]
async fn its_health_is_told_with_that_of_all_its_services() -> TestResult {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Statuses {
        #[prost(map = "string, message", tag = "1")]
        statuses: HashMap<String, HealthCheckResponse>,
    }

    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut client = Grpc::new(plugin.connect().await);
    client.ready().await?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/List");
    let told = client.unary(Request::new(()), path, ProstCodec::<(), Statuses>::default()).await?;
    let serving = HealthCheckResponse { status: ServingStatus::Serving.into() };
    let expected = ["", "plugin"].map(|service| (service.to_owned(), serving)); // P-32
    assert_eq!(told.into_inner().statuses, HashMap::from(expected));
    Ok(())
}

/// Under any name, as of a Go plugin: a service may be still to come.
#[tokio::test]
async fn its_health_is_watched_until_it_ends() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["grace=1500"]));
    let channel = plugin.connect().await;
    let mut watched = Vec::new();
    for (service, expected) in [("plugin", ServingStatus::Serving), ("Plugin", ServingStatus::ServiceUnknown)]
    {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut told = HealthClient::new(channel.clone()).watch(request).await?.into_inner();
        let first = timeout(LONG, told.message()).await??.ok_or("it is told")?;
        assert_eq!(first.status(), expected, "{service:?}");
        watched.push(told);
    }
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?;
    for mut told in watched {
        // In order, and not cut off when the grace is over.
        assert_eq!(timeout(LONG, told.message()).await??, None);
    }
    Ok(())
}

#[tokio::test]
async fn hosts_come_and_go_and_the_next_one_finds_everything() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    for round in 1..=3 {
        drop(UnixStream::connect(plugin.socket()).await?); // P-38
        let mut peer = PeerClient::new(plugin.connect().await);
        let (host, mut announced) = broker(&plugin).await?; // P-55
        // What no plugin knows what to do with ends nothing.
        let odd =
            ConnInfo { service_id: 7, network: "pigeon".to_owned(), address: "roof".to_owned(), knock: None };
        host.send(odd.clone()).await?;
        host.send(odd).await?;
        host.send(ConnInfo::default()).await?;
        assert_eq!(peer.offer(Nothing {}).await?.into_inner().value, round);
        let info = timeout(LONG, announced.message()).await??.ok_or("it is announced")?; // P-56
        assert_eq!((info.service_id, info.network.as_str()), (round, "unix"));
        let mut offered = PeerClient::new(connect(info.address.into()).await);
        assert_eq!(offered.echo(data(b"there")).await?.into_inner().value, &b"there"[..]);
        // The connections end here, all of them, and the plugin does not. P-67
    }
    Ok(())
}

#[tokio::test]
async fn a_host_still_reaches_the_broker_beside_a_later_one() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let (first, _told) = broker(&plugin).await?;
    let mut peer = PeerClient::new(plugin.connect().await);
    let (_second, mut announced) = broker(&plugin).await?; // P-55
    peer.offer(Nothing {}).await?;
    timeout(LONG, announced.message()).await??.ok_or("the later one is told")?;

    let path = directory.path().join("callback");
    let listener = tokio::net::UnixListener::bind(&path)?;
    let address = path.display().to_string();
    first.send(ConnInfo { service_id: 4711, network: "unix".to_owned(), address, knock: None }).await?;
    tokio::select! {
        dialled = listener.accept() => drop(dialled?),
        refused = peer.call_back(Number { value: 4711 }) => return Err(format!("{refused:?}").into()),
    }
    Ok(())
}

#[tokio::test]
async fn an_announcement_waits_for_the_stream() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await);
    let id = peer.offer(Nothing {}).await?.into_inner().value;
    let (_host, mut announced) = broker(&plugin).await?;
    let info = timeout(LONG, announced.message()).await??.ok_or("it is announced")?;
    assert_eq!(info.service_id, id); // P-54
    Ok(())
}

#[tokio::test]
async fn a_callback_waits_for_its_announcement() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await);
    let (_host, _announced) = broker(&plugin).await?;
    let begun = Instant::now();
    let refused = peer.call_back(Number { value: 4711 }).await.map_err(|status| status.code());
    assert_eq!(refused.map(drop), Err(Code::NotFound));
    assert!(begun.elapsed() >= Duration::from_secs(5)); // P-52
    Ok(())
}

#[tokio::test]
async fn what_is_printed_arrives_whenever_a_host_reads_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    let text = "0123456789".repeat(500);
    peer.print(Text { value: text.clone() }).await?;
    let mut prints = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await?.into_inner();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while stdout.len() < text.len() || stderr.len() < text.len() {
        let piece = timeout(LONG, prints.message()).await??.ok_or("there is more")?;
        assert!((1..=1024).contains(&piece.data.len())); // P-49
        match piece.channel() {
            crate::wire::stdio_data::Channel::Stdout => stdout.extend_from_slice(&piece.data),
            crate::wire::stdio_data::Channel::Stderr => stderr.extend_from_slice(&piece.data),
            other => return Err(format!("printed to {other:?}").into()),
        }
    }
    assert_eq!((stdout, stderr), (text.clone().into_bytes(), text.into_bytes()));

    // A host that does not read stops nobody who prints.
    for _ in 0..64 {
        peer.print(Text { value: "x".repeat(1 << 16) }).await?; // P-50
    }
    Ok(())
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_as_go_refuses_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await).max_decoding_message_size(usize::MAX);
    let refused = peer.echo(data(&vec![0; 4 << 20])).await.map_err(|status| status.code());
    assert_eq!(refused.map(drop), Err(Code::ResourceExhausted)); // P-39
    assert_eq!(peer.large(Number { value: 32 << 20 }).await?.into_inner().value.len(), 32 << 20);
    Ok(())
}

#[tokio::test]
async fn a_call_may_have_a_megabyte_of_headers() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut request = Request::new(data(b""));
    request.metadata_mut().insert("x-large", "x".repeat(1 << 20).parse()?);
    PeerClient::new(plugin.connect().await).echo(request).await?; // P-40
    Ok(())
}

#[tokio::test]
async fn many_calls_at_once_are_served() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let peer = PeerClient::new(plugin.connect().await);
    let calls: Vec<_> = (0..1200)
        .map(|_| {
            let mut peer = peer.clone();
            tokio::spawn(async move { peer.hang(Nothing {}).await })
        })
        .collect();
    // Behind all of them on the same connection. P-40
    peer.clone().echo(data(b"")).await?;
    assert!(calls.iter().all(|call| !call.is_finished()));
    calls.iter().for_each(|call| call.abort());
    Ok(())
}
