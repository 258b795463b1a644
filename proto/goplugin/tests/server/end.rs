//! How a plugin ends, and what ends it.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::child::{Plugin, WINDOW, broker, entries, invited, run, wait_until_empty, within};
use crate::peer::peer_client::PeerClient;
use crate::peer::{Nothing, Number};
use crate::wire::Empty;
use crate::wire::grpc_controller_client::GrpcControllerClient;
use crate::wire::grpc_stdio_client::GrpcStdioClient;
use crate::{LONG, TestResult, data};

/// What a host waits for a plugin that it asked to end.
const GRACE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn work_that_blocks_keeps_nobody() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["block"]));
    let channel = plugin.connect().await;
    let begun = Instant::now();
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?;
    assert_eq!(plugin.end().await.code(), Some(0));
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed()); // P-63
    Ok(())
}

/// Its calls, its log and its end are on one thread.
#[tokio::test]
async fn a_log_that_the_host_does_not_read_keeps_neither_calls_nor_the_end() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut command = invited(directory.path(), &["together", "flood-log"]);
    let (unread, log) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&log, true)?;
    while (&log).write(&[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&log, false)?;
    let plugin = Plugin::start(command.stderr(log));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    tokio::time::timeout(LONG, peer.echo(data(b"answered"))).await??;

    let begun = Instant::now();
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?;
    assert_eq!(plugin.end().await.code(), Some(0));
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed()); // P-63
    drop(unread);
    Ok(())
}

#[tokio::test]
async fn asked_to_end_it_answers_and_ends_whatever_is_open() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let channel = plugin.connect().await;
    let (_host, mut announced) = broker(&plugin).await?; // P-35
    let mut prints = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await?.into_inner(); // P-34
    let mut peer = PeerClient::new(channel.clone());
    let hanging: Vec<_> = (0..8)
        .map(|_| {
            let mut peer = peer.clone();
            tokio::spawn(async move { peer.hang(Nothing {}).await })
        })
        .collect();
    peer.offer(Nothing {}).await?;
    assert_eq!(announced.message().await?.ok_or("it is announced")?.service_id, 1); // P-51, P-53
    assert_eq!(peer.echo(data(b"beside")).await?.into_inner().value, &b"beside"[..]); // P-36
    assert_eq!(entries(directory.path()), 2);

    let begun = Instant::now();
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?; // P-33, P-64
    // A host that asks twice at a time kills it about now.
    assert!(!plugin.socket().exists());
    assert_eq!(plugin.end().await.code(), Some(0)); // P-65
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed()); // P-63
    assert_eq!(entries(directory.path()), 0); // P-21, P-70
    for call in hanging {
        assert!(call.await?.is_err());
    }
    assert!(!matches!(announced.message().await, Ok(Some(_))));
    assert!(!matches!(prints.message().await, Ok(Some(_))));
    Ok(())
}

/// How far is counted: far enough that it does not fit into the window.
const COUNT: u32 = WINDOW / 2;

#[tokio::test]
async fn calls_have_the_grace_they_were_given() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["grace=60000"]));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    let mut numbers = peer.count(Number { value: COUNT }).await?.into_inner();
    GrpcControllerClient::new(channel.clone()).shutdown(Empty {}).await?;
    // The call that was under way goes on to its end. It was still under way: each number takes five bytes or more, and
    // the window lets out less than half of them before the first is read here.
    let mut last = None;
    while let Some(number) = numbers.message().await? {
        last = Some(number.value);
    }
    assert_eq!(last, Some(COUNT - 1));
    assert!(plugin.end().await.success());

    // A grace beyond what hosts give is cut down to that.
    let plugin = Plugin::start(&mut invited(directory.path(), &["grace=60000"]));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    let call = tokio::spawn({
        let mut peer = peer.clone();
        async move { peer.hang(Nothing {}).await }
    });
    peer.echo(data(b"")).await?;
    let begun = Instant::now();
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?;
    assert!(plugin.end().await.success());
    assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed()); // P-63
    assert!(call.await?.is_err());
    Ok(())
}

