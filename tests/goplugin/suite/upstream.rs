//! go-plugin's own examples, as they are published: their hosts with our plugins, and their plugins with our host.

#![expect(clippy::disallowed_methods, reason = "Go's hosts are programs, and tests start what they test")]

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use portcullis_goplugin::{Channel, Cookie, HandshakeError, Launch, StartError, Versions};
use portcullis_goplugin_tests::{Answering, counter, unary};
use prost::Message;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::scene::{LONG, Outcome};

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("GO_PEERS")).join("upstream").join(name)
}

/// Runs an example's host in `directory`, and returns what it prints.
fn host(name: &str, directory: &Path, arguments: &[&str], plugin: &str) -> Result<String, Box<dyn Error>> {
    let mut host = Command::new(example(name));
    host.args(arguments).current_dir(directory).env("TMPDIR", directory).env("KV_PROTO", "grpc");
    // These hand it to a shell.
    let plugin = format!("'{plugin}'");
    let done = host.env("KV_PLUGIN", &plugin).env("COUNTER_PLUGIN", &plugin).output()?;
    let printed = String::from_utf8(done.stdout)?;
    match done.status.success() {
        true => Ok(printed),
        false => Err(format!("{printed}{}", String::from_utf8_lossy(&done.stderr)).into()),
    }
}

/// Checks that the plugin left nothing but what it was asked to keep.
fn expect_only(directory: &Path, kept: &[&str]) {
    let entries = std::fs::read_dir(directory).expect("the directory is there").flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, kept);
}

#[test]
fn the_host_of_the_first_example_runs_ours() -> Outcome {
    let directory = tempfile::tempdir()?;
    let plugin = env!("CARGO_BIN_EXE_goplugin-example");
    host("grpc", directory.path(), &["put", "hello", "world"], plugin)?;
    assert_eq!(host("grpc", directory.path(), &["get", "hello"], plugin)?, "world\n");
    assert!(host("grpc", directory.path(), &["get", "nothing"], plugin).is_err());
    expect_only(directory.path(), &["kv_hello"]);
    Ok(())
}

#[test]
fn the_host_that_negotiates_runs_ours() -> Outcome {
    let directory = tempfile::tempdir()?;
    // This one has its plugin's name built in.
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_goplugin-example"), directory.path().join("kv-plugin"))?;
    host("negotiated", directory.path(), &["put", "hello", "there"], "")?; // P-04
    assert_eq!(host("negotiated", directory.path(), &["get", "hello"], "")?, "there\n");
    expect_only(directory.path(), &["kv-plugin", "kv_hello"]);
    Ok(())
}

#[test]
fn the_host_that_is_called_back_runs_ours() -> Outcome {
    let directory = tempfile::tempdir()?;
    let plugin = env!("CARGO_BIN_EXE_goplugin-counter");
    host("bidirectional", directory.path(), &["put", "hello", "20"], plugin)?;
    host("bidirectional", directory.path(), &["put", "hello", "22"], plugin)?;
    assert_eq!(host("bidirectional", directory.path(), &["get", "hello"], plugin)?, "42\n"); // P-52
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Get {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, Message)]
struct Got {
    #[prost(bytes, tag = "1")]
    value: Vec<u8>,
}

fn launch(name: &str, directory: &Path, versions: Versions) -> Launch {
    let mut launch = Launch::new(example(name), Cookie::new("BASIC_PLUGIN", "hello"), versions);
    launch.directory = Some(directory.to_owned());
    launch
}

async fn call<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), ProstCodec::default());
    answer.await.map(Response::into_inner)
}

#[tokio::test]
async fn our_host_runs_the_plugins_of_the_examples() -> Outcome {
    let directory = tempfile::tempdir()?;
    for (name, version) in [("grpc-plugin-go-grpc", 1), ("negotiated-plugin-go", 3)] {
        let plugin = launch(name, directory.path(), Versions::from([version])).start().await?;
        let put = Put { key: name.to_owned(), value: b"world".to_vec() };
        call::<_, ()>(plugin.channel(), "/proto.KV/Put", put).await?;
        let get = Get { key: name.to_owned() };
        let Got { value } = call(plugin.channel(), "/proto.KV/Get", get).await?;
        assert!(value.starts_with(b"world"), "{}", String::from_utf8_lossy(&value));
        assert_eq!(plugin.stop(LONG).await.to_string(), "exit status: 0");
    }
    let old = launch("negotiated-plugin-go", directory.path(), Versions::from([2])).start().await;
    assert!(matches!(old, Err(StartError::Handshake { error: HandshakeError::NetRpc { version: 2 }, .. })));
    Ok(())
}

/// Does the sums for the plugin of the bidirectional example.
#[derive(Clone, Debug)]
struct Adder;

impl NamedService for Adder {
    const NAME: &'static str = "proto.AddHelper";
}

impl Service<http::Request<Body>> for Adder {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let sum = |counter::Sum { a, b }| async move { Ok(counter::Got { value: a + b }) };
        Box::pin(async move { Ok(unary(request, sum).await) })
    }
}

#[tokio::test]
async fn our_host_is_called_back_by_the_plugin_of_an_example() -> Outcome {
    let directory = tempfile::tempdir()?;
    let launch = launch("bidirectional-plugin-go-grpc", directory.path(), Versions::from([1]));
    let plugin = launch.start().await?;
    for value in [20, 22] {
        let serving = plugin.broker().serve(Routes::new(Adder)).await?;
        let add = counter::Put { add_server: serving.id(), key: "hello".to_owned(), value };
        call::<_, ()>(plugin.channel(), "/proto.Counter/Put", add).await?;
    }
    let get = counter::Get { key: "hello".to_owned() };
    let counter::Got { value } = call(plugin.channel(), "/proto.Counter/Get", get).await?;
    assert_eq!(value, 42);
    assert_eq!(plugin.stop(LONG).await.to_string(), "exit status: 0");
    Ok(())
}
