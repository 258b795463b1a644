//! A component that offers auth handlers, as a caller holds it.
//!
//! Handlers have a memory, so there is one instance, and calls wait for each other. Whatever ends a call before its
//! answer (a trap, a limit, a caller who drops it) ends the instance. The next call gets a new one, which is configured
//! again and remembers nothing else. A guest that has to remember more keeps it in the host's secrets.
//!
//! A login takes as long as its caller lets it; no wall of a policy ends it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use portcullis_contract::{
    AccessRequest, Account, AuthHandler, AuthStatus, CachedToken, Call, CallError, Configuration,
    FlowAvailability, HandlerInfo, HandlerName, Json, LaunchError, LoginEvent, LoginRequest, LoginResult,
    Plugin, PluginInfo, Token,
};

use crate::component::bindings::auth::AuthHandlerPlugin;
use crate::component::bindings::auth::exports::portcullis::plugin::auth_handler as wit;
use crate::component::bindings::portcullis::plugin::types;
use crate::component::convert::{
    access_size, account_size, cached_tokens_size, count, each, flows_size, handlers_size, login_result_size,
    login_size, said, status_size, token_size,
};
use crate::component::guest::{Function, Guest, Interface};
use crate::component::instances::{Ask, Inquiry, Instances};
use crate::component::message::fits;
use crate::component::queue::Queue;
use crate::component::state::{Reader, State};
use crate::component::streaming::Streaming;
use crate::lock::lock;

/// A component that offers auth handlers.
#[derive(Debug)]
pub(crate) struct ComponentAuth {
    info: PluginInfo,
    handlers: Vec<HandlerInfo>,
    desk: Arc<Desk>,
}

/// What an auth handler's guest exports.
pub(crate) const EXPORT: Interface = Interface::new(
    "portcullis:plugin/auth-handler@0.1.0",
    &[
        "list-handlers",
        "configure",
        "login",
        "logout",
        "get-status",
        "get-token",
        "list-cached-tokens",
        "purge-expired-tokens",
        "stop",
        "detect-available-flows",
        "activate-server-mode",
    ],
);
const LIST_HANDLERS: Function = EXPORT.function("list-handlers");
pub(crate) const CONFIGURE: Function = EXPORT.function("configure");
const LOGIN: Function = EXPORT.function("login");
const LOGOUT: Function = EXPORT.function("logout");
const GET_STATUS: Function = EXPORT.function("get-status");
const GET_TOKEN: Function = EXPORT.function("get-token");
const LIST_CACHED_TOKENS: Function = EXPORT.function("list-cached-tokens");
const PURGE_EXPIRED_TOKENS: Function = EXPORT.function("purge-expired-tokens");
const STOP: Function = EXPORT.function("stop");
const DETECT_AVAILABLE_FLOWS: Function = EXPORT.function("detect-available-flows");
const ACTIVATE_SERVER_MODE: Function = EXPORT.function("activate-server-mode");

/// Where calls come in: the one instance, the queue in front of it, and its configuration.
struct Desk {
    instances: Arc<Instances>,
    queue: Queue,
    /// How long a call may take that is no login, waiting included.
    wall: Option<Duration>,
    /// What each handler was last configured with, in the order in which that was first done.
    told: Mutex<Vec<(HandlerName, Arc<types::Configuration>)>>,
}

