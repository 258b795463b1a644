//! Every field of an auth message goes both ways, and times that are none stay none.

use super::*;
use crate::{AccessRequest, Account, AuthStatus, CachedToken, Diagnostic, Json, Severity, Token};

fn text(text: &str) -> String {
    text.to_owned()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn handler() -> HandlerName {
    HandlerName::new("handler")
}

/// Converts to the message and back. Every field of the message has to be set, so that none is forgotten.
#[track_caller]
fn check<M, C>(contract: C)
where
    M: From<C> + Clone + PartialEq + std::fmt::Debug,
    C: TryFrom<M> + Clone + PartialEq + std::fmt::Debug,
    <C as TryFrom<M>>::Error: std::fmt::Debug,
{
    let message = M::from(contract.clone());
    let back = C::try_from(message.clone()).expect("what leaves us can be read");
    assert_eq!(back, contract);
    assert_eq!(M::from(back), message);
}

fn claims() -> Claims {
    Claims { issuer: text("issuer"), issued_at: Some(1), expires_at: Some(-2), ..Claims::default() }
}

fn full_login() -> LoginRequest {
    LoginRequest {
        tenant_id: text("tenant"),
        scopes: vec![text("one"), text("two")],
        flow: Some(Flow::new("secret_knock")),
        timeout: Some(Duration::from_secs(3)),
        profile: some("profile"),
        hostname: some("hostname"),
        callback_port: Some(8400),
    }
}

fn full_access() -> AccessRequest {
    AccessRequest {
        scope: text("scope"),
        min_valid_for: Duration::from_secs(60),
        force_refresh: true,
        profile: some("profile"),
        server_context: some("delegated"),
        caller: some("machine"),
        assertion: some("assertion"),
        hostname: some("hostname"),
    }
}

fn configure() -> ConfigureAuth {
    ConfigureAuth {
        handler: handler(),
        configuration: Configuration {
            quiet: true,
            no_color: true,
            binary_name: text("binary"),
            settings: [(text("one"), Json::from_text("1.0")), (text("two"), Json::from_text("-0"))].into(),
            profile: some("profile"),
            prompts_for_response: true,
        },
        host_service: NonZeroU32::new(7),
        protocol_version: 2,
    }
}

#[test]
fn every_field_of_every_request_survives_both_ways() {
    check::<proto::ConfigureAuthHandlerRequest, _>(configure());
    check::<proto::LoginRequest, _>(For::new(&handler(), full_login()));
    let account = Account { profile: some("profile"), hostname: some("hostname") };
    check::<proto::LogoutRequest, _>(For::new(&handler(), account.clone()));
    check::<proto::GetStatusRequest, _>(For::new(&handler(), account));
    check::<proto::GetTokenRequest, _>(For::new(&handler(), full_access()));
    check::<proto::ListCachedTokensRequest, _>(For::new(&handler(), some("profile")));
    check::<proto::PurgeExpiredTokensRequest, _>(For::new(&handler(), some("profile")));
    check::<proto::DetectAvailableFlowsRequest, _>(For::new(&handler(), ()));
}

#[test]
fn what_is_absent_stays_absent() {
    check::<proto::LoginRequest, _>(For::new(&handler(), LoginRequest::default()));
    check::<proto::LogoutRequest, _>(For::new(&handler(), Account::default()));
    check::<proto::GetStatusRequest, _>(For::new(&handler(), Account::default()));
    check::<proto::GetTokenRequest, _>(For::new(&handler(), AccessRequest::default()));
    check::<proto::ListCachedTokensRequest, _>(For::new(&handler(), None::<String>));
    check::<proto::GetStatusResponse, _>(AuthStatus::default());
    check::<proto::GetTokenResponse, _>(Token::default());
    check::<proto::CachedTokenInfo, _>(CachedToken::default());

    let nothing = proto::ConfigureAuthHandlerRequest::default();
    let read = ConfigureAuth::try_from(nothing.clone()).expect("nothing can be read");
    assert_eq!(read.configuration, Configuration::default());
    assert_eq!(proto::ConfigureAuthHandlerRequest::from(read), nothing);
}

#[test]
fn every_field_of_every_answer_survives_both_ways() {
    check::<proto::AuthHandlerInfo, _>(HandlerInfo {
        name: handler(),
        display_name: text("display"),
        flows: vec![Flow::PAT, Flow::new("secret_knock")],
        capabilities: vec![AuthCapability::TENANT_ID, AuthCapability::new("levitation")],
    });
    check::<proto::GetStatusResponse, _>(AuthStatus {
        authenticated: true,
        claims: Some(claims()),
        expires_at: Some(3),
        last_refresh: Some(4),
        tenant_id: text("tenant"),
        identity_type: text("user"),
        client_id: text("client"),
        token_file: text("file"),
        scopes: vec![text("one"), text("two")],
        reason: text("reason"),
        flow: text("pat"),
        hostname: text("hostname"),
    });
    check::<proto::GetTokenResponse, _>(Token {
        access_token: text("token"),
        token_type: text("Bearer"),
        expires_at: Some(5),
        scope: text("scope"),
        cached_at: Some(6),
        flow: text("flow"),
        session_id: text("session"),
    });
    check::<proto::CachedTokenInfo, _>(CachedToken {
        handler: text("handler"),
        token_kind: text("access"),
        scope: text("scope"),
        token_type: text("Bearer"),
        flow: text("flow"),
        expires_at: Some(7),
        cached_at: Some(8),
        is_expired: true,
        session_id: text("session"),
        fingerprint: text("0123456789ab"),
        hostname: text("hostname"),
    });
    check::<proto::PurgeExpiredTokensResponse, _>(Purged(9));
}

fn refusal() -> Refusal {
    let diagnostic = Diagnostic { severity: Severity::Warning, summary: text("w"), ..Default::default() };
    Refusal { diagnostics: vec![diagnostic], ..Refusal::new(text("no")) }
}

#[test]
fn every_refusal_survives_where_there_is_room_for_it() {
    check::<proto::ConfigureAuthHandlerResponse, _>(Answer(Ok(())));
    check::<proto::ConfigureAuthHandlerResponse, Answer<()>>(Answer(Err(refusal())));
    check::<proto::StopAuthHandlerResponse, _>(Answer(Ok(())));
    check::<proto::StopAuthHandlerResponse, Answer<()>>(Answer(Err(Refusal::new("no"))));
    check::<proto::ActivateServerModeResponse, _>(Answer(Ok(())));
    check::<proto::ActivateServerModeResponse, Answer<()>>(Answer(Err(Refusal::new("no"))));
    let flows = vec![
        FlowAvailability { flow: Flow::PAT, available: true, reason: String::new() },
        FlowAvailability { flow: Flow::INTERACTIVE, available: false, reason: text("no browser") },
    ];
    check::<proto::DetectAvailableFlowsResponse, _>(Answer(Ok(flows)));
    let refused: Answer<Vec<FlowAvailability>> = Answer(Err(Refusal::new("no")));
    check::<proto::DetectAvailableFlowsResponse, _>(refused);
}

/// Contract item 20.
#[test]
fn only_a_successful_configure_names_a_version() {
    assert_eq!(proto::ConfigureAuthHandlerResponse::from(Answer(Ok(()))).protocol_version, 2);
    assert_eq!(proto::ConfigureAuthHandlerResponse::from(Answer(Err(refusal()))).protocol_version, 0);
}

#[test]
fn every_item_of_a_login_survives_both_ways() {
    let prompt =
        DeviceCodePrompt { user_code: text("code"), verification_uri: text("uri"), message: text("message") };
    check::<proto::LoginStreamMessage, _>(LoginItem::Prompt(prompt));
    let result = LoginResult { claims: Some(claims()), expires_at: Some(10) };
    check::<proto::LoginStreamMessage, _>(LoginItem::Result(Answer(Ok(result))));
    // item 138
    check::<proto::LoginStreamMessage, _>(LoginItem::Result(Answer(Ok(LoginResult::default()))));
    check::<proto::LoginStreamMessage, _>(LoginItem::Result(Answer(Err(Refusal::new("no")))));
    check::<proto::LoginStreamMessage, _>(LoginItem::Unknown);

    let mute = proto::LoginStreamMessage { payload: Some(Payload::Error(String::new())) };
    assert_eq!(LoginItem::from(mute), LoginItem::Result(Answer(Err(Refusal::default()))));
}

#[test]
fn times_are_sent_in_whole_seconds() {
    let sent = |timeout| {
        let login = LoginRequest { timeout: Some(timeout), ..LoginRequest::default() };
        proto::LoginRequest::from(For::new(&handler(), login)).timeout_seconds
    };
    assert_eq!(sent(Duration::from_millis(2_999)), 2); // item 129
    assert_eq!(sent(Duration::MAX), i64::MAX);
    let access = AccessRequest { min_valid_for: Duration::from_millis(60_999), ..AccessRequest::default() };
    let sent = proto::GetTokenRequest::from(For::new(&handler(), access)).min_valid_for_seconds;
    assert_eq!(sent, 60); // item 133
}

#[test]
fn a_negative_time_is_none() {
    let login = proto::LoginRequest { timeout_seconds: -1, ..Default::default() };
    assert_eq!(For::<LoginRequest>::from(login).request.timeout, None);
    let access = proto::GetTokenRequest { min_valid_for_seconds: i64::MIN, ..Default::default() };
    assert_eq!(For::<AccessRequest>::from(access).request.min_valid_for, Duration::ZERO);
}

#[test]
fn zero_and_gos_zero_time_are_no_time_and_absence_is_sent_as_upstream_sends_it() {
    for (wire, read) in [(0, None), (-62_135_596_800, None), (1, Some(1)), (-1, Some(-1))] {
        // item 137
        let result = LoginResult::from(proto::LoginResult { expires_at_unix: wire, ..Default::default() });
        assert_eq!(result.expires_at, read);
        let status = AuthStatus::from(proto::GetStatusResponse {
            expires_at_unix: wire,
            last_refresh_unix: wire,
            ..Default::default()
        });
        assert_eq!((status.expires_at, status.last_refresh), (read, read));
        let token = Token::from(proto::GetTokenResponse {
            expires_at_unix: wire,
            cached_at_unix: wire,
            ..Default::default()
        });
        assert_eq!((token.expires_at, token.cached_at), (read, read));
        let cached = CachedToken::from(proto::CachedTokenInfo {
            expires_at_unix: wire,
            cached_at_unix: wire,
            ..Default::default()
        });
        assert_eq!((cached.expires_at, cached.cached_at), (read, read));

        assert_eq!(proto::LoginResult::from(result).expires_at_unix, read.unwrap_or(-62_135_596_800));
        // item 136
        let sent = read.unwrap_or(0);
        let status = proto::GetStatusResponse::from(status);
        assert_eq!((status.expires_at_unix, status.last_refresh_unix), (sent, sent));
        let token = proto::GetTokenResponse::from(token);
        assert_eq!((token.expires_at_unix, token.cached_at_unix), (sent, sent));
        let cached = proto::CachedTokenInfo::from(cached);
        assert_eq!((cached.expires_at_unix, cached.cached_at_unix), (sent, sent));
    }
}

#[test]
fn a_count_that_is_too_large_is_clamped_and_one_below_nothing_is_refused() {
    // item 135
    assert_eq!(proto::PurgeExpiredTokensResponse::from(Purged(u32::MAX)).purged_count, i32::MAX);
    let negative = proto::PurgeExpiredTokensResponse { purged_count: -1 };
    let error = Purged::try_from(negative).expect_err("nobody forgets less than nothing");
    assert_eq!(error.to_string(), "failed to decode purged count");
}

#[test]
fn settings_that_are_no_text_are_refused() {
    let mut message = proto::ConfigureAuthHandlerRequest::from(configure());
    message.settings.insert(text("x"), bytes::Bytes::from_static(b"\xff"));
    let error = ConfigureAuth::try_from(message).expect_err("a setting is no text");
    assert_eq!(error.to_string(), "settings is not UTF-8");
}
