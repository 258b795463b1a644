//! What a streaming call shows, as it appears.

use futures_util::StreamExt as _;
use portcullis::contract::{Call, CallError, Chunk, Limits};
use portcullis_tests::{Door, TestHost, TestResult, assert_matches, generous, request};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_arrive_unchanged_and_in_order_before_the_one_result(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let input = r#"{"operation":"stream","chunks":50,"size":100,"stderrEvery":10}"#;
    let (chunks, error) = plugin.stream("acrobat", input).await;
    assert_matches!(error, None);

    let expected: Vec<_> = (0..50).flat_map(|n: u8| [b'a' + n % 26; 100]).collect();
    assert_eq!(bytes_of(&chunks, true), expected);
    let expected: String = (1..=5).map(|n| format!("chunk {}\n", n * 10)).collect();
    assert_eq!(String::from_utf8(bytes_of(&chunks, false))?, expected);

    let results = chunks.iter().filter(|c| matches!(c, Chunk::Result(_))).count();
    assert_eq!(results, 1);
    let Some(Chunk::Result(output)) = chunks.last() else { panic!("{chunks:?}") };
    let data: serde_json::Value = serde_json::from_str(output.data.as_str())?;
    assert_eq!(data, serde_json::json!({"chunks": 50, "bytes": 5_000}));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_fails_ends_with_the_refusal_after_its_chunks(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let (chunks, error) = plugin.stream("acrobat", r#"{"operation":"stream-fail"}"#).await;
    assert_eq!(bytes_of(&chunks, true), b"before the end");
    assert_matches!(error, Some(CallError::Refused(_)));
    Ok(())
}

/// 64 MiB pass through a reader who has other things to do after the first of it, while the plugin gets ahead as far as it
/// may.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_loses_nothing(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { output: Some(1 << 30), cpu: Some(portcullis_tests::LONG), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let input = r#"{"operation":"stream","chunks":1024,"size":65536}"#;
    let mut stream = plugin.provider.execute_stream(&Call::default(), request("acrobat", input));
    let Some(Ok(Chunk::Stdout(first))) = generous(stream.next()).await else { panic!("a chunk comes first") };
    let mut bytes = first.len();
    for _ in 0..50 {
        plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    }
    while let Some(chunk) = generous(stream.next()).await {
        match chunk? {
            Chunk::Stdout(chunk) | Chunk::Stderr(chunk) => bytes += chunk.len(),
            Chunk::Result(output) => assert!(output.streamed),
        }
        // Let everybody else run before the next one is asked for.
        tokio::task::yield_now().await;
    }
    assert_eq!(bytes, 64 << 20);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_leaves_abandons_that_call_and_no_other(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { output: Some(1 << 40), cpu: Some(portcullis_tests::LONG), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let endless = r#"{"operation":"stream","chunks":1000000,"size":1000}"#;
    let mut stream = plugin.provider.execute_stream(&Call::default(), request("acrobat", endless));
    assert_matches!(generous(stream.next()).await, Some(Ok(Chunk::Stdout(_))));
    drop(stream);
    let (chunks, error) = plugin.stream("acrobat", r#"{"operation":"stream","chunks":3,"size":1}"#).await;
    assert_matches!(error, None);
    assert_eq!(bytes_of(&chunks, true).len(), 3);
    Ok(())
}

fn bytes_of(chunks: &[Chunk], stdout: bool) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in chunks {
        match chunk {
            Chunk::Stdout(bytes) if stdout => all.extend_from_slice(bytes),
            Chunk::Stderr(bytes) if !stdout => all.extend_from_slice(bytes),
            _ => {}
        }
    }
    all
}
