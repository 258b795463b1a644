//! Calls may overlap.

use std::sync::Arc;

use futures_util::future::join_all;
use portcullis::contract::{Call, Configuration};
use portcullis::policy::every_secret;
use portcullis_tests::{Door, Empty, Gathering, TestHost, TestResult, assert_matches, generous, request};
use test_case::test_case;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_get_their_own_answers(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("echo").await?;
    let calls = (0..100).map(|n| {
        let plugin = plugin.clone();
        tokio::spawn(async move {
            let text = format!(r#"{{"number":{n}}}"#);
            (plugin.execute("raw", &text).await.map(|output| output.data.into_string()), text)
        })
    });
    for answer in generous(join_all(calls)).await {
        let (answer, sent) = answer?;
        assert_eq!(answer?, sent);
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_calls_run_at_once_as_may(door: Door) -> TestResult {
    const AT_ONCE: u16 = 24;
    let mut host = TestHost::new(door);
    host.limits.concurrency = Some(AT_ONCE.into());
    host.grants.secrets = every_secret();
    // None is answered before all of them have asked.
    host.offer("keeper", Some(Arc::new(Empty(Gathering::of(AT_ONCE)))), None);
    let plugin = host.launch("keeper").await?;
    plugin.configure("keeper", &Configuration::default()).await?;
    let calls = (0..AT_ONCE).map(|_| plugin.execute("keeper", r#"{"operation":"get","name":"a"}"#));
    for answer in generous(join_all(calls)).await {
        assert_matches!(answer, Ok(_));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_call_does_not_keep_a_quick_one_waiting(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let slow = request("acrobat", r#"{"operation":"slow","millis":600000}"#);
    let call = Call::default();
    let slow = plugin.provider.execute(&call, slow);
    tokio::select! {
        biased;
        answer = slow => panic!("the slow call answered first: {answer:?}"),
        quick = plugin.execute("acrobat", r#"{"operation":"ok"}"#) => assert_matches!(quick, Ok(_)),
    }
    Ok(())
}