impl ComponentAuth {
    /// Makes the instance and asks what it offers. `wall` limits every call but a login.
    pub(crate) async fn launch(
        info: PluginInfo,
        instances: Arc<Instances>,
        wall: Option<Duration>,
    ) -> Result<Self, LaunchError> {
        let (queue, told) = (Queue::new(), Mutex::default());
        let desk = Arc::new(Desk { instances, queue, wall, told });
        // Made first, so that everything ends with it when this future is dropped.
        let mut this = Self { info, handlers: Vec::new(), desk };
        let instances = &this.desk.instances;
        let first = instances.first().await.map_err(LaunchError::failed)?;
        let (call, limit) = (Call::default(), instances.description_limit());
        let asked = instances.ask_in(Some(first), Inquiry::of(&call), move |guest: &mut Guest| {
            Box::pin(async move {
                State::let_say(&mut guest.store, limit);
                guest.check(|store, instance| AuthHandlerPlugin::new(store, instance))?;
                guest.call(LIST_HANDLERS, ()).await
            })
        });
        let handlers: Vec<wit::HandlerInfo> = asked.await.map_err(LaunchError::Undescribed)?;
        fits(handlers_size(&handlers), limit)
            .and_then(|()| CallError::check_offered(handlers.len()))
            .map_err(LaunchError::Undescribed)?;
        this.handlers = each(handlers);
        Ok(this)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Desk {
    /// Asks the guest one question when its turn has come.
    async fn ask<T>(&self, call: &Call, question: impl Ask<T> + 'static) -> Result<T, CallError>
    where
        T: Send + 'static,
    {
        let call = self.limited(call);
        let _turn = self.queue.turn(call.deadline).await?;
        self.ask_now(&call, None, question).await
    }

    /// Returns a call that ends at the wall, if not before.
    fn limited(&self, call: &Call) -> Call {
        let wall = self.wall.and_then(|wall| Instant::now().checked_add(wall));
        Call { deadline: call.deadline.into_iter().chain(wall).min() }
    }

    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: types::Configuration,
    ) -> Result<(), CallError> {
        self.instances.texts_fit(&[&configuration.settings])?;
        let call = self.limited(call);
        // Held until it is remembered, so that the next call finds the instance configured as remembered.
        let _turn = self.queue.turn(call.deadline).await?;
        let configuration = Arc::new(configuration);
        let (handler, told) = (name.clone(), Arc::clone(&configuration));
        let answer = self.ask_now(&call, None, move |guest: &mut Guest| {
            Box::pin(async move { guest.configure_anew(CONFIGURE, handler.as_str(), told).await })
        });
        match answer.await {
            Ok(()) => self.remember(name, Some(configuration)),
            Err(CallError::Unimplemented) => self.remember(name, None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Asks the guest one question, in an instance that has every configuration.
    async fn ask_now<T>(
        &self,
        call: &Call,
        reader: Option<Reader>,
        question: impl Ask<T> + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
    {
        let told = lock(&self.told).clone();
        let answer = self.instances.ask(Inquiry::of(call).read_by(reader), move |guest: &mut Guest| {
            Box::pin(async move {
                for (name, configuration) in told {
                    guest.configure(CONFIGURE, name.as_str(), configuration).await?;
                }
                question(guest).await
            })
        });
        answer.await
    }

    async fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: wit::LoginRequest,
        reader: Reader,
    ) -> Result<LoginResult, CallError> {
        self.instances.texts_fit(&[name.as_str()])?;
        self.instances.fits(login_size(&request))?;
        let _turn = self.queue.login(call.deadline).await?;
        let name = name.clone();
        let result = self.ask_now(call, Some(reader), move |guest: &mut Guest| {
            Box::pin(async move { guest.call(LOGIN, (name.as_str(), &request)).await })
        });
        let result: wit::LoginResult = result.await?;
        self.instances.fits(login_result_size(&result))?;
        Ok(result.into())
    }

    /// Has every later instance begin with this configuration, after those remembered before; `None` forgets it.
    fn remember(&self, name: &HandlerName, configuration: Option<Arc<types::Configuration>>) {
        let mut told = lock(&self.told);
        match configuration {
            None => told.retain(|(known, _)| known != name),
            Some(configuration) => match told.iter_mut().find(|(known, _)| known == name) {
                Some((_, old)) => *old = configuration,
                None => told.push((name.clone(), configuration)),
            },
        }
    }

    fn end(&self) {
        self.queue.close();
        self.instances.end();
    }
}

impl Drop for ComponentAuth {
    fn drop(&mut self) {
        self.desk.end();
    }
}

#[async_trait]
impl Plugin for ComponentAuth {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        !self.desk.instances.ground.ending.asked()
    }

    async fn shutdown(&self, grace: Duration) {
        self.desk.queue.close();
        self.desk.instances.shut_down(grace).await;
    }
}

#[async_trait]
impl AuthHandler for ComponentAuth {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.desk.configure(call, name, configuration.into()).await
    }

    fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        let (desk, call, name) = (Arc::clone(&self.desk), call.clone(), name.clone());
        Box::pin(Streaming::new(move |reader| async move {
            let result = desk.login(&call, &name, request.into(), Reader::Prompts(reader)).await;
            result.map(LoginEvent::Result)
        }))
    }

    async fn logout(&self, call: &Call, name: &HandlerName, account: &Account) -> Result<(), CallError> {
        let account = wit::Account::from(account);
        self.desk.instances.fits(account_size(&account))?;
        let name = name.clone();
        let answer = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(LOGOUT, (name.as_str(), &account)).await })
        });
        answer.await
    }

    async fn status(
        &self,
        call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError> {
        let account = wit::Account::from(account);
        self.desk.instances.fits(account_size(&account))?;
        let name = name.clone();
        let status = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(GET_STATUS, (name.as_str(), &account)).await })
        });
        let status: wit::Status = status.await?;
        self.desk.instances.fits(status_size(&status))?;
        Ok(status.into())
    }

    async fn token(
        &self,
        call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError> {
        let request = wit::TokenRequest::from(request);
        self.desk.instances.fits(access_size(&request))?;
        let name = name.clone();
        let token = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(GET_TOKEN, (name.as_str(), &request)).await })
        });
        let token: types::Token = token.await?;
        self.desk.instances.fits(token_size(&token))?;
        Ok(token.into())
    }

    async fn list_cached_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        self.desk.instances.texts_fit(profile.as_slice())?;
        let (name, profile) = (name.clone(), said(profile.map(str::to_owned)));
        let tokens = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(LIST_CACHED_TOKENS, (name.as_str(), profile.as_deref())).await })
        });
        let tokens: Vec<wit::CachedToken> = tokens.await?;
        self.desk.instances.fits(cached_tokens_size(&tokens))?;
        Ok(each(tokens))
    }

    async fn purge_expired_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<u32, CallError> {
        self.desk.instances.texts_fit(profile.as_slice())?;
        let (name, profile) = (name.clone(), said(profile.map(str::to_owned)));
        let purged = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(
                async move { guest.call(PURGE_EXPIRED_TOKENS, (name.as_str(), profile.as_deref())).await },
            )
        });
        Ok(count(purged.await?)?)
    }

    async fn stop(&self, call: &Call, name: Option<&HandlerName>) -> Result<(), CallError> {
        let name = name.cloned();
        let answer = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(STOP, (name.as_ref().map(HandlerName::as_str),)).await })
        });
        match answer.await {
            Err(CallError::Unimplemented) => Ok(()),
            answer => answer,
        }
    }

    async fn detect_available_flows(
        &self,
        call: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        let name = name.clone();
        let flows = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(DETECT_AVAILABLE_FLOWS, (name.as_str(),)).await })
        });
        let flows: Vec<wit::FlowAvailability> = flows.await?;
        self.desk.instances.fits(flows_size(&flows))?;
        Ok(each(flows))
    }

    async fn activate_server_mode(&self, call: &Call, settings: Json) -> Result<(), CallError> {
        self.desk.instances.texts_fit(&[settings.as_str()])?;
        let settings = settings.into_string();
        let answer = self.desk.ask(call, move |guest: &mut Guest| {
            Box::pin(async move { guest.call(ACTIVATE_SERVER_MODE, (settings.as_str(),)).await })
        });
        answer.await
    }
}
