//! Our host, with plugins that are built from the published go-plugin.
//!
//! What holds in every mode is tried in every mode, and with every version that has it. 1.4 knows no multiplexing.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use portcullis_goplugin::{BrokerError, Environment, HandshakeError, StartError, Stdio};
use portcullis_goplugin_tests::{CALLED_BACK, Echo, Peer};
use rustix::process::{Pid, Signal};
use test_case::test_matrix;
use tonic::Code;
use tonic::service::Routes;

use crate::scene::Mode::{self, Both, Mux, Plain, Tls};
use crate::scene::{LONG, Outcome, called_back, offered, scene};

async fn everything(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode);
    let (plugin, peer) = scene.start().await?;
    assert_eq!(plugin.negotiated_version(), 3);
    plugin.ping(LONG).await?;

    // H-41, H-65: it is what was asked for, and the calls are the plugin's proof.
    let asked: String = peer.call("Environment", "PLUGIN_CLIENT_CERT".to_owned()).await?;
    assert_eq!(asked.starts_with("-----BEGIN CERTIFICATE-----\n"), matches!(mode, Tls | Both)); // H-05
    assert!(asked.is_empty() || asked.ends_with("-----END CERTIFICATE-----\n"));
    let asked: String = peer.call("Environment", "PLUGIN_MULTIPLEX_GRPC".to_owned()).await?;
    assert_eq!(asked, if matches!(mode, Mux | Both) { "true" } else { "" }); // H-04

    let answer: Vec<u8> = peer.call("Echo", b"there and back".to_vec()).await?;
    assert_eq!(answer, b"there and back");
    assert_eq!(peer.count(1000).await?, (0..1000).collect::<Vec<_>>());
    let large: Vec<u8> = peer.call("Large", 16 << 20).await?;
    assert_eq!(large.len(), 16 << 20); // H-45
    let status = peer.call::<_, ()>("Fail", 1 << 20).await.expect_err("it fails by request");
    assert_eq!((status.code(), status.message().len()), (Code::Internal, 1 << 20)); // H-46

    // The plugin calls us: H-42, H-56, H-63.
    let _serving = called_back(&plugin, &peer).await?;
    // We call what the plugin offers: H-57, H-62.
    let offered = offered(&plugin, &peer).await?;
    let answer: Vec<u8> = offered.call("Echo", vec![7; 100_000]).await?;
    assert_eq!(answer, vec![7; 100_000]);
    assert_eq!(offered.count(1000).await?.len(), 1000);

    // Stopping is quick with open streams and servers, and leaves nothing.
    let exit = plugin.stop(LONG).await; // H-67
    assert_eq!(exit.to_string(), "exit status: 0", "{exit:?}");
    scene.expect_nothing_left(); // H-70
    let status = peer.call::<_, Vec<u8>>("Echo", b"late".to_vec()).await.expect_err("it is gone");
    assert_eq!(status.code(), Code::Unavailable);
    Ok(())
}

#[tokio::test]
async fn a_status_may_have_megabytes() -> Outcome {
    let scene = scene("1.8", Plain);
    let (_plugin, peer) = scene.start().await?;
    let status = peer.call::<_, ()>("Fail", 6 << 20).await.expect_err("it fails by request");
    assert_eq!((status.code(), status.message().len()), (Code::Internal, 6 << 20)); // H-46
    Ok(())
}

#[test_matrix(["1.8", "1.6"], [Plain, Tls, Mux, Both])]
#[tokio::test]
async fn everything_works_in_every_mode(version: &str, mode: Mode) -> Outcome {
    everything(version, mode).await
}

#[test_matrix("1.4", [Plain, Tls])]
#[tokio::test]
async fn everything_works_with_a_plugin_from_before_multiplexing(version: &str, mode: Mode) -> Outcome {
    everything(version, mode).await
}

#[test_matrix("1.4", [Mux, Both])]
#[tokio::test]
async fn a_plugin_from_before_multiplexing_is_refused_by_name(version: &str, mode: Mode) {
    let mut scene = scene(version, mode); // H-24
    // It knows nothing of our directory, and has its socket there.
    scene.launch.environment = Environment::Only(vec![("TMPDIR".into(), scene.base.path().into())]);
    let error = scene.launch.start().await.expect_err("it has no multiplexing");
    assert!(matches!(error, StartError::Handshake { error: HandshakeError::NoMultiplexing, .. }), "{error}");
    scene.expect_nothing_left(); // H-70
}

