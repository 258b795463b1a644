//! How all plugins are stopped, and what comes up meanwhile.

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn all_plugins_are_stopped_at_once_and_killed_when_asked_twice() {
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b")]);
    let host = Host::new(Setup { patience: Patience::default(), ..house.setup() });
    for name in ["a.wasm", "b.wasm"] {
        host.find(&Wanted::File(house.path(name), None), Describe::Trusted).await.unwrap();
    }
    house.world.log();
    let begun = Instant::now();

    tokio::join!(host.stop_all(), async {
        tokio::time::sleep(SECOND).await;
        host.stop_all().await;
    });

    assert_eq!(begun.elapsed(), SECOND);
    let mut log = house.world.log();
    log.sort();
    let expected = ["drop a", "drop b", "shutdown a 0ns", "shutdown a 2s", "shutdown b 0ns", "shutdown b 2s"];
    assert_eq!(log, expected);

    house.write("c.wasm", "c");
    assert_eq!(house.run(&host, "c").await, Err("the host is shut down".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_comes_up_while_all_are_stopped_does_not_stay() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;
    let wanted = Wanted::File(house.path("a.wasm"), None);

    let (found, ()) = tokio::join!(host.find(&wanted, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        host.stop_all().await;
    });

    assert!(matches!(found, Err(FindError::Stopping)));
    let expected = ["launch a", "configure a as portcullis", "shutdown a 0ns", "drop a"];
    assert_eq!(house.world.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_plugin_that_is_being_stopped_cuts_no_grace() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = Host::new(Setup { patience: Patience::default(), ..house.setup() });
    let wanted = Wanted::File(house.path("a.wasm"), None);
    host.find(&wanted, Describe::Trusted).await.unwrap();
    house.world.log();

    let ((), found) = tokio::join!(host.stop_all(), async {
        tokio::time::sleep(SECOND).await;
        host.find(&wanted, Describe::Trusted).await
    });

    assert!(matches!(found, Err(FindError::Stopping)));
    assert_eq!(house.world.log(), ["shutdown a 2s", "drop a"]);
}

#[test]
fn who_looks_through_directories_while_the_runtime_ends_waits_for_its_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _in_it = handle.enter();
    let host = House::new(&[]).host();
    assert!(host.list(Describe::Trusted).now_or_never().is_none());
}

#[test]
fn who_waits_from_outside_for_a_runtime_that_has_ended_is_not_left_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let host = House::new(&[]).host();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(handle.block_on(host.list(Describe::Trusted)).is_ok()));
    assert_eq!(told.recv_timeout(60 * SECOND), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

/// As whoever replaces the file of a plugin does.
#[tokio::test]
async fn what_was_shut_down_is_started_anew_for_whoever_wants_it_next() {
    let house = House::new(&[("a.wasm", "one"), ("b.wasm", "auth:door")]);
    let host = house.host();
    let (one, door) = (Wanted::Named("one".to_owned()), Wanted::Named("door".to_owned()));
    let old = host.find(&one, Describe::Trusted).await.unwrap();
    let old_door = host.find_auth_handler(&door, Describe::Trusted).await.unwrap();
    house.write("a.wasm", "one two");

    old.plugin.shutdown(SECOND).await;
    old_door.plugin.shutdown(SECOND).await;

    let new = host.find(&one, Describe::Trusted).await.unwrap();
    assert_ne!(new.plugin.info().digest, old.plugin.info().digest);
    assert!(house.run(&host, "two").await.is_ok());
    assert!(Arc::ptr_eq(&host.registry().get("one").unwrap(), &new));
    let file = Wanted::File(house.path("b.wasm"), None);
    let new_door = host.find_auth_handler(&file, Describe::Trusted).await.unwrap();
    assert!(new_door.plugin.is_running());
    assert!(Arc::ptr_eq(&host.auth_registry().get(new_door.name()).unwrap(), &new_door));

    host.stop_all().await;
    for wanted in [one, Wanted::File(house.path("a.wasm"), Some("one".to_owned()))] {
        assert!(
            matches!(host.find(&wanted, Describe::Trusted).await, Err(FindError::Stopping)),
            "{wanted:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_plugin_that_is_being_stopped_does_not_hide_it_from_a_second_stop() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = Host::new(Setup { patience: Patience::default(), ..house.setup() });
    let wanted = Wanted::File(house.path("a.wasm"), None);
    host.find(&wanted, Describe::Trusted).await.unwrap();
    let mut stopping = std::pin::pin!(host.stop_all());
    assert!(futures_util::poll!(stopping.as_mut()).is_pending());
    assert!(matches!(host.find(&wanted, Describe::Trusted).await, Err(FindError::Stopping)));
    let begun = Instant::now();
    tokio::join!(stopping, host.stop_all());
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits for its grace");
}
