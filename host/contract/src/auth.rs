//! What an auth handler plugin does for us, and the messages of doing it.
//!
//! The trait has the nine calls of the contract (contract spec 1.1) and the two of the later wire
//! (contract spec 1.9). The list of handlers is fetched once, at launch, and answered from memory from then on.
//!
//! These messages hold secrets: tokens, assertions, the codes that a person types. `Debug` shows none of them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    AuthCapability, Call, CallError, Claims, Configuration, Flow, HandlerName, Json, Plugin, Token,
    UnixSeconds,
};

/// A plugin that offers auth handlers.
///
/// A handler keeps state from one call to the next. A plugin that can serve only one call at a time queues the
/// others itself, so a call for a token may wait for a login. If the deadline of that call passes first, it fails
/// with [`CallError::Busy`].
///
/// The state is lost when the plugin ends. A component also loses it when it dies in a call or when a call is
/// dropped: the next call finds it configured anew, with no other state.
///
/// No method here enforces a deadline: the caller drops the future when it passes. [`Call::deadline`] only informs
/// the plugin.
#[async_trait]
pub trait AuthHandler: Plugin {
    /// Returns what the plugin said of its handlers at launch, in its own order. Never does I/O.
    ///
    /// Nothing was checked: names may be empty or occur twice. Later changes are not seen.
    fn handlers(&self) -> &[HandlerInfo];

    /// Prepares one handler. A plugin that replaces its instance configures the new one in the same way by itself.
    ///
    /// Succeeds for a plugin that does not implement the call: it has nothing to prepare (contract spec 4.7).
    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError>;

    /// Logs a person in. The stream brings what the person has to see, as it appears, and then the result.
    ///
    /// The stream ends after exactly one [`LoginEvent::Result`] or one error, never both; anything the plugin
    /// sends after that is ignored. A slow reader slows the plugin; dropping the stream abandons the login.
    /// Prompts count against the limit of what a call may print.
    fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>>;

    /// Forgets a login.
    async fn logout(&self, call: &Call, name: &HandlerName, account: &Account) -> Result<(), CallError>;

    /// Says who is logged in.
    async fn status(
        &self,
        call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError>;

    /// Returns an access token.
    async fn token(
        &self,
        call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError>;

    /// Describes the tokens that the handler keeps, without the tokens themselves.
    async fn list_cached_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError>;

    /// Forgets the kept tokens that have expired, and returns how many there were.
    async fn purge_expired_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<u32, CallError>;

    /// Ends one handler, or all of them. The plugin goes on running. Succeeds if it does not implement the
    /// call: it has nothing to end.
    async fn stop(&self, call: &Call, name: Option<&HandlerName>) -> Result<(), CallError>;

    /// Says which flows could work here and now. Only plugins of the later contract implement it.
    async fn detect_available_flows(
        &self,
        call: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError>;

    /// Turns the plugin into the server side of a delegated login. `settings` is a JSON object. Only plugins of the
    /// later contract implement it.
    async fn activate_server_mode(&self, call: &Call, settings: Json) -> Result<(), CallError>;
}

/// What a plugin says of one of its handlers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandlerInfo {
    /// The name by which requests mean it.
    pub name: HandlerName,
    /// Its name for people.
    pub display_name: String,
    /// The ways of logging in that it supports.
    pub flows: Vec<Flow>,
    /// The parts of a request that it supports.
    pub capabilities: Vec<AuthCapability>,
}

/// How somebody wants to log in. An empty text means that the field was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginRequest {
    /// The tenant.
    pub tenant_id: String,
    /// What the login is for.
    pub scopes: Vec<String>,
    /// The way of logging in; `None` lets the handler choose. It may be one that the handler does not list, and has to refuse.
    pub flow: Option<Flow>,
    /// How long the person may take; `None` leaves that to the handler, which is the one to enforce it. The wire has whole
    /// seconds.
    pub timeout: Option<Duration>,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// The server that is meant, of several.
    pub hostname: Option<String>,
    /// The port on this machine that a browser comes back to.
    pub callback_port: Option<i32>,
}

/// One thing that a login hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginEvent {
    /// What the person has to see.
    Prompt(DeviceCodePrompt),
    /// Its end.
    Result(LoginResult),
}

/// A code, and where a person types it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeviceCodePrompt {
    /// The code.
    pub user_code: String,
    /// The address of the page.
    pub verification_uri: String,
    /// The same in a sentence, in the plugin's words.
    pub message: String,
}

