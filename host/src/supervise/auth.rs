//! The calls of a supervised auth handler.
//!
//! A login has only its caller's deadline: how long a person takes is not the plugin's to limit.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use portcullis_contract::{
    AccessRequest, Account, AuthHandler, AuthStatus, Backend, CachedToken, Call, CallError, Configuration,
    FlowAvailability, HandlerInfo, HandlerName, Json, Kind, LaunchError, LoginEvent, LoginRequest,
    PluginSpec, Token,
};

use super::clocks::Clocks;
use super::{PluginKind, Supervised};

/// Plugins that offer auth handlers.
#[derive(Clone, Copy, Debug)]
pub enum AuthHandlerKind {}

#[async_trait]
impl PluginKind for AuthHandlerKind {
    type Plugin = dyn AuthHandler;
    type Name = HandlerName;
    type Said = Vec<HandlerInfo>;
    const KIND: Kind = Kind::AuthHandler;
    const LOST: Option<&'static str> =
        Some("what its handlers kept in memory is gone, logins and tokens included");

    async fn launch(backend: &dyn Backend, spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError> {
        backend.launch_auth_handler(spec).await
    }

    fn said(plugin: &dyn AuthHandler) -> Vec<HandlerInfo> {
        plugin.handlers().to_vec()
    }

    async fn configure(
        plugin: &dyn AuthHandler,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        plugin.configure(call, name, configuration).await
    }
}

#[async_trait]
impl AuthHandler for Supervised<AuthHandlerKind> {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.said
    }

    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.shared.configure(call, name, configuration).await
    }

    fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        let log = self.shared.log_call("login", Some(name));
        let (logins, name) = (self.shared.logins.clone(), name.clone());
        let is_end: fn(&LoginEvent) -> bool = |event| matches!(event, LoginEvent::Result(_));
        let make = move |plugin: &(dyn AuthHandler + 'static), call: &Call| {
            // From its turn to its result, and no longer: meanwhile the plugin may ask the person.
            let mut login = Some(logins.begin(&name));
            let events = plugin.login(call, &name, request);
            events.inspect(move |event| drop(login.take_if(|_| event.as_ref().map_or(true, is_end)))).boxed()
        };
        self.shared.stream(log, Clocks::of_caller(call), make, is_end)
    }

    async fn logout(&self, call: &Call, name: &HandlerName, account: &Account) -> Result<(), CallError> {
        let log = self.shared.log_call("logout", Some(name));
        self.shared
            .call(log, call, |plugin, call| async move { plugin.logout(&call, name, account).await })
            .await
    }

    async fn status(
        &self,
        call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError> {
        let log = self.shared.log_call("status", Some(name));
        self.shared
            .call(log, call, |plugin, call| async move { plugin.status(&call, name, account).await })
            .await
    }

    async fn token(
        &self,
        call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError> {
        let log = self.shared.log_call("token", Some(name));
        self.shared
            .call(log, call, |plugin, call| async move { plugin.token(&call, name, request).await })
            .await
    }

    async fn list_cached_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        let log = self.shared.log_call("list_cached_tokens", Some(name));
        self.shared
            .call(
                log,
                call,
                |plugin, call| async move { plugin.list_cached_tokens(&call, name, profile).await },
            )
            .await
    }

    async fn purge_expired_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<u32, CallError> {
        let log = self.shared.log_call("purge_expired_tokens", Some(name));
        self.shared
            .call(
                log,
                call,
                |plugin, call| async move { plugin.purge_expired_tokens(&call, name, profile).await },
            )
            .await
    }

    async fn stop(&self, call: &Call, name: Option<&HandlerName>) -> Result<(), CallError> {
        let log = self.shared.log_call("stop", name);
        self.shared.call(log, call, |plugin, call| async move { plugin.stop(&call, name).await }).await
    }

    async fn detect_available_flows(
        &self,
        call: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        let log = self.shared.log_call("detect_available_flows", Some(name));
        self.shared
            .call(log, call, |plugin, call| async move { plugin.detect_available_flows(&call, name).await })
            .await
    }

    async fn activate_server_mode(&self, call: &Call, settings: Json) -> Result<(), CallError> {
        let log = self.shared.log_call("activate_server_mode", None);
        self.shared
            .call(log, call, |plugin, call| async move { plugin.activate_server_mode(&call, settings).await })
            .await
    }
}
