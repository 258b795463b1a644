//! Starting, following and ending children of every kind, with a helper that misbehaves on request.
//!
//! That real go-plugin binaries run is shown elsewhere, by the workspace's own tests.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_goplugin::log::{Entry, Level};
use portcullis_goplugin::{
    Address, BrokerError, Cookie, Encryption, Environment, Evidence, Executable, HandshakeError, Launch,
    PingError, Ports, Sink, StartError, Versions, stop_all,
};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ROGUE: &str = env!("CARGO_BIN_EXE_goplugin-rogue");

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(20);

type TestResult = Result<(), Box<dyn Error>>;

/// A launch of the helper, with a directory of its own that has to be empty in the end.
struct Scene {
    launch: Launch,
    base: tempfile::TempDir,
    entries: mpsc::UnboundedReceiver<Entry>,
}

struct Collect(mpsc::UnboundedSender<Entry>);

/// Takes standard error as it comes, and no log.
struct Raw(mpsc::UnboundedSender<Vec<u8>>);

impl Sink for Raw {
    fn raw_stderr(&self, piece: &[u8]) {
        let _test_is_over = self.0.send(piece.to_owned());
    }
}

impl Sink for Collect {
    fn log(&self, entry: Entry) {
        let _test_is_over = self.0.send(entry);
    }
}

fn scene(arguments: &[&str]) -> Scene {
    let base = tempfile::tempdir().expect("there is room for a directory");
    let (sender, entries) = mpsc::unbounded_channel();
    let mut launch = Launch::new(ROGUE, Cookie::new("ROGUE", "yes"), Versions::from([1, 2]));
    launch.arguments = arguments.iter().map(Into::into).collect();
    launch.socket_base = Some(base.path().to_owned());
    launch.start_timeout = LONG;
    launch.sink = Arc::new(Collect(sender));
    Scene { launch, base, entries }
}

impl Scene {
    /// Starts what must not start, and checks that nothing of it is left.
    async fn failure(&self) -> StartError {
        let error = self.launch.start().await.expect_err("this is no plugin");
        self.expect_nothing_left();
        error
    }

    fn expect_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.base.path())
            .expect("the base is there")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }

    /// Waits for the next entry of the log.
    async fn next(&mut self) -> Entry {
        let next = timeout(LONG, self.entries.recv()).await.expect("the plugin says something");
        next.expect("the sink is still there")
    }

    /// Waits for the entry that begins so, and returns the rest of its message.
    async fn entry(&mut self, prefix: &str) -> String {
        loop {
            if let Some(rest) = self.next().await.message.strip_prefix(prefix) {
                return rest.to_owned();
            }
        }
    }
}

/// Returns the whole chain, as a person would see it.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        None => error.to_string(),
        Some(source) => format!("{error}: {}", chain(source)),
    }
}

/// Waits for the end of a process that is not our child.
async fn wait_for_end(pidfd: rustix::fd::OwnedFd) {
    let ended = tokio::task::spawn_blocking(move || {
        let limit = rustix::event::Timespec { tv_sec: LONG.as_secs().cast_signed(), tv_nsec: 0 };
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&limit))
    });
    assert_eq!(ended.await.expect("polling does not panic"), Ok(1), "the process is still there");
}

fn pidfd(pid: &str) -> rustix::fd::OwnedFd {
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("it is the id of a process");
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("the process exists")
}

#[tokio::test]
async fn a_plugin_with_nothing_but_health_runs_and_is_stopped() -> TestResult {
    let scene = scene(&["serve"]);
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.negotiated_version(), 1);
    assert!(matches!(plugin.address(), Address::Unix(path) if path.starts_with(scene.base.path())));
    plugin.ping(LONG).await?;

    // It has no service that it could be asked by, so it is killed when the grace is over.
    let exit = plugin.stop(Duration::from_millis(50)).await;
    assert!(exit.requested);
    assert_eq!(exit.to_string(), "signal: 9 (SIGKILL)"); // H-68
    scene.expect_nothing_left();

    assert!(
        matches!(plugin.ping(LONG).await, Err(PingError::Failed(status)) if status.code() == tonic::Code::Unavailable)
    );
    assert_eq!(plugin.stop(LONG).await.to_string(), exit.to_string()); // H-69
    Ok(())
}

