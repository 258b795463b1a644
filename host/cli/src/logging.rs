//! Log lines, to [stderr](crate::stderr).
//!
//! Set up only when something is to be logged, and without patterns: a whole run takes less time than
//! compiling one.

use std::error::Error;
use std::fmt;
use std::io;

use anyhow::{Context as _, bail};
use portcullis_contract::{quoted, visible_line};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultVisitor, FormatFields, Writer};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::stderr::Note;
use crate::{Reader, moment, stderr};

/// These have much to say of themselves that helps nobody who uses us.
const TALKATIVE: [&str; 10] = [
    "cranelift_codegen",
    "cranelift_frontend",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "tokio",
    "tonic",
    "tower",
    "wasmtime",
];

/// What a guest does makes this warn, as often as it likes. What there is to say of its requests is said by us, bounded.
const HEARSAY: &str = "wasmtime_wasi_http";

/// What these warn of also stands in the error that ends the command.
const TOLD_BY_ERRORS: [&str; 1] = ["portcullis::supervise"];

/// In which form log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Console,
    /// One JSON object to a line.
    Json,
}

impl LogFormat {
    /// Reads the value of `--log-format`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "console" | "text" | "" => Ok(Self::Console),
            "json" => Ok(Self::Json),
            _ => bail!("invalid log format {}: must be one of console, json", quoted(text)),
        }
    }
}

/// Reads the value of `--log-level`.
pub(crate) fn parse_level(text: &str) -> anyhow::Result<LevelFilter> {
    portcullis::log_level(text).with_context(|| {
        format!(
            "invalid log level {}: must be one of none, error, warn, info, debug, trace, or a numeric V-level",
            quoted(text)
        )
    })
}

/// Starts to log, for who reads stderr.
pub(crate) fn start(level: LevelFilter, format: LogFormat, reader: Reader) {
    if level == LevelFilter::OFF {
        return;
    }
    let targets = Targets::new()
        .with_default(level)
        .with_targets(TALKATIVE.map(|target| (target, level.min(LevelFilter::WARN))))
        .with_targets(TOLD_BY_ERRORS.map(|target| (target, told_by_errors(level))))
        .with_target(HEARSAY, level.min(LevelFilter::ERROR));
    let registry = tracing_subscriber::registry();
    // A second subscriber is refused, and the first one goes on.
    let _ = match format {
        LogFormat::Console => registry.with(console(reader).with_filter(targets)).try_init(),
        LogFormat::Json => registry.with(json().with_filter(targets)).try_init(),
    };
}

/// Returns whether a line of a plugin's last words is one that it logged, and that the log has shown.
pub(crate) fn has_shown(line: &str) -> bool {
    match line.split_once(' ') {
        Some(("[ERROR]", _)) => tracing::enabled!(target: "portcullis::plugin", Level::ERROR),
        Some(("[WARN]", _)) => tracing::enabled!(target: "portcullis::plugin", Level::WARN),
        Some(("[INFO]", _)) => tracing::enabled!(target: "portcullis::plugin", Level::INFO),
        _ => false,
    }
}

/// Whoever wants more than warnings wants the order of events, and gets everything.
fn told_by_errors(level: LevelFilter) -> LevelFilter {
    if level > LevelFilter::WARN { level } else { level.min(LevelFilter::ERROR) }
}

fn console(reader: Reader) -> impl Layer<Registry> {
    let layer = tracing_subscriber::fmt::layer().with_writer(|| OneLine(console_note));
    layer.fmt_fields(Colourless).with_ansi(reader == Reader::TerminalInColour).without_time().compact()
}

/// Writes the fields of an event as usual, with no colours but our own. Of what others wrote, the library makes visible what is in
/// a message, in a plain text and in an error, and leaves all else as it is.
struct Colourless;

impl<'w> FormatFields<'w> for Colourless {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut usual = DefaultVisitor::new(writer, true);
        fields.record(&mut ColourlessVisitor(&mut usual));
        usual.finish()
    }
}

