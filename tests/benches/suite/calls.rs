//! One call after the other, and many at once.

use std::sync::Arc;

use portcullis::contract::InstanceReuse;
use portcullis_tests::{Door, fixtures};
use tokio::runtime::Runtime;

use crate::contenders::{Contender, Work, message, wrapped};
use crate::measure::{Times, alternate, over, ratio};
use crate::picture::Bar;
use crate::report::{Report, figure};

/// The one that everybody is compared with: the Go plugin under the Go host.
const PEER: usize = 0;

pub(crate) fn measure(report: &mut Report) {
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let [fresh, kept] = [InstanceReuse::PerCall, InstanceReuse::Pooled(64)]
        .map(|instances| wrapped(scratch.path(), instances));
    let mut contenders = vec![
        Contender::under_go("Go plugin, Go host", &fixtures::peer("echo")),
        Contender::in_our_host("Go plugin, our host", &runtime, Door::Process, InstanceReuse::PerCall),
        Contender::under_go("Rust program, Go host", &fixtures::native("echo")),
        Contender::under_go("component behind the shim, Go host, fresh instance", &fresh),
        Contender::under_go("component behind the shim, Go host, kept instance", &kept),
        Contender::in_our_host(
            "component, our host, fresh instance",
            &runtime,
            Door::Component,
            InstanceReuse::PerCall,
        ),
        Contender::in_our_host(
            "component, our host, kept instance",
            &runtime,
            Door::Component,
            InstanceReuse::Pooled(64),
        ),
    ];
    let sandboxes = [("Extism, fresh instance", "fresh"), ("Extism, kept instance", "kept")];
    let mut extism: Vec<_> =
        sandboxes.iter().filter_map(|(name, instance)| Contender::in_extism(name, instance)).collect();
    if extism.is_empty() {
        report.say("Extism was not built, and is left out: see `tests/benches/extism`.");
    }
    contenders.append(&mut extism);
    for work in sizes() {
        let mut contenders: Vec<_> =
            contenders.iter_mut().filter(|contender| contender.takes(&work)).collect();
        let rounds = alternate(&mut contenders, |contender| contender.round(&work));
        if work.title.starts_with("1 KiB, parsed") {
            let bar = |(contender, rounds): (&&mut Contender, &Vec<Times>)| Bar {
                name: contender.name.replace("component behind the shim", "shim").replace(" instance", ""),
                value: over(rounds, Times::p50),
                ours: !contender.name.starts_with("Go plugin, Go") && !contender.name.starts_with("Extism"),
            };
            report.latency = contenders.iter().zip(&rounds).map(bar).collect();
        }
        let rows: Vec<_> = contenders
            .iter()
            .zip(&rounds)
            .map(|(contender, ours)| {
                vec![
                    contender.name.to_owned(),
                    figure(over(ours, Times::p50)),
                    figure(over(ours, Times::p99)),
                    figure(ratio(&rounds[PEER], ours, Times::p50)),
                    figure(ratio(&rounds[PEER], ours, Times::p99)),
                ]
            })
            .collect();
        let head = ["one call, us", "p50", "p99", "Go in Go takes so many times as long, p50", "p99"];
        report.table(work.title, &head, &rows);
    }
    contenders.retain(|contender| !contender.name.starts_with("Extism"));
    in_flight(report, &mut contenders);
}

fn sizes() -> Vec<Work> {
    let work = |title, provider, input: &str, calls| Work {
        title,
        provider,
        input: input.to_owned(),
        calls,
        in_flight: 1,
    };
    let string = format!(r#"{{"message":"{}"}}"#, "x".repeat(64 << 10));
    let kib = message(1000);
    let many = message(64 << 10);
    vec![
        work("no-op", "noop", "{}", 600),
        work("16 B, parsed and written", "echo", r#"{"message":"hi"}"#, 600),
        work("1 KiB, parsed and written", "echo", &kib, 600),
        work("1 KiB, untouched", "raw", &kib, 600),
        work("64 KiB in one string, parsed and written", "echo", &string, 100),
        work("64 KiB in many small fields, parsed and written", "echo", &many, 100),
        work("64 KiB, untouched", "raw", &many, 100),
    ]
}

/// How many calls with 1 KiB come back a second, from 1, 2, 8 and 64 callers.
fn in_flight(report: &mut Report, contenders: &mut [Contender]) {
    const CALLERS: [usize; 4] = [1, 2, 8, 64];
    let kib = message(1000);
    let rates = CALLERS.map(|in_flight| {
        let title = "1 KiB, parsed and written";
        let work = Work { title, provider: "echo", input: kib.clone(), calls: 2_000, in_flight };
        alternate(contenders, |contender| contender.round(&work))
    });
    let rows: Vec<_> = contenders
        .iter()
        .enumerate()
        .map(|(at, contender)| {
            let rates = rates.iter().map(|rounds| format!("{:.0}", over(&rounds[at], Times::per_second)));
            std::iter::once(contender.name.to_owned()).chain(rates).collect()
        })
        .collect();
    let head = ["calls a second, 1 KiB, parsed and written", "1 in flight", "2", "8", "64"];
    report.table("Throughput", &head, &rows);
}
