//! How a login stands and the tokens that a handler keeps, to and from the wire.

use portcullis_proto as proto;

use super::super::host_service::to_unix_or_0;
use super::super::{ConvertError, non_empty};
use super::{For, from_seconds, to_seconds};
use crate::{AccessRequest, Account, AuthStatus, CachedToken, Claims, Token, moment};

impl From<For<Account>> for proto::LogoutRequest {
    fn from(logout: For<Account>) -> Self {
        let Account { profile, hostname } = logout.request;
        Self {
            handler_name: logout.handler.as_str().to_owned(),
            profile: profile.unwrap_or_default(),
            hostname: hostname.unwrap_or_default(),
        }
    }
}

impl From<proto::LogoutRequest> for For<Account> {
    fn from(request: proto::LogoutRequest) -> Self {
        let proto::LogoutRequest { handler_name, profile, hostname } = request;
        Self::read(handler_name, Account { profile: non_empty(profile), hostname: non_empty(hostname) })
    }
}

impl From<For<Account>> for proto::GetStatusRequest {
    fn from(status: For<Account>) -> Self {
        let Account { profile, hostname } = status.request;
        Self {
            handler_name: status.handler.as_str().to_owned(),
            profile: profile.unwrap_or_default(),
            hostname: hostname.unwrap_or_default(),
        }
    }
}

impl From<proto::GetStatusRequest> for For<Account> {
    fn from(request: proto::GetStatusRequest) -> Self {
        let proto::GetStatusRequest { handler_name, profile, hostname } = request;
        Self::read(handler_name, Account { profile: non_empty(profile), hostname: non_empty(hostname) })
    }
}

impl From<proto::GetStatusResponse> for AuthStatus {
    fn from(response: proto::GetStatusResponse) -> Self {
        Self {
            authenticated: response.authenticated,
            claims: response.claims.map(Claims::from),
            expires_at: moment(response.expires_at_unix),
            last_refresh: moment(response.last_refresh_unix),
            tenant_id: response.tenant_id,
            identity_type: response.identity_type,
            client_id: response.client_id,
            token_file: response.token_file,
            scopes: response.scopes,
            reason: response.reason,
            flow: response.flow,
            hostname: response.hostname,
        }
    }
}

impl From<AuthStatus> for proto::GetStatusResponse {
    fn from(status: AuthStatus) -> Self {
        Self {
            authenticated: status.authenticated,
            claims: status.claims.map(proto::Claims::from),
            expires_at_unix: to_unix_or_0(status.expires_at),
            last_refresh_unix: to_unix_or_0(status.last_refresh),
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

impl From<For<AccessRequest>> for proto::GetTokenRequest {
    fn from(access: For<AccessRequest>) -> Self {
        let AccessRequest {
            scope,
            min_valid_for,
            force_refresh,
            profile,
            server_context,
            caller,
            assertion,
            hostname,
        } = access.request;
        Self {
            handler_name: access.handler.as_str().to_owned(),
            scope,
            min_valid_for_seconds: to_seconds(min_valid_for),
            force_refresh,
            profile: profile.unwrap_or_default(),
            server_context: server_context.unwrap_or_default(),
            caller: caller.unwrap_or_default(),
            assertion: assertion.unwrap_or_default(),
            hostname: hostname.unwrap_or_default(),
        }
    }
}

impl From<proto::GetTokenRequest> for For<AccessRequest> {
    fn from(request: proto::GetTokenRequest) -> Self {
        let access = AccessRequest {
            scope: request.scope,
            min_valid_for: from_seconds(request.min_valid_for_seconds),
            force_refresh: request.force_refresh,
            profile: non_empty(request.profile),
            server_context: non_empty(request.server_context),
            caller: non_empty(request.caller),
            assertion: non_empty(request.assertion),
            hostname: non_empty(request.hostname),
        };
        Self::read(request.handler_name, access)
    }
}

impl From<proto::GetTokenResponse> for Token {
    fn from(response: proto::GetTokenResponse) -> Self {
        Self {
            access_token: response.access_token,
            token_type: response.token_type,
            expires_at: moment(response.expires_at_unix),
            scope: response.scope,
            cached_at: moment(response.cached_at_unix),
            flow: response.flow,
            session_id: response.session_id,
        }
    }
}

impl From<Token> for proto::GetTokenResponse {
    fn from(token: Token) -> Self {
        Self {
            access_token: token.access_token,
            token_type: token.token_type,
            expires_at_unix: to_unix_or_0(token.expires_at),
            scope: token.scope,
            cached_at_unix: to_unix_or_0(token.cached_at),
            flow: token.flow,
            session_id: token.session_id,
        }
    }
}

impl From<For<Option<String>>> for proto::ListCachedTokensRequest {
    fn from(list: For<Option<String>>) -> Self {
        let profile = list.request.unwrap_or_default();
        Self { handler_name: list.handler.as_str().to_owned(), profile }
    }
}

impl From<proto::ListCachedTokensRequest> for For<Option<String>> {
    fn from(request: proto::ListCachedTokensRequest) -> Self {
        Self::read(request.handler_name, non_empty(request.profile))
    }
}

impl From<proto::CachedTokenInfo> for CachedToken {
    fn from(info: proto::CachedTokenInfo) -> Self {
        Self {
            handler: info.handler,
            token_kind: info.token_kind,
            scope: info.scope,
            token_type: info.token_type,
            flow: info.flow,
            expires_at: moment(info.expires_at_unix),
            cached_at: moment(info.cached_at_unix),
            is_expired: info.is_expired,
            session_id: info.session_id,
            fingerprint: info.fingerprint,
            hostname: info.hostname,
        }
    }
}

impl From<CachedToken> for proto::CachedTokenInfo {
    fn from(token: CachedToken) -> Self {
        Self {
            handler: token.handler,
            token_kind: token.token_kind,
            scope: token.scope,
            token_type: token.token_type,
            flow: token.flow,
            expires_at_unix: to_unix_or_0(token.expires_at),
            cached_at_unix: to_unix_or_0(token.cached_at),
            is_expired: token.is_expired,
            session_id: token.session_id,
            fingerprint: token.fingerprint,
            hostname: token.hostname,
        }
    }
}

impl From<For<Option<String>>> for proto::PurgeExpiredTokensRequest {
    fn from(purge: For<Option<String>>) -> Self {
        let profile = purge.request.unwrap_or_default();
        Self { handler_name: purge.handler.as_str().to_owned(), profile }
    }
}

impl From<proto::PurgeExpiredTokensRequest> for For<Option<String>> {
    fn from(request: proto::PurgeExpiredTokensRequest) -> Self {
        Self::read(request.handler_name, non_empty(request.profile))
    }
}

/// How many tokens a handler forgot. A type of its own for the sake of `From`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged(pub u32);

impl TryFrom<proto::PurgeExpiredTokensResponse> for Purged {
    type Error = ConvertError;

    fn try_from(response: proto::PurgeExpiredTokensResponse) -> Result<Self, ConvertError> {
        let undecodable = |source| ConvertError::Undecodable { field: "purged count", source };
        u32::try_from(response.purged_count).map(Self).map_err(|error| undecodable(error.into()))
    }
}

/// Converts a count; one that does not fit becomes the largest (contract spec 3.8).
impl From<Purged> for proto::PurgeExpiredTokensResponse {
    fn from(purged: Purged) -> Self {
        Self { purged_count: i32::try_from(purged.0).unwrap_or(i32::MAX) }
    }
}
