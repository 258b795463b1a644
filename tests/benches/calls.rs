//! What a call costs: a fresh instance, a kept one and the Go plugin, in one process, in alternation.
//!
//! Every round measures every contender once, in turn, so that a machine whose speed drifts drifts
//! for all of them; what is quoted is the median over the rounds, and the median of the ratios round
//! by round. Nothing here is asserted: a benchmark reports.
//!
//! `cargo bench -p portcullis-tests`; a name behind `--` runs only the tables whose title contains it.

#![expect(clippy::print_stdout, reason = "its tables are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it starts the command as a user does, and waits for its end")]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::contract::{Call, Execute, Instances, Json, Provider, ProviderName};
use portcullis_tests::{Door, TestHost, fixtures};
use tokio::runtime::Runtime;

const ROUNDS: usize = 15;

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let tables: [(&str, fn()); 3] = [("calls", calls), ("scaling", scaling), ("run", whole_run)];
    for (_, table) in tables.into_iter().filter(|(title, _)| title.contains(&wanted)) {
        table();
    }
}

/// One way of making a call, ready to be made.
struct Contender {
    name: &'static str,
    provider: Arc<dyn Provider>,
    request: Execute,
    calls: usize,
}

impl Contender {
    async fn call(&self) -> Duration {
        let request = self.request.clone();
        let start = Instant::now();
        let answer = self.provider.execute(&Call::default(), request).await;
        let took = start.elapsed();
        black_box(answer).expect("a benchmarked call works");
        took
    }

    /// Returns the median and the 99th percentile of a round.
    async fn round(&self) -> (Duration, Duration) {
        let mut times = Vec::with_capacity(self.calls);
        for _ in 0..self.calls {
            times.push(self.call().await);
        }
        times.sort_unstable();
        (times[times.len() / 2], times[times.len() * 99 / 100])
    }
}

fn calls() {
    let runtime = Runtime::new().expect("a runtime");
    // A task of its own: calls from the thread that blocks on the runtime pay a wake-up more.
    runtime.block_on(async { tokio::spawn(compare_calls()).await.expect("the comparison ends") });
}

