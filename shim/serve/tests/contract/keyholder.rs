//! An auth handler that plays what it is told.

use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::{
    AccessRequest, Account, AuthCapability, AuthHandler, AuthStatus, CachedToken, Call, CallError, Claims,
    Configuration, DeviceCodePrompt, Flow, FlowAvailability, HandlerInfo, HandlerName, Json, Kind,
    LoginEvent, LoginRequest, LoginResult, NoLoginResult, Plugin, PluginInfo, Refusal, Token,
};
use portcullis_serve::Surroundings;
use tokio::sync::mpsc;

use crate::player::{Left, full, info};

#[derive(Debug)]
pub(crate) struct Keyholder {
    info: PluginInfo,
    handlers: Vec<HandlerInfo>,
    around: Surroundings,
    hanging: mpsc::UnboundedSender<&'static str>,
}

impl Keyholder {
    pub(crate) fn new(around: Surroundings, hanging: mpsc::UnboundedSender<&'static str>) -> Self {
        let key = HandlerInfo {
            name: HandlerName::new("key"),
            display_name: "Key".to_owned(),
            flows: vec![Flow::DEVICE_CODE, Flow::new("skeleton")],
            capabilities: vec![AuthCapability::TENANT_ID],
        };
        Self { info: info(Kind::AuthHandler), handlers: vec![key], around, hanging }
    }

    fn known(name: &HandlerName) -> Result<(), CallError> {
        match name.as_str() {
            "key" => Ok(()),
            "busy" => Err(CallError::Busy { with: "login" }),
            other => Err(CallError::Refused(Refusal::new(format!("unknown handler: {other}")))),
        }
    }
}

#[async_trait]
impl Plugin for Keyholder {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        true
    }

    async fn shutdown(&self, _: Duration) {}
}

#[async_trait]
impl AuthHandler for Keyholder {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    async fn configure(&self, _: &Call, name: &HandlerName, told: &Configuration) -> Result<(), CallError> {
        Self::known(name)?;
        if told.prompts_for_response { Err(CallError::Refused(full())) } else { Ok(()) }
    }

    fn login(
        &self,
        _: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        if let Err(error) = Self::known(name) {
            return stream::iter([Err(error)]).boxed();
        }
        let prompt = |code: &str| {
            let user_code = code.to_owned();
            Ok(LoginEvent::Prompt(DeviceCodePrompt { user_code, ..DeviceCodePrompt::default() }))
        };
        let claims = Claims { username: "ada".to_owned(), ..Claims::default() };
        let result = Ok(LoginEvent::Result(LoginResult { claims: Some(claims), expires_at: None }));
        match request.tenant_id.as_str() {
            "refuse" => stream::iter([prompt("one"), Err(CallError::Refused(full()))]).boxed(),
            "nothing" => stream::iter([prompt("one"), Err(CallError::contract(NoLoginResult))]).boxed(),
            "never" => {
                let left = Left(self.hanging.clone());
                stream::iter([prompt("one")]).chain(stream::pending()).map(move |e| (&left, e).1).boxed()
            }
            _ => stream::iter([prompt("one"), prompt("two"), result]).boxed(),
        }
    }

    async fn logout(&self, _: &Call, name: &HandlerName, _: &Account) -> Result<(), CallError> {
        Self::known(name)
    }

    async fn status(&self, _: &Call, name: &HandlerName, account: &Account) -> Result<AuthStatus, CallError> {
        Self::known(name)?;
        let reason = account.profile.clone().unwrap_or_default();
        Ok(AuthStatus { reason, tenant_id: self.around.version().to_string(), ..AuthStatus::default() })
    }

    async fn token(&self, _: &Call, name: &HandlerName, request: AccessRequest) -> Result<Token, CallError> {
        Self::known(name)?;
        Ok(Token { access_token: request.scope, ..Token::default() })
    }

    async fn list_cached_tokens(
        &self,
        _: &Call,
        name: &HandlerName,
        _: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        Self::known(name)?;
        Ok(vec![CachedToken { scope: "s".to_owned(), cached_at: Some(5), ..CachedToken::default() }])
    }

    async fn purge_expired_tokens(
        &self,
        _: &Call,
        name: &HandlerName,
        _: Option<&str>,
    ) -> Result<u32, CallError> {
        Self::known(name)?;
        Ok(u32::MAX)
    }

    async fn stop(&self, _: &Call, name: Option<&HandlerName>) -> Result<(), CallError> {
        name.map_or(Ok(()), Self::known)
    }

    async fn detect_available_flows(
        &self,
        _: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        Self::known(name)?;
        Ok(vec![FlowAvailability { flow: Flow::PAT, available: false, reason: "no pocket".to_owned() }])
    }

    async fn activate_server_mode(&self, _: &Call, settings: Json) -> Result<(), CallError> {
        if settings.as_str() == "{}" { Ok(()) } else { Err(CallError::Unimplemented) }
    }
}
