//! The way back to the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_contract::{PromptError, ResponseRequest, TokenRequest};
use portcullis_goplugin::Serving;
use portcullis_proto as proto;
use portcullis_proto::host_service_server::{HostService, HostServiceServer};
use portcullis_serve::Surroundings;
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::TestResult;
use crate::player::{Player, Seen};
use crate::stage::{Stage, execute, generous};

/// A host with one secret, that knows no groups and asks nobody.
struct Older {
    secret: &'static str,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl HostService for Older {
    async fn get_secret(
        &self,
        request: Request<proto::GetSecretRequest>,
    ) -> Result<Response<proto::GetSecretResponse>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = request.get_ref().name == "s";
        let value = if found { self.secret.to_owned() } else { String::new() };
        Ok(Response::new(proto::GetSecretResponse { value, found, error: String::new() }))
    }

    async fn set_secret(
        &self,
        _: Request<proto::SetSecretRequest>,
    ) -> Result<Response<proto::SetSecretResponse>, Status> {
        let error = "access denied: secret name outside allowed scope".to_owned();
        Ok(Response::new(proto::SetSecretResponse { error }))
    }

    async fn delete_secret(
        &self,
        _: Request<proto::DeleteSecretRequest>,
    ) -> Result<Response<proto::DeleteSecretResponse>, Status> {
        Err(Status::permission_denied("not yours"))
    }

    async fn list_secrets(
        &self,
        _: Request<proto::ListSecretsRequest>,
    ) -> Result<Response<proto::ListSecretsResponse>, Status> {
        Ok(Response::new(proto::ListSecretsResponse { names: vec!["s".to_owned()], error: String::new() }))
    }

    async fn get_auth_identity(
        &self,
        _: Request<proto::GetAuthIdentityRequest>,
    ) -> Result<Response<proto::GetAuthIdentityResponse>, Status> {
        let claims = proto::Claims { subject: "ada".to_owned(), ..Default::default() };
        Ok(Response::new(proto::GetAuthIdentityResponse { claims: Some(claims), error: String::new() }))
    }

    async fn list_auth_handlers(
        &self,
        _: Request<proto::ListAuthHandlersRequest>,
    ) -> Result<Response<proto::ListAuthHandlersResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_auth_token(
        &self,
        _: Request<proto::GetAuthTokenRequest>,
    ) -> Result<Response<proto::GetAuthTokenResponse>, Status> {
        let access_token = "t".to_owned();
        Ok(Response::new(proto::GetAuthTokenResponse { access_token, ..Default::default() }))
    }

    async fn get_auth_groups(
        &self,
        _: Request<proto::GetAuthGroupsRequest>,
    ) -> Result<Response<proto::GetAuthGroupsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prompt_auth_response(
        &self,
        request: Request<proto::PromptAuthResponseRequest>,
    ) -> Result<Response<proto::PromptAuthResponseResponse>, Status> {
        Err(match request.get_ref().handler_name.as_str() {
            "out" => Status::unavailable("nobody is at home"),
            "no" => Status::cancelled("not today"),
            "broken" => Status::internal("the bell is broken"),
            _ => Status::unimplemented(""),
        })
    }
}

/// A provider, and what surrounds it.
async fn stage() -> Result<(Stage, Surroundings), Box<dyn std::error::Error>> {
    let (tell, told) = oneshot::channel();
    let (seen, _) = Seen::new();
    let stage = Stage::provider(move |around: Surroundings| {
        drop(tell.send(around.clone()));
        Ok(Player::new(around, seen))
    })
    .await?;
    Ok((stage, told.await?))
}

async fn serve(
    stage: &Stage,
    secret: &'static str,
) -> Result<(Serving, Arc<AtomicUsize>), Box<dyn std::error::Error>> {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = HostServiceServer::new(Older { secret, asked: Arc::clone(&asked) });
    Ok((stage.connection.broker().serve(Routes::new(server)).await?, asked))
}

async fn configure(stage: &Stage, name: &str, id: u32) -> Result<String, Status> {
    let request = proto::ConfigureProviderRequest {
        provider_name: name.to_owned(),
        host_service_id: id,
        ..Default::default()
    };
    Ok(generous(stage.providers().configure_provider(request)).await?.into_inner().error)
}

async fn secret(stage: &Stage) -> Result<String, Status> {
    let answer = generous(stage.providers().execute_provider(execute("secret"))).await?.into_inner();
    Ok(if answer.error.is_empty() {
        String::from_utf8_lossy(&answer.output).into_owned()
    } else {
        answer.error
    })
}

const ONE: &str = "{\"data\":\"one\"}";

/// Contract item 45.
#[tokio::test]
async fn every_call_finds_the_host_once_a_configuration_has_said_where_it_is() -> TestResult {
    let (stage, _) = stage().await?;
    let nothing = "secret store not available";
    assert_eq!(secret(&stage).await?, nothing);
    assert_eq!(configure(&stage, "curious", 0).await?, nothing);

    let (serving, _) = serve(&stage, "one").await?;
    assert_eq!(configure(&stage, "curious", serving.id()).await?, "one");
    assert_eq!(secret(&stage).await?, ONE);
    let input = || "{\"secret\":1}".into();
    let what_if = proto::DescribeWhatIfRequest { provider_name: "good".to_owned(), input: input() };
    assert_eq!(stage.providers().describe_what_if(what_if).await?.into_inner().description, "one");
    let extract = proto::ExtractDependenciesRequest { provider_name: "good".to_owned(), inputs: input() };
    assert_eq!(stage.providers().extract_dependencies(extract).await?.into_inner().dependencies, ["one"]);
    let mut items = stage.providers().execute_provider_stream(execute("secret")).await?.into_inner();
    let chunk = items.message().await?.and_then(|item| item.chunk);
    assert_eq!(chunk, Some(proto::execute_provider_stream_chunk::Chunk::Stdout("one".into())));

    // Who says nothing of a host leaves the way as it is.
    assert_eq!(configure(&stage, "good", 0).await?, "");
    assert_eq!(secret(&stage).await?, ONE);
    Ok(())
}