#[tokio::test]
async fn ctrl_c_is_its_hosts_and_sigterm_its_own() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await);
    peer.offer(Nothing {}).await?;
    for _ in 0..3 {
        plugin.signal(Signal::INT);
        peer.echo(data(b"")).await?; // P-66
    }
    plugin.signal(Signal::TERM);
    assert_eq!(plugin.end().await.code(), Some(0));
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn one_that_is_killed_leaves_its_socket_files_and_no_more() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    plugin.signal(Signal::KILL);
    assert!(!plugin.end().await.success());
    assert_eq!(entries(directory.path()), 1);
    Ok(())
}

/// Starts the plugin by a shell, which is its parent then, and returns the shell with what the plugin printed.
fn orphan_to_be(directory: &std::path::Path, argument: &str) -> Plugin {
    let plugin = invited(directory, &[]);
    let mut shell = std::process::Command::new("sh");
    // The last command of a shell would take its place.
    shell.args(["-c", "\"$0\" $1 & wait $!"]).arg(plugin.get_program()).arg(argument).env_clear();
    shell.envs(plugin.get_envs().filter_map(|(key, value)| Some((key, value?))));
    Plugin::start(&mut shell)
}

#[tokio::test]
async fn one_that_follows_its_parent_ends_with_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let shell = orphan_to_be(directory.path(), "follow");
    let mut peer = PeerClient::new(shell.connect().await);
    peer.offer(Nothing {}).await?;
    assert_eq!(entries(directory.path()), 2);
    shell.signal(Signal::KILL);
    // Its output ends only with the plugin itself, who still holds it.
    shell.end().await; // P-68
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn one_that_does_not_follow_stays_for_another_host() -> TestResult {
    let directory = tempfile::tempdir()?;
    let shell = orphan_to_be(directory.path(), "");
    let channel = shell.connect().await;
    shell.signal(Signal::KILL);
    PeerClient::new(channel).echo(data(b"")).await?;
    let again = shell.connect().await;
    GrpcControllerClient::new(again).shutdown(Empty {}).await?;
    shell.end().await;
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn nobody_who_reads_is_no_reason_to_fall() -> TestResult {
    let directory = tempfile::tempdir()?;
    // Nobody reads the log.
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut command = invited(directory.path(), &["trace"]);
    let plugin = Plugin::start(command.env("PLUGIN_PROTOCOL_VERSIONS", "x,3").stderr(writer));
    let channel = plugin.connect().await;
    PeerClient::new(channel.clone()).echo(data(b"")).await?;
    GrpcControllerClient::new(channel).shutdown(Empty {}).await?;
    assert_eq!(plugin.end().await.code(), Some(0)); // P-47

    // Nobody reads the line: then there is no host, either.
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut command = invited(directory.path(), &[]);
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn()?;
    let done = within(move || child.wait_with_output()).await?;
    assert_eq!(done.status.code(), Some(1));
    let text = String::from_utf8(done.stderr)?;
    assert!(text.contains("cannot print the handshake") && !text.contains("panic"), "{text}");
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[test]
fn a_panic_is_told_as_hosts_know_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let ended = run(&mut invited(directory.path(), &["panic"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let mut lines = ended.stderr.lines();
    assert_eq!(lines.next(), Some("panic: it was not to be")); // P-48
    assert!(ended.stderr.contains("plugin init error"));
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn an_application_can_end_its_plugin() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["stop"]));
    assert_eq!(plugin.end().await.code(), Some(0));
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn a_multiplexing_host_has_one_connection_and_the_plugin_ends_with_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(invited(directory.path(), &[]).env("PLUGIN_MULTIPLEX_GRPC", "1"));
    let only = UnixStream::connect(plugin.socket()).await?;
    wait_until_empty(directory.path()).await; // P-57
    assert!(UnixStream::connect(plugin.socket()).await.is_err());
    drop(only);
    assert_eq!(plugin.end().await.code(), Some(0)); // P-61
    Ok(())
}

#[tokio::test]
async fn a_multiplexing_host_that_speaks_something_else_is_given_up() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(invited(directory.path(), &[]).env("PLUGIN_MULTIPLEX_GRPC", "true"));
    let mut only = UnixStream::connect(plugin.socket()).await?;
    tokio::io::AsyncWriteExt::write_all(&mut only, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let mut rest = Vec::new();
    let _reset = tokio::time::timeout(LONG, only.read_to_end(&mut rest)).await?;
    assert_eq!(plugin.end().await.code(), Some(0));
    Ok(())
}
