//! A plugin that somebody starts who looks closely.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::child::{Plugin, connect, entries, invited, is_in, run, wait_until_empty, within};
use crate::peer::peer_client::PeerClient;
use crate::peer::{Nothing, Number, Text};
use crate::wire::grpc_broker_client::GrpcBrokerClient;
use crate::wire::grpc_controller_client::GrpcControllerClient;
use crate::wire::grpc_stdio_client::GrpcStdioClient;
use crate::wire::{ConnInfo, Empty};
use crate::{LONG, TestResult, data};

/// What a host waits for a plugin that it asked to end.
const GRACE: Duration = Duration::from_secs(2);

#[test]
fn without_the_cookie_it_says_that_it_is_a_plugin() -> TestResult {
    let directory = tempfile::tempdir()?;
    for cookie in [None, Some("Hello"), Some("hello "), Some("")] {
        let mut command = invited(directory.path(), &[]);
        match cookie {
            Some(value) => command.env("GOPLUGIN_PEER", value),
            None => command.env_remove("GOPLUGIN_PEER"),
        };
        let ended = run(&mut command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "")); // P-01, P-03
        assert_eq!(ended.stderr.lines().count(), 3);
        assert!(ended.stderr.contains("is a plugin"), "{}", ended.stderr);
    }
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[test]
fn one_that_was_built_without_a_cookie_never_runs() -> TestResult {
    let directory = tempfile::tempdir()?;
    let ended = run(invited(directory.path(), &["no-cookie"]).env("GOPLUGIN_PEER", ""));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "")); // P-02
    assert!(ended.stderr.contains("without a cookie"));
    Ok(())
}

#[tokio::test]
async fn the_line_names_the_best_common_version_and_a_socket_of_ours() -> TestResult {
    let directory = tempfile::tempdir()?;
    for (versions, expected) in [("2,3", "3"), ("9,x,2", "2"), ("9", "2"), ("", "2")] {
        let mut command = invited(directory.path(), &[]);
        let plugin = Plugin::start(command.env("PLUGIN_PROTOCOL_VERSIONS", versions));
        let socket = plugin.socket();
        // P-04, P-05, P-06, P-08, P-09, P-10
        assert_eq!(plugin.line, format!("1|{expected}|unix|{}|grpc|\n", socket.display()));
        assert!(is_in(directory.path(), &socket), "{socket:?}"); // P-16
        let meta = std::fs::metadata(&socket)?;
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o077, 0); // P-22
        drop(UnixStream::connect(&socket).await?); // P-07

        plugin.signal(Signal::TERM);
        assert!(plugin.end().await.success());
        assert_eq!(entries(directory.path()), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_knows_of_multiplexing_hears_of_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    for said in ["true", "false", "nonsense"] {
        let plugin = Plugin::start(invited(directory.path(), &[]).env("PLUGIN_MULTIPLEX_GRPC", said));
        assert!(plugin.line.ends_with("|grpc||true\n"), "{}", plugin.line); // P-12
        if said != "true" {
            PeerClient::new(plugin.connect().await).echo(data(b"plain")).await?; // P-13
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_for_a_group_is_the_groups() -> TestResult {
    let directory = tempfile::tempdir()?;
    let group = rustix::process::getegid().as_raw();
    let mut command = invited(directory.path(), &[]);
    let plugin = Plugin::start(command.env("PLUGIN_UNIX_SOCKET_GROUP", group.to_string()));
    let mode = |path| std::fs::metadata(path).map(|meta| (meta.permissions().mode() & 0o777, meta.gid()));
    assert_eq!(mode(plugin.socket())?, (0o660, group)); // P-17

    let offered = PeerClient::new(plugin.connect().await);
    let (_keep, mut announced) = broker(&plugin).await?;
    offered.clone().offer(Nothing {}).await?;
    let info = announced.message().await?.ok_or("there is an announcement")?;
    assert_eq!(mode(info.address.into())?, (0o660, group));
    Ok(())
}

#[test]
fn what_keeps_it_from_serving_is_an_error_in_the_hosts_log() -> TestResult {
    let directory = tempfile::tempdir()?;
    let failure = |arguments: &[&str], key: &str, value: &str| {
        let ended = run(invited(directory.path(), arguments).env(key, value));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "")); // P-15
        ended.error()
    };
    let deep = format!("/tmp/{}", "d".repeat(110));
    assert!(failure(&[], "PLUGIN_UNIX_SOCKET_DIR", &deep).contains("at most 107")); // P-18
    assert!(failure(&[], "PLUGIN_UNIX_SOCKET_DIR", "/nowhere").contains("No such file"));
    assert!(failure(&[], "PLUGIN_UNIX_SOCKET_GROUP", "no such group").contains("\"no such group\""));
    assert!(failure(&["tcp"], "PLUGIN_MIN_PORT", "1").contains("no port from 1 to 0")); // P-20
    assert!(failure(&["tcp"], "PLUGIN_MAX_PORT", "x").contains("\"x\" is no port"));
    assert!(failure(&[], "PLUGIN_CLIENT_CERT", "nonsense").contains("certificate")); // P-30
    assert!(failure(&["no-versions"], "X", "").contains("no version"));
    let odd = directory.path().join("a|b");
    std::fs::create_dir(&odd)?;
    let odd = odd.to_str().ok_or("it is text")?;
    assert!(failure(&[], "PLUGIN_UNIX_SOCKET_DIR", odd).contains("cannot be written"));
    assert_eq!(entries(odd.as_ref()), 0);
    assert_eq!(entries(directory.path()), 1);
    Ok(())
}

#[tokio::test]
async fn on_tcp_it_takes_the_lowest_free_port() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["tcp"]));
    assert_eq!(plugin.field(3), "tcp");
    let (host, port) = plugin.field(4).split_once(':').ok_or("there is a port")?;
    let port: u16 = port.parse()?;
    assert_eq!(host, "127.0.0.1");
    drop(tokio::net::TcpStream::connect((host, port)).await?);

    let last = port.checked_add(50).ok_or("there are ports above")?;
    let mut command = invited(directory.path(), &["tcp"]);
    command.env("PLUGIN_MIN_PORT", port.to_string()).env("PLUGIN_MAX_PORT", last.to_string());
    let other: u16 = Plugin::start(&mut command).field(4).replace("127.0.0.1:", "").parse()?;
    assert!((port + 1..=last).contains(&other)); // P-19
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn its_health_is_known_under_its_name() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let client = HealthClient::new(plugin.connect().await);
    let check = |service: &str| {
        let (mut client, service) = (client.clone(), service.to_owned());
        async move { client.check(HealthCheckRequest { service }).await.map(|answer| answer.get_ref().status()) }
    };
    assert_eq!(check("plugin").await?, ServingStatus::Serving); // P-32
    assert_eq!(check("").await?, ServingStatus::Serving);
    assert_eq!(check("Plugin").await.map_err(|status| status.code()), Err(Code::NotFound));
    Ok(())
}

