//! Who comes while a plugin is being started, who gives up, and what is started again.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use portcullis_contract::HandlerName;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::*;

#[tokio::test(start_paused = true)]
async fn whoever_finds_a_provider_that_is_being_configured_waits_for_that() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;
    let [file, name] = [Wanted::File(house.path("a.wasm"), None), Wanted::Named("a".to_owned())];

    let (first, second) = tokio::join!(host.find(&file, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        let begun = Instant::now();
        host.find(&name, Describe::Trusted).await.map(|_| begun.elapsed())
    });

    assert!(first.is_ok());
    assert_eq!(second.unwrap(), SECOND);
    assert_eq!(house.world.log(), ["launch a", "configure a as portcullis"]);
}

#[test]
fn very_many_that_are_slow_to_configure_hold_nobody_up_and_the_first_are_warned_of() {
    let names: Vec<_> = (0..1000).map(|n| format!("p{n}")).collect();
    for kind in ["", "auth:"] {
        let house = House::new(&[("a.wasm", &(kind.to_owned() + &names.join(" ")))]);
        *house.world.configuring.lock().unwrap() = 2 * SECOND;
        let logged = Log::of(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (host, begun) = (house.host(), Instant::now());
                match kind {
                    "" => assert_eq!(host.start_everything().await.unwrap().len(), 1000),
                    _ => assert_eq!(host.start_every_auth_handler().await.unwrap().len(), 1000),
                }
                assert!(begun.elapsed() < 2 * Patience::default().process_launch);
            });
        });
        let lines = |part: &str| logged.iter().filter(|line| line.contains(part)).count();
        assert_eq!((lines("not configured"), lines("further warnings are left out")), (100, 1), "{kind:?}");
        // Of those for which there is no time, none is begun.
        let begun = house.world.log().iter().filter(|line| line.starts_with("configure ")).count();
        assert!(begun <= 31, "{kind:?}: {begun}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_starter_gave_up_is_configured_all_the_same_and_stopped_with_the_others() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;
    let [file, name] = [Wanted::File(house.path("a.wasm"), None), Wanted::Named("a".to_owned())];
    let hasty = Run { timeout: Some(SECOND), ..Run::default() };
    let said = host.run(&file, Describe::Trusted, hasty, None).await.unwrap_err();
    assert_eq!(said.to_string(), "no answer within 1s");

    for wanted in [name, file] {
        host.find(&wanted, Describe::Trusted).await.unwrap();
    }

    assert_eq!(house.world.log(), ["launch a", "configure a as portcullis"]);
    host.stop_all().await;
    assert_eq!(house.world.log(), ["shutdown a 0ns", "drop a"]);
}

