//! Supervision, on a clock that only moves when everybody waits.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::StreamExt as _;
use portcullis_contract::{BackendName, Chunk, Execute, Json, Limits, Output, Provider, ProviderName, chain};
use tokio::time::Instant;

use super::restarts::FORGIVEN_AFTER;
use super::*;
use crate::fake::{Answer, FakeBackend, World, spec};

mod call_log;

const SECOND: Duration = Duration::from_secs(1);

async fn launched(limits: Limits) -> (Arc<World>, Supervised<ProviderKind>) {
    let world = Arc::new(World::default());
    let backend = Arc::new(FakeBackend(BackendName::Process, Arc::clone(&world)));
    let plugin = launch(backend, PluginSpec { limits, ..spec("p") }, 60 * SECOND).await.unwrap();
    world.log();
    (world, plugin)
}

fn within(limit: Duration) -> Call {
    Call { deadline: Some((Instant::now() + limit).into_std()) }
}

fn request() -> Execute {
    Execute::new(ProviderName::new("p"), Json::from_text("{}"))
}

async fn ask(plugin: &Supervised<ProviderKind>, call: Call) -> Result<Output, String> {
    plugin.execute(&call, request()).await.map_err(|e| chain(&e))
}

async fn last_of_stream(plugin: &Supervised<ProviderKind>, call: Call) -> Result<Chunk, String> {
    let mut chunks = plugin.execute_stream(&call, request());
    let mut last = None;
    while let Some(chunk) = chunks.next().await {
        last = Some(chunk);
    }
    last.unwrap().map_err(|e| chain(&e))
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_and_the_plugins_wall_are_told_apart() {
    let (world, plugin) = launched(Limits { wall: Some(5 * SECOND), ..Limits::default() }).await;
    world.next([Answer::Hang, Answer::Hang, Answer::Hang, Answer::Hang]);

    assert_eq!(ask(&plugin, within(2 * SECOND)).await, Err("no answer within 2s".to_owned()));
    let wall = "limit wall reached: asked more, allowed 5s";
    assert_eq!(ask(&plugin, within(9 * SECOND)).await, Err(wall.to_owned()));
    assert_eq!(ask(&plugin, Call::default()).await, Err(wall.to_owned()));
    assert_eq!(last_of_stream(&plugin, within(2 * SECOND)).await, Err("no answer within 2s".to_owned()));

    // A stuck call spoils nothing.
    assert!(ask(&plugin, within(SECOND)).await.is_ok());
    assert_eq!(world.log(), ["stream"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_with_the_deadline_is_put_down_to_it() {
    let (world, plugin) = launched(Limits { wall: Some(5 * SECOND), ..Limits::default() }).await;
    world.next([2_u32, 5, 2, 1].map(|seconds| Answer::RefuseAfter(seconds * SECOND)));

    assert_eq!(ask(&plugin, within(2 * SECOND)).await, Err("no answer within 2s".to_owned()));
    let wall = "limit wall reached: asked more, allowed 5s";
    assert_eq!(ask(&plugin, Call::default()).await, Err(wall.to_owned()));
    assert_eq!(last_of_stream(&plugin, within(2 * SECOND)).await, Err("no answer within 2s".to_owned()));
    assert_eq!(ask(&plugin, within(2 * SECOND)).await, Err("cancelled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_on_and_on_meets_its_wall() {
    let (world, plugin) = launched(Limits { wall: Some(5 * SECOND), ..Limits::default() }).await;
    world.next([Answer::EchoAfter(9 * SECOND)]);
    let said = last_of_stream(&plugin, Call::default()).await.unwrap_err();
    assert_eq!(said, "limit wall reached: asked more, allowed 5s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_always_ahead_of_its_reader_meets_its_wall_too() {
    let (world, plugin) = launched(Limits { wall: Some(5 * SECOND), ..Limits::default() }).await;
    world.next([Answer::Pieces(vec![Chunk::Stdout("more".into()); 100])]);
    let mut chunks = plugin.execute_stream(&Call::default(), request());
    let (mut read, mut last) = (0, None);
    while let Some(chunk) = chunks.next().await {
        read += 1;
        last = Some(chunk);
        tokio::time::advance(SECOND).await;
    }
    assert!(chunks.next().await.is_none(), "what is over stays over");
    let said = last.unwrap().unwrap_err().to_string();
    assert_eq!((read, said.as_str()), (6, "limit wall reached: asked more, allowed 5s"));
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_wait_for_their_turn_on_their_own_clock() {
    let limits = Limits { concurrency: Some(1), wall: Some(5 * SECOND), ..Limits::default() };
    let (world, plugin) = launched(limits).await;
    world.next([Answer::EchoAfter(3 * SECOND), Answer::EchoAfter(SECOND)]);
    let begun = Instant::now();

    let (first, second) = tokio::join!(ask(&plugin, Call::default()), ask(&plugin, Call::default()));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(begun.elapsed(), 4 * SECOND);

    world.next([Answer::Hang]);
    let (_, short, long) = tokio::join!(
        ask(&plugin, Call::default()),
        ask(&plugin, within(SECOND)),
        ask(&plugin, Call::default())
    );
    assert_eq!(short, Err("no answer within 1s".to_owned()));
    assert_eq!(long, Err("limit concurrency reached: asked 2, allowed 1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_turns_at_all_is_said_at_once() {
    let (_world, plugin) = launched(Limits { concurrency: Some(0), ..Limits::default() }).await;
    let said = ask(&plugin, Call::default()).await;
    assert_eq!(said, Err("limit concurrency reached: asked 1, allowed 0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_gives_its_turn_back() {
    let (world, plugin) = launched(Limits { concurrency: Some(1), ..Limits::default() }).await;
    world.next([Answer::Pieces(vec![Chunk::Stdout("a".into()), Chunk::Stdout("b".into())])]);
    let mut chunks = plugin.execute_stream(&Call::default(), request());
    assert!(chunks.next().await.is_some());

    assert!(ask(&plugin, within(SECOND)).await.is_err());
    drop(chunks);
    assert!(ask(&plugin, within(SECOND)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_learns_of_the_end() {
    let (world, plugin) = launched(Limits { concurrency: Some(1), ..Limits::default() }).await;
    world.next([Answer::Pieces(vec![Chunk::Stdout("a".into()), Chunk::Stdout("b".into())])]);
    let mut unread = plugin.execute_stream(&Call::default(), request());
    assert!(unread.next().await.is_some());

    let waits = tokio::time::timeout(SECOND, ask(&plugin, Call::default()));
    let (said, ()) = tokio::join!(waits, async {
        tokio::task::yield_now().await;
        plugin.kill().await;
    });
    assert_eq!(said.unwrap(), Err("the plugin is shut down".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_died_is_started_again_and_told_what_it_had_been_told() {
    let (world, plugin) = launched(Limits::default()).await;
    let told = Configuration { binary_name: "b".to_owned(), ..Configuration::default() };
    plugin.configure(&Call::default(), &ProviderName::new("p"), &told).await.unwrap();
    world.next([Answer::Die]);
    world.log();
    let begun = Instant::now();

    let died = ask(&plugin, Call::default()).await;
    assert_eq!(died, Err("the plugin stopped before it answered: exit status 3".to_owned()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(ask(&plugin, Call::default()).await.is_ok());

    assert_eq!(begun.elapsed(), FIRST_PAUSE);
    assert_eq!(world.log(), ["shutdown p 0ns", "drop p", "launch p", "configure p as b"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_died_while_it_was_configured_is_configured_when_it_is_started_again() {
    let (world, plugin) = launched(Limits::default()).await;
    let told = Configuration { binary_name: "b".to_owned(), ..Configuration::default() };
    world.dies_configured.store(true, SeqCst);
    plugin.configure(&Call::default(), &ProviderName::new("p"), &told).await.unwrap_err();
    world.log();

    assert!(ask(&plugin, Call::default()).await.is_ok());
    assert_eq!(world.log(), ["launch p", "configure p as b"]);

    // One that is known to be good is not given up for one that killed it.
    let deadly = Configuration { binary_name: "d".to_owned(), ..Configuration::default() };
    world.dies_configured.store(true, SeqCst);
    plugin.configure(&Call::default(), &ProviderName::new("p"), &deadly).await.unwrap_err();
    world.log();
    assert!(ask(&plugin, Call::default()).await.is_ok());
    assert_eq!(world.log(), ["launch p", "configure p as b"]);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_died_between_two_calls_costs_a_restart_and_no_call() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next(vec![Answer::EchoAndDie; 6]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        assert!(ask(&plugin, Call::default()).await.is_ok());
        pauses.push(begun.elapsed().as_secs());
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16]);
    assert_eq!(world.log()[..4], ["shutdown p 0ns", "drop p", "launch p", "shutdown p 0ns"]);

    let said = last_of_stream(&plugin, Call::default()).await.unwrap_err();
    let quarantine = "in quarantine after 5 restarts, the last because: it ended between two calls;";
    assert!(said.contains(quarantine), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_ends_a_call_and_not_the_plugin_costs_no_restart() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next(vec![Answer::Trap; 10]);
    world.log();
    let begun = Instant::now();
    for _ in 0..10 {
        assert!(ask(&plugin, Call::default()).await.is_err());
    }
    assert!(ask(&plugin, Call::default()).await.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(world.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_and_then_it_is_left_alone() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next(vec![Answer::Die; 6]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        assert!(ask(&plugin, Call::default()).await.is_err());
        pauses.push(begun.elapsed().as_secs());
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16]);

    let said = ask(&plugin, Call::default()).await.unwrap_err();
    let quarantine = "in quarantine after 5 restarts, the last because: exit status 3; it is left alone until its \
        quarantine is lifted or the host starts anew";
    assert_eq!(said, format!("the plugin stopped before it answered: {quarantine}"));
    assert_eq!(plugin.quarantine().as_deref(), Some(quarantine));

    plugin.lift_quarantine();
    assert!(ask(&plugin, Call::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn restarts_are_forgiven_after_a_while() {
    let (world, plugin) = launched(Limits::default()).await;
    for _ in 0..20 {
        world.next([Answer::EchoAfter(FORGIVEN_AFTER), Answer::Die]);
        assert!(ask(&plugin, Call::default()).await.is_ok());
        assert!(ask(&plugin, Call::default()).await.is_err());
    }
    assert_eq!(plugin.quarantine(), None);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_waited_for_on_the_calls_own_clock_and_done_once() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    assert!(ask(&plugin, Call::default()).await.is_err());
    world.log();

    let (impatient, first, second) = tokio::join!(
        ask(&plugin, within(SECOND / 2)),
        ask(&plugin, Call::default()),
        ask(&plugin, Call::default())
    );
    assert_eq!(impatient, Err("no answer within 500ms".to_owned()));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(world.log(), ["launch p"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_when_the_call_that_began_it_is_given_up() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    world.launches.lock().unwrap().push_back(Some(20 * SECOND));
    assert!(ask(&plugin, Call::default()).await.is_err());
    world.log();

    let mut given_up = 0;
    while let Err(said) = ask(&plugin, within(2 * SECOND)).await {
        assert_eq!(said, "no answer within 2s");
        given_up += 1;
        assert!(given_up < 20);
    }
    assert!(given_up > 1);
    assert_eq!(world.log(), ["launch p"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_looked_at_again_keeps_no_other_from_a_restart() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    assert!(ask(&plugin, Call::default()).await.is_err());
    world.log();

    let mut unread = plugin.execute_stream(&Call::default(), request());
    assert!(tokio::time::timeout(SECOND / 2, unread.next()).await.is_err());
    assert!(ask(&plugin, within(9 * SECOND)).await.is_ok());
    assert_eq!(world.log(), ["launch p"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_slept_through_a_restart_that_failed_waits_for_the_next() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    world.launches.lock().unwrap().push_back(None);
    assert!(ask(&plugin, Call::default()).await.is_err());

    let mut late = plugin.execute_stream(&Call::default(), request());
    assert!(tokio::time::timeout(SECOND / 2, late.next()).await.is_err());
    assert!(ask(&plugin, Call::default()).await.is_err());
    let launches = world.specs.lock().unwrap().len();
    assert!(tokio::time::timeout(SECOND, late.next()).await.is_err());
    assert_eq!(world.specs.lock().unwrap().len(), launches);
    assert!(late.next().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_under_way_ends_with_the_plugin() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    world.launches.lock().unwrap().push_back(Some(9 * SECOND));
    assert!(ask(&plugin, Call::default()).await.is_err());
    assert!(ask(&plugin, within(2 * SECOND)).await.is_err());
    world.log();

    plugin.kill().await;
    assert_eq!(ask(&plugin, Call::default()).await, Err("the plugin is shut down".to_owned()));
    // Had it come up, it would have been dropped.
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(world.log(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_fails_says_why_and_counts() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Die]);
    world.launches.lock().unwrap().extend([None, Some(61 * SECOND)]);
    assert!(ask(&plugin, Call::default()).await.is_err());

    let lost = |why: &str| {
        Err(format!(
            "the plugin stopped before it answered: it could not be started again: did not start: {why}"
        ))
    };
    assert_eq!(ask(&plugin, Call::default()).await, lost("the fake does not start"));
    assert_eq!(ask(&plugin, Call::default()).await, lost("not up within 60s"));
    assert!(ask(&plugin, Call::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_is_never_done_with_its_configuration_has_failed() {
    let (world, plugin) = launched(Limits::default()).await;
    let told = Configuration { binary_name: "b".to_owned(), ..Configuration::default() };
    plugin.configure(&Call::default(), &ProviderName::new("p"), &told).await.unwrap();
    world.next([Answer::Die]);
    assert!(ask(&plugin, Call::default()).await.is_err());
    *world.configuring.lock().unwrap() = 3600 * SECOND;
    let said = ask(&plugin, Call::default()).await.unwrap_err();
    assert!(said.ends_with("it could not be started again: not configured within 60s"), "{said}");

    *world.configuring.lock().unwrap() = Duration::ZERO;
    assert!(ask(&plugin, Call::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_takes_too_long_has_failed() {
    let world = Arc::new(World::default());
    world.launches.lock().unwrap().push_back(Some(61 * SECOND));
    let backend = Arc::new(FakeBackend(BackendName::Process, world));
    let error = launch::<ProviderKind>(backend, spec("p"), 60 * SECOND).await.unwrap_err();
    assert_eq!(chain(&error), "did not start: not up within 60s");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_calls_end_and_takes_no_new_ones() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::EchoAfter(SECOND), Answer::Hang]);

    let (fine, stuck, ()) =
        tokio::join!(ask(&plugin, Call::default()), ask(&plugin, Call::default()), async {
            tokio::task::yield_now().await;
            plugin.shutdown(2 * SECOND).await;
        });
    assert!(fine.is_ok());
    assert_eq!(stuck, Err("the plugin is shut down".to_owned()));
    assert_eq!(ask(&plugin, Call::default()).await, Err("the plugin is shut down".to_owned()));

    plugin.shutdown(2 * SECOND).await;
    assert_eq!(world.log(), ["shutdown p 2s", "drop p"]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_overtakes_a_shutdown() {
    for grace in [None, Some(Duration::ZERO)] {
        let (world, plugin) = launched(Limits::default()).await;
        let begun = Instant::now();
        tokio::join!(plugin.shutdown(9 * SECOND), async {
            tokio::time::sleep(SECOND).await;
            match grace {
                None => plugin.kill().await,
                Some(none) => plugin.shutdown(none).await,
            }
        });
        assert_eq!(begun.elapsed(), SECOND);
        assert_eq!(world.log(), ["shutdown p 9s", "shutdown p 0ns", "drop p"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_leaves_the_first_ones_grace_and_ends_with_it() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::EchoAfter(3 * SECOND)]);
    let begun = Instant::now();
    let (answer, (), ended) = tokio::join!(
        ask(&plugin, Call::default()),
        async {
            tokio::task::yield_now().await;
            plugin.shutdown(4 * SECOND).await;
        },
        async {
            tokio::time::sleep(SECOND).await;
            plugin.shutdown(SECOND).await;
            begun.elapsed()
        }
    );
    assert!(answer.is_ok());
    assert_eq!(ended, 4 * SECOND);
    assert_eq!(world.log(), ["shutdown p 4s", "drop p"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_shutdown_that_was_given_up() {
    let (world, plugin) = launched(Limits::default()).await;
    let given_up = tokio::time::timeout(SECOND, plugin.shutdown(4 * SECOND)).await;
    assert!(given_up.is_err());
    assert_eq!(world.log(), ["shutdown p 4s", "drop p"]);

    assert!(tokio::time::timeout(SECOND, plugin.shutdown(4 * SECOND)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_ends_when_it_is_dropped_whatever_goes_on() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Hang]);
    let mut chunks = plugin.execute_stream(&Call::default(), request());
    let waiting = tokio::spawn(async move { chunks.next().await });
    tokio::task::yield_now().await;

    drop(plugin);

    assert!(matches!(waiting.await, Ok(Some(Err(CallError::Gone)))));
    assert_eq!(world.log(), ["stream", "drop p"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_keeps_no_plugin_alive() {
    let (world, plugin) = launched(Limits::default()).await;
    world.next([Answer::Pieces(vec![Chunk::Stdout("a".into()), Chunk::Stdout("b".into())])]);
    let mut chunks = plugin.execute_stream(&Call::default(), request());
    assert!(chunks.next().await.is_some());

    drop(plugin);

    assert_eq!(world.log(), ["stream", "drop p"]);
    drop(chunks);
}
