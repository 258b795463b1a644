//! What bounds a child: which limits are enforced and by whom, and which cannot be.
//!
//! | limit | held by |
//! |---|---|
//! | memory | the kernel, as address space of each process of the child's group, and of each that one starts |
//! | handles | the kernel, as open files of each of these processes |
//! | cpu | nobody: the kernel counts a process, not a call, and cannot take time back |
//! | wall | whoever makes the call; dropping it cancels it in the child |
//! | message | the channel, both ways, and what the host is asked |
//! | output | the stream of the call |
//! | concurrency | whoever makes the calls |
//!
//! A child that is known to be a wrapped component is told the first three and holds itself to them: its engine reserves
//! far more address space than a policy would allow.
//!
//! A child that gets no more of what the kernel holds fails in its own way. It is not reported as past a limit, because
//! only the child knows why.
//!
//! Of the grants, the environment and what the host does are held. A child reaches files and the
//! network as its user does, whatever was granted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{LimitName, PluginName, Resolved};
use portcullis_goplugin::Connection;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::time::Instant;
use tracing::warn;

use super::output::Words;
use crate::blocking::blocking;

/// How long to wait at most for the last prints of a child, which may have no last one. A guess: by then a reader has
/// taken megabytes, and nobody minds to wait so long.
const LAST_PRINTS: Duration = Duration::from_millis(250);

/// A child that runs under its limits. Dropping it kills the child and its group.
#[derive(Debug)]
pub(super) struct Child {
    connection: Connection,
    words: Arc<Words>,
}

impl Child {
    /// Takes a child that has just been started, and holds it to what the kernel can hold.
    ///
    /// That it has run for some milliseconds by then gains it nothing: memory that it holds already counts, and so do the
    /// processes that it has started in its group. (A runtime that reserves more than it uses, as that of Go, would not
    /// start under the limit.)
    pub(super) async fn hold(
        connection: Connection,
        plugin: &PluginName,
        limits: &Resolved,
        words: Arc<Words>,
    ) -> Result<Self, std::io::Error> {
        let bounds = bounds(limits);
        if !bounds.is_empty()
            && connection.gone().exit().is_none()
            && let Some(pid) = i32::try_from(connection.pid()).ok().and_then(Pid::from_raw)
        {
            blocking(move || hold_all(pid, &bounds)).await?;
        }
        let (pid, protocol) = (connection.pid(), connection.negotiated_version());
        tracing::debug!(%plugin, pid, protocol, address = %connection.address(), "a child serves");
        for limit in unheld(limits) {
            warn!(%plugin, %limit, "this limit cannot be held for a native plugin");
        }
        Ok(Self { connection, words })
    }

    /// Asks the child to end and kills it once `grace` has passed.
    pub(super) async fn stop(&self, mut grace: Duration) {
        if self.connection.gone().exit().is_none() {
            // Go's library ends without sending the rest.
            let begun = Instant::now();
            self.words.settle(LAST_PRINTS.min(grace / 2)).await;
            grace = grace.saturating_sub(begun.elapsed());
        }
        self.connection.stop(grace).await;
    }
}

/// Returns what the kernel is to hold each process to.
fn bounds(limits: &Resolved) -> Vec<(Resource, u64)> {
    let memory = limits.memory.map(|bytes| (Resource::As, bytes));
    let handles = limits.handles.map(|count| (Resource::Nofile, count.into()));
    memory.into_iter().chain(handles).collect()
}

/// Limits a process and the others in its group, if it leads one.
///
/// What a process of the group starts while the group is looked through may have been started before its parent was
/// limited. So it is looked through again until nothing new is found.
fn hold_all(leader: Pid, bounds: &[(Resource, u64)]) -> Result<(), std::io::Error> {
    /// What still starts processes by then starts them as fast as it can. Nearly all of those are limited by birth.
    const ROUNDS: usize = 16;

    let mut held = HashSet::from([leader]);
    hold(leader, bounds)?;
    for _ in 0..ROUNDS {
        let before = held.len();
        let Ok(processes) = std::fs::read_dir("/proc") else {
            warn!("what a native plugin started before it served cannot be limited: /proc is not there");
            break;
        };
        for process in processes.flatten() {
            let name = process.file_name();
            let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid
                && group(pid) == Some(leader)
                && held.insert(pid)
            {
                match hold(pid, bounds) {
                    Err(Errno::PERM) => warn!(
                        pid = pid.as_raw_nonzero(),
                        "this process of a native plugin is another user's, and cannot be limited"
                    ),
                    held => held?,
                }
            }
        }
        if held.len() == before {
            break;
        }
    }
    Ok(())
}

