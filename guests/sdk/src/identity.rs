//! Who the user is, and what proves it.

use std::fmt;

/// A moment, in whole seconds since 1970-01-01T00:00:00Z.
pub type UnixSeconds = i64;

/// Who somebody is, according to an identity provider. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Who says so.
    pub issuer: String,
    /// Who it is, to the issuer.
    pub subject: String,
    /// The tenant.
    pub tenant_id: String,
    /// The directory object.
    pub object_id: String,
    /// The application.
    pub client_id: String,
    /// The e-mail address.
    pub email: String,
    /// The name for people.
    pub name: String,
    /// The login name.
    pub username: String,
    /// When the issuer made this statement.
    pub issued_at: Option<UnixSeconds>,
    /// Until when the statement holds.
    pub expires_at: Option<UnixSeconds>,
}

/// The auth handlers that the plugin may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthHandlers {
    /// Their names.
    pub names: Vec<String>,
    /// The handler that is used when none is named; empty when there is none.
    pub default: String,
}

/// Which token is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The handler; empty for the host's default one.
    pub handler: String,
    /// What the token is for.
    pub scope: String,
    /// How long it has to stay valid, in seconds; 0 leaves that to the host. Portcullis then asks for a minute.
    pub min_valid_for: i64,
    /// Whether to obtain a new token even if a cached one is valid.
    pub force_refresh: bool,
    /// The account that is meant, of several.
    pub profile: Option<String>,
}

/// An access token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub access_token: String,
    /// For instance `Bearer`.
    pub token_type: String,
    /// Until when it is valid.
    pub expires_at: Option<UnixSeconds>,
    /// What it is for.
    pub scope: String,
    /// When it was cached.
    pub cached_at: Option<UnixSeconds>,
    /// How it was obtained.
    pub flow: String,
    /// The session that it belongs to.
    pub session_id: String,
}

/// Shows everything but the token and its session.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
