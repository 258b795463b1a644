//! How many fresh no-op calls a second one thread makes, and two; and what two threads of this machine come to
//! at the most, which is not always twice one.

use std::hint::black_box;
use std::time::Instant;

use portcullis::contract::{Call, Execute, Json, ProviderName};
use portcullis_tests::{Door, TestHost};
use tokio::runtime::Runtime;

use crate::measure::{ROUNDS, median};
use crate::report::Report;

const CALLS: usize = 20_000;

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    let mut host = TestHost::new(Door::Component);
    let fresh = runtime.block_on(host.launch("echo")).expect("the component starts").provider;
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
    let row = vec![
        format!("{:.0}", median(rounds.iter().map(|r| r.0))),
        format!("{:.0}", median(rounds.iter().map(|r| r.1))),
        format!("{:.2}", median(rounds.iter().map(|r| r.1 / r.0))),
        format!("{:.2}", median(rounds.iter().map(|r| r.3 / r.2))),
    ];
    let head = ["one thread", "two threads", "ratio", "ratio of two threads that share nothing"];
    report.table("Fresh no-op calls a second", &head, &[row]);
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
