//! What a plugin prints of its own accord, as it appears.
//!
//! Where nobody reads, our native programs go on after five seconds, and Go's stand still for ever; so they are left
//! out there.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use portcullis::contract::{CallError, LimitHit, LimitName, Limits, PluginName, PrintStream, Prints as _};
use portcullis_tests::prints::Reader;
use portcullis_tests::{Door, LONG, SOON, TestHost, TestResult, assert_matches, generous};
use test_case::test_case;
use tokio::time::timeout;

/// The largest piece that is brought at once.
const PIECE: usize = 64 << 10;

fn print(stream: &str, text: &str, repeat: usize) -> String {
    serde_json::json!({ "operation": "print", "stream": stream, "text": text, "repeat": repeat }).to_string()
}

fn talkative() -> Limits {
    Limits { output: Some(1 << 30), cpu: Some(LONG), ..Limits::default() }
}

/// Reads so many bytes, which a plugin of that name printed.
async fn read(reader: &Reader, name: &PluginName, length: usize) -> (Vec<u8>, Vec<PrintStream>) {
    let (mut text, mut streams) = (Vec::new(), Vec::new());
    while text.len() < length {
        let (plugin, stream, piece) = generous(reader.next()).await;
        assert_eq!(plugin, *name);
        assert!(!piece.is_empty() && piece.len() <= PIECE);
        text.extend_from_slice(&piece);
        streams.push(stream);
    }
    (text, streams)
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plugin_prints_arrives_unchanged_and_in_order(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let reader = Reader::with_room(usize::MAX);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    for (name, stream) in [("stdout", PrintStream::Stdout), ("stderr", PrintStream::Stderr)] {
        // Without a carriage return: the stderr of a native program is its log as well, whose lines end without one.
        let text = "a \u{e9}\u{1f600}\u{1b}[2J\n";
        plugin.execute("acrobat", &print(name, text, 5_000)).await?;
        let expected = text.repeat(5_000);
        let (printed, streams) = read(&reader, &plugin.provider.info().name, expected.len()).await;
        assert!(printed == expected.as_bytes(), "{}", String::from_utf8_lossy(&printed));
        assert!(streams.iter().all(|found| *found == stream), "{streams:?}");
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_many_pieces_stays_one(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let reader = Reader::with_room(usize::MAX);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    for stream in ["stdout", "stderr"] {
        plugin.execute("acrobat", &print(stream, &"long".repeat(1000), 50)).await?;
        plugin.execute("acrobat", &print(stream, "\n", 1)).await?;
        let expected = format!("{}\n", "long".repeat(50_000));
        let (printed, _) = read(&reader, &plugin.provider.info().name, expected.len()).await;
        assert!(printed == expected.as_bytes(), "{}", String::from_utf8_lossy(&printed));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_prints_stands_still_until_somebody_reads(door: Door) -> TestResult {
    const LENGTH: usize = 16 << 20;
    const ROOM: usize = 256 << 10;
    let mut host = TestHost::new(door);
    host.limits = talkative();
    let reader = Reader::with_room(ROOM);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    let printing = tokio::spawn({
        let plugin = plugin.clone();
        async move { plugin.execute("acrobat", &print("stdout", &"x".repeat(1024), LENGTH >> 10)).await }
    });
    generous(reader.full()).await;
    assert!(!printing.is_finished(), "all of it was taken");
    // Others are not held up: what stands still is who prints.
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    let (printed, _) = read(&reader, &plugin.provider.info().name, LENGTH).await;
    assert_eq!(printed.len(), LENGTH);
    generous(printing).await??;
    // For each of its pipes a piece may be on its way when the room ends.
    assert!(reader.most() <= ROOM + 3 * PIECE, "{} bytes were kept", reader.most());
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Component; "component")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_prints_nobody_reads_can_be_stopped(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = talkative();
    let reader = Reader::with_room(1);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    let printing = tokio::spawn({
        let plugin = plugin.clone();
        async move { plugin.execute("acrobat", &print("stderr", "x", 16 << 20)).await }
    });
    generous(reader.full()).await;
    generous(plugin.provider.shutdown(SOON)).await;
    assert_matches!(generous(printing).await?, Err(_));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_stands_still_in_a_print_can_be_given_up(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = talkative();
    let reader = Reader::with_room(1);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    let input = print("stdout", "x", 16 << 20);
    tokio::select! {
        ended = plugin.execute("acrobat", &input) => panic!("{ended:?}"),
        () = generous(reader.full()) => {}
    }
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

/// A child process has no limit on what it prints outside of a streaming call: nothing ties it to one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_limit_of_a_component_binds_whoever_reads() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let reader = Reader::with_room(usize::MAX);
    host.prints = Some(Arc::clone(&reader) as _);
    host.limits = Limits { output: Some(10_000), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    plugin.execute("acrobat", &print("stdout", "x", 10_000)).await?;
    let error = plugin.execute("acrobat", &print("stdout", "x", 10_001)).await;
    assert_matches!(error, Err(CallError::Limit(LimitHit { which: LimitName::Output, .. })));
    assert!(reader.most() <= 20_000);
    Ok(())
}

/// A child's log comes over a pipe of its prints: it stands still when that is full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_logs_stands_still_until_somebody_reads() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let reader = Reader::with_room(1);
    host.prints = Some(Arc::clone(&reader) as _);
    let plugin = host.launch("acrobat").await?;
    reader.take(&PluginName::new("another"), PrintStream::Stdout, Bytes::from_static(b"x"));

    let mut logging =
        pin!(plugin.execute("acrobat", r#"{"operation":"log","level":"warn","message":"words"}"#));
    assert_matches!(timeout(SOON, logging.as_mut()).await, Err(_elapsed));
    reader.next().await;
    generous(logging).await?;
    Ok(())
}