impl DeviceCodePrompt {
    /// Returns how many bytes of a call's output this is; at least 1, as an empty one is shown, too.
    #[must_use]
    pub fn size(&self) -> u64 {
        let texts = [&self.user_code, &self.verification_uri, &self.message];
        1 + texts.iter().map(|text| text.len() as u64).sum::<u64>()
    }
}

/// Shows the address, and not the code or the message, which may repeat the code.
impl fmt::Debug for DeviceCodePrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceCodePrompt")
            .field("verification_uri", &self.verification_uri)
            .finish_non_exhaustive()
    }
}

/// The result of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginResult {
    /// Who has logged in, if the handler says so.
    pub claims: Option<Claims>,
    /// Until when the login is good.
    pub expires_at: Option<UnixSeconds>,
}

/// The stream of a login ended without a result, which breaks the contract: the cause of a
/// [`CallError::Contract`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("login stream ended without result")]
pub struct NoLoginResult;

/// Which of a handler's logins is meant; its default one if neither field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The account, of several.
    pub profile: Option<String>,
    /// The server, of several.
    pub hostname: Option<String>,
}

/// How a login stands. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthStatus {
    /// Whether somebody is logged in.
    pub authenticated: bool,
    /// Who it is.
    pub claims: Option<Claims>,
    /// Until when the login is good.
    pub expires_at: Option<UnixSeconds>,
    /// When it was last renewed.
    pub last_refresh: Option<UnixSeconds>,
    /// The tenant.
    pub tenant_id: String,
    /// What logged in: by convention `user`, `service-principal` or `workload-identity`.
    pub identity_type: String,
    /// The application.
    pub client_id: String,
    /// The file that a federated token comes from.
    pub token_file: String,
    /// What the login is for.
    pub scopes: Vec<String>,
    /// Why nobody is logged in.
    pub reason: String,
    /// How the login was made.
    pub flow: String,
    /// The server that it is good for.
    pub hostname: String,
}

/// Which token a handler is asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccessRequest {
    /// What the token is for.
    pub scope: String,
    /// How long it has to stay valid. The wire has whole seconds.
    pub min_valid_for: Duration,
    /// Whether to obtain a new token even if a kept one is valid.
    pub force_refresh: bool,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// On whose behalf a server asks: by convention `server` or `delegated`.
    pub server_context: Option<String>,
    /// Who asks the server: by convention `server`, `user` or `machine`.
    pub caller: Option<String>,
    /// The token that the caller presented, to be exchanged for the new one. A secret.
    pub assertion: Option<String>,
    /// The server that is meant, of several.
    pub hostname: Option<String>,
}

/// Shows everything but the assertion; of that, only whether there is one.
impl fmt::Debug for AccessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRequest")
            .field("scope", &self.scope)
            .field("min_valid_for", &self.min_valid_for)
            .field("force_refresh", &self.force_refresh)
            .field("profile", &self.profile)
            .field("server_context", &self.server_context)
            .field("caller", &self.caller)
            .field("has_assertion", &self.assertion.is_some())
            .field("hostname", &self.hostname)
            .finish()
    }
}

/// What a handler says of a kept token. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedToken {
    /// The handler that keeps it.
    pub handler: String,
    /// By convention `refresh` or `access`.
    pub token_kind: String,
    /// What it is for.
    pub scope: String,
    /// For instance `Bearer`.
    pub token_type: String,
    /// How it was obtained.
    pub flow: String,
    /// Until when it is valid.
    pub expires_at: Option<UnixSeconds>,
    /// Since when it is kept.
    pub cached_at: Option<UnixSeconds>,
    /// Whether its time has passed.
    pub is_expired: bool,
    /// The session that it belongs to.
    pub session_id: String,
    /// Whose it is: the start of a digest of the identity.
    pub fingerprint: String,
    /// The server that it is good for.
    pub hostname: String,
}

/// Whether a way of logging in could work here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowAvailability {
    /// The way.
    pub flow: Flow,
    /// Whether it could work.
    pub available: bool,
    /// Why not; may be empty.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_secret_is_shown() {
        let prompt = DeviceCodePrompt {
            user_code: "HUSH-1".to_owned(),
            verification_uri: "https://door.example".to_owned(),
            message: "Enter HUSH-1".to_owned(),
        };
        let request = AccessRequest { assertion: Some("HUSH-2".to_owned()), ..AccessRequest::default() };
        let token = Token { access_token: "HUSH-3".to_owned(), ..Token::default() };
        let shown = format!("{:?} {request:?} {token:?}", LoginEvent::Prompt(prompt));
        assert!(!shown.contains("HUSH"), "{shown}");
        assert!(shown.contains("has_assertion: true"), "{shown}");
    }
}
