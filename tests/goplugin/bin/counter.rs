//! A plugin for the host of go-plugin's bidirectional example: it adds up, and has its host do the sums.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use portcullis_goplugin::{Broker, Cookie, Outcome, Serve, Session};
use portcullis_goplugin_tests::counter::{Get, Got, Put, Sum};
use portcullis_goplugin_tests::{Answering, unary};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

fn main() -> Outcome {
    Serve::new(Cookie::new("BASIC_PLUGIN", "hello"))
        .version(1, |session: &Session| {
            Routes::new(Counter { broker: session.broker().clone(), sums: Arc::default() })
        })
        .run()
}

#[derive(Clone, Debug)]
struct Counter {
    broker: Broker,
    sums: Arc<Mutex<HashMap<String, i64>>>,
}

impl Counter {
    fn sum(&self, key: &str) -> i64 {
        let sums = self.sums.lock().expect("nothing panics while it holds this");
        let kept = || fs::read_to_string(file(key)).ok()?.parse().ok();
        sums.get(key).copied().or_else(kept).unwrap_or_default()
    }

    async fn put(self, put: Put) -> Result<(), Status> {
        let channel =
            self.broker.dial(put.add_server).await.map_err(|error| Status::internal(error.to_string()))?;
        let mut host = Grpc::new(channel);
        host.ready().await?;
        let sum = Request::new(Sum { a: self.sum(&put.key), b: put.value });
        let path = http::uri::PathAndQuery::from_static("/proto.AddHelper/Sum");
        let Got { value } = host.unary(sum, path, ProstCodec::default()).await?.into_inner();
        fs::write(file(&put.key), value.to_string())?;
        self.sums.lock().expect("nothing panics while it holds this").insert(put.key, value);
        Ok(())
    }
}

/// Returns where the host's next plugin finds the sum.
fn file(key: &str) -> String {
    let name: String = key.chars().filter(|letter| letter.is_alphanumeric()).collect();
    format!("sum_{name}")
}

impl NamedService for Counter {
    const NAME: &'static str = "proto.Counter";
}

impl Service<http::Request<Body>> for Counter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let counter = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/proto.Counter/Get" => {
                    let get = move |Get { key }| {
                        let value = counter.sum(&key);
                        async move { Ok(Got { value }) }
                    };
                    unary(request, get).await
                }
                "/proto.Counter/Put" => unary(request, move |put| counter.clone().put(put)).await,
                path => Status::unimplemented(path).into_http(),
            })
        })
    }
}
