//! What Portcullis costs beside the Go original: the same plugin as a Go program, as a Rust program, as a
//! component in our host, and as a component behind the shim, under our host and under a Go host.
//!
//! Every round measures every contender once, in turn, so that a machine whose speed drifts drifts for all of
//! them; what is quoted is the median over the rounds, and the median of the ratios round by round. Nothing is
//! asserted: a benchmark reports.
//!
//! `cargo bench -p portcullis-tests [-- [awake] [write] [SECTION]...]`. A SECTION is one of those in [`SECTIONS`];
//! `awake` keeps the processors from falling asleep, which makes every hop about 40 us shorter; `write` puts the
//! tables and pictures where the README shows them, into `tests/benches/report`.

#![expect(clippy::print_stdout, reason = "its tables are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it starts programs as a user does, and waits for their end")]

mod callbacks;
mod calls;
mod contenders;
mod measure;
mod memory;
mod overshoot;
mod picture;
mod report;
mod scaling;
mod starts;
mod streaming;

use report::Report;

/// Puts what it measured into the report.
type Section = fn(&mut Report);

const SECTIONS: [(&str, Section); 7] = [
    ("calls", calls::measure),
    ("scaling", scaling::measure),
    ("callbacks", callbacks::measure),
    ("streaming", streaming::measure),
    ("starts", starts::measure),
    ("memory", memory::measure),
    ("overshoot", overshoot::measure),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let chosen = |name: &str| flag(name) || !SECTIONS.iter().any(|(name, _)| flag(name));
    let awake = flag("awake").then(measure::Awake::keep);

    let mut report = Report::begin(awake.is_some());
    for (_, section) in SECTIONS.iter().filter(|(name, _)| chosen(name)) {
        section(&mut report);
    }
    drop(awake);
    if flag("write") {
        report.write();
    }
}
