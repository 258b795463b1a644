//! The services that every plugin has: go-plugin's own, beside those of the application.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, once, pending};
use http_body::Body;
use tokio::time::timeout;
use tonic::codegen::StdError;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_service::Service;

use super::ending::{End, Ending};
use super::output::{Pieces, Prints};
use super::{ServeError, Session};
use crate::Broker;
use crate::broker::Outgoing;
use crate::health::SERVICE;
use crate::serving::or_unknown;
use crate::wire::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};
use crate::wire::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::wire::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use crate::wire::{ConnInfo, Empty};

/// How many messages of the host's are taken before others have their turn. A guess; it never sends more than one
/// or two at a time.
const TURN: usize = 64;

/// Adds the services of go-plugin to those of the application.
///
/// A service of the application with the same name replaces ours.
pub(super) fn join(
    application: Routes,
    session: &Session,
    descriptors: &[Vec<u8>],
) -> Result<Routes, ServeError> {
    let Session { broker, prints, ending, .. } = session;
    let mut ours = Routes::new(HealthServer::new(HealthService(ending.clone())))
        .add_service(GrpcBrokerServer::new(BrokerService(broker.clone())))
        .add_service(GrpcStdioServer::new(StdioService(prints.clone())))
        .add_service(GrpcControllerServer::new(ControllerService(ending.clone())));
    if !descriptors.is_empty() {
        let configured = || {
            let builder = tonic_reflection::server::Builder::configure();
            descriptors.iter().fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
        };
        ours = ours.add_service(configured().build_v1()?).add_service(configured().build_v1alpha()?);
    }
    let ours = or_unknown(ours).into_axum_router().route_service(LIST, ListService);
    // The application's services are matched first: their calls are the ones that have to be fast.
    Ok(application.into_axum_router().fallback_service(ours).into())
}

/// Reports the plugin as serving, under its name and under the empty one, for as long as it serves.
struct HealthService(Ending);

/// The services that are reported as serving.
const WELL: [&str; 2] = ["", SERVICE];

/// Returns the status of a service, which never changes.
fn health_of(service: &str) -> ServingStatus {
    if WELL.contains(&service) { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match health_of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("unknown service")),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    /// An unknown service is no error here: somebody may watch for one that is still to come.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let status = health_of(&request.get_ref().service).into();
        let said = once(ready(Ok(HealthCheckResponse { status }))).chain(pending());
        Ok(Response::new(said.take_until(self.0.wait()).boxed()))
    }
}

/// The call of the health service that later servers have, and `tonic-health` does not know.
const LIST: &str = "/grpc.health.v1.Health/List";

/// Returns the status of all services at once.
#[derive(Clone)]
struct ListService;

/// What is said then.
#[derive(Clone, PartialEq, prost::Message)]
struct Statuses {
    #[prost(map = "string, message", tag = "1")]
    statuses: HashMap<String, HealthCheckResponse>,
}

impl<B> Service<http::Request<B>> for ListService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = service_fn(|_: Request<()>| {
            let status = ServingStatus::Serving.into();
            let statuses = WELL.map(|service| (service.to_owned(), HealthCheckResponse { status })).into();
            ready(Ok::<_, Status>(Response::new(Statuses { statuses })))
        });
        let mut grpc = Grpc::new(ProstCodec::<Statuses, ()>::default());
        Box::pin(async move { Ok(grpc.unary(answer, request).await) })
    }
}

/// How long the answer to the request to end waits for the socket's file to be removed, which takes no time.
const HIDING: Duration = Duration::from_millis(100);

/// Ends the plugin when the host says so.
struct ControllerService(Ending);

#[tonic::async_trait]
impl GrpcController for ControllerService {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        // Connections last long enough for the answer.
        self.0.bring(End::Asked);
        // A host that asks a second time meanwhile kills this process, and then nobody could remove its file.
        let _stuck = timeout(HIDING, self.0.hidden()).await;
        Ok(Response::new(Empty {}))
    }
}

/// Hands over what is printed.
struct StdioService(Prints);

#[tonic::async_trait]
impl GrpcStdio for StdioService {
    type StreamStdioStream = Pieces;

    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Pieces>, Status> {
        Ok(Response::new(self.0.stream()))
    }
}

/// Carries the broker's messages.
struct BrokerService(Broker);

#[tonic::async_trait]
impl GrpcBroker for BrokerService {
    type StartStreamStream = Exchange;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Exchange>, Status> {
        let Self(broker) = self;
        let both = (request.into_inner(), broker.outgoing());
        Ok(Response::new(Exchange { both: Some(both), broker: broker.clone() }))
    }
}

/// Both directions of the broker's stream, read and written in one place.
///
/// While the host's half is read, its connection cannot end in order, even if our half has ended; so both halves end
/// here together (protocol spec 29.3).
struct Exchange {
    /// `None` once it is over.
    both: Option<(Streaming<ConnInfo>, Outgoing)>,
    broker: Broker,
}

impl Stream for Exchange {
    type Item = Result<ConnInfo, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { both, broker } = &mut *self;
        let Some((incoming, outgoing)) = both else { return Poll::Ready(None) };
        let mut taken = 0;
        let ended = loop {
            match incoming.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(info))) => broker.arrived(info),
                // The host is gone, or sent something that is not a message. Another stream may come.
                Poll::Ready(Some(Err(_)) | None) => break true,
                Poll::Pending => break false,
            }
            taken += 1;
            if taken == TURN {
                cx.waker().wake_by_ref();
                break false;
            }
        };
        let said = if ended { Poll::Ready(None) } else { outgoing.poll_next_unpin(cx) };
        if let Poll::Ready(None) = said {
            *both = None;
        }
        said.map(|info| info.map(Ok))
    }
}
