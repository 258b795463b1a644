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
    /// Since when it is so.
    pub issued_at: Option<UnixSeconds>,
    /// Until when it is so.
    pub expires_at: Option<UnixSeconds>,
}

/// The auth handlers that may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthHandlers {
    /// Their names.
    pub names: Vec<String>,
    /// The one that is meant when none is named; empty when there is none.
    pub default: String,
}

/// Which token is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The handler; empty for the host's default one.
    pub handler: String,
    /// What the token is for.
    pub scope: String,
    /// How long it has to stay valid, in seconds; 0 leaves that to the host, and ours takes a minute.
    pub min_valid_for: i64,
    /// Whether a cached token will not do.
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
    /// Since when it is known.
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
