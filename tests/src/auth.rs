//! A running auth handler plugin, and a household for it to ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use portcullis::contract::{
    AccessRequest, Account, AuthHandler, AuthHandlers, AuthStatus, CachedToken, Call, CallError, Claims,
    Configuration, DeviceCodePrompt, Flow, FlowAvailability, HandlerName, HostError, HostService, LoginEvent,
    LoginRequest, LoginResult, PromptError, ResponseRequest, Token, TokenRequest,
};
use tokio::sync::{Notify, Semaphore};

use crate::generous;

/// A running auth handler plugin, with the calls that tests make most, under [`LONG`](crate::LONG).
#[derive(Clone, Debug)]
pub struct TestAuth {
    /// The plugin itself.
    pub plugin: Arc<dyn AuthHandler>,
}

impl TestAuth {
    /// Configures a handler.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::configure`].
    pub async fn configure(&self, handler: &str, configuration: &Configuration) -> Result<(), CallError> {
        generous(self.plugin.configure(&Call::default(), &HandlerName::new(handler), configuration)).await
    }

    /// Logs in, and returns the prompts beside how it ended.
    pub async fn login(
        &self,
        handler: &str,
        request: LoginRequest,
    ) -> (Vec<DeviceCodePrompt>, Result<LoginResult, CallError>) {
        let mut events = self.plugin.login(&Call::default(), &HandlerName::new(handler), request);
        generous(async move {
            let (mut prompts, mut end) = (Vec::new(), None);
            while let Some(event) = events.next().await {
                assert!(end.is_none(), "{event:?} comes after {end:?}");
                match event {
                    Ok(LoginEvent::Prompt(prompt)) => prompts.push(prompt),
                    Ok(LoginEvent::Result(result)) => end = Some(Ok(result)),
                    Err(error) => end = Some(Err(error)),
                }
            }
            assert!(events.next().await.is_none(), "what is over stays over");
            (prompts, end.expect("a login ends with a result or an error"))
        })
        .await
    }

    /// Returns how a login stands.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::status`].
    pub async fn status(&self, handler: &str) -> Result<AuthStatus, CallError> {
        generous(self.plugin.status(&Call::default(), &HandlerName::new(handler), &Account::default())).await
    }

    /// Logs out.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::logout`].
    pub async fn logout(&self, handler: &str) -> Result<(), CallError> {
        generous(self.plugin.logout(&Call::default(), &HandlerName::new(handler), &Account::default())).await
    }

    /// Asks for a token of a scope.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::token`].
    pub async fn token(&self, handler: &str, scope: &str) -> Result<Token, CallError> {
        self.access(handler, AccessRequest { scope: scope.to_owned(), ..AccessRequest::default() }).await
    }

    /// Asks for a token.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::token`].
    pub async fn access(&self, handler: &str, request: AccessRequest) -> Result<Token, CallError> {
        generous(self.plugin.token(&Call::default(), &HandlerName::new(handler), request)).await
    }

    /// Lists the tokens that a handler keeps.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::list_cached_tokens`].
    pub async fn tokens(&self, handler: &str) -> Result<Vec<CachedToken>, CallError> {
        generous(self.plugin.list_cached_tokens(&Call::default(), &HandlerName::new(handler), None)).await
    }

    /// Asks which flows could work.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::detect_available_flows`].
    pub async fn flows(&self, handler: &str) -> Result<Vec<FlowAvailability>, CallError> {
        generous(self.plugin.detect_available_flows(&Call::default(), &HandlerName::new(handler))).await
    }

    /// Has a handler forget its expired tokens.
    ///
    /// # Errors
    ///
    /// As [`AuthHandler::purge_expired_tokens`].
    pub async fn purge(&self, handler: &str) -> Result<u32, CallError> {
        generous(self.plugin.purge_expired_tokens(&Call::default(), &HandlerName::new(handler), None)).await
    }
}

