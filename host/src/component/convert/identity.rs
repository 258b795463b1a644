//! Who the user is: what the host says of it, and how it is asked.

use portcullis_contract::{AuthHandlers, Claims, Token, TokenRequest};

use crate::component::bindings::portcullis::plugin::{identity, types};
use crate::component::convert::said;

impl From<Claims> for types::Claims {
    fn from(from: Claims) -> Self {
        let Claims {
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
            issued_at,
            expires_at,
        }
    }
}

impl From<Token> for types::Token {
    fn from(from: Token) -> Self {
        let Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = from;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

impl From<AuthHandlers> for identity::HandlerList {
    fn from(from: AuthHandlers) -> Self {
        let AuthHandlers { names, default } = from;
        Self { names, default }
    }
}

impl From<identity::TokenRequest> for TokenRequest {
    fn from(from: identity::TokenRequest) -> Self {
        let identity::TokenRequest { handler, scope, min_valid_for, force_refresh, profile } = from;
        Self { handler, scope, min_valid_for, force_refresh, profile: said(profile) }
    }
}
