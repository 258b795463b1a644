//! The calls of an auth handler, and the sentences of their failures (contract spec 4.8).
//!
//! Each sentence is upstream's; the chain of an error's sources reads as the line that upstream prints.
//! Durations are cut to whole seconds, because that is all that the wire can carry, and both backends are
//! told the same. Nothing here keeps a clock: a login lasts as long as its caller lets it.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use portcullis_contract::{
    AccessRequest, Account, AuthStatus, CachedToken, Call, CallError, Claims, DeviceCodePrompt,
    FlowAvailability, HandlerName, LimitHit, LimitName, LoginEvent, LoginRequest, LoginResult, NoLoginResult,
    Refusal, Token,
};
use thiserror::Error;

use super::handlers::RegisteredHandler;
use crate::names::quoted;

pub(super) mod address;

/// How long a token has to stay valid if the request does not say (contract spec 7.1).
pub const USUAL_VALIDITY: Duration = Duration::from_secs(60);

/// What the process backend puts before a status that ended a login; no author's refusal of a login begins so.
const BROKEN: &str = "login stream error: ";

/// Shows a person what they have to see during a login.
#[async_trait]
pub trait Prompts: Send {
    /// Shows one prompt. A slow implementation slows the plugin.
    async fn show(&mut self, prompt: DeviceCodePrompt);
}

/// Why an auth handler did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Nobody was logged in.
    #[error("plugin auth handler {handler} login")]
    Login {
        /// The handler.
        handler: HandlerName,
        /// Why.
        #[source]
        source: LoginError,
    },
    /// There is no token.
    #[error("plugin auth handler {handler} get-token")]
    Token {
        /// The handler.
        handler: HandlerName,
        /// Why.
        #[source]
        source: CallError,
    },
    /// There is no token for the header of a request.
    #[error("plugin auth handler {handler} inject-auth")]
    Inject {
        /// The handler.
        handler: HandlerName,
        /// Why.
        #[source]
        source: Box<AuthError>,
    },
}

/// How a login failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The plugin was not even asked.
    #[error("login RPC failed")]
    NotAsked(#[source] CallError),
    /// It was asked, and the stream of its answer broke off.
    #[error("login stream error")]
    Broken(#[source] CallError),
    /// The stream ended with a status, in these words.
    #[error("{0}")]
    Status(Refusal),
    /// The stream ended without a result.
    #[error("login stream ended without result")]
    NoResult,
    /// It wanted a code to be entered at what is no page of the web. Later upstream hosts end such a login, too.
    #[error("it wanted a code to be entered at {}, and {fault}", quoted(address))]
    Address {
        /// Where it was to be entered.
        address: String,
        /// What is wrong with that.
        fault: &'static str,
    },
    /// The handler declined, in its own words.
    #[error("plugin login error: {0}")]
    Refused(Refusal),
}

impl AuthError {
    /// Returns the error of the call, if there was one.
    #[must_use]
    pub fn call_error(&self) -> Option<&CallError> {
        match self {
            Self::Login { source: LoginError::NotAsked(error) | LoginError::Broken(error), .. }
            | Self::Token { source: error, .. } => Some(error),
            Self::Login { .. } => None,
            Self::Inject { source, .. } => source.call_error(),
        }
    }
}

impl From<CallError> for LoginError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) if refusal.message.starts_with(BROKEN) => Self::Status(refusal),
            CallError::Refused(refusal) => Self::Refused(refusal),
            CallError::Contract(source) if is_no_result(source.as_ref()) => Self::NoResult,
            // These come before anything is sent; all others may come later, too.
            CallError::Gone
            | CallError::Busy { .. }
            | CallError::Limit(LimitHit { which: LimitName::Concurrency, .. }) => Self::NotAsked(error),
            other => Self::Broken(other),
        }
    }
}

fn is_no_result(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<NoLoginResult>()
}

