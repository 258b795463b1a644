//! What an auth handler is asked, and what it answers.

use portcullis_contract::{
    AccessRequest, Account, AuthCapability, AuthStatus, CachedToken, Claims, DeviceCodePrompt, Flow,
    FlowAvailability, HandlerInfo, HandlerName, LoginRequest, LoginResult, PromptError, ResponseRequest,
    Token, moment,
};

use crate::component::bindings::auth::exports::portcullis::plugin::auth_handler as wit;
use crate::component::bindings::auth::portcullis::plugin::prompts;
use crate::component::bindings::portcullis::plugin::types;
use crate::component::convert::{ConvertError, said};

/// Whole seconds, as the wire has them.
fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Reads how many tokens a guest says it has forgotten.
pub(crate) fn count(purged: i32) -> Result<u32, ConvertError> {
    u32::try_from(purged).map_err(|_| ConvertError::Negative("the number of purged tokens"))
}

// Outwards.

impl From<LoginRequest> for wit::LoginRequest {
    fn from(from: LoginRequest) -> Self {
        let LoginRequest { tenant_id, scopes, flow, timeout, profile, hostname, callback_port } = from;
        Self {
            tenant_id,
            scopes,
            flow: flow.map(|flow| flow.as_str().to_owned()).unwrap_or_default(),
            timeout: said(timeout.map(seconds)),
            profile: said(profile),
            hostname: said(hostname),
            callback_port: said(callback_port),
        }
    }
}

impl From<&Account> for wit::Account {
    fn from(from: &Account) -> Self {
        let Account { profile, hostname } = from;
        Self { profile: said(profile.clone()), hostname: said(hostname.clone()) }
    }
}

impl From<AccessRequest> for wit::TokenRequest {
    fn from(from: AccessRequest) -> Self {
        let AccessRequest {
            scope,
            min_valid_for,
            force_refresh,
            profile,
            server_context,
            caller,
            assertion,
            hostname,
        } = from;
        Self {
            scope,
            min_valid_for: seconds(min_valid_for),
            force_refresh,
            profile: said(profile),
            server_context: said(server_context),
            caller: said(caller),
            assertion: said(assertion),
            hostname: said(hostname),
        }
    }
}

impl From<PromptError> for prompts::PromptError {
    fn from(from: PromptError) -> Self {
        match from {
            PromptError::Unimplemented => Self::Unimplemented,
            PromptError::Cancelled(text) => Self::Cancelled(text),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

// Inwards.

impl From<prompts::DeviceCodePrompt> for DeviceCodePrompt {
    fn from(from: prompts::DeviceCodePrompt) -> Self {
        let prompts::DeviceCodePrompt { user_code, verification_uri, message } = from;
        Self { user_code, verification_uri, message }
    }
}

impl From<prompts::ResponseRequest> for ResponseRequest {
    fn from(from: prompts::ResponseRequest) -> Self {
        let prompts::ResponseRequest { handler, authorization_url, redirect_uri } = from;
        Self { handler, authorization_url, redirect_uri }
    }
}

impl From<wit::HandlerInfo> for HandlerInfo {
    fn from(from: wit::HandlerInfo) -> Self {
        let wit::HandlerInfo { name, display_name, flows, capabilities } = from;
        Self {
            name: HandlerName::new(name),
            display_name,
            flows: flows.into_iter().map(Flow::new).collect(),
            capabilities: capabilities.into_iter().map(AuthCapability::new).collect(),
        }
    }
}

impl From<types::Claims> for Claims {
    fn from(from: types::Claims) -> Self {
        let types::Claims {
            issuer,
            subject,
            tenant_id,
            object_id,
            client_id,
            email,
            name,
            username,
            issued_at,
            expires_at,
        } = from;
        Self {
            issuer,
            subject,
            tenant_id,
            object_id,
            client_id,
            email,
            name,
            username,
            issued_at: issued_at.and_then(moment),
            expires_at: expires_at.and_then(moment),
        }
    }
}

impl From<wit::LoginResult> for LoginResult {
    fn from(from: wit::LoginResult) -> Self {
        let wit::LoginResult { claims, expires_at } = from;
        Self { claims: claims.map(Into::into), expires_at: expires_at.and_then(moment) }
    }
}

impl From<wit::Status> for AuthStatus {
    fn from(from: wit::Status) -> Self {
        let wit::Status {
            authenticated,
            claims,
            expires_at,
            last_refresh,
            tenant_id,
            identity_type,
            client_id,
            token_file,
            scopes,
            reason,
            flow,
            hostname,
        } = from;
        Self {
            authenticated,
            claims: claims.map(Into::into),
            expires_at: expires_at.and_then(moment),
            last_refresh: last_refresh.and_then(moment),
            tenant_id,
            identity_type,
            client_id,
            token_file,
            scopes,
            reason,
            flow,
            hostname,
        }
    }
}

impl From<types::Token> for Token {
    fn from(from: types::Token) -> Self {
        let types::Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = from;
        let [expires_at, cached_at] = [expires_at, cached_at].map(|time| time.and_then(moment));
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

impl From<wit::CachedToken> for CachedToken {
    fn from(from: wit::CachedToken) -> Self {
        let wit::CachedToken {
            handler,
            token_kind,
            scope,
            token_type,
            flow,
            expires_at,
            cached_at,
            is_expired,
            session_id,
            fingerprint,
            hostname,
        } = from;
        Self {
            handler,
            token_kind,
            scope,
            token_type,
            flow,
            expires_at: expires_at.and_then(moment),
            cached_at: cached_at.and_then(moment),
            is_expired,
            session_id,
            fingerprint,
            hostname,
        }
    }
}

impl From<wit::FlowAvailability> for FlowAvailability {
    fn from(from: wit::FlowAvailability) -> Self {
        let wit::FlowAvailability { flow, available, reason } = from;
        Self { flow: Flow::new(flow), available, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Contract items 129 and 133.
    #[test]
    fn times_go_out_in_whole_seconds() {
        let timeout = Some(Duration::from_millis(1_999));
        let login = wit::LoginRequest::from(LoginRequest { timeout, ..LoginRequest::default() });
        assert_eq!(login.timeout, Some(1)); // item 129
        let min_valid_for = Duration::MAX;
        let access = wit::TokenRequest::from(AccessRequest { min_valid_for, ..AccessRequest::default() });
        assert_eq!(access.min_valid_for, i64::MAX); // item 133
    }

    #[test]
    fn what_says_nothing_was_not_said() {
        let [profile, hostname] = [(); 2].map(|()| Some(String::new()));
        let timeout = Some(Duration::from_millis(999));
        let callback_port = Some(0);
        let login = LoginRequest { timeout, profile, hostname, callback_port, ..LoginRequest::default() };
        let login = wit::LoginRequest::from(login);
        assert_eq!((login.timeout, login.callback_port), (None, None));
        assert_eq!((login.profile, login.hostname), (None, None));
        let account = Account { profile: Some(String::new()), hostname: Some("door.example".to_owned()) };
        let account = wit::Account::from(&account);
        assert_eq!((account.profile, account.hostname.as_deref()), (None, Some("door.example")));
    }

    #[test]
    fn less_than_nothing_cannot_have_been_purged() {
        assert_eq!(count(i32::MAX).unwrap(), 2_147_483_647);
        assert!(matches!(count(-1), Err(ConvertError::Negative(_))));
    }
}