/// Opens the broker's stream; the sender is the host's half.
async fn broker(
    plugin: &Plugin,
) -> Result<(tokio::sync::mpsc::Sender<ConnInfo>, tonic::Streaming<ConnInfo>), Box<dyn std::error::Error>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let mut client = GrpcBrokerClient::new(plugin.connect().await);
    Ok((sender, client.start_stream(ReceiverStream::new(receiver)).await?.into_inner()))
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

#[tokio::test]
async fn calls_have_the_grace_they_were_given() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["grace=60000"]));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    let mut numbers = peer.count(Number { value: 100_000 }).await?.into_inner();
    GrpcControllerClient::new(channel.clone()).shutdown(Empty {}).await?;
    // What was under way goes on to its end.
    let mut last = None;
    while let Some(number) = numbers.message().await? {
        last = Some(number.value);
    }
    assert_eq!(last, Some(99_999));
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
async fn hosts_come_and_go_and_the_next_one_finds_everything() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    for round in 1..=3 {
        drop(UnixStream::connect(plugin.socket()).await?); // P-38
        let mut peer = PeerClient::new(plugin.connect().await);
        let (host, mut announced) = broker(&plugin).await?; // P-55
        // What no plugin knows what to do with ends nothing.
        let odd =
            ConnInfo { service_id: 7, network: "pigeon".to_owned(), address: "roof".to_owned(), knock: None };
        host.send(odd.clone()).await?;
        host.send(odd).await?;
        host.send(ConnInfo::default()).await?;
        assert_eq!(peer.offer(Nothing {}).await?.into_inner().value, round);
        let info = announced.message().await?.ok_or("it is announced")?; // P-56
        assert_eq!((info.service_id, info.network.as_str()), (round, "unix"));
        let mut offered = PeerClient::new(connect(info.address.into()).await);
        assert_eq!(offered.echo(data(b"there")).await?.into_inner().value, &b"there"[..]);
        // The connections end here, all of them, and the plugin does not. P-67
    }
    Ok(())
}

#[tokio::test]
async fn an_announcement_waits_for_the_stream() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await);
    let id = peer.offer(Nothing {}).await?.into_inner().value;
    let (_host, mut announced) = broker(&plugin).await?;
    assert_eq!(announced.message().await?.ok_or("it is announced")?.service_id, id); // P-54
    Ok(())
}

