//! What only a component can do to us, or for us.

use std::error::Error;
use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use futures_util::{StreamExt as _, poll};
use portcullis::compile::Worker;
use portcullis::component::{CacheOptions, ComponentBackend, ComponentOptions, PrepareAhead};
use portcullis::contract::{
    Access, Amount, Backend, Call, CallError, FsGrant, InstanceReuse, LimitHit, LimitName, Limits,
    PluginName, PluginSpec, ProviderName, StopReason, chain,
};
use portcullis::policy::every_secret;
use portcullis_tests::{
    Door, Empty, Gathering, LONG, SOON, TestHost, TestResult, assert_matches, fixtures, generous, request,
};
use test_case::test_case;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_was_joined_from_several_runs() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let path = host.scratch().join("joined.wasm");
    fs::write(&path, fixtures::joined(&fixtures::guest("echo")))?;
    let plugin = host.launch_file(path).await?;
    let answer = plugin.execute("echo", r#"{"message":"hi"}"#).await?;
    assert!(answer.data.as_str().contains(r#""message":"hi""#), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_spins_is_stopped_at_its_cpu_limit() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { cpu: Some(Duration::from_millis(200)), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let stuck = plugin.execute("acrobat", r#"{"operation":"spin"}"#).await;
    let Err(CallError::Limit(LimitHit { which, allowed, .. })) = stuck else {
        panic!("a limit, not {stuck:?}")
    };
    assert_eq!((which, allowed), (LimitName::Cpu, Amount::Time(Duration::from_millis(200))));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_that_no_clock_shows_is_none() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { wall: Some(Duration::MAX), ..Limits::default() };
    host.launch("acrobat").await?.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    host.launch_auth("doorman").await?.status("door").await?;
    Ok(())
}

/// Takes memory before there is a call, in an acrobat that may have 16 MiB.
async fn execute_greedily(greed: &str, input: &str) -> Result<CallError, Box<dyn std::error::Error>> {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { memory: Some(16 << 20), ..Limits::default() };
    let path = host.scratch().join("greedy.wasm");
    let greed = format!("(func $greed {greed}) (start $greed)");
    fs::write(&path, fixtures::begun_with(&greed, &fixtures::guest("acrobat")))?;
    let plugin = host.launch_file(path).await?;
    plugin.execute("acrobat", input).await.err().ok_or_else(|| "it does not fall".into())
}

/// Is refused 16 MiB beside what it has, and goes on.
const TOO_MUCH: &str = "(drop (memory.grow (i32.const 256)))";

/// Memory that an instance takes before its call still counts during it. Runtimes of other languages end themselves
/// when they get no more.
#[test_case(r#"{"operation":"recurse"}"#; "and traps")]
#[test_case(r#"{"operation":"exit","code":1}"#; "and ends itself")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_takes_to_make_an_instance_counts_in_its_call(input: &str) -> TestResult {
    let fell = execute_greedily(TOO_MUCH, input).await?;
    let CallError::Limit(LimitHit { which, allowed, .. }) = fell else { panic!("a limit, not {fell:?}") };
    assert_eq!((which, allowed), (LimitName::Memory, Amount::Bytes(16 << 20)));
    Ok(())
}

#[test_case(r#"{"operation":"recurse"}"#; "it traps")]
#[test_case(r#"{"operation":"exit","code":1}"#; "it ends itself")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_made_do_with_less_memory_may_fall_for_another_reason(input: &str) -> TestResult {
    let less = "(drop (memory.grow (i32.const 1)))";
    let fell = execute_greedily(&format!("{TOO_MUCH} {less}"), input).await?;
    let CallError::Stopped(reason) = &fell else { panic!("an end, not {fell:?}") };
    let how = reason.how();
    assert!(how.contains("; before that it was refused memory: asked 16."), "{how}");
    assert!(how.ends_with("MiB, allowed 16MiB"), "{how}");
    Ok(())
}