#[tokio::test(start_paused = true)]
async fn auth_handlers_whose_starter_gave_up_are_registered_all_the_same() {
    let house = House::new(&[("a.wasm", "auth:door side")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;
    let wanted = Wanted::File(house.path("a.wasm"), Some("door".to_owned()));
    let hasty = timeout(3 * SECOND, host.find_auth_handler(&wanted, Describe::Trusted));
    assert!(hasty.await.is_err());
    assert_eq!(host.auth_registry().names(), [HandlerName::new("door")]);

    host.find_auth_handler(&wanted, Describe::Trusted).await.unwrap();

    let [door, side] = ["configure door as portcullis", "configure side as portcullis"];
    assert_eq!(house.world.log(), ["launch a as an auth handler", door, side]);
    assert_eq!(host.auth_registry().names(), ["door", "side"].map(HandlerName::new));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_slower_than_anybody_waits_comes_up_all_the_same() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    // It is asked what it offers, and started.
    house.world.launches.lock().unwrap().extend([Some(20 * SECOND); 2]);
    let wanted = Wanted::Named("a".to_owned());

    let mut given_up = 0;
    while timeout(3 * SECOND, host.find(&wanted, Describe::Trusted)).await.is_err() {
        given_up += 1;
        assert!(given_up < 20);
    }

    assert!(given_up > 1);
    assert_eq!(
        house.world.log(),
        ["launch a", "shutdown a 0ns", "drop a", "launch a", "configure a as portcullis"]
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_start_and_is_not_looked_at_again_keeps_no_other_from_the_plugin() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    house.world.launches.lock().unwrap().push_back(Some(2 * SECOND));
    let wanted = Wanted::File(house.path("a.wasm"), None);
    assert!(timeout(SECOND, host.find(&wanted, Describe::Trusted)).await.is_err());

    let mut unread = Box::pin(host.find(&wanted, Describe::Trusted));
    assert!(timeout(SECOND / 2, &mut unread).await.is_err());
    let found = timeout(9 * SECOND, host.find(&wanted, Describe::Trusted)).await;

    assert!(found.is_ok_and(|found| found.is_ok()));
    assert_eq!(house.world.log(), ["launch a", "configure a as portcullis"]);
}

#[tokio::test(start_paused = true)]
async fn an_early_finder_who_is_not_looked_at_again_keeps_no_other_from_the_plugin() {
    let house = House::new(&[("a.wasm", "a b")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;
    let [file, name] =
        [Wanted::File(house.path("a.wasm"), Some("a".to_owned())), Wanted::Named("b".to_owned())];
    assert!(timeout(SECOND, host.find(&file, Describe::Trusted)).await.is_err());

    let mut unread = Box::pin(host.find(&name, Describe::Trusted));
    assert!(timeout(SECOND / 2, &mut unread).await.is_err());
    let found = timeout(9 * SECOND, host.find(&file, Describe::Trusted)).await;

    assert!(found.is_ok_and(|found| found.is_ok()));
    let expected = ["launch a", "configure a as portcullis", "configure b as portcullis"];
    assert_eq!(house.world.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_a_start_fails_does_not_have_it_tried_again() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    house.world.launches.lock().unwrap().push_back(Some(3600 * SECOND));
    let wanted = Wanted::File(house.path("a.wasm"), None);

    let (slow, hasty) = tokio::join!(host.find(&wanted, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        timeout(SECOND, host.find(&wanted, Describe::Trusted)).await
    });

    assert!(slow.is_err() && hasty.is_err());
    tokio::time::sleep(SECOND).await;
    assert_eq!(house.world.log(), ["launch a"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_while_it_is_started_is_started_as_what_it_is_now() {
    let house = House::new(&[("a.wasm", "one")]);
    let host = house.host();
    house.world.launches.lock().unwrap().push_back(Some(2 * SECOND));
    let wanted = Wanted::File(house.path("a.wasm"), None);

    let (found, ()) = tokio::join!(host.find(&wanted, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        house.write("a.wasm", "other");
    });

    assert_eq!(found.unwrap().name(), "other");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_goes_while_another_is_asked_is_none_that_cannot_be_read() {
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b")]);
    let host = house.host();
    house.world.launches.lock().unwrap().push_back(Some(2 * SECOND));

    let (listing, ()) = tokio::join!(host.list(Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        fs::remove_file(house.path("b.wasm")).unwrap();
    });

    let listing = listing.unwrap();
    assert_eq!(offers(&listing), ["a: a"]);
    assert!(listing.unusable.is_empty(), "{:?}", listing.unusable);

    let house = House::new(&[("a.wasm", "auth:door"), ("b.wasm", "auth:side")]);
    let host = house.host();
    house.world.launches.lock().unwrap().push_back(Some(2 * SECOND));

    let (found, ()) = tokio::join!(host.auth_handlers(Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        fs::remove_file(house.path("b.wasm")).unwrap();
    });

    let found = found.unwrap();
    assert_eq!(found.handlers.len(), 1);
    assert!(found.failed.is_empty(), "{:?}", found.failed);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_waits_for_ends_with_the_host() {
    for is_stopped in [true, false] {
        let house = House::new(&[("a.wasm", "a")]);
        let host = Host::new(Setup { patience: Patience::default(), ..house.setup() });
        house.world.launches.lock().unwrap().push_back(Some(20 * SECOND));
        let wanted = Wanted::File(house.path("a.wasm"), None);
        assert!(timeout(SECOND, host.find(&wanted, Describe::Trusted)).await.is_err());
        let begun = Instant::now();
        if is_stopped {
            host.stop_all().await;
        }
        drop(host);

        assert_eq!(begun.elapsed(), Duration::ZERO);
        // Had it come up, it would have been ended.
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(house.world.log(), ["launch a"]);
    }
}

#[test]
fn a_start_whose_runtime_stands_still_keeps_no_plugin_of_a_host_that_was_dropped() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b"), ("c.wasm", "auth:door")]);
    let host = house.host();
    runtime.block_on(async {
        let [a, b, c] = ["a.wasm", "b.wasm", "c.wasm"].map(|name| Wanted::File(house.path(name), None));
        assert!(host.find(&b, Describe::Trusted).await.is_ok());
        assert!(host.find_auth_handler(&c, Describe::Trusted).await.is_ok());
        house.world.launches.lock().unwrap().push_back(Some(20 * SECOND));
        assert!(timeout(SECOND, host.find(&a, Describe::Trusted)).await.is_err());
    });
    house.world.log();

    drop(host);

    let mut log = house.world.log();
    log.sort();
    assert_eq!(log, ["drop b", "drop c"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_in_quarantine_has_another_try_once_that_is_lifted() {
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b")]);
    let host = house.host();
    let [a, b] = ["a", "b"].map(PluginName::new);
    assert!(house.run(&host, "b").await.is_ok());
    house.world.next(vec![Answer::Die; 6]);
    for _ in 0..6 {
        assert!(house.run(&host, "a").await.is_err());
    }
    let said = house.run(&host, "a").await.unwrap_err();
    assert!(said.contains("in quarantine after 5 restarts"), "{said}");

    assert!(!host.lift_quarantine(&b));
    assert!(host.lift_quarantine(&a));

    assert!(house.run(&host, "a").await.is_ok());
    assert!(!host.lift_quarantine(&a));
}

/// Asks something of a host whenever something is logged of its plugins.
struct Asks(Arc<Host>, mpsc::Sender<bool>);

impl<S: tracing::Subscriber> Layer<S> for Asks {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "portcullis::supervise" {
            let (host, (tell, told)) = (Arc::clone(&self.0), mpsc::channel());
            // On another thread, which alone is stuck if there is no answer while this is logged.
            std::thread::spawn(move || tell.send(host.lift_quarantine(&PluginName::new("b"))));
            self.1.send(told.recv_timeout(60 * SECOND).expect("there is no answer")).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_log_may_ask_something_of_the_host_that_lifts_a_quarantine() {
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b")]);
    let (host, (tell, told)) = (Arc::new(house.host()), mpsc::channel());
    assert!(house.run(&host, "b").await.is_ok());
    house.world.next(vec![Answer::Die; 6]);
    for _ in 0..6 {
        assert!(house.run(&host, "a").await.is_err());
    }
    let log = tracing_subscriber::registry().with(Asks(Arc::clone(&host), tell));
    let _log = tracing::subscriber::set_default(log);

    assert!(host.lift_quarantine(&PluginName::new("a")));

    assert_eq!(told.try_iter().collect::<Vec<_>>(), [false]);
}

/// Where something is logged, and in which span.
type Logged = (&'static str, Option<&'static str>);

/// Writes down what this crate logs.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Logged>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let (target, span) = (event.metadata().target(), context.event_span(event));
        if target.starts_with("portcullis::host") {
            self.0.lock().unwrap().push((target, span.map(|span| span.name())));
        }
    }
}

/// Some of it is done by another thread, and some by a task that outlives whoever asked.
#[tokio::test]
async fn what_is_logged_of_a_start_stands_in_the_span_of_who_asked_for_it() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    std::os::unix::fs::symlink("nowhere", house.path("b.wasm")).unwrap();
    house.world.refuses_configuration.store(true, Ordering::SeqCst);
    let spans = Spans::default();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));

    let wanted = Wanted::Named("a".to_owned());
    host.find(&wanted, Describe::Trusted).instrument(tracing::info_span!("asked")).await.unwrap();

    let asked = Some("asked");
    let seen = std::mem::take(&mut *spans.0.lock().unwrap());
    assert_eq!(seen, [("portcullis::host::discover", asked), ("portcullis::host::start", asked)]);
}

/// As of two builds of one plugin in two directories, the first of which was just made.
#[tokio::test]
async fn what_is_unknown_and_comes_first_is_asked_before_what_is_known_is_used() {
    let house = House::new(&[("z-one", "one")]);
    assert!(house.run(&house.host(), "one").await.is_ok());
    house.launches();

    house.write("a-two", "two");
    house.write("b.wasm", "three");
    house.write("x-one", "");
    house.write("y-one", "one two");
    house.write("zz-one", "one");
    assert!(house.run(&house.host(), "one").await.is_ok());
    assert_eq!(house.launches(), ["launch x-one", "launch y-one", "launch y-one"]);
}
