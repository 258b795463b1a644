//! Our plugin, with hosts that are built from the published go-plugin.
//!
//! The host goes through the same steps with our plugin and with one that is Go's own, and both have to come to the
//! same: what it saw is compared, and so is what it logged.

#![expect(clippy::disallowed_methods, reason = "Go's hosts are programs, and tests start what they test")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use test_case::{test_case, test_matrix};

use crate::scene::{LONG, Outcome};

/// Our plugin.
const PEER: &str = env!("CARGO_BIN_EXE_goplugin-peer-for-go");

/// How the host wants to talk, in its own flags.
type Mode = &'static [&'static str];

const PLAIN: Mode = &[];
const TLS: Mode = &["-mtls"];
const MUX: Mode = &["-mux"];
const BOTH: Mode = &["-mtls", "-mux"];

/// What a host said of one plugin.
#[derive(Debug)]
struct Report {
    /// Every step with its result, those of the log and of the end left out.
    steps: Vec<Value>,
    /// Every kind of line in its log: the level, who logged it, and what.
    log: BTreeSet<(String, String, String)>,
    milliseconds: u64,
    exited: bool,
}

struct Scene {
    hosts: tempfile::TempDir,
    /// The sockets of the plugin, and nobody else's.
    plugins: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self, std::io::Error> {
        Ok(Self { hosts: tempfile::tempdir()?, plugins: tempfile::tempdir()? })
    }

    fn host(&self, version: &str, mode: Mode, flags: &[&str], plugin: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(peers(version).join("kvhost"));
        command.args(mode).args(flags).arg(plugin).args(arguments);
        command.env("TMPDIR", self.hosts.path()).env("PLUGIN_UNIX_SOCKET_DIR", self.plugins.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn report(&self, mut host: Command, plugin: &Path) -> Result<Report, Box<dyn Error>> {
        let done = host.output()?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let name = plugin.file_name().and_then(|name| name.to_str()).ok_or("it has a name")?;
        let mut report = Report { steps: Vec::new(), log: BTreeSet::new(), milliseconds: 0, exited: false };
        for line in String::from_utf8(done.stdout)?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            match line["step"].as_str() {
                Some("log") => {
                    report.log.insert(kind(&line["result"], name));
                }
                Some("kill") => {
                    report.milliseconds = line["result"]["milliseconds"].as_u64().ok_or("a number")?;
                    report.exited = line["result"]["exited"] == true;
                }
                _ => report.steps.push(line.take()),
            }
        }
        Ok(report)
    }

    fn sockets(&self) -> usize {
        std::fs::read_dir(self.plugins.path()).expect("the directory is there").count()
    }
}

fn peers(version: &str) -> PathBuf {
    PathBuf::from(env!("GO_PEERS")).join(version)
}

/// Returns what kind of line this is, whichever plugin it is about.
fn kind(entry: &Value, plugin: &str) -> (String, String, String) {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    (text("@level"), text("@module").replace(plugin, "the plugin"), text("@message"))
}

/// Returns the results of `steps` with both plugins, Go's first.
fn both(version: &str, mode: Mode, flags: &[&str]) -> Result<(Report, Report, usize), Box<dyn Error>> {
    let theirs = gos_own(version, mode, flags)?;
    let (scene, peer) = (Scene::new()?, Path::new(PEER));
    let ours = scene.report(scene.host(version, mode, flags, peer, &[]), peer)?;
    Ok((theirs, ours, scene.sockets()))
}

/// Returns what the host says of Go's own plugin.
///
/// Under multiplexing it crashes when a knock comes at a bad moment (protocol spec 15.5). It is the yardstick and not
/// what is measured, so it gets a few tries.
fn gos_own(version: &str, mode: Mode, flags: &[&str]) -> Result<Report, Box<dyn Error>> {
    let go = peers(version).join("kvplugin");
    let report = || {
        let scene = Scene::new()?;
        scene.report(scene.host(version, mode, flags, &go, &[]), &go)
    };
    let mut theirs = report()?;
    for _ in 0..4 {
        if theirs.steps.iter().all(|step| step.get("error").is_none()) {
            break;
        }
        theirs = report()?;
    }
    Ok(theirs)
}

/// Lets the host do all that it can, and compares.
fn check(version: &str, mode: Mode) -> Outcome {
    let (theirs, ours, sockets) = both(version, mode, &[])?;
    assert!(theirs.steps.iter().all(|step| step.get("error").is_none()), "{:#?}", theirs.steps);
    // Under TLS a Go host looks closely at the certificate, and `authority` shows that it was TLS: P-23, P-24.
    assert_eq!(ours.steps, theirs.steps); // P-31, P-37, P-39, P-51, P-58 to P-60, P-62
    assert!(ours.exited && ours.milliseconds < 2000, "{}", ours.milliseconds); // P-63
    // A host that has to kill a plugin says so.
    let is_killed =
        |(_, _, message): &(String, String, String)| message == "plugin failed to exit gracefully";
    assert!(!ours.log.iter().any(is_killed), "{:#?}", ours.log);
    assert_eq!(sockets, 0); // P-21, P-70
    // A host may hear in two ways that a plugin's prints have ended. Which comes first is chance, with Go's own plugin
    // as well.
    let is_chance = |(_, module, message): &(String, String, String)| {
        module == "stdio" && message == "received EOF, stopping recv loop"
    };
    let surplus: Vec<_> = ours.log.difference(&theirs.log).filter(|line| !is_chance(line)).collect();
    assert_eq!(surplus, Vec::<&(String, String, String)>::new());
    Ok(())
}

#[test_matrix(["1.8", "1.6"], [PLAIN, TLS, MUX, BOTH])]
fn a_go_host_cannot_tell(version: &str, mode: Mode) -> Outcome {
    check(version, mode)
}

#[test_matrix([PLAIN, TLS])]
fn a_go_host_from_before_multiplexing_cannot_tell(mode: Mode) -> Outcome {
    check("1.4", mode)
}

#[test_case(PLAIN; "without multiplexing")]
#[test_case(MUX; "with multiplexing")]
fn a_server_that_nobody_offers_is_not_waited_for_for_ever(mode: Mode) -> Outcome {
    let (theirs, ours, _) = both("1.8", mode, &["-steps", "dial-nobody,echo"])?;
    assert_eq!((theirs.steps.len(), ours.steps.len()), (3, 3));
    // Go's plugin goes on knocking until the call's own deadline has passed; ours says so after one knock.
    assert_ne!(ours.steps[1]["result"], "OK"); // P-52, P-59
    assert_eq!(ours.steps[2], theirs.steps[2]);
    Ok(())
}

/// What a host prints, line by line.
type Printed = std::io::Lines<BufReader<std::process::ChildStdout>>;

/// A host that waits, its plugin's id, and what it is yet to print.
fn waiting(scene: &Scene, mode: Mode, arguments: &[&str]) -> Result<(Child, Pid, Printed), Box<dyn Error>> {
    let flags = ["-steps", "call-back,offer,kill-busy,wait"];
    let mut host = scene.host("1.8", mode, &flags, PEER.as_ref(), arguments).spawn()?;
    let mut lines = BufReader::new(host.stdout.take().ok_or("it has an output")?).lines();
    while let Some(line) = lines.next() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["step"] == "pid" {
            let pid = line["result"].as_i64().and_then(|pid| pid.try_into().ok()).and_then(Pid::from_raw);
            return Ok((host, pid.ok_or("it is an id")?, lines));
        }
        assert_eq!(line.get("error"), None);
    }
    Err("the host ended".into())
}

