//! Each way of giving no answer is one variant, whatever runs the plugin.

use std::time::Duration;

use futures_util::StreamExt as _;
use portcullis::contract::{
    Amount, Call, CallError, Context, Execute, Iteration, Json, LimitHit, LimitName, Limits, Severity,
    StopReason,
};
use portcullis_tests::{Door, TestHost, TestResult, assert_matches, generous, request};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_with_its_words(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let failed = plugin.execute("acrobat", r#"{"operation":"fail","message":"no, thank you"}"#).await;
    assert_matches!(failed, Err(CallError::Refused(refusal)) if refusal.message == "no, thank you");
    Ok(())
}

/// An error of a Go plugin's that says nothing is none, by upstream's wire.
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_words_is_a_refusal(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    for (diagnostics, words) in
        [("[]", "no reason given"), (r#"[{"severity":"error","summary":"gone"}]"#, "gone")]
    {
        let input = format!(r#"{{"operation":"fail","diagnostics":{diagnostics}}}"#);
        let failed = plugin.execute("acrobat", &input).await;
        assert_matches!(failed, Err(CallError::Refused(refusal)) if refusal.message == words);
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_with_its_exit_code_and_diagnostics(door: Door) -> TestResult {
    // Contract item 107.
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let input = r#"{"operation":"fail","message":"no","exitCode":4,"diagnostics":[
        {"severity":"error","summary":"gone","detail":"it was here","attribute":"path"},
        {"severity":"warning","summary":"odd"},
        {"severity":"invalid","summary":"what"}]}"#;
    let Err(CallError::Refused(refusal)) = plugin.execute("acrobat", input).await else { panic!("refused") };
    assert_eq!(refusal.message, "no");
    assert_eq!(refusal.exit_code, Some(4));
    let severities: Vec<_> = refusal.diagnostics.iter().map(|d| d.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Invalid]);
    assert_eq!(refusal.to_string(), "gone: it was here (attribute: path)");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_operation_and_an_unknown_provider_are_the_plugins_to_refuse(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    assert_matches!(plugin.execute("acrobat", r#"{"operation":"fly"}"#).await, Err(CallError::Refused(_)));
    assert_matches!(plugin.execute("nobody", "{}").await, Err(CallError::Refused(_)));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_stream_says_so(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let (chunks, error) = plugin.stream("acrobat-unary", r#"{"operation":"ok"}"#).await;
    assert_matches!((&chunks[..], error), ([], Some(CallError::Unimplemented)));
    plugin.execute("acrobat-unary", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_no_json_or_no_text_breaks_the_contract(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    for input in [r#"{"operation":"invalid-json"}"#, r#"{"operation":"invalid-utf8"}"#] {
        assert_matches!(plugin.execute("acrobat", input).await, Err(CallError::Contract(_)), "{input}");
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_dies_under_a_call_is_told_from_one_that_refuses(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let died = plugin.execute("acrobat", r#"{"operation":"panic","message":"the end is near"}"#).await;
    let Err(CallError::Stopped(reason)) = died else { panic!("stopped, not {died:?}") };
    assert!(reason.to_string().contains("the end is near"), "{reason}");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_exits_under_a_call_has_stopped(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let died = plugin.execute("acrobat", r#"{"operation":"exit","code":7}"#).await;
    assert_matches!(died, Err(CallError::Stopped(StopReason::Exited { .. } | StopReason::Trapped { .. })));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_over_the_message_limit_says_what_was_asked_and_allowed(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { message: Some(1 << 20), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let answer = plugin.execute("acrobat", r#"{"operation":"big","bytes":4000000}"#).await;
    let Err(CallError::Limit(LimitHit { which, allowed, .. })) = answer else {
        panic!("a limit, not {answer:?}")
    };
    assert_eq!((which, allowed), (LimitName::Message, Amount::Bytes(1 << 20)));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

/// Contract item 23. The libraries of gRPC would take 4 MiB.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_be_larger_than_is_usual(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let answer = plugin.execute("acrobat", r#"{"operation":"big","bytes":5000000}"#).await?;
    assert_eq!(answer.data.as_str().len(), 5_000_002);
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_the_message_limit_never_reaches_the_plugin(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { message: Some(1 << 20), ..Limits::default() };
    let plugin = host.launch("echo").await?;
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(2 << 20));
    // What a loop is at is part of the request, too.
    let iteration = Some(Iteration { item: Some(Json::from_text(large.as_str())), ..Iteration::default() });
    let context = Context { iteration, ..Context::default() };
    for request in [request("raw", &large), Execute { context, ..request("raw", "{}") }] {
        let answer = plugin.request(request).await;
        let Err(CallError::Limit(LimitHit { which, allowed, .. })) = answer else {
            panic!("a limit, not {answer:?}")
        };
        assert_eq!((which, allowed), (LimitName::Message, Amount::Bytes(1 << 20)));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_prints_too_much_reaches_its_limit(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { output: Some(10_000), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let (_, error) = plugin.stream("acrobat", r#"{"operation":"stream","chunks":100,"size":1000}"#).await;
    let Some(CallError::Limit(LimitHit { which, allowed, .. })) = error else {
        panic!("a limit, not {error:?}")
    };
    assert_eq!((which, allowed), (LimitName::Output, Amount::Bytes(10_000)));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_shutdown_every_call_finds_the_plugin_gone(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    generous(plugin.provider.shutdown(Duration::from_secs(5))).await;
    generous(plugin.provider.shutdown(Duration::from_secs(5))).await;
    assert_matches!(plugin.execute("acrobat", r#"{"operation":"ok"}"#).await, Err(CallError::Gone));
    let (chunks, error) = plugin.stream("acrobat", r#"{"operation":"ok"}"#).await;
    assert_matches!((&chunks[..], error), ([], Some(CallError::Gone)));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_a_call_that_never_ends(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let never = request("acrobat", r#"{"operation":"stream","chunks":2,"size":1,"pauseMillis":600000}"#);
    let mut stuck = plugin.provider.execute_stream(&Call::default(), never);
    assert_matches!(generous(stuck.next()).await, Some(Ok(_)));
    generous(plugin.provider.shutdown(Duration::from_millis(100))).await;
    assert_matches!(generous(stuck.next()).await, Some(Err(CallError::Stopped(_) | CallError::Gone)));
    Ok(())
}