impl RegisteredHandler {
    /// Logs a person in. What they have to see goes to `prompts`; with `None` nobody sees it. Dropping the future
    /// abandons the login.
    ///
    /// Only [`Call::deadline`] limits it; [`LoginRequest::timeout`] is for the plugin to respect.
    ///
    /// # Errors
    ///
    /// Why nobody was logged in. The first result or error counts, whatever the plugin sends after it. A prompt whose address
    /// is not `https`, or is a number in a private network, ends the login before anybody sees it; a name is not looked up.
    pub async fn login(
        &self,
        call: &Call,
        request: LoginRequest,
        mut prompts: Option<&mut dyn Prompts>,
    ) -> Result<LoginResult, AuthError> {
        let failed = |source| AuthError::Login { handler: self.name().clone(), source };
        let request = LoginRequest { timeout: request.timeout.map(whole_seconds), ..request };
        let mut events = self.plugin.login(call, self.name(), request);
        while let Some(event) = events.next().await {
            match event {
                Ok(LoginEvent::Prompt(prompt)) => {
                    if let Some(fault) = address::of_code(&prompt.verification_uri) {
                        let address = prompt.verification_uri;
                        return Err(failed(LoginError::Address { address, fault }));
                    }
                    if let Some(prompts) = prompts.as_deref_mut() {
                        prompts.show(prompt).await;
                    }
                }
                Ok(LoginEvent::Result(result)) => return Ok(result),
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(failed(LoginError::NoResult))
    }

    /// Forgets a login.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn logout(&self, call: &Call, account: &Account) -> Result<(), CallError> {
        self.plugin.logout(call, self.name(), account).await
    }

    /// Says who is logged in.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn status(&self, call: &Call, account: &Account) -> Result<AuthStatus, CallError> {
        self.plugin.status(call, self.name(), account).await
    }

    /// Returns an access token.
    ///
    /// # Errors
    ///
    /// What the call said, in upstream's sentence.
    pub async fn token(&self, call: &Call, request: AccessRequest) -> Result<Token, AuthError> {
        let request = AccessRequest { min_valid_for: whole_seconds(request.min_valid_for), ..request };
        let token = self.plugin.token(call, self.name(), request).await;
        token.map_err(|source| AuthError::Token { handler: self.name().clone(), source })
    }

    /// Returns the header `Authorization` for a request to a server. The plugin never sees that request.
    ///
    /// # Errors
    ///
    /// What the call said, in upstream's sentence.
    pub async fn inject_auth(&self, call: &Call, request: AccessRequest) -> Result<String, AuthError> {
        let token = self
            .token(call, request)
            .await
            .map_err(|source| AuthError::Inject { handler: self.name().clone(), source: Box::new(source) })?;
        let token_type = if token.token_type.is_empty() { "Bearer" } else { &token.token_type };
        Ok(format!("{token_type} {}", token.access_token))
    }

    /// Describes the tokens that the handler keeps, without the tokens themselves.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn list_cached_tokens(
        &self,
        call: &Call,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        self.plugin.list_cached_tokens(call, self.name(), profile).await
    }

    /// Forgets the kept tokens that have expired, and returns how many there were.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn purge_expired_tokens(&self, call: &Call, profile: Option<&str>) -> Result<u32, CallError> {
        self.plugin.purge_expired_tokens(call, self.name(), profile).await
    }

    /// Says which flows could work here and now; `None` when the plugin does not implement the call.
    ///
    /// # Errors
    ///
    /// What the call said.
    pub async fn detect_available_flows(
        &self,
        call: &Call,
    ) -> Result<Option<Vec<FlowAvailability>>, CallError> {
        match self.plugin.detect_available_flows(call, self.name()).await {
            Err(CallError::Unimplemented) => Ok(None),
            answer => answer.map(Some),
        }
    }
}

/// Returns how to call a person: the first that is known of e-mail address, login name, name and subject.
#[must_use]
pub fn display_identity(claims: &Claims) -> Option<&str> {
    let names = [&claims.email, &claims.username, &claims.name, &claims.subject];
    names.into_iter().map(String::as_str).find(|name| !name.is_empty())
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests;