async fn compare_calls() {
    let mut native = TestHost::new(Door::Process);
    let mut fresh = TestHost::new(Door::Component);
    let mut kept = TestHost::new(Door::Component);
    kept.run_as.instances = Instances::Pooled(1);
    let native = native.launch("echo").await.expect("the Go plugin starts").provider;
    let fresh = fresh.launch("echo").await.expect("the component starts").provider;
    let kept = kept.launch("echo").await.expect("the component starts").provider;

    println!("\n## Calls, us (one caller, {ROUNDS} rounds)\n");
    println!("| request | contender | p50 | p99 | Go plugin's p50 is so many times longer |");
    println!("|---|---|---|---|---|");
    let kib = format!(r#"{{"message":"hello","items":[{}]}}"#, items(1000));
    for (title, provider, input) in [
        ("no-op", "noop", "{}"),
        ("1 KiB, untouched", "raw", &kib),
        ("1 KiB, parsed and written", "echo", &kib),
    ] {
        let contender = |name, plugin: &Arc<dyn Provider>, calls| Contender {
            name,
            provider: Arc::clone(plugin),
            request: Execute::new(ProviderName::new(provider), Json::from_text(input)),
            calls,
        };
        let contenders = [
            contender("component, fresh instance", &fresh, 2_000),
            contender("component, kept instance", &kept, 2_000),
            contender("Go plugin", &native, 300),
        ];
        compare(title, &contenders).await;
    }
}

/// An array of small objects, about so many bytes of it.
fn items(bytes: usize) -> String {
    let item = r#"{"id":12345,"name":"thing","on":true},"#;
    let text = item.repeat(bytes / item.len());
    text.trim_end_matches(',').to_owned()
}

async fn compare(title: &str, contenders: &[Contender]) {
    for contender in contenders {
        contender.round().await; // warms up
    }
    let mut rounds: Vec<Vec<(Duration, Duration)>> = Vec::new();
    for _ in 0..ROUNDS {
        let mut round = Vec::new();
        for contender in contenders {
            round.push(contender.round().await);
        }
        rounds.push(round);
    }
    for (at, contender) in contenders.iter().enumerate() {
        let p50 = median(rounds.iter().map(|r| micros(r[at].0)));
        let p99 = median(rounds.iter().map(|r| micros(r[at].1)));
        let peer = rounds.iter().map(|r| micros(r[r.len() - 1].0) / micros(r[at].0));
        println!("| {title} | {} | {p50:.1} | {p99:.1} | {:.1} |", contender.name, median(peer));
    }
}

/// How many fresh no-op calls a second one thread makes, and two; and what two threads of this machine
/// come to at the most, which is not always twice one.
fn scaling() {
    const CALLS: usize = 20_000;
    let runtime = Runtime::new().expect("a runtime");
    let fresh = runtime.block_on(async {
        let mut host = TestHost::new(Door::Component);
        host.launch("echo").await.expect("the component starts").provider
    });
    let calls = |threads: usize| {
        rate(threads, CALLS, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let request = Execute::new(ProviderName::new("noop"), Json::from_text("{}"));
                for _ in 0..CALLS {
                    let answer = fresh.execute(&Call::default(), request.clone()).await;
                    black_box(answer).expect("a benchmarked call works");
                }
            });
        })
    };
    let sums = |threads: usize| rate(threads, 1, || arithmetic(black_box(100_000_000)));
    calls(2);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| (calls(1), calls(2), sums(1), sums(2))).collect();
    println!("\n## Fresh no-op calls a second\n");
    println!("| one thread | two threads | ratio | ratio of two threads that share nothing |");
    println!("|---|---|---|---|");
    println!(
        "| {:.0} | {:.0} | {:.2} | {:.2} |",
        median(rounds.iter().map(|r| r.0)),
        median(rounds.iter().map(|r| r.1)),
        median(rounds.iter().map(|r| r.1 / r.0)),
        median(rounds.iter().map(|r| r.3 / r.2)),
    );
}

/// Has threads do the same at once, and returns how much of it is done in a second.
fn rate(threads: usize, each: usize, work: impl Fn() + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
    (threads * each) as f64 / start.elapsed().as_secs_f64()
}

/// Keeps a processor busy without touching memory.
fn arithmetic(steps: u64) {
    let mut state = 1_u64;
    for step in 0..steps {
        state = (state ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    }
    black_box(state);
}

/// A whole `portcullis run`, from its start to its end.
fn whole_run() {
    let runs = |plugin: &std::path::Path| {
        let start = Instant::now();
        let status = Command::new(fixtures::portcullis())
            .args(["run", "--no-stream", "--provider", "echo"])
            .arg(plugin)
            .args(["message=hello", "-o", "quiet"])
            .stdout(Stdio::null())
            .status()
            .expect("the command starts");
        assert!(status.success(), "{} runs", plugin.display());
        micros(start.elapsed()) / 1000.0
    };
    let version = || {
        let start = Instant::now();
        let status = Command::new(fixtures::portcullis()).arg("--version").stdout(Stdio::null()).status();
        assert!(status.expect("the command starts").success());
        micros(start.elapsed()) / 1000.0
    };
    let component = fixtures::plugin(Door::Component, "echo");
    let native = fixtures::plugin(Door::Process, "echo");
    runs(&component); // compiles, if nobody did
    let rounds: Vec<_> = (0..ROUNDS * 3).map(|_| (version(), runs(&component), runs(&native))).collect();
    println!("\n## A whole `portcullis run`, ms\n");
    println!("| `--version` | cached component | Go plugin | component is so many times sooner |");
    println!("|---|---|---|---|");
    println!(
        "| {:.2} | {:.2} | {:.2} | {:.1} |",
        median(rounds.iter().map(|r| r.0)),
        median(rounds.iter().map(|r| r.1)),
        median(rounds.iter().map(|r| r.2)),
        median(rounds.iter().map(|r| r.2 / r.1)),
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
