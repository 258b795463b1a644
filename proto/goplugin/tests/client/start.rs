//! What a child is started with, and which file it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_goplugin::{Encryption, Environment, Executable, Launch, Ports, StartError};
use rustix::process::Pid;

use crate::scene::{chain, scene, write_program};
use crate::{LONG, ROGUE, TestResult};

#[tokio::test]
async fn the_environment_is_what_was_given_and_the_protocol_wins() -> TestResult {
    let mut scene = scene(&["serve-and-say"]); // H-01, H-02, H-03, H-06, H-07, H-08
    let pairs = [
        ("FINE", "a=b"),
        ("ROGUE", "no"),
        ("PLUGIN_PROTOCOL_VERSIONS", "9"),
        ("PLUGIN_CLIENT_CERT", "x"),
        ("PLUGIN_MULTIPLEX_GRPC", "true"),
        ("PLUGIN_UNIX_SOCKET_DIR", "/another/hosts"),
        ("PLUGIN_UNIX_SOCKET_GROUP", "another hosts"),
    ];
    scene.launch.environment =
        Environment::Only(pairs.iter().map(|(key, value)| (key.into(), value.into())).collect());
    let _plugin = scene.launch.start().await?;
    let mut found = Vec::new();
    loop {
        let entry = scene.next().await;
        if entry.target.is_some() {
            break;
        }
        found.push(entry.message);
    }
    let ours = format!("PLUGIN_UNIX_SOCKET_DIR={}/", scene.base.path().display());
    let before = found.len();
    found.retain(|line| !line.starts_with(&ours));
    assert_eq!(found.len(), before - 1);
    assert_eq!(
        found,
        [
            "FINE=a=b",
            "PLUGIN_MAX_PORT=25000",
            "PLUGIN_MIN_PORT=10000",
            "PLUGIN_PROTOCOL_VERSIONS=1,2",
            "ROGUE=yes"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn what_was_asked_for_is_in_the_environment_and_has_to_be_answered() {
    // It says what it was asked, and then that it cannot.
    for (change, variables, expected) in [
        (
            (|launch: &mut Launch| launch.multiplex = true) as fn(&mut Launch),
            &["PLUGIN_MULTIPLEX_GRPC=true"][..], // H-04
            "handshake failed: does not support multiplexing, which go-plugin has since version 1.6",
        ),
        (
            |launch| launch.encryption = Encryption::AutoMtls,
            &["PLUGIN_CLIENT_CERT=-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"], // H-05
            "handshake failed: does not answer with a certificate, and AutoMTLS was asked for",
        ),
    ] {
        let mut scene = scene(&["serve-and-say"]);
        change(&mut scene.launch);
        let error = scene.failure().await; // H-23, H-24
        assert!(chain(&error).starts_with(expected), "{error}");
        for variable in variables {
            assert_eq!(scene.entry(variable).await, "");
        }
    }
}

#[tokio::test]
async fn a_group_that_shares_the_sockets_may_enter_their_directory() -> TestResult {
    let mut scene = scene(&["serve-and-say"]);
    let group = rustix::process::getegid().as_raw().to_string();
    scene.launch.socket_group = Some(group.clone());
    scene.launch.ports = Ports::new(7, 8).ok_or("there are two")?;
    let _plugin = scene.launch.start().await?;
    let mode = fs::metadata(fs::read_dir(scene.base.path())?.next().ok_or("a directory")??.path())?;
    assert_eq!(mode.permissions().mode() & 0o777, 0o770);
    assert_eq!(scene.entry("PLUGIN_MAX_PORT=").await, "8"); // H-03
    assert_eq!(scene.entry("PLUGIN_MIN_PORT=").await, "7");
    assert_eq!(scene.entry("PLUGIN_UNIX_SOCKET_GROUP=").await, group);

    scene.launch.socket_group = Some("no such group".to_owned());
    let error = scene.launch.start().await.expect_err("there is no such group");
    assert!(chain(&error).starts_with("cannot share sockets with the group \"no such group\": "), "{error}");
    Ok(())
}

#[tokio::test]
async fn stdin_of_ours_leaves_the_child_in_our_group() -> TestResult {
    let mut scene = scene(&["serve"]); // H-09, H-10
    scene.launch.stdin = portcullis_goplugin::Stdin::Inherit;
    let plugin = scene.launch.start().await?;
    let pid = Pid::from_raw(plugin.pid().cast_signed());
    assert_eq!(rustix::process::getpgid(pid)?, rustix::process::getpgrp());
    let stdin = |process: &str| fs::read_link(format!("/proc/{process}/fd/0"));
    assert_eq!(stdin(&plugin.pid().to_string())?, stdin("self")?);
    plugin.stop(Duration::ZERO).await;
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_file_that_we_were_started_with_is_not_the_childs() -> TestResult {
    let scene = scene(&["serve"]);
    let secret = tempfile::NamedTempFile::new()?;
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty())?;
    let plugin = scene.launch.start().await?;
    let open = |process: &str| -> std::io::Result<bool> {
        let all = fs::read_dir(format!("/proc/{process}/fd"))?;
        Ok(all.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == secret.path())))
    };
    assert_eq!((open("self")?, open(&plugin.pid().to_string())?), (true, false));
    plugin.stop(Duration::ZERO).await;
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn nothing_of_how_we_take_signals_is_left_in_a_child() -> TestResult {
    let scene = scene(&["serve"]);
    let plugin = scene.launch.start().await?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", plugin.pid()))?;
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    assert_eq!(blocked.map(str::trim), Some("0000000000000000"));
    plugin.stop(Duration::ZERO).await;
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_run_is_not_handed_to_a_shell() -> TestResult {
    let scene = scene(&[]);
    let file = |name: &str, content: &[u8]| -> std::io::Result<PathBuf> {
        let path = scene.base.path().join(name);
        write_program(&path, content)?;
        Ok(path)
    };
    for (path, expected) in [
        (
            file("text", b"echo '1|1|unix|/x|grpc|'\n")?,
            "it is neither a program nor a script: Exec format error (os error 8)",
        ),
        (
            file("component", b"\0asm\x0d\0\x01\0")?,
            "it is WebAssembly, not a program: Exec format error (os error 8)",
        ),
        (file("empty", b"")?, "it is empty: Exec format error (os error 8)"),
        (
            file("script", b"#!/no/such/interpreter\n")?,
            "it is a script for \"/no/such/interpreter\", which does not exist: No such file or directory (os error 2)",
        ),
    ] {
        let launch = Launch { executable: Executable::at(&path), ..scene.launch.clone() };
        let error = launch.start().await.expect_err("this is no plugin");
        assert_eq!(chain(&error), format!("cannot run {}; {expected}", path.display()));
    }
    let missing = Launch { executable: Executable::at("/no/such/plugin"), ..scene.launch.clone() };
    let error = missing.start().await.expect_err("there is no file");
    assert_eq!(chain(&error), "cannot run /no/such/plugin: No such file or directory (os error 2)");
    Ok(())
}

#[tokio::test]
async fn the_file_that_was_checked_is_the_one_that_runs() -> TestResult {
    let mut scene = scene(&["serve"]); // H-11
    let path = scene.base.path().join("plugin");
    write_program(&path, &fs::read(ROGUE)?)?;
    scene.launch.executable = Executable::open(&path)?;
    let checksum = scene.launch.executable.checksum()?;
    // Somebody swaps it between the check and the start.
    fs::remove_file(&path)?;
    write_program(&path, b"#!/bin/false\n")?;

    scene.launch.checksum = Some(checksum);
    scene.launch.start().await?.ping(LONG).await?;

    scene.launch.executable = Executable::at(&path);
    let error = scene.launch.start().await.expect_err("this is another file");
    assert!(matches!(error, StartError::Checksum { .. }), "{error}");
    Ok(())
}

/// A disk may be slow, and the file long.
#[tokio::test]
async fn the_time_of_a_start_includes_the_checksum() -> TestResult {
    let mut scene = scene(&["serve"]);
    let path = scene.base.path().join("plugin");
    write_program(&path, b"#!/bin/false\n")?;
    fs::File::options().write(true).open(&path)?.set_len(64 << 20)?;
    scene.launch.executable = Executable::at(&path);
    scene.launch.checksum = Some([0; 32].into());
    scene.launch.start_timeout = Duration::from_millis(1);
    let error = scene.launch.start().await.expect_err("it takes longer");
    assert!(matches!(error, StartError::TimedOut { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_script_runs_after_its_checksum_was_verified() -> TestResult {
    let mut scene = scene(&["serve"]);
    let path = scene.base.path().join("plugin.sh");
    write_program(&path, format!("#!/bin/sh\nexec '{ROGUE}' \"$@\"\n").as_bytes())?;
    scene.launch.executable = Executable::at(&path);
    scene.launch.checksum = Some(scene.launch.executable.checksum()?);
    scene.launch.start().await?.ping(LONG).await?;
    Ok(())
}
