//! The types of auth handlers and of the host service, to and from the contract's.
//!
//! The values by which other languages say "no time" are read as none, as on the wire and in a component (contract
//! spec 7.4).

use std::time::Duration;

use portcullis_contract as contract;
use portcullis_contract::HandlerName;

use crate::{
    AccessRequest, Account, AuthHandlers, AuthStatus, CachedToken, Claims, DeviceCodePrompt,
    FlowAvailability, HandlerInfo, LoginRequest, LoginResult, PromptError, ResponseRequest, Token,
    TokenRequest, UnixSeconds,
};

/// What upstream's zero time is on the wire.
const ZERO_TIME: UnixSeconds = -62_135_596_800;

fn time(seconds: Option<UnixSeconds>) -> Option<UnixSeconds> {
    seconds.filter(|seconds| ![0, ZERO_TIME].contains(seconds))
}

/// Whole seconds, as the wire has them.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

// What a plugin is told.

/// Joins a request to log in and the handler that it is for.
pub(in super::super) fn login_request(
    handler: &HandlerName,
    request: contract::LoginRequest,
) -> LoginRequest {
    let contract::LoginRequest { tenant_id, scopes, flow, timeout, profile, hostname, callback_port } =
        request;
    LoginRequest {
        handler: handler.as_str().to_owned(),
        tenant_id,
        scopes,
        flow: flow.map(|flow| flow.as_str().to_owned()).unwrap_or_default(),
        timeout: timeout.map(seconds),
        profile,
        hostname,
        callback_port,
    }
}

/// Joins a request for a token and the handler that it is for.
pub(in super::super) fn access_request(
    handler: &HandlerName,
    request: contract::AccessRequest,
) -> AccessRequest {
    let contract::AccessRequest {
        scope,
        min_valid_for,
        force_refresh,
        profile,
        server_context,
        caller,
        assertion,
        hostname,
    } = request;
    AccessRequest {
        handler: handler.as_str().to_owned(),
        scope,
        min_valid_for: seconds(min_valid_for),
        force_refresh,
        profile,
        server_context,
        caller,
        assertion,
        hostname,
    }
}

impl From<contract::Account> for Account {
    fn from(account: contract::Account) -> Self {
        let contract::Account { profile, hostname } = account;
        Self { profile, hostname }
    }
}

impl From<contract::Claims> for Claims {
    fn from(claims: contract::Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
        }
    }
}

impl From<contract::AuthHandlers> for AuthHandlers {
    fn from(handlers: contract::AuthHandlers) -> Self {
        let contract::AuthHandlers { names, default } = handlers;
        Self { names, default }
    }
}

impl From<contract::Token> for Token {
    fn from(token: contract::Token) -> Self {
        let contract::Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } =
            token;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

impl From<contract::PromptError> for PromptError {
    fn from(error: contract::PromptError) -> Self {
        match error {
            contract::PromptError::Unimplemented => Self::Unimplemented,
            contract::PromptError::Cancelled(text) => Self::Cancelled(text),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

// What a plugin asks.

impl From<TokenRequest> for contract::TokenRequest {
    fn from(request: TokenRequest) -> Self {
        let TokenRequest { handler, scope, min_valid_for, force_refresh, profile } = request;
        Self { handler, scope, min_valid_for, force_refresh, profile }
    }
}

impl From<ResponseRequest> for contract::ResponseRequest {
    fn from(request: ResponseRequest) -> Self {
        let ResponseRequest { handler, authorization_url, redirect_uri } = request;
        Self { handler, authorization_url, redirect_uri }
    }
}

impl From<DeviceCodePrompt> for contract::DeviceCodePrompt {
    fn from(prompt: DeviceCodePrompt) -> Self {
        let DeviceCodePrompt { user_code, verification_uri, message } = prompt;
        Self { user_code, verification_uri, message }
    }
}

// What a plugin says.

impl From<HandlerInfo> for contract::HandlerInfo {
    fn from(info: HandlerInfo) -> Self {
        let HandlerInfo { name, display_name, flows, capabilities } = info;
        Self {
            name: HandlerName::new(name),
            display_name,
            flows: flows.into_iter().map(contract::Flow::new).collect(),
            capabilities: capabilities.into_iter().map(contract::AuthCapability::new).collect(),
        }
    }
}

impl From<Claims> for contract::Claims {
    fn from(claims: Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at: time(claims.issued_at),
            expires_at: time(claims.expires_at),
        }
    }
}

impl From<LoginResult> for contract::LoginResult {
    fn from(result: LoginResult) -> Self {
        let LoginResult { claims, expires_at } = result;
        Self { claims: claims.map(Into::into), expires_at: time(expires_at) }
    }
}

impl From<AuthStatus> for contract::AuthStatus {
    fn from(status: AuthStatus) -> Self {
        Self {
            authenticated: status.authenticated,
            claims: status.claims.map(Into::into),
            expires_at: time(status.expires_at),
            last_refresh: time(status.last_refresh),
            tenant_id: status.tenant_id,
            identity_type: status.identity_type,
            client_id: status.client_id,
            token_file: status.token_file,
            scopes: status.scopes,
            reason: status.reason,
            flow: status.flow,
            hostname: status.hostname,
        }
    }
}

impl From<Token> for contract::Token {
    fn from(token: Token) -> Self {
        let Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = token;
        let [expires_at, cached_at] = [expires_at, cached_at].map(time);
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

impl From<CachedToken> for contract::CachedToken {
    fn from(token: CachedToken) -> Self {
        Self {
            handler: token.handler,
            token_kind: token.token_kind,
            scope: token.scope,
            token_type: token.token_type,
            flow: token.flow,
            expires_at: time(token.expires_at),
            cached_at: time(token.cached_at),
            is_expired: token.is_expired,
            session_id: token.session_id,
            fingerprint: token.fingerprint,
            hostname: token.hostname,
        }
    }
}

impl From<FlowAvailability> for contract::FlowAvailability {
    fn from(flow: FlowAvailability) -> Self {
        let FlowAvailability { flow, available, reason } = flow;
        Self { flow: contract::Flow::new(flow), available, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_no_time_is_none() {
        assert_eq!([None, Some(0), Some(ZERO_TIME), Some(1)].map(time), [None, None, None, Some(1)]);
    }

    /// Contract items 129 and 133.
    #[test]
    fn times_are_whole_seconds() {
        let timeout = Some(Duration::from_millis(1_999));
        let request = contract::LoginRequest { timeout, ..contract::LoginRequest::default() };
        assert_eq!(login_request(&HandlerName::new("h"), request).timeout, Some(1));
        let min_valid_for = Duration::MAX;
        let request = contract::AccessRequest { min_valid_for, ..contract::AccessRequest::default() };
        assert_eq!(access_request(&HandlerName::new("h"), request).min_valid_for, i64::MAX);
    }
}
