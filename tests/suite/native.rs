//! What only a native program of ours does: how it is started, by a host and by hand, and how it ends.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use futures_util::StreamExt as _;
use portcullis::contract::{Call, CallError, HandlerName, StopReason};
use portcullis_tests::auth::login;
use portcullis_tests::cli::Signal;
use portcullis_tests::{
    Door, LONG, Scratch, TestHost, TestResult, assert_matches, cli, fixtures, generous, request, shim,
};
use test_case::test_case;

/// Makes a command of a program that has `scratch` for its sockets.
#[expect(clippy::disallowed_methods, reason = "it does what somebody else's host does")]
fn command(scratch: &Scratch, name: &str, cookie: &[(&str, &str)]) -> Command {
    let mut command = Command::new(fixtures::native(name));
    command.env_clear().env("TMPDIR", scratch.path()).envs(cookie.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const PROVIDER: (&str, &str) = ("SCAFCTL_PLUGIN", "scafctl_provider_plugin");
const AUTH: (&str, &str) = ("SCAFCTL_AUTH_PLUGIN", "scafctl_auth_handler_plugin");

#[test_case("echo", &[]; "without any cookie")]
#[test_case("echo", &[("SCAFCTL_PLUGIN", "scafctl_provider_plugin ")]; "with nearly the right one")]
#[test_case("echo", &[AUTH]; "with that of the other kind")]
#[test_case("doorman", &[PROVIDER]; "an auth handler with that of a provider")]
fn whoever_starts_it_by_hand_is_told_what_it_is(name: &str, cookie: &[(&str, &str)]) -> TestResult {
    let scratch = Scratch::new()?;
    let done = command(&scratch, name, cookie).output()?;
    // item 9
    assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0));
    let stderr = String::from_utf8(done.stderr)?;
    assert!(stderr.starts_with("This program is a plugin"), "{stderr}");
    Ok(())
}

/// Reads the one line that a child prints. The rest of its output stays to be read.
fn line(child: &mut Child) -> Result<(String, BufReader<std::process::ChildStdout>), std::io::Error> {
    let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    Ok((line, stdout))
}

#[test_case("echo", PROVIDER, None, "1|1|unix|"; "a provider has one version")]
#[test_case("doorman", AUTH, None, "1|1|unix|"; "an auth handler falls back on its first one")]
#[test_case("doorman", AUTH, Some("1"), "1|1|unix|"; "an older host gets the first one")]
#[test_case("doorman", AUTH, Some("1,2"), "1|2|unix|"; "a later one the second")]
fn a_host_reads_one_line_and_a_signal_ends_it(
    name: &str,
    cookie: (&str, &str),
    versions: Option<&str>,
    start: &str,
) -> TestResult {
    let scratch = Scratch::new()?;
    let mut command = command(&scratch, name, &[cookie]);
    command.envs(versions.map(|versions| ("PLUGIN_PROTOCOL_VERSIONS", versions)));
    let mut child = command.spawn()?;
    let (first, mut rest) = line(&mut child)?;
    assert!(first.starts_with(start) && first.ends_with("|grpc|\n"), "{first}");

    cli::signal(&child, Signal::INT)?; // item 24
    // It lives: what comes after the one signal would not have met anybody else.
    assert_eq!(child.try_wait()?, None);
    assert_eq!(cli::end_by(Signal::TERM, child)?, Some(0));
    let mut left = String::new();
    rest.read_to_string(&mut left)?;
    assert_eq!(left, ""); // item 10
    Ok(())
}

/// Makes a command of a shell that does something with a provider plugin, which has `scratch` for its sockets.
#[expect(clippy::disallowed_methods, reason = "it does what somebody else's host does")]
fn shell(script: &str, plugin: &Path, scratch: &Scratch) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script]).arg(plugin);
    shell.env_clear().env("TMPDIR", scratch.path()).env(PROVIDER.0, PROVIDER.1);
    shell
}

/// For want of files. With fewer than four no program finds its own.
#[test]
fn whoever_prints_the_line_serves() -> TestResult {
    let mut served = 0;
    for most in 4..=24 {
        let scratch = Scratch::new()?;
        let script = format!("ulimit -n {most}; exec \"$0\"");
        let mut shell = shell(&script, &fixtures::native("echo"), &scratch);
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (first, _rest) = line(&mut child)?;
        let mut stderr = child.stderr.take().expect("it was asked for");
        let ended =
            if first.is_empty() { cli::ended(child)?.code() } else { cli::end_by(Signal::TERM, child)? };
        let mut text = String::new();
        stderr.read_to_string(&mut text)?;
        let expected = if first.is_empty() { Some(1) } else { Some(0) };
        assert_eq!(ended, expected, "{most} files: {first}{text}");
        assert!(!first.is_empty() || text.contains("Too many open files"), "{most} files: {text}");
        served += usize::from(!first.is_empty());
    }
    assert!(served > 0);
    Ok(())
}

