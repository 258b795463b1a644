//! The service that both sides of these tests serve and call: `tests/go/goplugin/peer` has the table.
//!
//! It speaks of well-known types only, which prost has for Rust's own: bytes are a `BytesValue`, a `u32` is a
//! `UInt32Value`, a `String` a `StringValue`, and nothing is an `Empty`.

pub mod counter;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use portcullis_goplugin::Channel;
use prost::Message;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::{Grpc as Serve, NamedService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// What both sides send to each other's brokered servers.
pub const CALLED_BACK: &[u8] = b"called back";

/// Calls the service.
#[derive(Clone, Debug)]
pub struct Peer(Channel);

impl Peer {
    /// Calls it through `channel`.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// Makes one unary call.
    pub async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc().await?;
        let answer = grpc.unary(Request::new(request), path(method), ProstCodec::<Q, A>::default());
        Ok(answer.await?.into_inner())
    }

    /// Makes the one streaming call, and returns the numbers that came.
    pub async fn count(&self, to: u32) -> Result<Vec<u32>, Status> {
        let mut grpc = self.grpc().await?;
        let codec = ProstCodec::<u32, u32>::default();
        let mut numbers = grpc.server_streaming(Request::new(to), path("Count"), codec).await?.into_inner();
        let mut found = Vec::new();
        while let Some(number) = numbers.message().await? {
            found.push(number);
        }
        Ok(found)
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(usize::MAX);
        grpc.ready().await?;
        Ok(grpc)
    }
}

fn path(method: &str) -> PathAndQuery {
    let path = format!("/{}/{method}", Echo::NAME);
    PathAndQuery::try_from(path).expect("methods have plain names")
}

/// Serves what a brokered server of a test is asked for: `Echo`, `Large` and `Hang`.
#[derive(Clone, Debug)]
pub struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "portcullis.test.Peer";
}

/// What a service of the tests answers by.
pub type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            Ok(match method.as_str() {
                "Echo" => unary(request, |bytes: Bytes| async { Ok(bytes) }).await,
                "Large" => unary(request, |length: u32| async move { Ok(zeros(length)) }).await,
                "Hang" => unary(request, |(): ()| std::future::pending::<Result<(), Status>>()).await,
                _ => Status::unimplemented(method).into_http(),
            })
        })
    }
}

/// Answers one unary call by `answer`.
pub async fn unary<Q, A, F>(
    request: http::Request<Body>,
    answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let service = tower::service_fn(move |request: Request<Q>| {
        let answered = answer(request.into_inner());
        async move { answered.await.map(Response::new) }
    });
    Serve::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

fn zeros(length: u32) -> Vec<u8> {
    vec![0; usize::try_from(length).expect("32 bits fit")]
}
