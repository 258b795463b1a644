//! What an auth handler plugin does, and the messages of doing it.

use std::fmt;

use crate::{Claims, Configuration, Error, Host, Json, Prompts, Token, UnixSeconds};

/// A plugin that offers auth handlers.
///
/// One plugin may offer several handlers, so most methods name the handler that is meant. What to know:
///
/// - One value serves all calls, so what it keeps in memory lasts from one call to the next, until the
///   plugin ends, by a crash or otherwise. What has to last longer belongs in the host's secrets.
/// - In a native plugin calls may overlap. A component has one call at a time, and the others wait, even for a
///   login that takes minutes.
/// - In a component, a call whose caller has gone is ended wherever it stands, and the component's memory with it. In a
///   native plugin it goes on, and is told so: by [`Host::cancelled`], and by calls of the host that fail.
/// - A panic ends the process of a native plugin, and the one instance of a component, with its memory. Its text is shown to
///   the user.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no auth handler",
    note = "a plugin that is a provider is exported by `export!`"
)]
pub trait AuthHandler: Send + Sync + 'static {
    /// Returns the handlers that this plugin offers. Hosts call this when they start the plugin, and when they only
    /// list it; an instance that replaces an earlier one is not asked again.
    ///
    /// # Errors
    ///
    /// If the plugin cannot say. Hosts cannot use it then.
    fn handlers(&self) -> Result<Vec<HandlerInfo>, Error>;

    /// Prepares one handler. A plugin that is started again is configured again before it is used.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used. The host logs the error, and calls the handler all the same, as if it had
    /// none: a call that cannot do without it has to return an error itself.
    fn configure(&self, host: &Host<'_>, handler: &str, configuration: Configuration) -> Result<(), Error> {
        let _ = (host, handler, configuration);
        Ok(())
    }

    /// Logs a person in. What the person has to see, or to answer, goes through `prompts`.
    ///
    /// # Errors
    ///
    /// When the login is declined or fails.
    fn login(
        &self,
        host: &Host<'_>,
        prompts: &Prompts<'_>,
        request: LoginRequest,
    ) -> Result<LoginResult, Error>;

    /// Logs an account out.
    ///
    /// # Errors
    ///
    /// When that cannot be done.
    fn logout(&self, host: &Host<'_>, handler: &str, account: &Account) -> Result<(), Error>;

    /// Says how things stand with an account. Nobody being logged in is a status like any other.
    ///
    /// # Errors
    ///
    /// When it cannot be found out.
    fn status(&self, host: &Host<'_>, handler: &str, account: &Account) -> Result<AuthStatus, Error>;

    /// Returns an access token, which may be one that was issued before.
    ///
    /// # Errors
    ///
    /// When there is no token, because nobody is logged in, for instance.
    fn token(&self, host: &Host<'_>, request: AccessRequest) -> Result<Token, Error>;

    /// Describes the tokens that are kept, without the tokens themselves.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    fn list_cached_tokens(
        &self,
        host: &Host<'_>,
        handler: &str,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, Error> {
        let _ = (host, handler, profile);
        Ok(Vec::new())
    }

    /// Forgets the kept tokens that have expired, and returns how many there were.
    ///
    /// # Errors
    ///
    /// When they cannot be forgotten.
    fn purge_expired_tokens(
        &self,
        host: &Host<'_>,
        handler: &str,
        profile: Option<&str>,
    ) -> Result<usize, Error> {
        let _ = (host, handler, profile);
        Ok(0)
    }

    /// Ends one handler, or all of them. The plugin goes on running.
    ///
    /// # Errors
    ///
    /// When it cannot be ended well; it is ended all the same.
    fn stop(&self, host: &Host<'_>, handler: Option<&str>) -> Result<(), Error> {
        let _ = (host, handler);
        Ok(())
    }

    /// Says which flows could work here and now.
    ///
    /// # Errors
    ///
    /// [`Error::Unimplemented`], the default, leaves the question open.
    fn detect_available_flows(&self, host: &Host<'_>, handler: &str) -> Result<Vec<FlowAvailability>, Error> {
        let _ = (host, handler);
        Err(Error::Unimplemented)
    }

    /// Turns the plugin into the server side of a delegated login. `settings` is a JSON object.
    ///
    /// # Errors
    ///
    /// When it cannot act as one; [`Error::Unimplemented`], the default, when it never can.
    fn activate_server_mode(&self, host: &Host<'_>, settings: &Json) -> Result<(), Error> {
        let _ = (host, settings);
        Err(Error::Unimplemented)
    }
}

/// What an auth handler says of itself.
///
/// ```
/// use portcullis_sdk::HandlerInfo;
///
/// let info = HandlerInfo {
///     name: "acme".into(),
///     display_name: "Acme".into(),
///     flows: vec!["device_code".into()],
///     capabilities: vec!["scopes_on_login".into(), "tenant_id".into()],
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlerInfo {
    /// The name that users write.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// The ways to log in, such as `device_code`, `interactive`, `pat` or `client_credentials`.
    pub flows: Vec<String>,
    /// What a request may ask for, such as `scopes_on_login`, `tenant_id`, `hostname` or `callback_port`.
    pub capabilities: Vec<String>,
}

/// A request to log somebody in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginRequest {
    /// The handler that is meant.
    pub handler: String,
    /// The tenant; may be empty.
    pub tenant_id: String,
    /// What the person is to agree to.
    pub scopes: Vec<String>,
    /// The way to log in; empty leaves the choice to the handler.
    pub flow: String,
    /// How long the person may take, in seconds; `None` leaves that to the handler, which is the one to enforce it.
    pub timeout: Option<i64>,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// The machine to log in to, for services that one can run oneself.
    pub hostname: Option<String>,
    /// The port at which an `interactive` flow is to wait for the browser.
    pub callback_port: Option<i32>,
}

/// The result of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginResult {
    /// Who it was, if that is known.
    pub claims: Option<Claims>,
    /// Until when the login is good.
    pub expires_at: Option<UnixSeconds>,
}

