//! Coming to a Go plugin that already runs.

use std::time::Duration;

use portcullis_goplugin::{Attach, AttachError, Connection, Reattach};
use portcullis_goplugin_tests::Peer;
use tonic::Code;

use crate::scene::Mode::Plain;
use crate::scene::{LONG, Outcome, chain, scene};

/// Says of a plugin what another process would be told of it.
fn told(plugin: &Connection, test: bool) -> Reattach {
    let told = Reattach { address: plugin.address().clone(), pid: plugin.pid(), version: 3, test };
    Reattach::from_json(&told.to_json()).expect("it is written as it is read")
}

#[tokio::test]
async fn a_running_plugin_is_called_and_stopped_by_another_host() -> Outcome {
    let scene = scene("1.8", Plain); // H-73
    let (plugin, _) = scene.start().await?;
    let attached = Attach::new(told(&plugin, false)).connect().await?;
    assert_eq!((attached.pid(), attached.negotiated_version()), (plugin.pid(), 3));
    attached.ping(LONG).await?;
    let peer = Peer::new(attached.channel());
    assert_eq!(peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?, [1]);

    let exit = attached.stop(LONG).await;
    assert!(exit.requested && exit.status.is_none());
    assert_eq!(plugin.gone().wait().await.to_string(), "exit status: 0");
    let status = peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await.expect_err("it is gone");
    assert_eq!(status.code(), Code::Unavailable);
    Ok(())
}

#[tokio::test]
async fn letting_go_of_a_running_plugin_leaves_it_running() -> Outcome {
    let scene = scene("1.8", Plain);
    let (plugin, peer) = scene.start().await?;
    let attached = Attach::new(told(&plugin, false)).connect().await?;
    let (gone, ours) = (attached.gone(), Peer::new(attached.channel()));
    drop(attached);
    for peer in [&peer, &ours] {
        assert_eq!(peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?, [1]);
    }
    assert!(plugin.gone().exit().is_none() && gone.exit().is_none());
    plugin.kill();
    assert!(!tokio::time::timeout(LONG, gone.wait()).await?.requested);
    Ok(())
}

#[tokio::test]
async fn a_plugin_under_test_is_neither_asked_to_end_nor_killed() -> Outcome {
    let scene = scene("1.8", Plain); // H-74
    let (plugin, peer) = scene.start().await?;
    let attached = Attach::new(told(&plugin, true)).connect().await?;
    attached.kill();
    assert!(attached.stop(Duration::ZERO).await.requested);
    assert!(attached.stop(LONG).await.requested);
    assert_eq!(peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?, [1]);
    assert!(plugin.gone().exit().is_none());
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_running_plugin_is_noticed() -> Outcome {
    let scene = scene("1.8", Plain); // H-73
    let (plugin, _) = scene.start().await?;
    let attached = Attach::new(told(&plugin, false)).connect().await?;
    plugin.kill();
    let exit = tokio::time::timeout(LONG, attached.gone().wait()).await?;
    assert!(!exit.requested);
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_not_attached_to_and_nobody_is_killed() -> Outcome {
    let scene = scene("1.8", Plain); // H-73
    let (plugin, peer) = scene.start().await?;
    let elsewhere = portcullis_goplugin::Address::parse("unix", "/no/such/socket")?;
    let wrong = Reattach { address: elsewhere, ..told(&plugin, false) };
    let error = Attach::new(wrong).connect().await.expect_err("nobody listens there");
    let expected = "cannot connect to it at /no/such/socket: No such file or directory (os error 2)";
    assert_eq!(chain(&error), expected);
    assert_eq!(peer.call::<_, Vec<u8>>("Echo", vec![1_u8]).await?, [1]);

    for pid in [0, u32::MAX] {
        let wrong = Reattach { pid, ..told(&plugin, false) };
        let error = Attach::new(wrong).connect().await.expect_err("there is no such process");
        assert!(matches!(error, AttachError::Process { .. }), "{error}");
    }
    Ok(())
}