#[tokio::test]
async fn a_callback_waits_for_its_announcement() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await);
    let (_host, _announced) = broker(&plugin).await?;
    let begun = Instant::now();
    let refused = peer.call_back(Number { value: 4711 }).await.map_err(|status| status.code());
    assert_eq!(refused.map(drop), Err(Code::NotFound));
    assert!(begun.elapsed() >= Duration::from_secs(5)); // P-52
    Ok(())
}

#[tokio::test]
async fn what_is_printed_arrives_whenever_a_host_reads_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let channel = plugin.connect().await;
    let mut peer = PeerClient::new(channel.clone());
    let text = "0123456789".repeat(500);
    peer.print(Text { value: text.clone() }).await?;
    let mut prints = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await?.into_inner();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while stdout.len() < text.len() || stderr.len() < text.len() {
        let piece = prints.message().await?.ok_or("there is more")?;
        assert!((1..=1024).contains(&piece.data.len())); // P-49
        match piece.channel() {
            crate::wire::stdio_data::Channel::Stdout => stdout.extend_from_slice(&piece.data),
            crate::wire::stdio_data::Channel::Stderr => stderr.extend_from_slice(&piece.data),
            other => return Err(format!("printed to {other:?}").into()),
        }
    }
    assert_eq!((stdout, stderr), (text.clone().into_bytes(), text.into_bytes()));

    // A host that does not read stops nobody who prints.
    for _ in 0..64 {
        peer.print(Text { value: "x".repeat(1 << 16) }).await?; // P-50
    }
    Ok(())
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_as_go_refuses_it() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let mut peer = PeerClient::new(plugin.connect().await).max_decoding_message_size(usize::MAX);
    let refused = peer.echo(data(&vec![0; 4 << 20])).await.map_err(|status| status.code());
    assert_eq!(refused.map(drop), Err(Code::ResourceExhausted)); // P-39
    assert_eq!(peer.large(Number { value: 32 << 20 }).await?.into_inner().value.len(), 32 << 20);
    Ok(())
}

#[tokio::test]
async fn many_calls_at_once_are_served() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &[]));
    let peer = PeerClient::new(plugin.connect().await);
    let calls: Vec<_> = (0..1200)
        .map(|_| {
            let mut peer = peer.clone();
            tokio::spawn(async move { peer.hang(Nothing {}).await })
        })
        .collect();
    // Behind all of them on the same connection. P-40
    peer.clone().echo(data(b"")).await?;
    assert!(calls.iter().all(|call| !call.is_finished()));
    calls.iter().for_each(|call| call.abort());
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
    let plugin = Plugin::start(invited(directory.path(), &["trace"]).stderr(writer));
    drop(reader);
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
async fn its_log_is_written_to_standard_error_only() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut command = invited(directory.path(), &["trace", "say=over"]);
    command.env("PLUGIN_PROTOCOL_VERSIONS", "x,3").stderr(Stdio::piped());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (mut stdout, mut stderr) = (child.stdout.take().ok_or("")?, child.stderr.take().ok_or("")?);
    let log = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut text).map(|_| text)
    });
    let line = within(move || {
        let mut text = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut stdout), &mut text)
            .map(|_| (text, stdout))
    });
    let (line, _open) = line.await?;
    let socket = line.split('|').nth(3).ok_or("there is an address")?;
    GrpcControllerClient::new(connect(socket.into()).await).shutdown(Empty {}).await?;
    let log = log.await??;
    assert!(child.wait()?.success());
    let (last, entries) = {
        let mut lines: Vec<_> = log.lines().collect();
        (lines.pop(), lines)
    };
    assert_eq!(last, Some("[INFO] over: Ended(Asked)"));
    assert!(entries.iter().any(|entry| entry.contains("list of versions")));
    for entry in entries {
        let entry: serde_json::Value = serde_json::from_str(entry)?; // P-42, P-43
        for key in ["@level", "@message", "@timestamp"] {
            assert!(entry[key].is_string(), "{entry}");
        }
    }
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
async fn children_do_not_get_what_was_said_to_the_plugin() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(invited(directory.path(), &[]).env("PATH", "/bin"));
    let mut peer = PeerClient::new(plugin.connect().await);
    assert_eq!(peer.environment(Text { value: "PATH".to_owned() }).await?.into_inner().value, "/bin");
    for key in ["GOPLUGIN_PEER", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR"] {
        assert_eq!(peer.environment(Text { value: key.to_owned() }).await?.into_inner().value, ""); // P-14
    }
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
