//! The calls of an auth handler.

use portcullis_contract::{CallError, LaunchError, Refusal};
use portcullis_proto as proto;
use portcullis_proto::login_stream_message::Payload;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::TestResult;
use crate::keyholder::Keyholder;
use crate::stage::{Stage, generous, told};

async fn stage() -> Result<(Stage, mpsc::UnboundedReceiver<&'static str>), Box<dyn std::error::Error>> {
    let (hanging, hung) = mpsc::unbounded_channel();
    Ok((Stage::auth_handler(move |around| Ok(Keyholder::new(around, hanging))).await?, hung))
}

#[tokio::test]
async fn handlers_are_told_as_the_plugin_has_them_and_its_silence_is_a_status() -> TestResult {
    let (stage, _) = stage().await?;
    let handlers =
        stage.handlers().get_auth_handlers(proto::GetAuthHandlersRequest {}).await?.into_inner().handlers;
    assert_eq!((handlers.len(), handlers[0].name.as_str()), (1, "key"));
    assert_eq!(handlers[0].flows, ["device_code", "skeleton"]);

    let mute = || LaunchError::Undescribed(CallError::Refused(Refusal::new("lost my voice")));
    let stage = Stage::auth_handler::<Keyholder>(move |_| Err(mute())).await?;
    let status = stage.handlers().get_auth_handlers(proto::GetAuthHandlersRequest {}).await;
    assert_eq!(told(&status.expect_err("it cannot say")), (Code::Unknown, "GetAuthHandlers: lost my voice"));
    Ok(())
}

/// Returns what a login shows, and how it ends.
async fn login(stage: &Stage, handler: &str, tenant: &str) -> (Vec<String>, Result<Payload, Status>) {
    let (handler_name, tenant_id) = (handler.to_owned(), tenant.to_owned());
    let request = proto::LoginRequest { handler_name, tenant_id, ..Default::default() };
    let mut codes = Vec::new();
    let mut items = match stage.handlers().login(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (codes, Err(status)),
    };
    let mut end = None;
    loop {
        match generous(items.message()).await.map(|item| item.map(|item| item.payload)) {
            Ok(Some(Some(Payload::DeviceCodePrompt(prompt)))) => codes.push(prompt.user_code),
            Ok(Some(payload)) => end = payload,
            Ok(None) => return (codes, Ok(end.expect("a login ends with something"))),
            Err(status) => return (codes, Err(status)),
        }
    }
}

#[tokio::test]
async fn a_login_is_prompts_and_one_end() -> TestResult {
    let (stage, mut hung) = stage().await?;
    let (codes, end) = login(&stage, "key", "").await;
    let Payload::Result(result) = end? else { panic!("it ends well") };
    assert_eq!(
        (codes, result.claims.map(|claims| claims.username)),
        (vec!["one".to_owned(), "two".to_owned()], Some("ada".to_owned()))
    );
    // What Go's hosts take for no time; 0 is 1970 to them.
    assert_eq!(result.expires_at_unix, -62_135_596_800);

    let (codes, end) = login(&stage, "key", "refuse").await;
    assert_eq!((codes.len(), end?), (1, Payload::Error("not this one".to_owned())));
    let (_, end) = login(&stage, "nobody", "").await;
    assert_eq!(end?, Payload::Error("unknown handler: nobody".to_owned()));
    let (_, end) = login(&stage, "key", "nothing").await;
    let status = end.expect_err("no end is none");
    assert_eq!(
        told(&status),
        (Code::Internal, "the plugin broke the contract: login stream ended without result")
    );

    let (handler_name, tenant_id) = ("key".to_owned(), "never".to_owned());
    let request = proto::LoginRequest { handler_name, tenant_id, ..Default::default() };
    let mut items = stage.handlers().login(request).await?.into_inner();
    assert!(items.message().await?.is_some());
    drop(items);
    assert_eq!(generous(hung.recv()).await, Some("dropped"));
    Ok(())
}

