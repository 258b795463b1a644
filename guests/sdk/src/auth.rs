//! What an auth handler plugin does.

use crate::{
    AccessRequest, Account, AuthStatus, CachedToken, Configuration, Error, FlowAvailability, HandlerInfo,
    Host, Json, LoginRequest, LoginResult, Prompts, Token,
};

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

    /// Prepares one handler. A plugin that is started again is configured again before it is used. The same value may be
    /// configured again, too; what came last holds.
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
        handler: &str,
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
    fn token(&self, host: &Host<'_>, handler: &str, request: AccessRequest) -> Result<Token, Error>;

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

    /// Says which flows could work here and now, first choice first. Not every host asks (the command `portcullis` does not):
    /// a login without a flow has to choose by itself.
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