/// Contract item 43: an announcement is good for one dial, so a second one would have failed.
#[tokio::test]
async fn every_provider_of_a_plugin_shares_one_way_to_the_host() -> TestResult {
    let (stage, _) = stage().await?;
    let (serving, asked) = serve(&stage, "one").await?;
    let (one, two) =
        tokio::join!(configure(&stage, "good", serving.id()), configure(&stage, "other", serving.id()));
    assert_eq!((one?.as_str(), two?.as_str()), ("", ""));
    assert_eq!(configure(&stage, "third", serving.id()).await?, "");
    assert_eq!(secret(&stage).await?, ONE);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test]
async fn a_later_configuration_may_say_another_place() -> TestResult {
    let (stage, _) = stage().await?;
    let (first, _) = serve(&stage, "one").await?;
    configure(&stage, "good", first.id()).await?;
    let (second, asked) = serve(&stage, "two").await?;
    assert_eq!(configure(&stage, "good", second.id()).await?, "");
    drop(first);
    assert_eq!(secret(&stage).await?, "{\"data\":\"two\"}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    Ok(())
}

/// Contract item 44.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_where_it_said_fails_the_configuration_alone() -> TestResult {
    let (stage, _) = stage().await?;
    let (serving, _) = serve(&stage, "one").await?;
    configure(&stage, "good", serving.id()).await?;
    let refused = configure(&stage, "curious", 77).await?;
    assert!(refused.starts_with("failed to dial host service: "), "{refused}");
    assert_eq!(secret(&stage).await?, ONE);
    Ok(())
}

/// Contract item 46.
#[tokio::test]
async fn a_provider_that_was_stopped_takes_the_way_to_the_host_with_it() -> TestResult {
    let (stage, _) = stage().await?;
    let (serving, _) = serve(&stage, "one").await?;
    configure(&stage, "good", serving.id()).await?;
    let stop = |name: &str| proto::StopProviderRequest { provider_name: name.to_owned() };
    stage.providers().stop_provider(stop("bad")).await?;
    assert_eq!(secret(&stage).await?, ONE, "it refused to be stopped");
    stage.providers().stop_provider(stop("good")).await?;
    assert_eq!(secret(&stage).await?, "secret store not available");

    let (again, _) = serve(&stage, "two").await?;
    configure(&stage, "good", again.id()).await?;
    assert_eq!(secret(&stage).await?, "{\"data\":\"two\"}");
    Ok(())
}

#[tokio::test]
async fn what_a_host_answers_refuses_and_does_not_know_reaches_the_plugin() -> TestResult {
    let (stage, around) = stage().await?;
    let host = around.host();
    let person =
        |handler: &str| ResponseRequest { handler: handler.to_owned(), ..ResponseRequest::default() };
    let words = |error: portcullis_contract::HostError| error.to_string();

    // Before anybody has said where it is.
    assert_eq!(host.get_secret("s").await.map_err(words), Err("secret store not available".to_owned()));
    assert_eq!(
        host.auth_identity("", "").await.map_err(words),
        Err("auth identity not available".to_owned())
    );
    let token = TokenRequest::default();
    assert_eq!(
        host.auth_token(&token).await.map_err(words),
        Err("auth token service not available".to_owned())
    );
    assert_eq!(host.auth_groups("").await.map_err(words), Err("auth groups not available".to_owned()));
    assert_eq!(host.auth_handlers().await.names, [""; 0]);
    assert_eq!(host.prompt_auth_response(&person("")).await, Err(PromptError::Unimplemented));

    let (serving, _) = serve(&stage, "one").await?;
    configure(&stage, "good", serving.id()).await?;
    assert_eq!(host.get_secret("s").await, Ok(Some("one".to_owned())));
    assert_eq!(host.get_secret("none").await, Ok(None));
    let denied = "access denied: secret name outside allowed scope";
    assert_eq!(host.set_secret("s", "").await.map_err(words), Err(denied.to_owned()));
    let broken = "rpc error: code = PermissionDenied desc = not yours";
    assert_eq!(host.delete_secret("s").await.map_err(words), Err(broken.to_owned()));
    assert_eq!(host.list_secrets("").await, Ok(vec!["s".to_owned()]));
    let claims = host.auth_identity("", "").await.map_err(words)?;
    assert_eq!(claims.map(|claims| claims.subject), Some("ada".to_owned()));
    assert_eq!(host.auth_token(&token).await.map_err(words)?.access_token, "t");
    assert_eq!(host.auth_handlers().await.names, [""; 0]); // what is not there is left out
    assert_eq!(host.auth_groups("").await, Ok(Vec::new())); // item 169
    let prompt =
        async |handler: &str| host.prompt_auth_response(&person(handler)).await.expect_err("nobody answers");
    assert_eq!(prompt("").await, PromptError::Unimplemented);
    assert_eq!(prompt("out").await, PromptError::Unavailable("nobody is at home".to_owned()));
    assert_eq!(prompt("no").await, PromptError::Cancelled("not today".to_owned()));
    let broken = "rpc error: code = Internal desc = the bell is broken";
    assert_eq!(prompt("broken").await, PromptError::Unavailable(broken.to_owned()));
    Ok(())
}