/// Makes a request to log in that says nothing but these two.
#[must_use]
pub fn login(flow: &str, tenant: &str) -> LoginRequest {
    let flow = (!flow.is_empty()).then(|| Flow::new(flow));
    LoginRequest { flow, tenant_id: tenant.to_owned(), ..LoginRequest::default() }
}

/// Makes a request to log in that says something in every field.
#[must_use]
pub fn whole_login(tenant: &str) -> LoginRequest {
    LoginRequest {
        scopes: vec!["a".to_owned(), "b".to_owned()],
        // The wire has whole seconds.
        timeout: Some(Duration::from_millis(90_999)),
        profile: Some("work".to_owned()),
        hostname: Some("host".to_owned()),
        callback_port: Some(8400),
        ..login("pat", tenant)
    }
}

/// Makes a request for a token that says something in every field.
#[must_use]
pub fn whole_access(scope: &str) -> AccessRequest {
    let some = |text: &str| Some(text.to_owned());
    AccessRequest {
        scope: scope.to_owned(),
        min_valid_for: Duration::from_millis(60_999),
        force_refresh: true,
        profile: some("work"),
        server_context: some("delegated"),
        caller: some("user"),
        assertion: some("bearer"),
        hostname: some("host"),
    }
}

/// Returns what a plugin said when it declined.
///
/// # Panics
///
/// When it did not.
#[must_use]
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match answer {
        Err(CallError::Refused(refusal)) => refusal.message,
        other => panic!("this was not refused: {other:?}"),
    }
}

/// A host with a few secrets, and one person who gives the same answer whenever they are asked.
#[derive(Debug)]
pub struct Household {
    secrets: BTreeMap<String, String>,
    answer: Result<String, PromptError>,
    asked: Mutex<Vec<ResponseRequest>>,
    /// Rings whenever the person is asked.
    pub bell: Notify,
    /// How many more answers the person gives.
    pub may_answer: Semaphore,
}

impl Household {
    /// Makes a household.
    #[must_use]
    pub fn new(secrets: &[(&str, &str)], answer: Result<&str, PromptError>) -> Arc<Self> {
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Arc::new(Self {
            secrets,
            answer: answer.map(str::to_owned),
            asked: Mutex::default(),
            bell: Notify::new(),
            may_answer: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// Makes one whose person answers when a test lets them.
    #[must_use]
    pub fn hesitant(answer: &str) -> Arc<Self> {
        let household = Self::new(&[], Ok(answer));
        household.may_answer.forget_permits(Semaphore::MAX_PERMITS);
        household
    }

    /// Returns what the person was asked so far.
    pub fn asked(&self) -> Vec<ResponseRequest> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl HostService for Household {
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        Ok(self.secrets.get(name).cloned())
    }

    async fn set_secret(&self, _: &str, _: &str) -> Result<(), HostError> {
        Err(HostError::Unavailable("secret store"))
    }

    async fn delete_secret(&self, _: &str) -> Result<(), HostError> {
        Err(HostError::Unavailable("secret store"))
    }

    async fn list_secrets(&self, _: &str) -> Result<Vec<String>, HostError> {
        Ok(self.secrets.keys().cloned().collect())
    }

    async fn auth_identity(&self, _: &str, _: &str) -> Result<Option<Claims>, HostError> {
        Err(HostError::Unavailable("auth identity"))
    }

    async fn auth_handlers(&self) -> AuthHandlers {
        AuthHandlers::default()
    }

    async fn auth_token(&self, _: &TokenRequest) -> Result<Token, HostError> {
        Err(HostError::Unavailable("auth token service"))
    }

    async fn auth_groups(&self, _: &str) -> Result<Vec<String>, HostError> {
        Err(HostError::Unavailable("auth groups"))
    }

    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        self.bell.notify_one();
        self.may_answer.acquire().await.expect("nobody closes it").forget();
        self.answer.clone()
    }
}