/// Otherwise lines without a word in them would come for nothing, and without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_the_log_takes_a_byte_more_than_its_words() -> TestResult {
    let fields = r#"{"who":"acrobat","n":1}"#;
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { output: Some(u64::try_from(fields.len())? + 2), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let log = |message: &str| format!(r#"{{"operation":"log","level":"info","message":"{message}"}}"#);
    plugin.execute("acrobat", &log("a")).await?;
    let logged = plugin.execute("acrobat", &log("ab")).await;
    assert_matches!(logged, Err(CallError::Limit(LimitHit { which: LimitName::Output, .. })));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_no_larger_than_a_message_may_be() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { message: Some(1_000), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    // What it is called in the request takes less room than in the refusal.
    let unknown = |length| format!(r#"{{"operation":"{}"}}"#, "x".repeat(length));
    let refused = plugin.execute("acrobat", &unknown(981)).await;
    assert_matches!(refused, Err(CallError::Refused(_)));
    let refused = plugin.execute("acrobat", &unknown(982)).await;
    let Err(CallError::Limit(LimitHit { which, asked, .. })) = refused else {
        panic!("a limit, not {refused:?}")
    };
    assert_eq!((which, asked), (LimitName::Message, Amount::Bytes(1_001)));
    Ok(())
}

/// A policy that is tight about requests does not make a plugin unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_says_of_itself_may_be_larger_than_a_message() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let about = host.scratch().join("about");
    fs::create_dir(&about)?;
    fs::write(about.join("icon"), "x".repeat(1 << 20))?;
    host.grants.fs = vec![FsGrant { host: about, guest: "/about".to_owned(), access: Access::Read }];
    host.limits = Limits { message: Some(1_000), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let descriptor = plugin.provider.descriptor(&ProviderName::new("acrobat")).expect("it is described");
    assert_eq!(descriptor.icon.len(), 1 << 20);
    Ok(())
}

/// The room for instances is in several pools, and one thread is at home in one of them.
#[tokio::test(flavor = "current_thread")]
async fn one_thread_fills_every_slot_that_there_is() -> TestResult {
    let slots = ComponentOptions::default().slots;
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { concurrency: Some(slots.into()), ..Limits::default() };
    host.grants.secrets = every_secret();
    host.offer("keeper", Some(Arc::new(Empty(Gathering::of(slots)))), None);
    let plugin = host.launch("keeper").await?;
    let calls = (0..slots).map(|_| plugin.execute("keeper", r#"{"operation":"get","name":"a"}"#));
    for answer in generous(join_all(calls)).await {
        assert!(answer?.data.as_str().contains("false"));
    }
    Ok(())
}

/// What a call leaves behind keeps its slot until somebody clears up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slot_is_enough_where_instances_are_made_ahead() -> TestResult {
    let options =
        ComponentOptions { slots: 1, prepared: PrepareAhead::Always, ..fixtures::component_options() };
    let backend = ComponentBackend::new(options)?;
    let spec = PluginSpec::new(PluginName::new("echo"), fixtures::guest("echo"));
    let plugin = generous(backend.launch_provider(spec)).await?;
    for _ in 0..3 {
        let echo = request("echo", r#"{"message":"again"}"#);
        assert_matches!(generous(plugin.execute(&Call::default(), echo)).await, Ok(_));
    }
    Ok(())
}

/// It need not wait for whoever clears up, who has no time here. (A guest that is slow gives way now and then.)
#[tokio::test(flavor = "current_thread")]
async fn a_call_takes_the_slot_of_the_one_before() -> TestResult {
    let options =
        ComponentOptions { slots: 1, prepared: PrepareAhead::Always, ..fixtures::component_options() };
    let backend = ComponentBackend::new(options)?;
    let spec = PluginSpec::new(PluginName::new("echo"), fixtures::guest("echo"));
    let plugin = generous(backend.launch_provider(spec)).await?;
    let call = Call::default();
    for _ in 0..4 {
        let mut asked = pin!(plugin.execute(&call, request("echo", r#"{"message":"again"}"#)));
        let begun = Instant::now();
        let answer = loop {
            match poll!(asked.as_mut()) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => assert!(begun.elapsed() < LONG, "it waits for a slot"),
            }
        };
        assert_matches!(answer, Ok(_));
    }
    Ok(())
}

/// Whatever its worker writes to a file that is not in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_disk_is_full_a_component_runs_all_the_same() -> TestResult {
    let host = TestHost::new(Door::Component);
    let full = r#"case $(readlink /proc/$$/fd/1) in *memfd*) ;; *) exec >/dev/full ;; esac"#;
    let script = format!("{full}; exec \"$0\" __compile-worker");
    let args = vec!["-c".into(), script.into(), fixtures::portcullis().into()];
    let [directory, key_directory] = ["cache", "data"].map(|name| host.scratch().join(name));
    let options = ComponentOptions {
        worker: Some(Worker { program: "/bin/sh".into(), args }),
        cache: Some(CacheOptions { directory, key_directory }),
        ..fixtures::component_options()
    };
    let spec = PluginSpec::new(PluginName::new("echo"), fixtures::guest("echo"));
    let plugin = generous(ComponentBackend::new(options)?.launch_provider(spec)).await?;
    let echo = request("echo", r#"{"message":"hello"}"#);
    assert_matches!(generous(plugin.execute(&Call::default(), echo)).await, Ok(_));
    Ok(())
}

/// A stream that nobody reads keeps them all.
#[test_case(1, 64, InstanceReuse::PerCall; "turn")]
#[test_case(8, 1, InstanceReuse::PerCall; "slot")]
#[test_case(8, 64, InstanceReuse::Single; "kept instance")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_learns_that_the_plugin_has_ended(
    turns: u32,
    slots: u16,
    instances: InstanceReuse,
) -> TestResult {
    let backend = ComponentBackend::new(ComponentOptions { slots, ..fixtures::component_options() })?;
    let limits = Limits { concurrency: Some(turns), ..Limits::default() };
    let mut spec = PluginSpec { limits, ..PluginSpec::new(PluginName::new("a"), fixtures::guest("acrobat")) };
    spec.run_as.instances = instances;
    let plugin = generous(backend.launch_provider(spec)).await?;
    let call = Call::default();
    let stream = request("acrobat", r#"{"operation":"stream","chunks":1000,"size":1}"#);
    let mut unread = plugin.execute_stream(&call, stream);
    assert_matches!(generous(unread.next()).await, Some(Ok(_)));

    let mut waits = pin!(plugin.execute(&call, request("acrobat", r#"{"operation":"ok"}"#)));
    assert_matches!(poll!(waits.as_mut()), Poll::Pending);
    plugin.shutdown(Duration::ZERO).await;
    assert_matches!(generous(waits).await, Err(CallError::Gone));
    Ok(())
}

/// The caller's task is the guest's, so a guest that did not yield could never be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_spins_can_be_abandoned() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { cpu: Some(LONG), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let spin = request("acrobat", r#"{"operation":"spin"}"#);
    assert_matches!(timeout(SOON, plugin.provider.execute(&Call::default(), spin)).await, Err(_elapsed));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

/// A runtime looks at its sockets when it has nothing else to do, and otherwise rarely.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_spin_on_every_thread_leave_sockets_to_their_tasks() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { cpu: Some(Duration::from_secs(2)), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let spins = (0..2).map(|_| {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.execute("acrobat", r#"{"operation":"spin"}"#).await })
    });
    let first = select_all(spins);
    let (mut here, mut there) = tokio::net::UnixStream::pair()?;
    let echo = tokio::spawn(async move {
        let mut byte = [0];
        while there.read_exact(&mut byte).await.is_ok() && there.write_all(&byte).await.is_ok() {}
    });
    let talk = tokio::spawn(async move {
        let (begun, mut counted, mut byte) = (Instant::now(), 0, [0]);
        while counted < 20 {
            here.write_all(&byte).await?;
            here.read_exact(&mut byte).await?;
            // From when the guests are under way.
            counted += u32::from(begun.elapsed() > SOON);
        }
        Ok::<_, std::io::Error>(())
    });
    tokio::select! {
        talked = talk => talked??,
        (spun, ..) = first => panic!("two seconds were over first: {spun:?}"),
    }
    echo.await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_plugins_deadline_does_not_touch_its_neighbour() -> TestResult {
    let mut hasty = TestHost::new(Door::Component);
    hasty.limits = Limits { cpu: Some(Duration::from_millis(50)), ..Limits::default() };
    let hasty = hasty.launch("acrobat").await?;
    let mut calm = TestHost::new(Door::Component);
    let calm = calm.launch("acrobat").await?;
    let spins = (0..5).map(|_| hasty.execute("acrobat", r#"{"operation":"spin"}"#));
    let waits = (0..5).map(|_| calm.execute("acrobat", r#"{"operation":"slow","millis":300}"#));
    let (spins, waits) = tokio::join!(join_all(spins), join_all(waits));
    for spin in spins {
        assert_matches!(spin, Err(CallError::Limit(LimitHit { which: LimitName::Cpu, .. })));
    }
    for wait in waits {
        assert_matches!(wait, Ok(_));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hoards_memory_is_told_how_much_it_may_have() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { memory: Some(16 << 20), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let hoard = plugin.execute("acrobat", r#"{"operation":"hoard","mib":64}"#).await;
    let Err(CallError::Limit(LimitHit { which, allowed, .. })) = hoard else {
        panic!("a limit, not {hoard:?}")
    };
    assert_eq!((which, allowed), (LimitName::Memory, Amount::Bytes(16 << 20)));
    Ok(())
}

/// Parts of requests lie with the host, and take none of the guest's own memory.
#[test_case("http-headers", 100, 1_000, None; "some headers")]
#[test_case("http-headers", 2_000, 10, Some("limit handles reached"); "many lists of headers")]
#[test_case("http-headers", 10, 100_000, Some("total size of fields exceeds limit"); "large headers")]
#[test_case("http-methods", 100, 1_000, None; "some methods")]
#[test_case("http-methods", 1, 20_000, Some("no such request"); "a large method")]
#[test_case("http-methods", 300, 10, Some("256 requests that are not sent"); "many requests")]
#[test_case("http-authorities", 100, 1_000, None; "some authorities")]
#[test_case("http-authorities", 1, 20_000, Some("no such request"); "a large authority")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_hoards_no_requests(
    operation: &str,
    parts: usize,
    size: usize,
    refused: Option<&str>,
) -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let plugin = host.launch("acrobat").await?;
    let input = format!(r#"{{"operation":"{operation}","chunks":{parts},"size":{size}}}"#);
    let kept = plugin.execute("acrobat", &input).await.map_err(|error| chain(&error));
    match (&kept, refused) {
        (Ok(_), None) => {}
        (Err(said), Some(words)) => assert!(said.contains(words), "{said}"),
        _ => panic!("{kept:?}"),
    }
    Ok(())
}

#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_says_how_much_a_guest_keeps_open(door: Door) -> TestResult {
    let keep = async |handles, lists| {
        let mut host = TestHost::new(door);
        host.limits = Limits { handles: Some(handles), ..Limits::default() };
        let input = format!(r#"{{"operation":"http-headers","chunks":{lists},"size":1}}"#);
        host.launch("acrobat").await?.execute("acrobat", &input).await.map_err(Box::<dyn Error>::from)
    };
    let kept = keep(100, 200).await.expect_err("it may keep a hundred");
    let Some(CallError::Limit(LimitHit { which, allowed, .. })) = kept.downcast_ref() else {
        panic!("a limit, not {kept:?}")
    };
    assert_eq!((*which, *allowed), (LimitName::Handles, Amount::Count(100)));
    keep(3_000, 2_000).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_recurses_without_end_traps() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let plugin = host.launch("acrobat").await?;
    let fell = plugin.execute("acrobat", r#"{"operation":"recurse"}"#).await;
    assert_matches!(fell, Err(CallError::Stopped(StopReason::Trapped { .. })));
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_one_call_is_left_to_the_next() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let plugin = host.launch("acrobat").await?;
    for _ in 0..3 {
        let count = plugin.execute("acrobat", r#"{"operation":"count"}"#).await?;
        assert_eq!(count.data.as_str(), r#"{"count":1}"#);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_instance_remembers_until_it_traps() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.run_as.instances = InstanceReuse::Single;
    let plugin = host.launch("acrobat").await?;
    let count =
        async || Ok::<_, CallError>(plugin.execute("acrobat", r#"{"operation":"count"}"#).await?.data);
    let first = count().await?;
    assert_ne!(count().await?, first);
    assert_matches!(
        plugin.execute("acrobat", r#"{"operation":"panic","message":"oh"}"#).await,
        Err(CallError::Stopped(_))
    );
    assert_eq!(count().await?, first);
    Ok(())
}
