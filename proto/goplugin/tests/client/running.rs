//! A plugin that runs: what it is asked, and what it says.

use std::sync::Arc;
use std::time::Duration;

use portcullis_goplugin::log::Level;
use portcullis_goplugin::{Address, BrokerError, PingError, Sink};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::scene::scene;
use crate::{LONG, TestResult};

/// Takes standard error as it comes, and no log.
struct Raw(mpsc::UnboundedSender<Vec<u8>>);

impl Sink for Raw {
    fn raw_stderr(&self, piece: &[u8]) {
        let _test_is_over = self.0.send(piece.to_owned());
    }
}

#[tokio::test]
async fn a_plugin_with_nothing_but_health_runs_and_is_stopped() -> TestResult {
    let scene = scene(&["serve"]);
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.negotiated_version(), 1);
    assert!(matches!(plugin.address(), Address::Unix(path) if path.starts_with(scene.base.path())));
    plugin.ping(LONG).await?;

    // It has no service that it could be asked by, and hears of it by a signal.
    let exit = plugin.stop(LONG).await;
    assert!(exit.requested);
    assert_eq!(exit.to_string(), "signal: 15 (SIGTERM)");
    scene.expect_nothing_left();

    assert!(
        matches!(plugin.ping(LONG).await, Err(PingError::Failed(status)) if status.code() == tonic::Code::Unavailable)
    );
    assert_eq!(plugin.stop(LONG).await.to_string(), exit.to_string()); // H-69
    Ok(())
}

#[tokio::test]
async fn a_time_that_the_clock_cannot_tell_is_no_limit() -> TestResult {
    let mut scene = scene(&["serve"]);
    scene.launch.start_timeout = Duration::MAX;
    let plugin = scene.launch.start().await?;
    plugin.ping(Duration::MAX).await?;
    assert_eq!(plugin.services(Duration::MAX).await?, None);
    plugin.kill();
    assert!(plugin.stop(Duration::MAX).await.requested);
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_plugin_on_tcp_without_a_host_is_found_on_loopback() -> TestResult {
    let scene = scene(&["serve-tcp"]); // H-18
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.address().network(), "tcp");
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_does_not_serve_is_not_healthy() -> TestResult {
    let scene = scene(&["serve-tcp", "sick"]); // H-52
    let plugin = scene.launch.start().await?;
    assert!(matches!(plugin.ping(LONG).await, Err(PingError::NotServing)));
    Ok(())
}

#[tokio::test]
async fn a_plugin_without_a_broker_closes_ours_and_nothing_else() -> TestResult {
    let scene = scene(&["serve"]); // H-50, H-51
    let plugin = scene.launch.start().await?;
    assert_eq!((plugin.broker().next_id(), plugin.broker().next_id()), (1, 2)); // H-55
    assert!(matches!(plugin.broker().dial(7).await, Err(BrokerError::Closed)));
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn output_after_the_line_is_drained_whatever_it_is() -> TestResult {
    let mut scene = scene(&["serve-and-flood"]); // H-29
    let plugin = scene.launch.start().await?;
    assert_eq!(scene.entry("[INFO] flooded").await, "");
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn the_log_reaches_the_sink_in_entries() -> TestResult {
    let mut scene = scene(&["serve-and-say"]);
    let _plugin = scene.launch.start().await?;
    loop {
        let entry = scene.next().await;
        if entry.message == "a structured one" {
            assert_eq!((entry.level, entry.target.as_deref()), (Level::Warn, Some("rogue")));
            assert_eq!(entry.fields, [("answer".to_owned(), 42.into())]);
            return Ok(());
        }
    }
}

#[tokio::test]
async fn raw_standard_error_is_passed_on_whether_or_not_it_is_logged() -> TestResult {
    let mut scene = scene(&["serve-and-say"]); // H-36
    let (sender, mut pieces) = mpsc::unbounded_channel();
    scene.launch.sink = Arc::new(Raw(sender));
    let _plugin = scene.launch.start().await?;
    let mut all = Vec::new();
    while !all.ends_with(b"\"answer\":42}\n") {
        all.extend(timeout(LONG, pieces.recv()).await?.ok_or("it ended")?);
    }
    Ok(())
}
