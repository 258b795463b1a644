//! A plugin beside its test.

use portcullis_goplugin::{Address, Cookie, End, Outcome, Parent, Serve, ServeError, Session};
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::child::{connect, entries};
use crate::{LONG, TestResult};

/// A plugin without a host, whose sockets are in `directory`.
fn serve(directory: &std::path::Path) -> Serve {
    let mut serve = Serve::new(Cookie::new("NEVER", "set"));
    serve.variables =
        vec![("TMPDIR".into(), directory.into()), ("PLUGIN_CLIENT_CERT".into(), "stale".into())];
    serve.parent = Parent::Follow;
    serve.version(2, |_: &Session| Routes::default()).version(7, |_: &Session| Routes::default())
}

#[tokio::test]
async fn it_is_served_without_a_host_until_its_test_ends_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let serving = serve(directory.path()).serve_in_test().await?; // P-69
    let reattach = serving.reattach().clone();
    assert_eq!((reattach.version, reattach.pid, reattach.test), (2, std::process::id(), true));
    assert_eq!(reattach.to_json()["Protocol"], "grpc");
    let Address::Unix(path) = reattach.address else { return Err("it is a Unix socket".into()) };
    let mut health = HealthClient::new(connect(path).await);
    health.check(HealthCheckRequest { service: "plugin".to_owned() }).await?;
    assert_eq!(serving.stop().await, End::Stopped);
    assert_eq!(entries(directory.path()), 0);
    assert!(health.check(HealthCheckRequest::default()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn in_a_runtime_it_starts_no_other() -> TestResult {
    let directory = tempfile::tempdir()?;
    let outcome = serve(directory.path()).run();
    assert!(matches!(outcome, Outcome::Failed(ServeError::Runtime(_))), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn a_plugin_in_a_test_ends_when_it_is_dropped() -> TestResult {
    let directory = tempfile::tempdir()?;
    let serving = serve(directory.path()).serve_in_test().await?;
    let Address::Unix(path) = serving.reattach().address.clone() else { return Err("it is a socket".into()) };
    let mut health = HealthClient::new(connect(path).await);
    health.check(HealthCheckRequest::default()).await?;
    drop(serving);
    crate::child::wait_until_empty(directory.path()).await;
    let ended = async {
        while health.check(HealthCheckRequest::default()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, ended).await?;
    Ok(())
}

#[tokio::test]
async fn its_services_can_be_looked_up() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut serve = serve(directory.path());
    serve.descriptors = vec![tonic_health::pb::FILE_DESCRIPTOR_SET.to_vec()];
    let serving = serve.serve_in_test().await?;
    let Address::Unix(path) = serving.reattach().address.clone() else { return Err("it is a socket".into()) };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(connect(path).await);
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { return Err("it is a list".into()) };
    assert!(list.service.iter().any(|service| service.name == "grpc.health.v1.Health")); // P-41
    Ok(())
}
