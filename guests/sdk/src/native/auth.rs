//! The contract's `AuthHandler`, over an author's auth handler.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use portcullis_contract as contract;
use portcullis_contract::{Call, CallError, Kind, LaunchError, LoginEvent, PluginInfo};
use portcullis_serve::Surroundings;

use super::call::{Calls, info};
use super::host::NativePrompts;
use super::make_json;
use crate::{
    AccessRequest, Account, AuthHandler, AuthStatus, CachedToken, Configuration, FlowAvailability,
    HandlerInfo, HandlerName, Host, Json, LoginRequest, Prompts, Token,
};

/// An auth handler of an author's.
pub(super) struct NativeAuth<A> {
    plugin: Arc<A>,
    info: PluginInfo,
    handlers: Vec<HandlerInfo>,
    calls: Calls,
    around: Surroundings,
}

impl<A: AuthHandler> NativeAuth<A> {
    /// Asks it what it offers.
    pub(super) async fn describe(plugin: Arc<A>, around: Surroundings) -> Result<Self, LaunchError> {
        let (calls, asked) = (Calls::new(around.clone()), Arc::clone(&plugin));
        let told = calls.make(&Call::default(), move |_| asked.handlers()).await;
        let handlers = told.map_err(LaunchError::Undescribed)?;
        Ok(Self { plugin, info: info(Kind::AuthHandler), handlers, calls, around })
    }
}

impl<A> fmt::Debug for NativeAuth<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeAuth").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

#[async_trait]
impl<A: AuthHandler> contract::Plugin for NativeAuth<A> {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        true
    }

    /// Ends the process, as its host could. It has its own grace for calls.
    async fn shutdown(&self, _grace: Duration) {
        self.around.stop();
    }
}

#[async_trait]
impl<A: AuthHandler> contract::AuthHandler for NativeAuth<A> {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let mut configuration = configuration.clone();
        make_json(&mut configuration.settings);
        self.calls.make(call, move |host| plugin.configure(host, &name, configuration)).await
    }

    fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        self.calls.stream(
            call,
            move |host, events| {
                let prompts = NativePrompts::new(host, events, LoginEvent::Prompt);
                plugin.login(&Host::from_service(host), &Prompts::from_service(&prompts), &name, request)
            },
            LoginEvent::Result,
        )
    }

    async fn logout(&self, call: &Call, name: &HandlerName, account: &Account) -> Result<(), CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let account = account.clone();
        self.calls.make(call, move |host| plugin.logout(host, &name, &account)).await
    }

    async fn status(
        &self,
        call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let account = account.clone();
        self.calls.make(call, move |host| plugin.status(host, &name, &account)).await
    }

    async fn token(
        &self,
        call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        self.calls.make(call, move |host| plugin.token(host, &name, request)).await
    }

    async fn list_cached_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let profile = profile.map(str::to_owned);
        let list = move |host: &Host<'_>| plugin.list_cached_tokens(host, &name, profile.as_deref());
        self.calls.make(call, list).await
    }

    async fn purge_expired_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<u32, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let profile = profile.map(str::to_owned);
        let purge = move |host: &Host<'_>| plugin.purge_expired_tokens(host, &name, profile.as_deref());
        let purged = self.calls.make(call, purge).await?;
        Ok(u32::try_from(purged).unwrap_or(u32::MAX))
    }

    async fn stop(&self, call: &Call, name: Option<&HandlerName>) -> Result<(), CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.map(|name| name.as_str().to_owned()));
        self.calls.make(call, move |host| plugin.stop(host, name.as_deref())).await
    }

    async fn detect_available_flows(
        &self,
        call: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        self.calls.make(call, move |host| plugin.detect_available_flows(host, &name)).await
    }

    async fn activate_server_mode(&self, call: &Call, settings: Json) -> Result<(), CallError> {
        let plugin = Arc::clone(&self.plugin);
        self.calls.make(call, move |host| plugin.activate_server_mode(host, &settings)).await
    }
}
