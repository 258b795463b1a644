//! From a start to the first answer: of a plugin under a Go host, and of a whole run of our command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use portcullis::contract::InstanceReuse;
use portcullis_tests::go_host::{GoHost, Mode};
use portcullis_tests::{cli, fixtures};
use serde_json::json;

use crate::contenders::wrapped;
use crate::measure::{Times, alternate, micros, over, ratio};
use crate::report::{Report, figure};

pub(crate) fn measure(report: &mut Report) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let shim = wrapped(scratch.path(), InstanceReuse::PerCall);
    let mut programs = [
        ("Go plugin", fixtures::peer("echo")),
        ("Rust program", fixtures::native("echo")),
        ("component behind the shim", shim),
    ];
    for (title, mode) in [("plain", Mode::Plain), ("AutoMTLS", Mode::Tls)] {
        let rounds = alternate(&mut programs, |(_, program)| first_answers(mode, program));
        let rows: Vec<_> = programs
            .iter()
            .zip(&rounds)
            .map(|((name, _), own)| {
                vec![
                    (*name).to_owned(),
                    figure(over(own, Times::p50) / 1e3),
                    figure(ratio(&rounds[0], own, Times::p50)),
                ]
            })
            .collect();
        let title = format!("Start to first answer under a Go host, {title}");
        report.table(&title, &["", "ms", "the Go plugin takes so many times as long"], &rows);
    }
    runs(report, scratch.path());
}

/// Starts a plugin and asks it something, a few times.
fn first_answers(mode: Mode, program: &Path) -> Times {
    let once = |_| {
        let mut host = GoHost::provider("1.8", mode, program).expect("the plugin starts");
        let started = host.started()["milliseconds"].as_f64().expect("a time") * 1e3;
        let work = json!({"do": "bench", "name": "noop", "raw": "{}", "calls": 1, "inFlight": 1});
        let answer = host.ask(work).expect("a benchmarked call works");
        started + answer["together"].as_f64().expect("a time") / 1e3
    };
    Times::new((0..5).map(once).collect(), 1.0)
}

/// A whole `portcullis run`: nothing but its version, a component that is cached, one that is not, a Go plugin.
fn runs(report: &mut Report, scratch: &Path) {
    let runs = |plugin: &Path, fresh: bool| {
        let mut command: Command = cli::command(scratch);
        if fresh {
            let cache = tempfile::tempdir_in(scratch).expect("a temporary directory");
            command.env("PORTCULLIS_CACHE_DIR", cache.keep());
        }
        command.args(["run", "--no-stream", "--provider", "echo"]).arg(plugin);
        took(command.args(["message=hello", "-o", "quiet"]))
    };
    let (component, native) = (fixtures::guest("echo"), fixtures::peer("echo"));
    let version = || took(cli::command(scratch).arg("--version"));
    let names = ["`--version`", "cached component", "component, compiled for it", "Go plugin"];
    let mut contenders = [0, 1, 2, 3];
    let rounds = alternate(&mut contenders, |contender| {
        let once = |_| match contender {
            0 => version(),
            1 => runs(&component, false),
            2 => runs(&component, true),
            _ => runs(&native, false),
        };
        Times::new((0..if *contender == 2 { 1 } else { 4 }).map(once).collect(), 1.0)
    });
    let rows: Vec<_> = names
        .iter()
        .zip(&rounds)
        .map(|(name, own)| {
            vec![
                (*name).to_owned(),
                figure(over(own, Times::p50) / 1e3),
                figure(ratio(&rounds[3], own, Times::p50)),
            ]
        })
        .collect();
    let head = ["a whole `portcullis run`", "ms", "the Go plugin takes so many times as long"];
    report.table("From a command to its end", &head, &rows);
}

fn took(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("the command starts");
    assert!(status.success(), "{command:?}");
    micros(begun.elapsed())
}
