//! What supervision holds every plugin to: how long a call may take, and how many there may be at once.

use std::pin::pin;
use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _};
use portcullis::contract::{Amount, Call, CallError, LimitHit, LimitName, Limits};
use portcullis_tests::{Door, SOON, TestHost, TestResult, assert_matches, generous, request};
use test_case::test_case;
use tokio::time::timeout;

const SLOW: &str = r#"{"operation":"slow","millis":600000}"#;
/// Shows a chunk, and then nothing for long.
const ENDLESS: &str = r#"{"operation":"stream","chunks":2,"size":1,"pauseMillis":600000}"#;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_comes_too_late_is_told_how_long_it_had(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.supervise("acrobat").await?;
    // What is left when the call begins is a little less, and nothing is given up before.
    let check = |deadline, late| {
        assert_matches!(late, CallError::TimedOut { limit } if !limit.is_zero() && limit <= SOON);
        assert!(Instant::now() >= deadline);
    };
    let deadline = Instant::now() + SOON;
    let call = Call { deadline: Some(deadline) };
    let late = generous(plugin.provider.execute(&call, request("acrobat", SLOW))).await;
    check(deadline, late.expect_err("it is slow"));

    let deadline = Instant::now() + SOON;
    let call = Call { deadline: Some(deadline) };
    let chunks = plugin.provider.execute_stream(&call, request("acrobat", ENDLESS));
    let late = generous(chunks.try_for_each(async |_| Ok(()))).await;
    check(deadline, late.expect_err("it has no end"));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_outlasts_its_wall_ends_there(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { wall: Some(SOON), ..Limits::default() };
    let plugin = host.supervise("acrobat").await?;
    let stopped = plugin.execute("acrobat", SLOW).await;
    let Err(CallError::Limit(LimitHit { which, allowed, .. })) = stopped else {
        panic!("a limit, not {stopped:?}")
    };
    assert_eq!((which, allowed), (LimitName::Wall, Amount::Time(SOON)));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_finds_no_turn_waits_for_one(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits = Limits { concurrency: Some(2), ..Limits::default() };
    let plugin = host.supervise("acrobat").await?;
    let begin = async || {
        let mut stream = plugin.provider.execute_stream(&Call::default(), request("acrobat", ENDLESS));
        assert_matches!(generous(stream.next()).await, Some(Ok(_)));
        stream
    };
    let (first, _second) = (begin().await, begin().await);
    let call = Call::default();
    let mut third = pin!(plugin.provider.execute(&call, request("acrobat", r#"{"operation":"ok"}"#)));
    assert_matches!(timeout(SOON, &mut third).await, Err(_elapsed));
    drop(first);
    generous(third).await?;
    Ok(())
}
