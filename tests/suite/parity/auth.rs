//! What an auth handler says, keeps and forgets.

use std::time::Duration;

use portcullis::contract::{
    AccessRequest, AuthCapability, Call, CallError, Configuration, Flow, FlowAvailability, HandlerName, Json,
    Kind, LaunchError, LoginRequest,
};
use portcullis_tests::auth::{Household, login, refusal};
use portcullis_tests::{Door, TestHost, TestResult, assert_matches, generous};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_are_as_the_plugin_said_at_launch_unknown_words_included(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let info = doorman.plugin.info();
    assert_eq!((info.kind, info.name.as_str().contains("doorman")), (Kind::AuthHandler, true));

    let [door, side] = doorman.plugin.handlers() else { panic!("{:?}", doorman.plugin.handlers()) };
    assert_eq!((door.name.as_str(), door.display_name.as_str()), ("door", "Door"));
    assert_eq!(door.flows, [Flow::DEVICE_CODE, Flow::INTERACTIVE, Flow::PAT]);
    let capabilities = [
        AuthCapability::SCOPES_ON_LOGIN,
        AuthCapability::SCOPES_ON_TOKEN_REQUEST,
        AuthCapability::TENANT_ID,
        AuthCapability::HOSTNAME,
        AuthCapability::CALLBACK_PORT,
        AuthCapability::FLOW_OVERRIDE,
        AuthCapability::TOKEN_HOSTNAME,
    ];
    assert_eq!(door.capabilities, capabilities);
    assert_eq!((side.name.as_str(), side.display_name.as_str()), ("side", "Side door"));
    assert_eq!(side.flows, [Flow::new("secret_knock")]); // item 142
    assert!(!side.flows[0].is_known() && side.capabilities.is_empty());
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_the_other_kind_is_said_to_be_one(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let refused = generous(host.launch_auth("echo")).await;
    assert_matches!(refused, Err(LaunchError::OtherKind { wanted: Kind::AuthHandler }));
    let refused = generous(host.launch("doorman")).await;
    assert_matches!(refused, Err(LaunchError::OtherKind { wanted: Kind::Provider }));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_tells_who_came_in_how_and_where(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let status = doorman.status("door").await?;
    assert_eq!((status.authenticated, status.reason.as_str()), (false, "not logged in"));
    assert_eq!((status.claims, status.expires_at), (None, None));

    let request = LoginRequest {
        scopes: vec!["read".to_owned(), "write".to_owned()],
        profile: Some("work".to_owned()),
        hostname: Some("door.example".to_owned()),
        timeout: Some(Duration::from_secs(90)),
        ..login("device_code", "t-1")
    };
    let (_, result) = doorman.login("door", request).await;
    let claims = result?.claims;
    let status = doorman.status("door").await?;
    assert!(status.authenticated && claims.is_some());
    assert_eq!(status.claims, claims);
    assert_eq!(status.expires_at, Some(1_700_003_600));
    assert_eq!(status.last_refresh, None); // item 136: sent as 0, where there is a wire
    assert_eq!((status.tenant_id.as_str(), status.identity_type.as_str()), ("t-1", "user"));
    assert_eq!((status.client_id.as_str(), status.token_file.as_str()), ("c-1", ""));
    assert_eq!(status.scopes, ["read", "write"]);
    assert_eq!((status.reason.as_str(), status.flow.as_str()), ("", "device_code"));
    assert_eq!(status.hostname, "door.example");

    let other = doorman.status("side").await?;
    assert!(!other.authenticated, "each handler remembers its own");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_kept_for_its_scope_until_a_fresh_one_is_forced(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    doorman.login("door", login("", "")).await.1?;

    let token = doorman.token("door", "read").await?;
    assert_eq!((token.access_token.as_str(), token.token_type.as_str()), ("token-1-read", ""));
    assert_eq!((token.expires_at, token.cached_at), (Some(1_700_003_600), Some(1_700_000_000)));
    assert_eq!((token.scope.as_str(), token.flow.as_str()), ("read", "device_code"));
    assert_eq!(token.session_id, "sess-1");
    assert_eq!(doorman.token("door", "read").await?, token);
    assert_eq!(doorman.token("door", "write").await?.access_token, "token-2-write");

    let forced = AccessRequest {
        scope: "read".to_owned(),
        min_valid_for: Duration::from_secs(60),
        force_refresh: true,
        ..AccessRequest::default()
    };
    assert_eq!(doorman.access("door", forced).await?.access_token, "token-3-read");
    let forever = doorman.token("door", "forever").await?;
    assert_eq!(forever.expires_at, None); // items 136 and 137
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_tokens_are_listed_and_the_expired_ones_purged(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    // item 134: there is nothing to switch on, and nobody has to be logged in.
    assert_eq!((doorman.tokens("door").await?, doorman.purge("door").await?), (vec![], 0));

    doorman.login("door", login("", "")).await.1?;
    for scope in ["read", "old-1", "old-2"] {
        doorman.token("door", scope).await?;
    }
    let tokens = doorman.tokens("door").await?;
    let scopes = tokens.iter().map(|token| (token.scope.as_str(), token.is_expired)).collect::<Vec<_>>();
    assert_eq!(scopes, [("read", false), ("old-1", true), ("old-2", true)]);
    let read = &tokens[0];
    assert_eq!((read.handler.as_str(), read.token_kind.as_str()), ("door", "access"));
    assert_eq!((read.token_type.as_str(), read.flow.as_str()), ("", "device_code"));
    assert_eq!((read.expires_at, read.cached_at), (Some(1_700_003_600), Some(1_700_000_000)));
    assert_eq!((read.session_id.as_str(), read.fingerprint.as_str()), ("sess-1", "0123456789ab"));

    assert_eq!(doorman.purge("door").await?, 2);
    assert_eq!(doorman.tokens("door").await?.len(), 1);
    assert_eq!(doorman.purge("door").await?, 0);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_logs_out_is_forgotten_with_every_token(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    doorman.login("door", login("", "")).await.1?;
    doorman.token("door", "read").await?;
    doorman.logout("door").await?;
    assert!(!doorman.status("door").await?.authenticated);
    assert_eq!(doorman.tokens("door").await?, []);
    assert_eq!(refusal(doorman.token("door", "read").await), "not authenticated");
    Ok(())
}

/// The words are the author's alone: what a library puts around them on the wire is not part of them.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_in_its_authors_words_whatever_was_asked(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    // item 139
    assert_eq!(refusal(doorman.logout("side").await), "side cannot log out");
    assert_eq!(refusal(doorman.token("door", "read").await), "not authenticated");
    let unknown = "unknown handler: nobody";
    assert_eq!(refusal(doorman.status("nobody").await), unknown);
    assert_eq!(refusal(doorman.logout("nobody").await), unknown);
    assert_eq!(refusal(doorman.token("nobody", "read").await), unknown);
    assert_eq!(refusal(doorman.tokens("nobody").await), unknown);
    assert_eq!(refusal(doorman.purge("nobody").await), unknown);
    assert_eq!(refusal(doorman.configure("nobody", &Configuration::default()).await), unknown);
    assert_eq!(refusal(doorman.login("nobody", login("", "")).await.1), unknown);
    assert_eq!(refusal(doorman.flows("nobody").await), unknown);
    Ok(())
}

/// The library of a native plugin forgets its host when an author refuses to be configured.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_was_refused_may_be_tried_again(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.host = Some(Household::new(&[("app.pat", "grace")], Ok("")));
    let doorman = host.launch_auth("doorman").await?;
    let settings = [("fail".to_owned(), Json::from_text("true"))].into();
    let refused = Configuration { settings, ..Configuration::default() };
    assert_eq!(refusal(doorman.configure("door", &refused).await), "configure refused");

    doorman.configure("door", &Configuration::default()).await?;
    doorman.login("door", login("pat", "")).await.1?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_was_stopped_is_configured_again_and_goes_on(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.host = Some(Household::new(&[("app.pat", "grace")], Ok("")));
    let doorman = host.launch_auth("doorman").await?;
    let (call, name) = (Call::default(), HandlerName::new("door"));
    for which in [Some(&name), None] {
        doorman.configure("door", &Configuration::default()).await?;
        doorman.login("door", login("pat", "")).await.1?;
        generous(doorman.plugin.stop(&call, which)).await?;
    }
    assert!(doorman.plugin.is_running());
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_the_later_wire_are_answered(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let call = Call::default();
    let flow =
        |flow, available, reason: &str| FlowAvailability { flow, available, reason: reason.to_owned() };
    let expected = [
        flow(Flow::DEVICE_CODE, true, ""),
        flow(Flow::INTERACTIVE, false, "no browser"),
        flow(Flow::PAT, true, ""),
    ];
    assert_eq!(doorman.flows("door").await?, expected);

    let activate = async |settings: &str| {
        generous(doorman.plugin.activate_server_mode(&call, Json::from_text(settings))).await
    };
    activate(r#"{"port":8080}"#).await?;
    for settings in ["{}", "[]", "null"] {
        assert_eq!(refusal(activate(settings).await), "no port", "{settings}");
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_every_call_is_told_so(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    generous(doorman.plugin.shutdown(Duration::from_secs(2))).await;
    assert!(!doorman.plugin.is_running());
    assert_eq!(doorman.plugin.handlers().len(), 2);
    assert_matches!(doorman.configure("door", &Configuration::default()).await, Err(CallError::Gone));
    assert_matches!(doorman.login("door", login("", "")).await.1, Err(CallError::Gone));
    assert_matches!(doorman.logout("door").await, Err(CallError::Gone));
    assert_matches!(doorman.status("door").await, Err(CallError::Gone));
    assert_matches!(doorman.token("door", "").await, Err(CallError::Gone));
    assert_matches!(doorman.tokens("door").await, Err(CallError::Gone));
    assert_matches!(doorman.purge("door").await, Err(CallError::Gone));
    let stopped = generous(doorman.plugin.stop(&Call::default(), None)).await;
    assert_matches!(stopped, Err(CallError::Gone));
    Ok(())
}
