//! What an auth handler plugin does, and the messages of doing it.

use std::fmt;

use crate::{Claims, Configuration, Error, Host, Json, Prompts, Token, UnixSeconds};

/// A plugin that offers auth handlers.
///
/// Every method but two names the handler that is meant, since one plugin may offer several. What to
/// know:
///
/// - One value serves all calls, so what it keeps in memory lasts from one call to the next, until the
///   plugin ends, by a crash or otherwise. What has to outlive that belongs into the host's secrets.
/// - Calls may overlap when the plugin is built as a native one; a component has one at a time, and the
///   others wait: for a login that takes minutes, too.
/// - In a component, a call whose caller has gone is ended wherever it stands, and the component's memory with it. In a
///   native plugin it goes on, and is told so: by [`Host::cancelled`], and by calls of the host that fail.
/// - A panic ends the process of a native plugin, and the one instance of a component, with its memory. Its text is shown to
///   the user.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no auth handler",
    note = "a plugin that is a provider is exported by `export!`"
)]
pub trait AuthHandler: Send + Sync + 'static {
    /// Returns the handlers that this plugin offers. Asked at a start and by whoever only looks; a component that is made
    /// anew is not asked again.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from knowing; it is then of no use to anybody.
    fn handlers(&self) -> Result<Vec<HandlerInfo>, Error>;

    /// Prepares one handler. A plugin that is started anew is configured again before it is used.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used. The host's log says so, and the handler is called all the same, as if
    /// there were none: a call that cannot do without has to decline itself.
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
    /// When there is none to be had, because nobody is logged in, say.
    fn token(&self, host: &Host<'_>, request: AccessRequest) -> Result<Token, Error>;

    /// Lists the tokens that are kept, without the tokens themselves.
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
    /// [`Error::Unimplemented`], from here, leaves the question open.
    fn detect_available_flows(&self, host: &Host<'_>, handler: &str) -> Result<Vec<FlowAvailability>, Error> {
        let _ = (host, handler);
        Err(Error::Unimplemented)
    }

    /// Turns the plugin into the server side of a delegated login. `settings` is a JSON object.
    ///
    /// # Errors
    ///
    /// When it cannot be one; [`Error::Unimplemented`], from here, when it never is.
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
    /// How long the person may take, in seconds; `None` when nobody said. Nobody enforces it here.
    pub timeout: Option<i64>,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// The machine to log in to, for services that one can run oneself.
    pub hostname: Option<String>,
    /// The port at which an `interactive` flow is to wait for the browser.
    pub callback_port: Option<i32>,
}

/// What came of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginResult {
    /// Who it was, if that is known.
    pub claims: Option<Claims>,
    /// Until when it holds.
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
    /// Who.
    pub claims: Option<Claims>,
    /// Until when.
    pub expires_at: Option<UnixSeconds>,
    /// When that was last renewed.
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
    /// Whether a kept token will not do.
    pub force_refresh: bool,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// On whose behalf a server asks.
    pub server_context: Option<String>,
    /// Who asks.
    pub caller: Option<String>,
    /// What proves who the caller's user is; exchanged for the token.
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
    /// What tells the identity that it belongs to from others.
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
