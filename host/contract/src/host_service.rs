//! What a running plugin may ask of us (contract spec 5).

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;

use crate::UnixSeconds;

/// What one plugin may ask of its host.
///
/// An implementation is made for one plugin and knows what that plugin was granted. Calls may
/// overlap; dropping the future of one abandons it.
#[async_trait]
pub trait HostService: fmt::Debug + Send + Sync {
    /// Returns a secret, or `None` when there is none of that name.
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError>;

    /// Stores a secret, replacing one of the same name.
    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError>;

    /// Forgets a secret. Forgetting what is not there succeeds.
    async fn delete_secret(&self, name: &str) -> Result<(), HostError>;

    /// Returns the names of the secrets that match a regular expression; an empty one matches all.
    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError>;

    /// Returns who is logged in with a handler; the empty name is the host's default handler.
    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError>;

    /// Returns the auth handlers that the plugin may ask. Never fails: handlers that cannot be listed are left out.
    async fn auth_handlers(&self) -> AuthHandlers;

    /// Returns an access token.
    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError>;

    /// Returns the groups that the user is in. The texts are opaque.
    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError>;

    /// Shows a person an address and returns what they brought back from it (contract spec 1.9).
    ///
    /// Only auth handlers call this, during a login and in the name of the handler that logs in. Otherwise they are refused.
    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError>;
}

/// Why the host did not do what a plugin asked. The plugin gets the text, which is upstream's sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The host does not have this service.
    #[error("{0} not available")]
    Unavailable(&'static str),
    /// The request is invalid: a bad name, for instance.
    #[error("{0}")]
    Invalid(String),
    /// The plugin asked for something that it was not granted.
    #[error("access denied: {0}")]
    Denied(String),
    /// The host tried and failed.
    #[error("{0}")]
    Failed(String),
}

impl HostError {
    /// The error of a host that keeps no secrets.
    pub const NO_SECRETS: Self = Self::Unavailable("secret store");
    /// The error of a host that knows no identities.
    pub const NO_IDENTITY: Self = Self::Unavailable("auth identity");
    /// The error of a host that has no access tokens.
    pub const NO_TOKENS: Self = Self::Unavailable("auth token service");
    /// The error of a host that knows no groups.
    pub const NO_GROUPS: Self = Self::Unavailable("auth groups");
}

/// What a person is to bring back, and from where.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ResponseRequest {
    /// The handler whose login is under way.
    pub handler: String,
    /// The address that the person opens.
    pub authorization_url: String,
    /// The beginning of the address that the person brings back.
    pub redirect_uri: String,
}

impl ResponseRequest {
    /// Returns how many bytes of a call's output this is; at least 1, as an empty one is shown, too.
    #[must_use]
    pub fn size(&self) -> u64 {
        let texts = [&self.handler, &self.authorization_url, &self.redirect_uri];
        1 + texts.iter().map(|text| text.len() as u64).sum::<u64>()
    }
}

/// Leaves out the address: it is good for this one login, whoever opens it.
impl fmt::Debug for ResponseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseRequest")
            .field("handler", &self.handler)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer of a person. Unlike with a [`HostError`], the wire carries the kind of error and not
/// only its sentence (contract spec 1.9), because a plugin tries another way when nobody can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The host does not implement the call.
    #[error("this host cannot ask a person")]
    Unimplemented,
    /// There is nobody to ask now.
    #[error("{0}")]
    Unavailable(String),
    /// The person gave up, or the login was abandoned.
    #[error("{0}")]
    Cancelled(String),
}

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

/// The auth handlers that a plugin may ask.
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
    /// How long it has to stay valid, in seconds; 0 leaves that to the host. Ours then asks for a minute.
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

/// Shows everything but the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token_type", &self.token_type)
            .field("expires_at", &self.expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
