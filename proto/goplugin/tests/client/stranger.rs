//! What a connection tells of a plugin that nobody knows, with a helper that offers its health and nothing else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_goplugin::{Asked, Health, PingError, Sink, Standing};
use tokio::sync::Notify;

use crate::scene::scene;
use crate::{LONG, TestResult};

#[derive(Default)]
struct Stdout {
    first: Mutex<Vec<String>>,
    rest: Mutex<usize>,
    enough: Notify,
}

impl Sink for Stdout {
    fn first_line(&self, line: &str) {
        self.first.lock().expect("no test panics with it").push(line.to_owned());
    }

    fn raw_stdout(&self, piece: &[u8]) {
        let mut rest = self.rest.lock().expect("no test panics with it");
        *rest += piece.len();
        // As much as the helper writes.
        if *rest == 64 << 16 {
            self.enough.notify_one();
        }
    }
}

#[tokio::test]
async fn what_a_plugin_does_not_offer_is_told_apart_from_what_it_does() -> TestResult {
    let scene = scene(&["serve"]);
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.health("plugin", LONG).await?, Health::Serving);
    assert_eq!(plugin.health("nobody", LONG).await?, Health::NoSuchService);
    assert_eq!(plugin.services(LONG).await?, None);
    let streams = plugin.streams(LONG).await;
    assert_eq!((streams.broker, streams.stdio), (Standing::Absent, Standing::Absent));
    assert_eq!((plugin.peer_certificate(), plugin.tls_session()), (None, None));
    assert!(plugin.socket_dir().is_some_and(|directory| directory.starts_with(scene.base.path())));

    let address = plugin.address().to_string();
    let ending = plugin.stop_and_tell(LONG).await;
    assert_eq!((ending.asked, ending.killed), (Asked::Absent, true));
    assert!(ending.took < LONG);
    assert_eq!(ending.exit.sockets_left, [PathBuf::from(address)]);
    assert!(matches!(plugin.health("plugin", LONG).await, Err(PingError::Failed(_))));
    // It is over, and nobody is asked again.
    let again = plugin.stop_and_tell(LONG).await;
    assert_eq!((again.asked, again.killed), (Asked::Not, false));
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_is_not_well_says_so_and_is_no_error() -> TestResult {
    let scene = scene(&["serve-tcp", "sick"]);
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.health("plugin", LONG).await?, Health::NotServing);
    let ending = plugin.stop_and_tell(Duration::ZERO).await;
    assert_eq!((ending.asked, ending.killed), (Asked::Not, true));
    assert_eq!(ending.exit.sockets_left, Vec::<PathBuf>::new());
    Ok(())
}

#[tokio::test]
async fn standard_output_reaches_the_sink_line_and_rest_apart() -> TestResult {
    let mut scene = scene(&["serve-and-flood"]);
    let stdout = Arc::new(Stdout::default());
    scene.launch.sink = Arc::clone(&stdout) as _;
    let plugin = scene.launch.start().await?;
    tokio::time::timeout(LONG, stdout.enough.notified()).await?;
    assert_eq!(*stdout.first.lock().unwrap(), [format!("1|1|unix|{}|grpc|", plugin.address())]);
    Ok(())
}