#[tokio::test]
async fn a_time_that_the_clock_cannot_tell_is_no_limit() -> TestResult {
    let mut scene = scene(&["serve"]);
    scene.launch.start_timeout = Duration::MAX;
    let plugin = scene.launch.start().await?;
    plugin.ping(Duration::MAX).await?;
    assert_eq!(plugin.services(Duration::MAX).await?, None);
    plugin.kill();
    assert!(plugin.stop(Duration::MAX).await.requested);
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_plugin_on_tcp_without_a_host_is_found_on_loopback() -> TestResult {
    let scene = scene(&["serve-tcp"]); // H-18
    let plugin = scene.launch.start().await?;
    assert_eq!(plugin.address().network(), "tcp");
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_does_not_serve_is_not_healthy() -> TestResult {
    let scene = scene(&["serve-tcp", "sick"]); // H-52
    let plugin = scene.launch.start().await?;
    assert!(matches!(plugin.ping(LONG).await, Err(PingError::NotServing)));
    Ok(())
}

#[tokio::test]
async fn a_plugin_without_a_broker_closes_ours_and_nothing_else() -> TestResult {
    let scene = scene(&["serve"]); // H-50, H-51
    let plugin = scene.launch.start().await?;
    assert_eq!((plugin.broker().next_id(), plugin.broker().next_id()), (1, 2)); // H-55
    assert!(matches!(plugin.broker().dial(7).await, Err(BrokerError::Closed)));
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn output_after_the_line_is_drained_whatever_it_is() -> TestResult {
    let mut scene = scene(&["serve-and-flood"]); // H-29
    let plugin = scene.launch.start().await?;
    assert_eq!(scene.entry("[INFO] flooded").await, "");
    plugin.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn the_log_reaches_the_sink_in_entries() -> TestResult {
    let mut scene = scene(&["serve-and-say"]);
    let _plugin = scene.launch.start().await?;
    loop {
        let entry = scene.next().await;
        if entry.message == "a structured one" {
            assert_eq!((entry.level, entry.target.as_deref()), (Level::Warn, Some("rogue")));
            assert_eq!(entry.fields, [("answer".to_owned(), 42.into())]);
            return Ok(());
        }
    }
}

#[tokio::test]
async fn raw_standard_error_is_passed_on_whether_or_not_it_is_logged() -> TestResult {
    let mut scene = scene(&["serve-and-say"]); // H-36
    let (sender, mut pieces) = mpsc::unbounded_channel();
    scene.launch.sink = Arc::new(Raw(sender));
    let _plugin = scene.launch.start().await?;
    let mut all = Vec::new();
    while !all.ends_with(b"\"answer\":42}\n") {
        all.extend(timeout(LONG, pieces.recv()).await?.ok_or("it ended")?);
    }
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
async fn the_environment_is_what_was_given_and_the_protocol_wins() -> TestResult {
    let mut scene = scene(&["serve-and-say"]); // H-01, H-02, H-03, H-06, H-07, H-08
    let pairs =
        [("FINE", "a=b"), ("ROGUE", "no"), ("PLUGIN_PROTOCOL_VERSIONS", "9"), ("PLUGIN_CLIENT_CERT", "x")];
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
    found.retain(|line| !line.starts_with("PLUGIN_UNIX_SOCKET_DIR="));
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
async fn a_child_that_is_no_plugin_is_refused_with_its_words() {
    for (arguments, expected) in [
        (["line", "hello"], r#"handshake failed: the first line of its output is not a handshake: "hello""#),
        (
            ["piece-and-exit", "1|1|uni"],
            r#"handshake failed: the first line of its output is not a handshake: "1|1|uni": it ended: exit status: 0"#,
        ),
        (["line", "1|3|unix|/x|grpc|"], "handshake failed: speaks protocol version 3, and this host 1,2"),
        (
            ["line", "2|1|unix|/x|grpc|"],
            "handshake failed: speaks version 2 of the handshake, and this host version 1",
        ),
        (
            ["line", "1|1|unix|/x/y|grpc|"],
            "cannot connect to it at /x/y: No such file or directory (os error 2)",
        ),
        (["line-and-exit", ""], "ended before it served: exit status: 0"),
        (["exit", "7"], "ended before it served: exit status: 7; its last words: it was not to be"),
        (["fork", ""], "ended before it served: exit status: 3"),
        (["close", ""], r#"handshake failed: the first line of its output is not a handshake: """#),
    ] {
        let error = scene(&arguments).failure().await; // H-15, H-16, H-17, H-26, H-27, H-75
        assert_eq!(chain(&error), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_child_started_without_its_cookie_says_so() {
    let mut scene = scene(&["serve"]);
    scene.launch.cookie = Cookie::new("ANOTHER", "yes");
    let error = scene.failure().await;
    let expected =
        "ended before it served: exit status: 1; its last words: this is a plugin, and not to be run by hand";
    assert_eq!(chain(&error), expected);
}

#[tokio::test]
async fn net_rpc_is_refused_by_name() {
    let error = scene(&["line", "1|2|unix|/x|netrpc"]).failure().await; // H-19
    assert!(
        matches!(error, StartError::Handshake { error: HandshakeError::NetRpc { version: 2 }, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let error = scene(&["flood-stdout"]).failure().await; // H-28
    let found =
        matches!(error, StartError::Handshake { error: HandshakeError::TooLong { limit: 65536, .. }, .. });
    assert!(found, "{error}");
}

#[tokio::test]
async fn a_child_that_says_nothing_is_killed_when_its_time_is_over() {
    let mut scene = scene(&["piece", "1|1|"]); // H-25
    scene.launch.start_timeout = Duration::from_millis(200);
    let error = scene.failure().await;
    assert_eq!(chain(&error), r#"does not serve after 200ms; it printed "1|1|" and did not end the line"#);
}

#[tokio::test]
async fn a_flood_of_complaints_does_not_keep_the_time_from_passing() {
    let mut scene = scene(&["flood-stderr"]);
    // Nobody would read as many entries as come.
    scene.launch.sink = Arc::new(portcullis_goplugin::Discard);
    scene.launch.start_timeout = Duration::from_millis(200);
    match scene.failure().await {
        StartError::TimedOut { evidence: Some(Evidence::LastWords(words)), .. } => {
            assert!(words.len() <= 4096 && words.starts_with("xxx"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_that_cannot_run_is_not_handed_to_a_shell() -> TestResult {
    let scene = scene(&[]);
    let file = |name: &str, content: &[u8], mode: u32| -> std::io::Result<PathBuf> {
        let path = scene.base.path().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    };
    for (path, expected) in [
        (
            file("text", b"echo '1|1|unix|/x|grpc|'\n", 0o755)?,
            "it is neither a program nor a script: Exec format error (os error 8)",
        ),
        (
            file("component", b"\0asm\x0d\0\x01\0", 0o755)?,
            "it is WebAssembly, not a program: Exec format error (os error 8)",
        ),
        (file("empty", b"", 0o755)?, "it is empty: Exec format error (os error 8)"),
        (
            file("script", b"#!/no/such/interpreter\n", 0o755)?,
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
    fs::copy(ROGUE, &path)?;
    scene.launch.executable = Executable::open(&path)?;
    let checksum = scene.launch.executable.checksum()?;
    // Somebody swaps it between the check and the start.
    fs::remove_file(&path)?;
    fs::write(&path, "#!/bin/false\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;

    scene.launch.checksum = Some(checksum);
    scene.launch.start().await?.ping(LONG).await?;

    scene.launch.executable = Executable::at(&path);
    let error = scene.launch.start().await.expect_err("this is another file");
    assert!(matches!(error, StartError::Checksum { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_script_runs_after_its_checksum_was_verified() -> TestResult {
    let mut scene = scene(&["serve"]);
    let path = scene.base.path().join("plugin.sh");
    fs::write(&path, format!("#!/bin/sh\nexec '{ROGUE}' \"$@\"\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    scene.launch.executable = Executable::at(&path);
    scene.launch.checksum = Some(scene.launch.executable.checksum()?);
    scene.launch.start().await?.ping(LONG).await?;
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_dies_is_gone_with_its_signal() -> TestResult {
    let scene = scene(&["serve"]); // H-54, H-72
    let plugin = scene.launch.start().await?;
    let gone = plugin.gone();
    assert!(gone.exit().is_none());
    let pid = Pid::from_raw(plugin.pid().cast_signed()).ok_or("a child has a number")?;
    rustix::process::kill_process(pid, Signal::TERM)?;

    let exit = timeout(LONG, gone.wait()).await?;
    assert_eq!((exit.to_string().as_str(), exit.requested), ("signal: 15 (SIGTERM)", false));
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn dropping_a_plugin_ends_its_whole_group() -> TestResult {
    let mut scene = scene(&["serve-with-descendant"]);
    let plugin = scene.launch.start().await?;
    let ids = scene.entry("[INFO] ").await;
    let descendant = pidfd(ids.split_once(' ').ok_or("two ids")?.1);
    let gone = plugin.gone();
    drop(plugin);
    wait_for_end(descendant).await;
    assert!(timeout(LONG, gone.wait()).await?.requested);
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let scene = scene(&["hang"]);
    let given_up = timeout(Duration::from_millis(50), scene.launch.start()).await;
    assert!(given_up.is_err());
    // The child is killed by then, and what it had is removed by the task that watched it.
    let until = Instant::now() + LONG;
    while fs::read_dir(scene.base.path()).unwrap().next().is_some() {
        assert!(Instant::now() < until, "the directory is left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn all_are_stopped_at_the_same_time() -> TestResult {
    let scene = scene(&["serve"]); // H-71
    let mut plugins = Vec::new();
    for _ in 0..3 {
        plugins.push(scene.launch.start().await?);
    }
    let exits = stop_all(&plugins, Duration::from_millis(50)).await;
    assert_eq!(exits.iter().filter(|exit| exit.requested).count(), 3);
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_socket_that_lies_elsewhere_goes_with_its_plugin() -> TestResult {
    let base = tempfile::tempdir()?;
    let path = base.path().join("elsewhere");
    let scene = scene(&["serve-elsewhere", path.to_str().ok_or("a temporary path is text")?]); // H-70
    let plugin = scene.launch.start().await?;
    plugin.ping(LONG).await?;
    assert!(path.exists());
    plugin.stop(Duration::ZERO).await;
    assert!(!path.exists());
    Ok(())
}

#[tokio::test]
async fn a_socket_that_lies_elsewhere_goes_with_a_plugin_that_is_refused() -> TestResult {
    let base = tempfile::tempdir()?;
    let path = base.path().join("elsewhere");
    let scene = scene(&["refused-elsewhere", path.to_str().ok_or("a temporary path is text")?]); // H-70
    let error = scene.failure().await;
    assert!(
        matches!(error, StartError::Handshake { error: HandshakeError::CoreVersion { .. }, .. }),
        "{error}"
    );
    assert!(!path.exists());
    Ok(())
}

#[tokio::test]
async fn a_socket_that_is_somebody_elses_stays() -> TestResult {
    let base = tempfile::tempdir()?;
    let path = base.path().join("ours");
    let _listener = std::os::unix::net::UnixListener::bind(&path)?;
    let line = format!("1|1|unix|{}|grpc|", path.display());
    let scene = scene(&["line", &line]);
    let plugin = scene.launch.start().await?;
    plugin.stop(Duration::ZERO).await;
    assert!(path.exists());
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_killed_takes_the_whole_group_along() -> TestResult {
    let base = tempfile::tempdir()?;
    let (plugin, descendant) = kill_a_host(base.path())?;
    wait_for_end(plugin).await;
    wait_for_end(descendant).await;

    // What it left is swept by the next start below the same directory.
    let dead = || fs::read_dir(base.path()).map(|entries| entries.count());
    assert_eq!(dead()?, 1);
    let mut next = scene(&["serve"]);
    next.launch.socket_base = Some(base.path().to_owned());
    next.launch.start().await?.stop(Duration::ZERO).await;
    let until = Instant::now() + LONG;
    while dead()? > 0 {
        assert!(Instant::now() < until, "the directory is left");
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Has another process start a plugin, kills it, and returns what should have ended with it.
#[expect(clippy::disallowed_methods, reason = "it is the host here that is the child, and it is reaped")]
fn kill_a_host(base: &Path) -> Result<(rustix::fd::OwnedFd, rustix::fd::OwnedFd), Box<dyn Error>> {
    let mut command = std::process::Command::new(ROGUE);
    let mut host = command.arg("host").arg(base).stdout(std::process::Stdio::piped()).spawn()?;
    let mut ids = String::new();
    BufReader::new(host.stdout.take().ok_or("it is piped")?).read_line(&mut ids)?;
    let (plugin, descendant) = ids.split_once(' ').ok_or("two ids")?;
    let ended = (pidfd(plugin), pidfd(descendant));
    host.kill()?;
    host.wait()?;
    Ok(ended)
}

#[tokio::test]
async fn stdin_of_ours_leaves_the_child_in_our_group() -> TestResult {
    let mut scene = scene(&["serve"]); // H-09, H-10
    scene.launch.stdin = portcullis_goplugin::Stdin::Inherit;
    let plugin = scene.launch.start().await?;
    let pid = Pid::from_raw(plugin.pid().cast_signed());
    assert_eq!(rustix::process::getpgid(pid)?, rustix::process::getpgrp());
    plugin.stop(Duration::ZERO).await;
    scene.expect_nothing_left();
    Ok(())
}

#[test]
fn a_runtime_that_ends_takes_its_plugins_along() -> TestResult {
    let scene = scene(&["serve"]);
    let runtime = tokio::runtime::Runtime::new()?;
    let plugin = runtime.block_on(scene.launch.start())?;
    let process = pidfd(&plugin.pid().to_string());
    drop(runtime);
    drop(plugin);
    let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&now)), Ok(1), "it is killed and reaped by then");
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_plugin_whose_first_process_is_gone_did_not_start() {
    // It serves, in a way: the line is fine, and somebody listens. But its process ended.
    let base = tempfile::tempdir().expect("there is room for a directory");
    let path = base.path().join("ours");
    let _listener = std::os::unix::net::UnixListener::bind(&path).expect("the directory is new");
    let line = format!("1|1|unix|{}|grpc|", path.display());
    let scene = scene(&["line-and-exit", &line]);
    match scene.launch.start().await {
        Err(error) => assert_eq!(chain(&error), "ended before it served: exit status: 0"),
        // The line came first. Then its end is told like that of any other plugin.
        Ok(plugin) => assert!(!plugin.gone().wait().await.requested),
    }
}