#[test_case(PLAIN, &["follow"]; "plain")]
#[test_case(TLS, &["follow"]; "encrypted")]
#[test_case(MUX, &["follow"]; "multiplexed")]
#[test_case(MUX, &[]; "multiplexed, by the connection alone")]
fn nothing_is_left_of_a_plugin_whose_host_was_killed(mode: Mode, arguments: &[&str]) -> Outcome {
    let scene = Scene::new()?;
    let (mut host, plugin, _printed) = waiting(&scene, mode, arguments)?;
    let plugin = pidfd_open(plugin, PidfdFlags::empty())?;
    host.kill()?;
    host.wait()?;
    let limit = rustix::event::Timespec { tv_sec: LONG.as_secs().cast_signed(), tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(&plugin, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)), Ok(1)); // P-61, P-68
    assert_eq!(scene.sockets(), 0);
    Ok(())
}

#[test_matrix([PLAIN, BOTH])]
fn a_host_survives_the_death_of_its_plugin(mode: Mode) -> Outcome {
    let scene = Scene::new()?;
    let (mut host, plugin, printed) = waiting(&scene, mode, &[])?;
    kill_process(plugin, Signal::KILL)?;
    drop(host.stdin.take());
    let last = printed.last().ok_or("it says more")??;
    assert!(last.contains("plugin exited"), "{last}");
    assert!(host.wait()?.success());
    // Its own socket, and the one of the server that it had offered; with multiplexing there are none.
    assert_eq!(scene.sockets(), if mode == PLAIN { 2 } else { 0 });
    Ok(())
}