#[test_matrix(["1.8", "1.6", "1.4"], Plain)]
#[test_matrix(["1.8", "1.6"], Both)]
#[tokio::test]
async fn what_it_prints_arrives(version: &str, mode: Mode) -> Outcome {
    let mut scene = scene(version, mode); // H-48, H-49
    let (_plugin, peer) = scene.start().await?;
    peer.call::<_, ()>("Print", "printed".repeat(1000)).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while stdout.len() < 7000 || stderr.len() < 7000 {
        match tokio::time::timeout(LONG, scene.prints.recv()).await?.ok_or("the prints ended")? {
            (Stdio::Stdout, piece) => stdout.extend(piece),
            (Stdio::Stderr, piece) => stderr.extend(piece),
        }
    }
    assert_eq!(stdout, "printed".repeat(1000).into_bytes());
    assert_eq!(stderr, "PRINTED".repeat(1000).into_bytes());
    Ok(())
}

#[test_matrix("1.8", [Plain, Tls, Mux, Both])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callbacks_at_once_are_not_mixed_up(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode); // H-59, H-62, H-64
    let (plugin, peer) = scene.start().await?;
    let callbacks = (0..16).map(|_| async { called_back(&plugin, &peer).await.map(drop) });
    let dials = (0..16_u8).map(|number| {
        let (plugin, peer) = (&plugin, &peer);
        async move {
            let answer: Vec<u8> = offered(plugin, peer).await?.call("Echo", vec![number]).await?;
            assert_eq!(answer, [number]);
            Ok::<_, Box<dyn Error>>(())
        }
    });
    let (callbacks, dials) = tokio::join!(join_all(callbacks), join_all(dials));
    for done in callbacks.into_iter().chain(dials) {
        done?;
    }
    Ok(())
}

#[test_matrix("1.8", [Plain, Mux])]
#[tokio::test]
async fn a_number_may_be_in_use_both_ways(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode); // H-59
    let (plugin, peer) = scene.start().await?;
    peer.call::<_, ()>("OfferAs", 77_u32).await?;
    let serving = plugin.broker().serve_as(77, Routes::new(Echo)).await?;
    let theirs = Peer::new(plugin.broker().dial(77).await?);
    let (ours, theirs) = tokio::join!(peer.call("CallBack", serving.id()), theirs.call("Echo", vec![1_u8]));
    assert_eq!((ours?, theirs?), (CALLED_BACK.to_vec(), vec![1_u8]));
    Ok(())
}

#[test_matrix("1.8", [Plain, Mux])]
#[tokio::test]
async fn a_number_that_nobody_offers_is_given_up_and_harms_nobody(version: &str, mode: Mode) -> Outcome {
    // Where a knock waits for it, Go's plugin lets us in before it has noted what for, and ends when we are there first (protocol spec 15.5).
    const TRIES: usize = 3;

    for _ in 1..TRIES {
        match a_number_that_nobody_offers(version, mode).await {
            Err(error) if mode == Mux && matches!(error.downcast_ref(), Some(BrokerError::Closed)) => {}
            harmed_or_not => return harmed_or_not,
        }
    }
    a_number_that_nobody_offers(version, mode).await
}

async fn a_number_that_nobody_offers(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode);
    let (plugin, peer) = scene.start().await?;
    let began = Instant::now();
    let error = plugin.broker().dial(99).await.expect_err("nobody offers it");
    match mode {
        Mux => assert!(matches!(error, BrokerError::Unanswered { id: 99 }), "{error}"),
        _ => assert!(matches!(error, BrokerError::Unannounced { id: 99 }), "{error}"),
    }
    assert!(began.elapsed() >= Duration::from_secs(5)); // H-57
    // In a multiplexed session the plugin answers when it comes to offer it, long after we gave up, and waits for a
    // stream then. The next one is nobody else's all the same.
    peer.call::<_, ()>("OfferAs", 99_u32).await?;
    let offered = offered(&plugin, &peer).await?;
    assert_eq!(offered.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?, [1]);
    let _serving = called_back(&plugin, &peer).await?;
    plugin.ping(LONG).await?;
    Ok(())
}