/// Returns the group that a process is in. (`getpgid` of rustix does not expect the kernel's own, which are in none.)
fn group(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in parentheses, may hold anything. Its state, its parent and its group follow.
    let behind = stat.rsplit(|byte| *byte == b')').next()?;
    let group = std::str::from_utf8(behind).ok()?.split_whitespace().nth(2)?;
    Pid::from_raw(group.parse().ok()?)
}

/// Limits a process, unless it has ended: the next call says how. A limit that it already has, from us or from a script
/// that became the program, stays where it is lower.
fn hold(pid: Pid, bounds: &[(Resource, u64)]) -> Result<(), Errno> {
    for (resource, allowed) in bounds {
        let [current, maximum] =
            limits_of(pid, *resource).map(|own| Some(own.unwrap_or(*allowed).min(*allowed)));
        let limit = Rlimit { current, maximum };
        match prlimit(Some(pid), *resource, limit) {
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns how much memory or how many open files a process can have, and how much it can allow itself, as far as that
/// is bounded. Only `/proc` says so of another.
fn limits_of(pid: Pid, resource: Resource) -> [Option<u64>; 2] {
    let name = if resource == Resource::As { "Max address space" } else { "Max open files" };
    let limits =
        std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    // What is unlimited is no number.
    let mut both = limit.split_whitespace().map(|bound| bound.parse().ok());
    [both.next(), both.next()].map(Option::flatten)
}

/// Returns the limits that a policy may ask for and that a child is not held to.
fn unheld(limits: &Resolved) -> Vec<LimitName> {
    limits.cpu.map(|_| LimitName::Cpu).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use portcullis_contract::{BackendName, Limits};

    use super::*;

    #[test]
    fn a_process_that_has_ended_needs_no_limit() {
        // No process has so high a number.
        let ended = Pid::from_raw(i32::MAX).expect("it is not 0");
        assert_eq!(hold(ended, &[(Resource::As, 1 << 30)]), Ok(()));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the child is the test's, and ends with its input")]
    fn a_process_keeps_a_lower_limit_of_its_own() {
        const OWN: u64 = 4 << 30;
        const FILES: u64 = 64;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "ulimit -v 4194304 && ulimit -n 64 && ulimit -S -n 32 && echo lower && read line"]);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is a shell");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("it can be read");
        assert_eq!(said, "lower\n");

        let pid = Pid::from_child(&child);
        let held = |resource, amount| hold(pid, &[(resource, amount)]).map(|()| limits_of(pid, resource));
        assert_eq!(held(Resource::As, 2 * OWN), Ok([Some(OWN); 2]));
        assert_eq!(held(Resource::As, OWN / 2), Ok([Some(OWN / 2); 2]));
        assert_eq!(held(Resource::Nofile, 4 * FILES), Ok([Some(FILES / 2), Some(FILES)]));
        assert_eq!(held(Resource::Nofile, FILES / 4), Ok([Some(FILES / 4); 2]));
        // Its input ends with this.
        child.wait().expect("it is our child");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the child is the test's, and ends with its input")]
    fn what_a_process_has_started_before_is_held_as_well() {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec 3<&0; { read line <&3; } & echo $!; read line"]).process_group(0);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is a shell");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("it can be read");
        let started = said.trim().parse().ok().and_then(Pid::from_raw).expect("it has started one");

        let leader = Pid::from_child(&child);
        let limits = Limits { memory: Some(4 << 30), handles: Some(32), ..Limits::default() };
        hold_all(leader, &bounds(&limits.resolve(BackendName::Process))).expect("they are ours");
        for process in [leader, started] {
            let held = [Resource::As, Resource::Nofile].map(|resource| limits_of(process, resource));
            assert_eq!(held, [[Some(4 << 30); 2], [Some(32); 2]]);
        }
        // The input of both ends with this.
        child.wait().expect("it is our child");
    }

    #[test]
    fn a_limit_that_nobody_holds_is_named_only_if_a_policy_sets_it() {
        let limits = Limits::default().resolve(BackendName::Process);
        assert_eq!(unheld(&limits), []);
        let limits = Limits { cpu: Some(Duration::from_secs(1)), ..Limits::default() };
        assert_eq!(unheld(&limits.resolve(BackendName::Process)), [LimitName::Cpu]);
    }
}
