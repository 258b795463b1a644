//! How a plugin ends, and what ends with it.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_goplugin::{HandshakeError, StartError, stop_all};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::time::timeout;

use crate::scene::{scene, wait_until_empty};
use crate::{LONG, ROGUE, TestResult};

/// Waits for the end of a process that is not our child.
async fn wait_for_end(process: OwnedFd) {
    let ended = tokio::task::spawn_blocking(move || ends_within(&process, LONG));
    assert!(ended.await.expect("polling does not panic"), "the process is still there");
}

/// Tells whether a process comes to its end in so many seconds.
fn ends_within(process: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) == Ok(1)
}

fn pidfd(pid: &str) -> OwnedFd {
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("it is the id of a process");
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("the process exists")
}

#[tokio::test]
async fn a_plugin_that_does_not_end_is_killed_when_the_grace_is_over() -> TestResult {
    let scene = scene(&["serve-on"]);
    let plugin = scene.launch.start().await?;
    plugin.ping(LONG).await?;
    let begun = Instant::now();
    let exit = plugin.stop(Duration::from_millis(50)).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!((exit.to_string().as_str(), exit.requested), ("signal: 9 (SIGKILL)", true)); // H-68
    scene.expect_nothing_left();
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

#[test]
fn a_plugin_ends_with_the_runtime_that_watches_over_it() -> TestResult {
    let scene = scene(&["serve-on"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plugin = runtime.block_on(scene.launch.start())?;
    let process = pidfd(&plugin.pid().to_string());
    drop(runtime);
    assert!(ends_within(&process, LONG), "nobody knows of it any more");
    assert!(plugin.gone().exit().is_some());
    drop(plugin);
    scene.expect_nothing_left();
    Ok(())
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let scene = scene(&["hang"]);
    let given_up = timeout(Duration::from_millis(50), scene.launch.start()).await;
    assert!(given_up.is_err());
    // The child is killed by then, and what it had is removed by the task that watched it.
    wait_until_empty(scene.base.path()).await;
}

/// The first does not end when it is asked, and keeps the second from nothing.
#[tokio::test]
async fn all_are_stopped_at_the_same_time() -> TestResult {
    let (stubborn, willing) = (scene(&["serve-on"]), scene(&["serve"])); // H-71
    let plugins = [stubborn.launch.start().await?, willing.launch.start().await?];
    let gone = plugins[1].gone();
    tokio::select! {
        exits = stop_all(&plugins, 10 * LONG) => panic!("{exits:?}"),
        exit = timeout(LONG, gone.wait()) => assert!(exit?.requested),
    }
    let exits = stop_all(&plugins, Duration::ZERO).await;
    assert!(exits.iter().all(|exit| exit.requested), "{exits:?}");
    stubborn.expect_nothing_left();
    willing.expect_nothing_left();
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
    for process in Host::start(base.path())?.kill() {
        wait_for_end(process).await;
    }

    // What it left is swept by the next start below the same directory.
    assert_eq!(fs::read_dir(base.path())?.count(), 1);
    let mut next = scene(&["serve"]);
    next.launch.socket_base = Some(base.path().to_owned());
    next.launch.start().await?.stop(Duration::ZERO).await;
    wait_until_empty(base.path()).await;
    Ok(())
}

#[tokio::test]
async fn what_watches_over_a_host_has_none_of_its_memory() -> TestResult {
    let base = tempfile::tempdir()?;
    let host = Host::start(base.path())?;
    let watcher = host.watcher()?;
    let until = Instant::now() + LONG;
    while resident(&watcher)? > 16 << 10 {
        assert!(Instant::now() < until, "it has {} kB", resident(&watcher)?);
        tokio::task::yield_now().await;
    }
    assert!(resident(&host.process.id().to_string())? > 64 << 10, "and the host has it still");

    for process in host.kill() {
        wait_for_end(process).await;
    }
    Ok(())
}

/// Another process that has started a plugin. It is killed when this is dropped.
struct Host {
    process: std::process::Child,
    /// What should end with it: the plugin, and what that has started.
    ending: Vec<OwnedFd>,
}

impl Host {
    #[expect(clippy::disallowed_methods, reason = "it is the host here that is the child, and it is reaped")]
    fn start(base: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = std::process::Command::new(ROGUE);
        let process = command.arg("host").arg(base).stdout(std::process::Stdio::piped()).spawn()?;
        let mut host = Self { process, ending: Vec::new() };
        let mut ids = String::new();
        BufReader::new(host.process.stdout.take().ok_or("it is piped")?).read_line(&mut ids)?;
        host.ending = ids.split_whitespace().map(pidfd).collect();
        assert_eq!(host.ending.len(), 2, "{ids}");
        Ok(host)
    }

    /// Returns the id of the process that looks whether it is still there.
    fn watcher(&self) -> Result<String, Box<dyn Error>> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            for child in fs::read_to_string(thread?.path().join("children"))?.split_whitespace() {
                if fs::read_to_string(format!("/proc/{child}/comm"))? == "goplugin-watch\n" {
                    return Ok(child.to_owned());
                }
            }
        }
        Err("nobody watches".into())
    }

    /// Kills it, and returns what should end with it.
    fn kill(mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.ending)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Returns how many kilobytes of memory a process has.
fn resident(process: &str) -> Result<u32, Box<dyn Error>> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    Ok(memory.ok_or("it has memory")?.trim().parse()?)
}

#[test]
fn a_runtime_that_ends_takes_its_plugins_along() -> TestResult {
    let scene = scene(&["serve"]);
    let runtime = tokio::runtime::Runtime::new()?;
    let plugin = runtime.block_on(scene.launch.start())?;
    let process = pidfd(&plugin.pid().to_string());
    drop(runtime);
    drop(plugin);
    assert!(ends_within(&process, Duration::ZERO), "it is killed and reaped by then");
    scene.expect_nothing_left();
    Ok(())
}
