//! An auth handler as a component: its exports, and the crossing of its messages.

use std::marker::PhantomData;
use std::time::Duration;

use crate::component::bindings::auth::exports::portcullis::plugin::auth_handler as exports;
use crate::component::bindings::provider::portcullis::plugin::types as wit;
use crate::component::{Exports, Imports, all, configuration, host};
use crate::{
    AccessRequest, Account, AuthCapability, AuthHandler, AuthStatus, CachedToken, Claims, Flow,
    FlowAvailability, HandlerInfo, Json, LoginRequest, LoginResult, Prompts, Token,
};

impl<E: Exports> exports::Guest for E
where
    E::Plugin: AuthHandler,
{
    fn list_handlers() -> Result<Vec<exports::HandlerInfo>, wit::PluginError> {
        Ok(all(E::plugin().handlers()?))
    }

    fn configure(handler: String, told: wit::Configuration) -> Result<(), wit::PluginError> {
        Ok(E::plugin().configure(&host(), &handler, configuration(told)?)?)
    }

    fn login(
        handler: String,
        request: exports::LoginRequest,
    ) -> Result<exports::LoginResult, wit::PluginError> {
        let prompts = Prompts::from_imports(Imports(PhantomData));
        Ok(E::plugin().login(&host(), &prompts, &handler, request.into())?.into())
    }

    fn logout(handler: String, account: exports::Account) -> Result<(), wit::PluginError> {
        Ok(E::plugin().logout(&host(), &handler, &account.into())?)
    }

    fn get_status(handler: String, account: exports::Account) -> Result<exports::Status, wit::PluginError> {
        Ok(E::plugin().status(&host(), &handler, &account.into())?.into())
    }

    fn get_token(handler: String, request: exports::TokenRequest) -> Result<wit::Token, wit::PluginError> {
        Ok(E::plugin().token(&host(), &handler, request.into())?.into())
    }

    fn list_cached_tokens(
        handler: String,
        profile: Option<String>,
    ) -> Result<Vec<exports::CachedToken>, wit::PluginError> {
        Ok(all(E::plugin().list_cached_tokens(&host(), &handler, profile.as_deref())?))
    }

    fn purge_expired_tokens(handler: String, profile: Option<String>) -> Result<i32, wit::PluginError> {
        let purged = E::plugin().purge_expired_tokens(&host(), &handler, profile.as_deref())?;
        // Contract item 135: a count that does not fit becomes the largest.
        Ok(i32::try_from(purged).unwrap_or(i32::MAX))
    }

    fn stop(handler: Option<String>) -> Result<(), wit::PluginError> {
        Ok(E::plugin().stop(&host(), handler.as_deref())?)
    }

    fn detect_available_flows(handler: String) -> Result<Vec<exports::FlowAvailability>, wit::PluginError> {
        Ok(all(E::plugin().detect_available_flows(&host(), &handler)?))
    }

    fn activate_server_mode(settings: String) -> Result<(), wit::PluginError> {
        Ok(E::plugin().activate_server_mode(&host(), &Json::from_text(settings))?)
    }
}

impl From<exports::LoginRequest> for LoginRequest {
    fn from(request: exports::LoginRequest) -> Self {
        let exports::LoginRequest { tenant_id, scopes, flow, timeout, profile, hostname, callback_port } =
            request;
        let flow = (!flow.is_empty()).then(|| Flow::new(flow));
        Self { tenant_id, scopes, flow, timeout: timeout.map(seconds), profile, hostname, callback_port }
    }
}

impl From<exports::TokenRequest> for AccessRequest {
    fn from(request: exports::TokenRequest) -> Self {
        Self {
            scope: request.scope,
            min_valid_for: seconds(request.min_valid_for),
            force_refresh: request.force_refresh,
            profile: request.profile,
            server_context: request.server_context,
            caller: request.caller,
            assertion: request.assertion,
            hostname: request.hostname,
        }
    }
}

/// Reads a length of time; a negative one counts as none.
fn seconds(of: i64) -> Duration {
    Duration::from_secs(u64::try_from(of).unwrap_or_default())
}

impl From<HandlerInfo> for exports::HandlerInfo {
    fn from(info: HandlerInfo) -> Self {
        let HandlerInfo { name, display_name, flows, capabilities } = info;
        Self {
            name: name.into_string(),
            display_name,
            flows: flows.into_iter().map(Flow::into_string).collect(),
            capabilities: capabilities.into_iter().map(AuthCapability::into_string).collect(),
        }
    }
}

impl From<LoginResult> for exports::LoginResult {
    fn from(result: LoginResult) -> Self {
        let LoginResult { claims, expires_at } = result;
        Self { claims: claims.map(Into::into), expires_at }
    }
}

impl From<exports::Account> for Account {
    fn from(account: exports::Account) -> Self {
        let exports::Account { profile, hostname } = account;
        Self { profile, hostname }
    }
}

impl From<AuthStatus> for exports::Status {
    fn from(status: AuthStatus) -> Self {
        Self {
            authenticated: status.authenticated,
            claims: status.claims.map(Into::into),
            expires_at: status.expires_at,
            last_refresh: status.last_refresh,
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

impl From<CachedToken> for exports::CachedToken {
    fn from(token: CachedToken) -> Self {
        Self {
            handler: token.handler,
            token_kind: token.token_kind,
            scope: token.scope,
            token_type: token.token_type,
            flow: token.flow,
            expires_at: token.expires_at,
            cached_at: token.cached_at,
            is_expired: token.is_expired,
            session_id: token.session_id,
            fingerprint: token.fingerprint,
            hostname: token.hostname,
        }
    }
}

impl From<FlowAvailability> for exports::FlowAvailability {
    fn from(flow: FlowAvailability) -> Self {
        let FlowAvailability { flow, available, reason } = flow;
        Self { flow: flow.into_string(), available, reason }
    }
}

impl From<Claims> for wit::Claims {
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
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
        }
    }
}

impl From<Token> for wit::Token {
    fn from(token: Token) -> Self {
        let Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = token;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}
