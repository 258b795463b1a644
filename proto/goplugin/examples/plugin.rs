//! A plugin of one's own: a store of keys and values, a file each in the current directory.
//!
//! It is go-plugin's first example, so that example's own host can start it:
//! `KV_PLUGIN=target/debug/examples/plugin ./kv put hello world`.

use std::path::PathBuf;

use portcullis_goplugin::{Cookie, Outcome, Serve, Session};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

mod kv {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("proto");
}

use kv::kv_server::{Kv, KvServer};
use kv::{Empty, GetRequest, GetResponse, PutRequest};

fn main() -> Outcome {
    Serve::new(Cookie::new("BASIC_PLUGIN", "hello"))
        .version(1, |_: &Session| Routes::new(KvServer::new(Store)))
        // Another of go-plugin's examples asks for this one.
        .version(3, |_: &Session| Routes::new(KvServer::new(Store)))
        .run()
}

struct Store;

#[tonic::async_trait]
impl Kv for Store {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let value = std::fs::read(file(&request.get_ref().key)?)?.into();
        Ok(Response::new(GetResponse { value }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<Empty>, Status> {
        let PutRequest { key, value } = request.into_inner();
        std::fs::write(file(&key)?, value)?;
        Ok(Response::new(Empty {}))
    }
}

/// Returns where a value is. A key is a stranger's word, and must not name any other place.
fn file(key: &str) -> Result<PathBuf, Status> {
    match key.chars().all(char::is_alphanumeric) {
        true => Ok(format!("kv_{key}").into()),
        false => Err(Status::invalid_argument("a key is made of letters and digits")),
    }
}