struct ColourlessVisitor<'v, 'w>(&'v mut DefaultVisitor<'w>);

impl Visit for ColourlessVisitor<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.record_str(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.0.record_error(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}").replace('\u{1b}', "\\u001b");
        self.0.record_debug(field, &format_args!("{text}"));
    }
}

fn console_note(lines: u64) -> String {
    format!(" WARN portcullis: {}\n", left_out(lines))
}

fn left_out(lines: u64) -> String {
    match lines {
        1 => "1 line of the log was left out, as nobody read it".to_owned(),
        lines => format!("{lines} lines of the log were left out, as nobody read them"),
    }
}

/// Writes an event in one line, whatever a plugin wrote into it: with line breaks or marks that turn the
/// direction of text, a plugin could forge lines of ours.
struct OneLine(Note);

impl io::Write for OneLine {
    /// An event comes as one piece, its end of line included.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        stderr::shared().log(one_line(event), self.0);
        Ok(event.len())
    }

    /// Waits for nothing: at the end the command does.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one_line(event: &[u8]) -> Vec<u8> {
    let (text, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |text| (text, b"\n"));
    let mut line = String::with_capacity(event.len());
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            // The escapes of colours are ours: those of others were made visible before.
            '\t' | '\u{1b}' | ' '..='~' => line.push(c),
            // In the form of JSON, of which this may be a line.
            c if visible_line(&c.to_string()).starts_with('\\') => {
                line.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => line.push(c),
        }
    }
    let mut line = line.into_bytes();
    line.extend_from_slice(end);
    line
}

fn json<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer().with_writer(|| OneLine(json_note)).json()
}

fn json_note(lines: u64) -> String {
    let fields = json!({ "message": left_out(lines), "lines": lines });
    let timestamp = moment::to_text(moment::now());
    let event = json!({ "timestamp": timestamp, "level": "WARN", "fields": fields, "target": "portcullis" });
    format!("{event}\n")
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;

    use super::*;

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(one_line(b"ERROR a\r\nERROR fake\n"), b"ERROR a\\r\\nERROR fake\n");
        assert_eq!(one_line(b"half"), b"half");
    }

    #[test]
    fn what_could_fool_a_terminal_is_made_visible() {
        let check = |event: &str, expected: &str| assert_eq!(one_line(event.as_bytes()), expected.as_bytes());
        check(
            "\u{1b}[31mERROR\u{1b}[0m a\u{202e}b\u{2028}c\n",
            "\u{1b}[31mERROR\u{1b}[0m a\\u202eb\\u2028c\n",
        );
        check("{\"message\":\"\u{9b}2J caf\u{e9}\"}\n", "{\"message\":\"\\u009b2J caf\u{e9}\"}\n");
    }

    #[test]
    fn of_an_error_all_its_causes_are_told_and_move_no_cursor() {
        let (reader, writer) = io::pipe().unwrap();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.try_clone().unwrap());
        let layer = layer.fmt_fields(Colourless).with_ansi(false).without_time().compact();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = anyhow::anyhow!("no\u{1b}[2J").context("not closed").context("cut");
            tracing::warn!(error = &*error as &dyn Error, "a connection ended");
        });
        let mut said = String::new();
        io::BufReader::new(reader).read_line(&mut said).unwrap();
        assert!(said.contains("error=cut error.sources=[not closed, no"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
    }

    #[test]
    fn what_was_left_out_is_told_in_the_form_of_the_log() {
        let one = "1 line of the log was left out, as nobody read it";
        assert_eq!(console_note(1), format!(" WARN portcullis: {one}\n"));
        let many = "12 lines of the log were left out, as nobody read them";
        let event: serde_json::Value = serde_json::from_str(&json_note(12)).unwrap();
        assert_eq!(event["fields"], json!({ "message": many, "lines": 12 }));
        assert!(event["timestamp"].is_string());
    }
}
