//! Dropping a call is what ends it, and nothing else.

use std::time::{Duration, Instant};

use portcullis::contract::Call;
use portcullis_tests::{Door, LONG, SOON, TestHost, TestResult, assert_matches, generous, request};
use test_case::test_case;
use tokio::time::timeout;

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_ends_does_not_spoil_the_next(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    let slow = request("acrobat", r#"{"operation":"slow","millis":600000}"#);

    let stuck = timeout(SOON, plugin.provider.execute(&Call::default(), slow)).await;
    let fine = plugin.execute("acrobat", r#"{"operation":"ok"}"#).await;

    assert_matches!(stuck, Err(_elapsed));
    assert_matches!(fine, Ok(_));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_abandoned_calls_cost_nothing_that_stays(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    for _ in 0..100 {
        let slow = request("acrobat", r#"{"operation":"slow","millis":600000}"#);
        let call = Call::default();
        let mut stuck = std::pin::pin!(plugin.provider.execute(&call, slow));
        // Far enough to have been started.
        for _ in 0..3 {
            assert!(futures_util::poll!(&mut stuck).is_pending());
            tokio::task::yield_now().await;
        }
    }
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_may_be_farther_off_than_a_plugin_can_be_told(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = host.launch("acrobat").await?;
    // More hours than gRPC has digits for.
    let call = Call { deadline: Some(Instant::now() + Duration::from_secs(1 << 50)) };
    let fine = generous(plugin.provider.execute(&call, request("acrobat", r#"{"operation":"ok"}"#))).await;
    assert_matches!(fine, Ok(_));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_knows_how_long_it_may_take(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    // A component has a wall whether or not its caller has a deadline.
    host.limits.wall = Some(10 * LONG);
    let plugin = host.launch("acrobat").await?;
    let left = async |call: &Call| -> Result<Option<Duration>, Box<dyn std::error::Error>> {
        let answer =
            plugin.provider.execute(call, request("acrobat", r#"{"operation":"time-left"}"#)).await?;
        let left: serde_json::Value = serde_json::from_str(answer.data.as_str())?;
        Ok(left["millis"].as_u64().map(Duration::from_millis))
    };
    match (door, left(&Call::default()).await?) {
        (Door::Process | Door::Native, None) => {}
        (Door::Component | Door::Shim, Some(left)) => assert!(left > 9 * LONG, "{left:?}"),
        (_, left) => panic!("{left:?}"),
    }
    let within = left(&Call { deadline: Some(Instant::now() + LONG) }).await?.expect("a number");
    assert!(within <= LONG && within > LONG / 2, "{within:?}");
    Ok(())
}
