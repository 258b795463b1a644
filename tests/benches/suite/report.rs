//! The tables, printed as they come and kept for the file.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::picture::{Bar, picture};

/// Everything that was measured.
pub(crate) struct Report {
    text: String,
    /// Microseconds of one call, by contender.
    pub(crate) latency: Vec<Bar>,
    /// MiB of a plugin, by contender.
    pub(crate) memory: Vec<Bar>,
}

impl Report {
    /// Begins with the machine and the versions.
    pub(crate) fn begin(awake: bool) -> Self {
        let mut report = Self { text: String::new(), latency: Vec::new(), memory: Vec::new() };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        report.say(&format!(
            "Taken on {} on {processors} processors ({}), {}, {}; wasmtime 48.0.8, go-plugin 1.8. The processors \
             were {}. Compare within a table only.",
            said("date", &["+%Y-%m-%d"]),
            model(),
            said("rustc", &["--version"]),
            said("go", &["version"]),
            if awake { "kept awake" } else { "left to fall asleep" },
        ));
        report
    }

    /// Adds a paragraph.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{text}\n");
        let _ = writeln!(self.text, "{text}\n");
    }

    /// Adds a table.
    pub(crate) fn table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>]) {
        let mut table = format!("## {title}\n\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for row in rows {
            let _ = writeln!(table, "| {} |", row.join(" | "));
        }
        self.say(&table);
    }

    /// Writes the file and the pictures. A picture whose section was left out stays as it was.
    pub(crate) fn write(&self) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/report");
        std::fs::create_dir_all(&directory).expect("the checkout can be written to");
        let write = |name: &str, text: &str| {
            std::fs::write(directory.join(name), text).expect("the checkout can be written to");
        };
        write("speed.md", &format!("# Speed, measured\n\n{}", self.text));
        if !self.latency.is_empty() {
            let title = "One call with 1 KiB of JSON, parsed and written: median, microseconds";
            write("latency.svg", &picture(title, &self.latency));
        }
        if !self.memory.is_empty() {
            write("memory.svg", &picture("Private memory of one plugin after its calls, MiB", &self.memory));
        }
    }
}

/// Returns a figure with as many places as it deserves.
pub(crate) fn figure(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Returns what the processor calls itself.
fn model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