/// Which of a handler's accounts is meant; `None` is its own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The account, of several.
    pub profile: Option<String>,
    /// The machine that it is on.
    pub hostname: Option<String>,
}

/// How things stand with an account. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthStatus {
    /// Whether somebody is logged in.
    pub authenticated: bool,
    /// Who it is.
    pub claims: Option<Claims>,
    /// Until when the login is good.
    pub expires_at: Option<UnixSeconds>,
    /// When the login was last renewed.
    pub last_refresh: Option<UnixSeconds>,
    /// The tenant.
    pub tenant_id: String,
    /// For instance `user`, `service-principal` or `workload-identity`.
    pub identity_type: String,
    /// The application.
    pub client_id: String,
    /// The file from which tokens come.
    pub token_file: String,
    /// What was agreed to.
    pub scopes: Vec<String>,
    /// Why nobody is logged in.
    pub reason: String,
    /// How they logged in.
    pub flow: String,
    /// The machine that they logged in to.
    pub hostname: String,
}

/// A request for an access token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AccessRequest {
    /// The handler that is meant.
    pub handler: String,
    /// What the token is for.
    pub scope: String,
    /// How long it has to stay valid, in seconds.
    pub min_valid_for: i64,
    /// Whether to obtain a new token even if a kept one is valid.
    pub force_refresh: bool,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// On whose behalf a server asks.
    pub server_context: Option<String>,
    /// Who asks.
    pub caller: Option<String>,
    /// The token that proves who the caller's user is, to be exchanged for the new one. A secret.
    pub assertion: Option<String>,
    /// The machine that the token is for.
    pub hostname: Option<String>,
}

/// Shows everything but the assertion.
impl fmt::Debug for AccessRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRequest")
            .field("handler", &self.handler)
            .field("scope", &self.scope)
            .field("min_valid_for", &self.min_valid_for)
            .field("force_refresh", &self.force_refresh)
            .field("profile", &self.profile)
            .field("server_context", &self.server_context)
            .field("caller", &self.caller)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// A kept token, without the token itself. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedToken {
    /// The handler that keeps it.
    pub handler: String,
    /// `access` or `refresh`.
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
    /// Whether it has expired.
    pub is_expired: bool,
    /// The session that it belongs to.
    pub session_id: String,
    /// A short text that stands for the identity it belongs to, such as the start of a digest.
    pub fingerprint: String,
    /// The machine that it is for.
    pub hostname: String,
}

/// Whether a flow could work here and now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowAvailability {
    /// The flow.
    pub flow: String,
    /// Whether it could.
    pub available: bool,
    /// Why not.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_never_shown() {
        let request = AccessRequest { assertion: Some("s3cret".to_owned()), ..AccessRequest::default() };
        assert!(!format!("{request:?}").contains("s3cret"));
    }
}