/// Contract item 139.
#[tokio::test]
async fn a_refusal_is_a_status_that_names_the_call_and_the_handler() -> TestResult {
    let (stage, _) = stage().await?;
    let mut client = stage.handlers();
    let name = || "nobody".to_owned();
    let logout = proto::LogoutRequest { handler_name: name(), ..Default::default() };
    let get_status = proto::GetStatusRequest { handler_name: name(), ..Default::default() };
    let token = proto::GetTokenRequest { handler_name: name(), ..Default::default() };
    let list = proto::ListCachedTokensRequest { handler_name: name(), ..Default::default() };
    let purge = proto::PurgeExpiredTokensRequest { handler_name: name(), ..Default::default() };
    for (call, status) in [
        ("Logout", client.logout(logout).await.expect_err("refused")),
        ("GetStatus", client.get_status(get_status).await.expect_err("refused")),
        ("GetToken", client.get_token(token).await.expect_err("refused")),
        ("ListCachedTokens", client.list_cached_tokens(list).await.expect_err("refused")),
        ("PurgeExpiredTokens", client.purge_expired_tokens(purge).await.expect_err("refused")),
    ] {
        let expected = format!("{call} \"nobody\": unknown handler: nobody");
        assert_eq!(told(&status), (Code::Unknown, expected.as_str()));
    }
    let busy = proto::GetTokenRequest { handler_name: "busy".to_owned(), ..Default::default() };
    let status = client.get_token(busy).await.expect_err("it is busy");
    assert_eq!(told(&status), (Code::Unavailable, "GetToken \"busy\": busy: login"));

    let configure = proto::ConfigureAuthHandlerRequest { handler_name: name(), ..Default::default() };
    let refused = client.configure_auth_handler(configure).await?.into_inner();
    assert_eq!((refused.error.as_str(), refused.protocol_version), ("unknown handler: nobody", 0));
    let detect = proto::DetectAvailableFlowsRequest { handler_name: name() };
    assert_eq!(client.detect_available_flows(detect).await?.into_inner().error, "unknown handler: nobody");
    let stop = proto::StopAuthHandlerRequest { handler_name: name() };
    assert_eq!(client.stop_auth_handler(stop).await?.into_inner().error, "unknown handler: nobody");
    Ok(())
}

#[tokio::test]
async fn every_call_is_answered() -> TestResult {
    let (stage, _) = stage().await?;
    let mut client = stage.handlers();
    let name = || "key".to_owned();
    let configure = |host_capabilities| proto::ConfigureAuthHandlerRequest {
        handler_name: name(),
        host_capabilities,
        ..Default::default()
    };
    let done = client.configure_auth_handler(configure(None)).await?.into_inner();
    assert_eq!((done.error.as_str(), done.protocol_version), ("", 2)); // item 20
    let asks = proto::HostCapabilities { prompt_auth_response: true };
    let refused = client.configure_auth_handler(configure(Some(asks))).await?.into_inner();
    assert_eq!((refused.error.as_str(), refused.diagnostics.len()), ("not this one", 1));

    client.logout(proto::LogoutRequest { handler_name: name(), ..Default::default() }).await?;
    let profile = "work".to_owned();
    let request = proto::GetStatusRequest { handler_name: name(), profile, ..Default::default() };
    let status = client.get_status(request).await?.into_inner();
    assert_eq!((status.reason.as_str(), status.expires_at_unix, status.last_refresh_unix), ("work", 0, 0)); // item 136
    let token = proto::GetTokenRequest { handler_name: name(), scope: "s".to_owned(), ..Default::default() };
    let token = client.get_token(token).await?.into_inner();
    assert_eq!((token.access_token.as_str(), token.expires_at_unix, token.cached_at_unix), ("s", 0, 0)); // item 136
    let list = proto::ListCachedTokensRequest { handler_name: name(), ..Default::default() };
    let tokens = client.list_cached_tokens(list).await?.into_inner().tokens;
    assert_eq!((tokens[0].scope.as_str(), tokens[0].cached_at_unix, tokens[0].expires_at_unix), ("s", 5, 0));
    let purge = proto::PurgeExpiredTokensRequest { handler_name: name(), ..Default::default() };
    let purged = client.purge_expired_tokens(purge).await?.into_inner().purged_count;
    assert_eq!(purged, 2_147_483_647); // item 135
    let detect = proto::DetectAvailableFlowsRequest { handler_name: name() };
    let flows = client.detect_available_flows(detect).await?.into_inner().flows;
    assert_eq!(
        (flows[0].flow.as_str(), flows[0].available, flows[0].reason.as_str()),
        ("pat", false, "no pocket")
    );

    let activate = |settings: &'static str| proto::ActivateServerModeRequest { settings: settings.into() };
    assert_eq!(client.activate_server_mode(activate("{}")).await?.into_inner().error, "");
    let status = client.activate_server_mode(activate("[]")).await.expect_err("it does not");
    assert_eq!(told(&status), (Code::Unimplemented, "method ActivateServerMode not implemented"));
    let stop = |name: &str| proto::StopAuthHandlerRequest { handler_name: name.to_owned() };
    assert_eq!(client.stop_auth_handler(stop("")).await?.into_inner().error, "");
    Ok(())
}