/// Hosts give no sign when they die.
#[test_case(&fixtures::native("echo"); "native")]
#[test_case(&shim::trusted("echo"); "wrapped")]
fn it_ends_with_the_process_that_started_it(plugin: &Path) -> TestResult {
    let scratch = Scratch::new()?;
    let mut host = shell("\"$0\" & echo started; read line; exit 0", plugin, &scratch);
    let mut host = host.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (tell, told) = channel();
    let stdout = BufReader::new(host.stdout.take().expect("it was asked for"));
    std::thread::spawn(move || {
        // Ends when the last process that has the pipe does.
        for line in stdout.lines().map_while(Result::ok) {
            let _test_is_over = tell.send(line);
        }
    });
    let both = [told.recv_timeout(LONG)?, told.recv_timeout(LONG)?];
    assert!(both.iter().any(|line| line.starts_with("1|1|unix|")), "{both:?}");
    drop(host.stdin.take());
    assert_eq!(cli::ended(host)?.code(), Some(0));
    assert_eq!(told.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    Ok(())
}

/// Contract item 62.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_the_process_and_every_call() -> TestResult {
    let mut host = TestHost::new(Door::Native);
    let plugin = host.launch("acrobat").await?;
    let other = plugin.clone();
    let other =
        tokio::spawn(
            async move { other.execute("acrobat", r#"{"operation":"slow","millis":600000}"#).await },
        );
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    let died = plugin.execute("acrobat", r#"{"operation":"panic","message":"the net is gone"}"#).await;
    let Err(CallError::Stopped(StopReason::Exited { status, stderr })) = died else { panic!("{died:?}") };
    assert_eq!(status, "exit status: 2");
    assert!(stderr.contains("panic: the net is gone"), "{stderr}");
    assert_matches!(other.await?, Err(CallError::Stopped(_)));
    assert!(!plugin.provider.is_running());
    assert_matches!(plugin.execute("acrobat", r#"{"operation":"ok"}"#).await, Err(CallError::Stopped(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_that_nobody_waits_for_ends_the_process() -> TestResult {
    let mut host = TestHost::new(Door::Native);
    let plugin = host.launch("acrobat").await?;
    let input = r#"{"operation":"panic-unread","message":"nobody heard"}"#;
    let mut chunks = plugin.provider.execute_stream(&Call::default(), request("acrobat", input));
    assert!(generous(chunks.next()).await.is_some_and(|chunk| chunk.is_ok()));
    drop(chunks);
    let ended = plugin.execute("acrobat", r#"{"operation":"slow","millis":600000}"#).await;
    let Err(CallError::Stopped(StopReason::Exited { status, stderr })) = ended else { panic!("{ended:?}") };
    assert_eq!(status, "exit status: 2");
    assert!(stderr.contains("panic: nobody heard"), "{stderr}");
    Ok(())
}

/// Of a call that nobody waits for the plugin is told, and its answer goes nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_its_caller_leaves_is_told_so_and_ends() -> TestResult {
    let mut host = TestHost::new(Door::Native);
    let doorman = host.launch_auth("doorman").await?;
    // Each holds a thread for as long as it is not told.
    for _ in 0..600 {
        let mut events =
            doorman.plugin.login(&Call::default(), &HandlerName::new("door"), login("", "never"));
        assert!(generous(events.next()).await.is_some_and(|event| event.is_ok()));
    }
    doorman.login("door", login("", "")).await.1?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_do_not_heed_that_nobody_waits_are_in_no_others_way() -> TestResult {
    let mut host = TestHost::new(Door::Native);
    let plugin = host.launch("acrobat").await?;
    let input = r#"{"operation":"stream","chunks":2,"size":1,"pauseMillis":600000}"#;
    // Each holds a thread.
    for _ in 0..600 {
        let mut chunks = plugin.provider.execute_stream(&Call::default(), request("acrobat", input));
        assert!(generous(chunks.next()).await.is_some_and(|chunk| chunk.is_ok()));
    }
    plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
    Ok(())
}
