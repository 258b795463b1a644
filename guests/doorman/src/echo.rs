//! What was asked, told back in an answer of which every field says something: so it shows if one is lost on the way.

use portcullis_sdk::{AccessRequest, Claims, Flow, LoginRequest, Token};
use serde_json::json;

use super::{AN_HOUR_LATER, NOW};

/// Returns the claims of a login, whose request is in the name.
pub(crate) fn claims(request: &LoginRequest) -> Claims {
    let LoginRequest { tenant_id, scopes, flow, timeout, profile, hostname, callback_port } = request;
    let request = json!({
        "tenant": tenant_id,
        "scopes": scopes,
        "flow": flow.as_ref().map(Flow::as_str),
        "seconds": timeout.map(|timeout| timeout.as_secs()),
        "profile": profile,
        "hostname": hostname,
        "port": callback_port,
    });
    Claims {
        issuer: "issuer".to_owned(),
        subject: "subject".to_owned(),
        tenant_id: "tenant".to_owned(),
        object_id: "object".to_owned(),
        client_id: "client".to_owned(),
        email: "email".to_owned(),
        name: request.to_string(),
        username: "username".to_owned(),
        issued_at: Some(NOW),
        expires_at: Some(AN_HOUR_LATER),
    }
}

/// Returns a token, which is its request.
pub(crate) fn token(request: &AccessRequest) -> Token {
    let AccessRequest {
        scope,
        min_valid_for,
        force_refresh,
        profile,
        server_context,
        caller,
        assertion,
        hostname,
    } = request;
    let request = json!({
        "scope": scope,
        "seconds": min_valid_for.as_secs(),
        "force": force_refresh,
        "profile": profile,
        "context": server_context,
        "caller": caller,
        "assertion": assertion,
        "hostname": hostname,
    });
    Token {
        access_token: request.to_string(),
        token_type: "type".to_owned(),
        expires_at: Some(AN_HOUR_LATER),
        scope: "scope".to_owned(),
        cached_at: Some(NOW),
        flow: "flow".to_owned(),
        session_id: "session".to_owned(),
    }
}
