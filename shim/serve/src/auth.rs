//! The calls of an auth handler, served (contract spec 3.8 and 1.9).
//!
//! Most of them have no field for an error, and fail with a status that names the call and the handler. Both
//! versions of the handshake have the same calls; a host of the first one uses fewer.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use portcullis_contract::proto::{Answer, ConfigureAuth, For, LoginItem, Purged};
use portcullis_contract::{
    AccessRequest, Account, AuthHandler, CallError, HandlerName, LoginEvent, LoginRequest,
};
use portcullis_goplugin::contained_stream;
use portcullis_proto as proto;
use portcullis_proto::auth_handler_service_server::{AuthHandlerService, AuthHandlerServiceServer};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::host_service::RemoteHost;
use crate::service::{Responded, Service, answered, refused};
use crate::{call, request, status};

/// Returns the service of an auth handler, or of one that could not say what it offers.
pub(crate) fn routes(
    plugin: Result<Arc<dyn AuthHandler>, CallError>,
    host: RemoteHost,
    message_limit: usize,
) -> Routes {
    let service = AuthHandlerServiceServer::new(Service { plugin, host });
    Routes::new(service.max_decoding_message_size(message_limit))
}

/// Returns the answer of a call whose refusals are statuses.
fn told<T, M: From<T>>(method: &str, handler: &HandlerName, answer: Result<T, CallError>) -> Responded<M> {
    match answer {
        Ok(value) => Ok(Response::new(value.into())),
        Err(CallError::Unimplemented) => Err(status::unimplemented(method)),
        Err(error) => Err(status::of(&error, &format!("{method} {:?}: ", handler.as_str()))),
    }
}

#[tonic::async_trait]
impl AuthHandlerService for Service<dyn AuthHandler> {
    async fn get_auth_handlers(
        &self,
        _: Request<proto::GetAuthHandlersRequest>,
    ) -> Responded<proto::GetAuthHandlersResponse> {
        let plugin = self.plugin("GetAuthHandlers: ")?;
        let handlers = plugin.handlers().iter().cloned().map(proto::AuthHandlerInfo::from).collect();
        Ok(Response::new(proto::GetAuthHandlersResponse { handlers }))
    }

    async fn configure_auth_handler(
        &self,
        request: Request<proto::ConfigureAuthHandlerRequest>,
    ) -> Responded<proto::ConfigureAuthHandlerResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let configure = match ConfigureAuth::try_from(request.into_inner()) {
            Ok(configure) => configure,
            Err(error) => return Ok(refused(request::undecodable(&error))),
        };
        if let Err(refusal) = self.bind(configure.host_service).await {
            return Ok(refused(refusal));
        }
        let ConfigureAuth { handler, configuration, .. } = configure;
        let done = plugin.configure(&call, &handler, &configuration).await;
        answered("ConfigureAuthHandler", done)
    }

    type LoginStream = BoxStream<'static, Result<proto::LoginStreamMessage, Status>>;

    async fn login(&self, request: Request<proto::LoginRequest>) -> Responded<Self::LoginStream> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<LoginRequest>::from(request.into_inner());
        let events = plugin.login(&call, &handler, request).map(sent);
        Ok(Response::new(contained_stream(events).boxed()))
    }

    async fn logout(&self, request: Request<proto::LogoutRequest>) -> Responded<proto::LogoutResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<Account>::from(request.into_inner());
        let done = plugin.logout(&call, &handler, &request).await;
        told("Logout", &handler, done.map(|()| proto::LogoutResponse {}))
    }

    async fn get_status(
        &self,
        request: Request<proto::GetStatusRequest>,
    ) -> Responded<proto::GetStatusResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<Account>::from(request.into_inner());
        let status = plugin.status(&call, &handler, &request).await;
        told("GetStatus", &handler, status)
    }

    async fn get_token(
        &self,
        request: Request<proto::GetTokenRequest>,
    ) -> Responded<proto::GetTokenResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<AccessRequest>::from(request.into_inner());
        let token = plugin.token(&call, &handler, request).await;
        told("GetToken", &handler, token)
    }

    async fn list_cached_tokens(
        &self,
        request: Request<proto::ListCachedTokensRequest>,
    ) -> Responded<proto::ListCachedTokensResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<Option<String>>::from(request.into_inner());
        let tokens = plugin.list_cached_tokens(&call, &handler, request.as_deref()).await;
        let listed = tokens.map(|tokens| proto::ListCachedTokensResponse {
            tokens: tokens.into_iter().map(proto::CachedTokenInfo::from).collect(),
        });
        told("ListCachedTokens", &handler, listed)
    }

    async fn purge_expired_tokens(
        &self,
        request: Request<proto::PurgeExpiredTokensRequest>,
    ) -> Responded<proto::PurgeExpiredTokensResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request } = For::<Option<String>>::from(request.into_inner());
        let purged = plugin.purge_expired_tokens(&call, &handler, request.as_deref()).await;
        told("PurgeExpiredTokens", &handler, purged.map(Purged))
    }

    /// Stopping one handler disconnects the host for all of them, as in upstream's library.
    async fn stop_auth_handler(
        &self,
        request: Request<proto::StopAuthHandlerRequest>,
    ) -> Responded<proto::StopAuthHandlerResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let name = request.into_inner().handler_name;
        let name = (!name.is_empty()).then(|| HandlerName::new(name));
        let stopped = plugin.stop(&call, name.as_ref()).await;
        if stopped.is_ok() {
            self.host.forget();
        }
        answered("StopAuthHandler", stopped)
    }

    async fn detect_available_flows(
        &self,
        request: Request<proto::DetectAvailableFlowsRequest>,
    ) -> Responded<proto::DetectAvailableFlowsResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let For { handler, request: () } = For::from(request.into_inner());
        let flows = plugin.detect_available_flows(&call, &handler).await;
        answered("DetectAvailableFlows", flows)
    }

    async fn activate_server_mode(
        &self,
        request: Request<proto::ActivateServerModeRequest>,
    ) -> Responded<proto::ActivateServerModeResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let settings = match request::any("settings", request.into_inner().settings) {
            Ok(settings) => settings,
            Err(refusal) => return Ok(refused(refusal)),
        };
        answered("ActivateServerMode", plugin.activate_server_mode(&call, settings).await)
    }
}

/// Returns the message for one event of a login. A refusal is sent as the last event; any other error is a status.
fn sent(event: Result<LoginEvent, CallError>) -> Result<proto::LoginStreamMessage, Status> {
    Ok(match event {
        Ok(LoginEvent::Prompt(prompt)) => LoginItem::Prompt(prompt).into(),
        Ok(LoginEvent::Result(result)) => LoginItem::Result(Answer(Ok(result))).into(),
        Err(CallError::Refused(refusal)) => LoginItem::Result(Answer(Err(refusal))).into(),
        Err(CallError::Unimplemented) => return Err(status::unimplemented("Login")),
        Err(error) => return Err(status::of(&error, "")),
    })
}