#[test_matrix("1.8", [Plain, Tls, Mux, Both])]
#[tokio::test]
async fn a_plugin_that_is_killed_ends_calls_both_ways_at_once(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode); // H-54, H-72
    let (plugin, peer) = scene.start().await?;
    let offered = offered(&plugin, &peer).await?;
    offered.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?;
    let _serving = called_back(&plugin, &peer).await?;

    let pid = Pid::from_raw(plugin.pid().cast_signed()).ok_or("a child has a number")?;
    let killed = async {
        // The calls are on their way when another one has come back.
        peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?;
        offered.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?;
        rustix::process::kill_process(pid, Signal::KILL)?;
        Ok::<_, Box<dyn Error>>(())
    };
    let calls = async {
        tokio::join!(
            peer.call::<_, ()>("Hang", ()),
            offered.call::<_, ()>("Hang", ()),
            plugin.broker().dial(55)
        )
    };
    let (calls, killed) = tokio::time::timeout(LONG, async { tokio::join!(calls, killed) }).await?;
    killed?;
    let (main, brokered, dial) = calls;
    assert_eq!(main.expect_err("it was killed").code(), Code::Unavailable);
    assert_eq!(brokered.expect_err("it was killed").code(), Code::Unavailable);
    assert!(matches!(dial, Err(BrokerError::Closed)));
    assert_eq!(plugin.gone().wait().await.to_string(), "signal: 9 (SIGKILL)");
    assert!(matches!(plugin.broker().serve(Routes::new(Echo)).await, Err(BrokerError::Closed)));
    scene.expect_nothing_left();
    Ok(())
}

#[test_matrix("1.8", [Plain, Both])]
#[tokio::test]
async fn a_plugin_that_exits_under_a_call_says_how(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode);
    let (plugin, peer) = scene.start().await?;
    let status = peer.call::<_, ()>("Exit", 7_u32).await.expect_err("it exits");
    assert_eq!(status.code(), Code::Unavailable);
    let exit = plugin.gone().wait().await;
    assert_eq!((exit.status.and_then(|status| status.code()), exit.requested), (Some(7), false));
    scene.expect_nothing_left();
    Ok(())
}

#[test_matrix("1.8", [Plain, Tls, Mux, Both])]
#[tokio::test]
async fn a_start_that_is_dropped_at_any_moment_leaves_nothing(version: &str, mode: Mode) {
    let scene = scene(version, mode);
    // From before the child exists to after it is connected to.
    for delay in [0, 1, 3, 6, 10, 20, 40, 80] {
        drop(tokio::time::timeout(Duration::from_millis(delay), scene.launch.start()).await);
        let until = Instant::now() + LONG;
        let left = || std::fs::read_dir(scene.base.path()).is_ok_and(|mut entries| entries.next().is_some());
        while left() {
            assert!(Instant::now() < until, "something is left after {delay} ms");
            tokio::task::yield_now().await;
        }
    }
}

/// It knows nothing of our directory, and nobody is left who would wait for its end.
#[test]
fn a_plugin_that_ends_with_its_hosts_runtime_leaves_no_socket_elsewhere() -> Outcome {
    let mut scene = scene("1.4", Plain); // H-70
    scene.launch.environment = Environment::Only(vec![("TMPDIR".into(), scene.base.path().into())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { scene.start().await.map(drop) })?;
    drop(runtime);
    scene.expect_nothing_left();
    Ok(())
}

#[test_matrix("1.8", [Mux, Both])]
#[tokio::test]
async fn everything_of_a_multiplexed_plugin_is_one_socket(version: &str, mode: Mode) -> Outcome {
    let scene = scene(version, mode); // H-61
    let (plugin, peer) = scene.start().await?;
    let _serving = called_back(&plugin, &peer).await?;
    offered(&plugin, &peer).await?.call::<_, Vec<u8>>("Echo", Vec::new()).await?;
    let mut sockets = BTreeSet::new();
    for directory in std::fs::read_dir(scene.base.path())? {
        for entry in std::fs::read_dir(directory?.path())? {
            sockets.insert(entry?.file_name().into_string().unwrap_or_default());
        }
    }
    sockets.remove("lock");
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    Ok(())
}
