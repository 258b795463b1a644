//! An auth handler that lets everybody in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::{
    AccessRequest, Account, AuthCapability, AuthHandler, AuthStatus, BackendName, CachedToken, Call,
    CallError, Claims, Configuration, DeviceCodePrompt, Digest, Flow, FlowAvailability, HandlerInfo,
    HandlerName, HostService, Json, Kind, LoginEvent, LoginRequest, LoginResult, Plugin, PluginInfo,
    PluginName, Refusal, ResponseRequest, Token, TokenRequest,
};

use super::{World, died};

/// One thing that happens during a login.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A code is shown.
    Prompt(&'static str),
    /// It ends well.
    Result,
    /// It is refused.
    Refuse(&'static str),
    /// The host is to ask a person, for this handler; the log has what came of it.
    Ask(&'static str),
    /// Time passes.
    Wait(Duration),
    /// The plugin dies.
    Die,
    /// The plugin goes on as if it had not heard of the call.
    Unimplemented,
}

#[derive(Debug)]
pub(crate) struct FakeAuthHandler {
    info: PluginInfo,
    handlers: Vec<HandlerInfo>,
    world: Arc<World>,
    host: Option<Arc<dyn HostService>>,
    dead: Arc<AtomicBool>,
    /// The requests of the calls that were made.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl FakeAuthHandler {
    pub(crate) fn new(
        info: PluginInfo,
        names: &[String],
        world: Arc<World>,
        host: Option<Arc<dyn HostService>>,
    ) -> Arc<Self> {
        let handler = |name: &String| HandlerInfo {
            name: HandlerName::new(name),
            display_name: name.to_uppercase(),
            flows: vec![Flow::DEVICE_CODE, Flow::new("secret_knock")],
            capabilities: vec![AuthCapability::SCOPES_ON_LOGIN],
        };
        let handlers = names.iter().map(handler).collect();
        Arc::new(Self { info, handlers, world, host, dead: Arc::default(), asked: Mutex::default() })
    }
}

/// An auth handler plugin that needs no file.
pub(crate) fn fake_auth_handler(names: &[&str]) -> (Arc<World>, Arc<FakeAuthHandler>) {
    let world = Arc::new(World::default());
    let info = PluginInfo {
        name: PluginName::new("p"),
        kind: Kind::AuthHandler,
        backend: BackendName::Component,
        path: "/nowhere".into(),
        digest: Digest::from_sha256([0; 32]),
    };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    (Arc::clone(&world), FakeAuthHandler::new(info, &names, world, None))
}

/// Returns what comes of asking a person.
async fn ask(host: Option<&dyn HostService>, handler: &str) -> String {
    let authorization_url = "https://door.example".to_owned();
    let request =
        ResponseRequest { handler: handler.to_owned(), authorization_url, ..ResponseRequest::default() };
    match host.expect("the host is there").prompt_auth_response(&request).await {
        Ok(answer) => format!("asked for {handler}: {answer}"),
        Err(error) => format!("asked for {handler}: {error}"),
    }
}

#[async_trait]
impl Plugin for FakeAuthHandler {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }

    async fn shutdown(&self, grace: Duration) {
        self.world.note(format!("shutdown {} {grace:?}", self.info.name));
        tokio::time::sleep(grace).await;
    }
}

impl Drop for FakeAuthHandler {
    fn drop(&mut self) {
        self.world.note(format!("drop {}", self.info.name));
    }
}

#[async_trait]
impl AuthHandler for FakeAuthHandler {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    async fn configure(
        &self,
        _call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.world.note_configuration(name, configuration);
        let takes = *self.world.configuring.lock().unwrap();
        tokio::time::sleep(takes).await;
        if self.world.refuses_configuration.load(Ordering::SeqCst) {
            return Err(CallError::Refused(Refusal::new("configure refused")));
        }
        Ok(())
    }

    fn login(
        &self,
        _call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        self.world.note(format!("login {name}"));
        self.asked.lock().unwrap().push(format!("{request:?}"));
        let script = self.world.logins.lock().unwrap().pop_front();
        let script = script.unwrap_or_else(|| vec![Event::Result]);
        let dead = Arc::clone(&self.dead);
        let (world, host) = (Arc::clone(&self.world), self.host.clone());
        let play = move |event| {
            let (dead, world, host) = (Arc::clone(&dead), Arc::clone(&world), host.clone());
            async move {
                match event {
                    Event::Ask(handler) => {
                        world.note(ask(host.as_deref(), handler).await);
                        None
                    }
                    Event::Prompt(code) => Some(Ok(LoginEvent::Prompt(DeviceCodePrompt {
                        user_code: code.to_owned(),
                        ..DeviceCodePrompt::default()
                    }))),
                    Event::Result => Some(Ok(LoginEvent::Result(LoginResult::default()))),
                    Event::Refuse(text) => Some(Err(CallError::Refused(Refusal::new(text)))),
                    Event::Wait(time) => {
                        tokio::time::sleep(time).await;
                        None
                    }
                    Event::Die => {
                        dead.store(true, Ordering::SeqCst);
                        Some(Err(died()))
                    }
                    Event::Unimplemented => Some(Err(CallError::Unimplemented)),
                }
            }
        };
        stream::iter(script).filter_map(play).boxed()
    }

    async fn logout(&self, _call: &Call, name: &HandlerName, _account: &Account) -> Result<(), CallError> {
        self.world.note(format!("logout {name}"));
        Ok(())
    }

    /// Whoever has a name beginning with `out` has nobody logged in. The profile `ask` has a person asked first.
    async fn status(
        &self,
        _call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError> {
        if account.profile.as_deref() == Some("ask") {
            self.world.note(ask(self.host.as_deref(), name.as_str()).await);
        }
        let claims = Claims { subject: format!("{name}-1"), ..Claims::default() };
        let authenticated = !name.as_str().starts_with("out");
        Ok(AuthStatus { authenticated, claims: Some(claims), ..AuthStatus::default() })
    }

    /// The scope `via NAME` sends it to its host for a token of that handler, `refuse` makes it refuse, `none` is of no use
    /// to it, `hang` never answers, and of `profile` the token is the account.
    async fn token(
        &self,
        _call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError> {
        self.asked.lock().unwrap().push(format!("{request:?}"));
        let refuse = |text: String| Err(CallError::Refused(Refusal::new(text)));
        let token_type = if request.scope == "bound" { "DPoP".to_owned() } else { String::new() };
        let access_token = match request.scope.split_once(' ') {
            Some(("via", other)) => {
                let request = TokenRequest { handler: other.to_owned(), ..TokenRequest::default() };
                let host = self.host.as_ref().expect("the host is there");
                match host.auth_token(&request).await {
                    Ok(token) => format!("{name} via {}", token.access_token),
                    Err(error) => return refuse(error.to_string()),
                }
            }
            _ if request.scope == "refuse" => return refuse("not authenticated".to_owned()),
            _ if request.scope == "none" => return Err(CallError::Unimplemented),
            _ if request.scope == "profile" => request.profile.unwrap_or_default(),
            _ if request.scope == "hang" => std::future::pending().await,
            _ => format!("token of {name}"),
        };
        Ok(Token { access_token, token_type, ..Token::default() })
    }

    async fn list_cached_tokens(
        &self,
        _call: &Call,
        name: &HandlerName,
        _profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        Ok(vec![CachedToken { handler: name.to_string(), ..CachedToken::default() }])
    }

    async fn purge_expired_tokens(
        &self,
        _call: &Call,
        _name: &HandlerName,
        _profile: Option<&str>,
    ) -> Result<u32, CallError> {
        Ok(2)
    }

    async fn stop(&self, _call: &Call, _name: Option<&HandlerName>) -> Result<(), CallError> {
        Ok(())
    }

    async fn detect_available_flows(
        &self,
        _call: &Call,
        _name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        Err(CallError::Unimplemented)
    }

    async fn activate_server_mode(&self, _call: &Call, _settings: Json) -> Result<(), CallError> {
        Err(CallError::Unimplemented)
    }
}
