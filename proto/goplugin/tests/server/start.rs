//! What a plugin says before it serves, or instead.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tokio::net::UnixStream;

use crate::TestResult;
use crate::child::{Plugin, broker, connect, entries, invited, is_in, run, within};
use crate::data;
use crate::peer::peer_client::PeerClient;
use crate::peer::{Nothing, Text};
use crate::wire::Empty;
use crate::wire::grpc_controller_client::GrpcControllerClient;

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

/// Returns a group that we may give files to: one that they do not have anyway, unless there is none.
fn a_group() -> Result<u32, Box<dyn std::error::Error>> {
    if rustix::process::geteuid().is_root() {
        return Ok(1);
    }
    let ours = rustix::process::getegid();
    let another = rustix::process::getgroups()?.into_iter().find(|group| *group != ours);
    Ok(another.unwrap_or(ours).as_raw())
}

#[tokio::test]
async fn a_socket_for_a_group_is_the_groups() -> TestResult {
    let directory = tempfile::tempdir()?;
    let group = a_group()?;
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
    assert!(failure(&["tcp"], "PLUGIN_MAX_PORT", "x").contains("\"x\" is not a port"));
    assert!(failure(&[], "PLUGIN_CLIENT_CERT", "nonsense").contains("certificate")); // P-30
    assert!(failure(&["no-versions"], "X", "").contains("no version"));
    // Nobody else would show what was printed on the way.
    let ended = run(&mut invited(directory.path(), &["print-and-fail"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let told = |words| ended.stderr.contains(words);
    assert!(told("not made\n") && told("it was not to be"), "{}", ended.stderr);
    let odd = directory.path().join("a|b");
    std::fs::create_dir(&odd)?;
    let odd = odd.to_str().ok_or("it is text")?;
    assert!(failure(&[], "PLUGIN_UNIX_SOCKET_DIR", odd).contains("cannot be written"));
    assert_eq!(entries(odd.as_ref()), 0);
    assert_eq!(entries(directory.path()), 1);
    Ok(())
}

/// The stack of one thread has room, and that of another has none.
#[test]
fn without_threads_it_says_so_and_ends() -> TestResult {
    let directory = tempfile::tempdir()?;
    let peer = invited(directory.path(), &[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "ulimit -v 2000000; exec \"$0\""]).arg(peer.get_program()).env_clear();
    shell.envs(peer.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("TOKIO_WORKER_THREADS", "2").env("RUST_MIN_STACK", "1200000000");
    let ended = run(&mut shell);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.error().starts_with("cannot start a runtime: OS can't spawn worker thread"));
    assert_eq!(entries(directory.path()), 0);
    Ok(())
}

#[tokio::test]
async fn what_makes_its_services_may_block_in_place() -> TestResult {
    let directory = tempfile::tempdir()?;
    let plugin = Plugin::start(&mut invited(directory.path(), &["block-in-place"]));
    assert_eq!(plugin.field(2), "3");
    PeerClient::new(plugin.connect().await).echo(data(b"served")).await?;
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
        let module = entry["@module"].as_str().ok_or("an event has a target")?;
        assert!(module.starts_with("portcullis_goplugin"), "it is about what carries calls: {entry}");
    }
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
