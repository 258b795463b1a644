//! What a stream of large chunks brings in a second.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use portcullis::contract::{Call, Chunk, Execute, Json, Limits, Provider, ProviderName};
use portcullis_tests::go_host::{GoHost, Mode};
use portcullis_tests::{Door, TestHost, fixtures};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::measure::{Times, alternate, micros, over, ratio};
use crate::report::{Report, figure};

const CHUNKS: usize = 512;
const SIZE: usize = 64 << 10;

enum Reader {
    // In the order in which they have to end.
    Ours { provider: Arc<dyn Provider>, _host: Box<TestHost> },
    Go(Box<GoHost>),
}

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    let names = ["Go plugin, Go host", "Go plugin, our host", "component, our host"];
    let go = GoHost::provider("1.8", Mode::Plain, &fixtures::peer("acrobat")).expect("the plugin starts");
    let ours = |door| {
        let mut host = TestHost::new(door);
        host.limits =
            Limits { output: Some(1 << 40), cpu: Some(portcullis_tests::LONG), ..Limits::default() };
        let provider = runtime.block_on(host.launch("acrobat")).expect("the plugin starts").provider;
        Reader::Ours { provider, _host: Box::new(host) }
    };
    let mut readers = [Reader::Go(Box::new(go)), ours(Door::Process), ours(Door::Component)];
    let rounds = alternate(&mut readers, |reader| match reader {
        Reader::Ours { provider, .. } => runtime.block_on(read(Arc::clone(provider))),
        Reader::Go(host) => {
            let input = json!({"operation": "stream", "chunks": CHUNKS, "size": SIZE});
            let begun = Instant::now();
            let answer = host.ask(json!({"do": "stream", "name": "acrobat", "input": input, "sizes": true}));
            answer.expect("a benchmarked stream works");
            Times::new(vec![micros(begun.elapsed())], 1.0)
        }
    });
    let mib = (CHUNKS * SIZE) as f64 / f64::from(1 << 20);
    let rows: Vec<_> = names
        .iter()
        .zip(&rounds)
        .map(|(name, own)| {
            let seconds = over(own, Times::p50) / 1e6;
            vec![
                (*name).to_owned(),
                figure(mib / seconds),
                figure(ratio(&rounds[0], own, Times::p50)),
                figure(ratio(&rounds[1], own, Times::p50)),
            ]
        })
        .collect();
    let head =
        ["32 MiB in chunks of 64 KiB", "MiB a second", "times Go in Go", "times the Go plugin in our host"];
    report.table("Streaming", &head, &rows);
}

async fn read(provider: Arc<dyn Provider>) -> Times {
    let input = format!(r#"{{"operation":"stream","chunks":{CHUNKS},"size":{SIZE}}}"#);
    let request = Execute::new(ProviderName::new("acrobat"), Json::from_text(input));
    let begun = Instant::now();
    let mut stream = provider.execute_stream(&Call::default(), request);
    let mut bytes = 0;
    while let Some(chunk) = stream.next().await {
        if let Chunk::Stdout(part) | Chunk::Stderr(part) = chunk.expect("a benchmarked stream works") {
            bytes += part.len();
        }
    }
    assert_eq!(bytes, CHUNKS * SIZE);
    Times::new(vec![micros(begun.elapsed())], 1.0)
}
