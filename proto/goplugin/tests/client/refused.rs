//! Children that are no plugins, and plugins that do not start.

use std::sync::Arc;
use std::time::Duration;

use portcullis_goplugin::{Cookie, Evidence, HandshakeError, Launch, StartError, Versions};

use crate::ROGUE;
use crate::scene::{chain, scene};

/// Long enough for a child to begin to speak, on a machine that has much else to do. It is waited out.
const PATIENCE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_child_that_is_no_plugin_is_refused_with_its_words() {
    for (arguments, expected) in [
        (["line", "hello"], r#"handshake failed: the first line of its output is not a handshake: "hello""#),
        (
            ["piece-and-exit", "1|1|uni"],
            r#"handshake failed: the first line of its output is not a handshake: "1|1|uni": it ended: exit status: 0"#,
        ),
        (["line", "1|3|unix|/x|grpc|"], "handshake failed: speaks protocol version 3, and this host 1,2"),
        (
            ["line", "2|1|unix|/x|grpc|"],
            "handshake failed: speaks version 2 of the handshake, and this host version 1",
        ),
        (
            ["line", "1|1|unix|/x/y|grpc|"],
            "cannot connect to it at /x/y: No such file or directory (os error 2)",
        ),
        (["line-and-exit", ""], "ended before it served: exit status: 0"),
        (["exit", "7"], "ended before it served: exit status: 7; its last words: it was not to be"),
        (["fork", ""], "ended before it served: exit status: 3"),
        (["close", ""], r#"handshake failed: the first line of its output is not a handshake: """#),
    ] {
        let error = scene(&arguments).failure().await; // H-15, H-16, H-17, H-26, H-27, H-75
        assert_eq!(chain(&error), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_child_started_without_its_cookie_says_so() {
    let mut scene = scene(&["serve"]);
    scene.launch.cookie = Cookie::new("ANOTHER", "yes");
    let error = scene.failure().await;
    let expected =
        "ended before it served: exit status: 1; its last words: this is a plugin, and not to be run by hand";
    assert_eq!(chain(&error), expected);
}

#[tokio::test]
async fn net_rpc_is_refused_by_name() {
    let error = scene(&["line", "1|2|unix|/x|netrpc"]).failure().await; // H-19
    assert!(
        matches!(error, StartError::Handshake { error: HandshakeError::NetRpc { version: 2 }, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let error = scene(&["flood-stdout"]).failure().await; // H-28
    let found =
        matches!(error, StartError::Handshake { error: HandshakeError::TooLong { limit: 65536, .. }, .. });
    assert!(found, "{error}");
}

#[tokio::test]
async fn a_child_that_says_nothing_is_killed_when_its_time_is_over() {
    let usual = Launch::new(ROGUE, Cookie::new("ROGUE", "yes"), Versions::from([1]));
    assert_eq!(usual.start_timeout, Duration::from_secs(60)); // H-25
    let mut scene = scene(&["piece", "1|1|"]);
    scene.launch.start_timeout = PATIENCE;
    let error = scene.failure().await;
    assert_eq!(chain(&error), r#"did not serve within 3s; it printed "1|1|" and did not end the line"#);
}

#[tokio::test]
async fn a_flood_of_complaints_does_not_keep_the_time_from_passing() {
    let mut scene = scene(&["flood-stderr"]);
    // Nobody would read as many entries as come.
    scene.launch.sink = Arc::new(portcullis_goplugin::Discard);
    scene.launch.start_timeout = PATIENCE;
    match scene.failure().await {
        StartError::TimedOut { evidence: Some(Evidence::LastWords(words)), .. } => {
            assert!(words.len() <= 4096 && words.starts_with("xxx"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_whose_first_process_is_gone_did_not_start() {
    // It serves, in a way: the line is fine, and somebody listens. But its process ended.
    let base = tempfile::tempdir().expect("there is room for a directory");
    let path = base.path().join("ours");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("the directory is new");
    let line = format!("1|1|unix|{}|grpc|", path.display());
    let scene = scene(&["line-and-exit", &line]);
    match scene.launch.start().await {
        Err(error) => assert_eq!(chain(&error), "ended before it served: exit status: 0"),
        // The line came first. Then its end is told like that of any other plugin.
        Ok(plugin) => assert!(!plugin.gone().wait().await.requested),
    }
}
