//! Who makes the calls: plugins of every make, in our host and under a Go host; and another sandbox.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::contract::{
    Call, Execute, Grants, InstanceReuse, Json, Limits, Provider, ProviderName, RunAs,
};
use portcullis_tests::go_host::{GoHost, Mode};
use portcullis_tests::{Door, TestHost, shim};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::measure::{Times, micros};

/// How long a round lasts at the least, however quick the calls are: the first of them find nothing of theirs in the
/// processor's caches, after all the others had their turns.
const LEAST: Duration = Duration::from_millis(50);

/// What is asked of a provider, again and again.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) title: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) input: String,
    /// How many calls make a round, at the least.
    pub(crate) calls: usize,
    pub(crate) in_flight: usize,
}

/// A plugin, and who calls it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    way: Way,
}

enum Way {
    // In the order in which they have to end.
    Ours { provider: Arc<dyn Provider>, _host: Box<TestHost>, runtime: Arc<Runtime> },
    Go(Box<GoHost>),
    Extism(Extism, &'static str),
}

impl Contender {
    /// A plugin in a host of ours.
    pub(crate) fn in_our_host(
        name: &'static str,
        runtime: &Arc<Runtime>,
        door: Door,
        instances: InstanceReuse,
    ) -> Self {
        let mut host = TestHost::new(door);
        host.run_as.instances = instances;
        let provider = runtime.block_on(host.launch("echo")).expect("the plugin starts").provider;
        Self { name, way: Way::Ours { provider, _host: Box::new(host), runtime: Arc::clone(runtime) } }
    }

    /// A program under a Go host that was never changed.
    pub(crate) fn under_go(name: &'static str, program: &Path) -> Self {
        let host = GoHost::provider("1.8", Mode::Plain, program).expect("the plugin starts");
        Self { name, way: Way::Go(Box::new(host)) }
    }

    /// A guest that does the same in Extism, if that was built (see its own workspace beside this).
    pub(crate) fn in_extism(name: &'static str, instance: &'static str) -> Option<Self> {
        Some(Self { name, way: Way::Extism(Extism::start()?, instance) })
    }

    /// Returns whether it can do that.
    pub(crate) fn takes(&self, work: &Work) -> bool {
        !matches!(self.way, Way::Extism(..)) || work.provider != "raw" && work.in_flight == 1
    }

    pub(crate) fn round(&mut self, work: &Work) -> Times {
        match &mut self.way {
            Way::Ours { runtime, provider, .. } => ours(runtime, provider, work),
            Way::Go(host) => go(host, work),
            Way::Extism(peer, instance) => peer.round(work, instance),
        }
    }

    /// Returns the process of the plugin, if it has one of its own that a Go host started.
    pub(crate) fn process(&self) -> Option<u64> {
        match &self.way {
            Way::Ours { .. } | Way::Extism(..) => None,
            Way::Go(host) => host.started()["pid"].as_u64(),
        }
    }
}

fn ours(runtime: &Runtime, provider: &Arc<dyn Provider>, work: &Work) -> Times {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let caller = || {
        let (provider, next, calls) = (Arc::clone(provider), Arc::clone(&next), work.calls);
        let request = Execute::new(ProviderName::new(work.provider), Json::from_text(work.input.clone()));
        async move {
            let mut each = Vec::with_capacity(calls);
            while next.fetch_add(1, Ordering::Relaxed) < calls || begun.elapsed() < LEAST {
                let request = request.clone();
                let started = Instant::now();
                let answer = provider.execute(&Call::default(), request).await;
                each.push(micros(started.elapsed()));
                answer.expect("a benchmarked call works");
            }
            each
        }
    };
    runtime.block_on(async {
        // Tasks of their own: calls from the thread that blocks on the runtime pay a wake-up more.
        let callers: Vec<_> = (0..work.in_flight).map(|_| tokio::spawn(caller())).collect();
        let mut each = Vec::with_capacity(work.calls);
        for caller in callers {
            each.extend(caller.await.expect("a caller comes to its end"));
        }
        Times::new(each, micros(begun.elapsed()))
    })
}

fn go(host: &mut GoHost, work: &Work) -> Times {
    let command = json!({
        "do": "bench", "name": work.provider, "raw": work.input,
        "calls": work.calls, "inFlight": work.in_flight,
    });
    let answer = host.ask(command).expect("a benchmarked call works");
    let each = answer["each"].as_array().expect("a list of times").iter();
    let micros = |nanos: &serde_json::Value| nanos.as_f64().expect("a time") / 1e3;
    Times::new(each.map(micros).collect(), micros(&answer["together"]))
}

/// The program of the other sandbox.
struct Extism {
    peer: Child,
    rounds: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Extism {
    fn start() -> Option<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/extism/target");
        let mut peer = Command::new(target.join("release/extism-peer"));
        peer.arg(target.join("wasm32-wasip2/guest/extism_guest.wasm"));
        let mut peer = peer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (rounds, answers) = (peer.stdin.take()?, BufReader::new(peer.stdout.take()?).lines());
        Some(Self { peer, rounds, answers })
    }

    fn round(&mut self, work: &Work, instance: &str) -> Times {
        let Work { provider, calls, input, .. } = work;
        writeln!(self.rounds, "{provider} {instance} {calls} {input}").expect("it listens");
        let line = self.answers.next().expect("it is there").expect("it prints text");
        let nanos = |number: &str| number.parse::<f64>().expect("it prints numbers") / 1e3;
        let mut each: Vec<_> = line.split(' ').map(nanos).collect();
        let together = each.pop().expect("a round takes some time");
        Times::new(each, together)
    }
}

impl Drop for Extism {
    fn drop(&mut self) {
        drop((self.peer.kill(), self.peer.wait()));
    }
}

/// Wraps the guest `echo` into a directory of its own, as a user would.
pub(crate) fn wrapped(scratch: &Path, instances: InstanceReuse) -> PathBuf {
    let own = tempfile::tempdir_in(scratch).expect("a temporary directory").keep();
    let run_as = RunAs { instances, ..RunAs::default() };
    shim::wrapped("echo", &own, &Grants::default(), &Limits::default(), &run_as)
}

/// A message with an array of small objects, about so many bytes of it.
pub(crate) fn message(bytes: usize) -> String {
    let item = r#"{"id":12345,"name":"thing","on":true},"#;
    let items = item.repeat(bytes / item.len());
    format!(r#"{{"message":"hello","items":[{}]}}"#, items.trim_end_matches(','))
}
