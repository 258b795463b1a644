//! The log of a plugin, which it writes to its standard error: reading it, and writing it.
//!
//! Go plugins log in hclog's JSON, and everything else in them writes there, too. [`LogReader`] makes entries of
//! these bytes by upstream's rules (protocol spec 8.2 to 8.4), so that a plugin's log reads the same under either
//! host.
//!
//! Reading is pure, keeps at most one line of the configured length, and accepts any bytes: they are a stranger's.
//! A plugin of ours writes with [`Entry::to_line`], or has `tracing` write through a [`LogLayer`].

mod fault;
#[cfg(test)]
mod fuzz;
mod layer;
mod line;
mod time;

use std::error::Error;

use serde_json::Value;

pub use self::fault::LineFault;
pub use self::layer::LogLayer;
use self::time::is_timestamp;
use crate::tree::tree;

/// How important an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding a fault; also everything that names no level.
    Debug,
    /// What a reader may want to know.
    Info,
    /// What may be wrong.
    Warn,
    /// What is wrong.
    Error,
}

/// One entry of a plugin's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// How important it is.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// The name of the logger, if it has one.
    pub target: Option<String>,
    /// When it was written, by the plugin's clock and in RFC 3339 with microseconds.
    pub timestamp: Option<String>,
    /// Its other fields, `@caller` included.
    pub fields: Vec<(String, Value)>,
    /// Whether the line was an object with a level, as hclog writes it, and no plain text.
    pub is_structured: bool,
    /// Whether the line was too long to be read whole, and goes on in the next entry.
    pub goes_on: bool,
}

impl Entry {
    /// Makes an entry that says no more than this.
    #[must_use]
    pub fn plain(level: Level, message: impl Into<String>) -> Self {
        let (is_structured, goes_on) = (false, false);
        let (target, timestamp, fields) = (None, None, Vec::new());
        Self { level, message: message.into(), target, timestamp, fields, is_structured, goes_on }
    }
}

/// Makes entries of a stream of bytes.
#[derive(Debug)]
pub struct LogReader {
    line: Vec<u8>,
    limit: usize,
    /// The current line was longer than the limit, and its beginning has been handed over.
    broken: bool,
    /// A Go program has begun to print its stack; from here on every untagged line is an error.
    panicking: bool,
}

impl LogReader {
    /// Creates a reader that parses lines of up to `limit` bytes, and passes longer ones on in pieces.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit: limit.max(1), broken: false, panicking: false }
    }

    /// Takes the next bytes, and hands over each entry that they complete.
    pub fn read(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Entry)) {
        while !bytes.is_empty() {
            let room = self.limit - self.line.len();
            let window = bytes.get(..=room).unwrap_or(bytes);
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let (line, rest) = bytes.split_at(end);
                    self.line.extend_from_slice(line);
                    self.end_of_line(&mut sink);
                    bytes = rest.get(1..).unwrap_or_default();
                }
                None => {
                    let (piece, rest) = bytes.split_at(room.min(bytes.len()));
                    self.line.extend_from_slice(piece);
                    bytes = rest;
                    // Only a byte more than the limit shows that the line does not end here.
                    if self.line.len() == self.limit && !bytes.is_empty() {
                        self.broken = true;
                        let piece = Entry::plain(Level::Debug, String::from_utf8_lossy(&self.line));
                        sink(Entry { goes_on: true, ..piece });
                        self.line.clear();
                    }
                }
            }
        }
    }

    /// Hands over the line that the stream ended in the middle of.
    pub fn finish(&mut self, mut sink: impl FnMut(Entry)) {
        if !self.line.is_empty() {
            self.end_of_line(&mut sink);
        }
    }

    fn end_of_line(&mut self, sink: &mut impl FnMut(Entry)) {
        let bytes = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let line = String::from_utf8_lossy(bytes);
        let entry = if std::mem::take(&mut self.broken) {
            Entry::plain(Level::Debug, line)
        } else {
            structured(&line).unwrap_or_else(|| plain(&line, &mut self.panicking))
        };
        self.line.clear();
        sink(entry);
    }
}

/// Reads a line of hclog's JSON, or returns `None` if it is none.
fn structured(line: &str) -> Option<Entry> {
    // The parser takes half a microsecond to find out what the first byte shows.
    if !line.trim_start().starts_with('{') {
        return None;
    }
    let Ok(Value::Object(mut fields)) = tree(line) else { return None };
    let mut special = |key: &str| match fields.remove(key) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        // Upstream's host panics over this. The nearest rule makes it a plain line.
        Some(_) => None,
    };
    let (message, level, timestamp) = (special("@message")?, special("@level")?, special("@timestamp")?);
    if timestamp.as_deref().is_some_and(|time| !is_timestamp(time)) {
        return None;
    }
    let Some(level) = level.as_deref().and_then(named_level) else {
        return Some(Entry::plain(Level::Debug, line));
    };
    let target = match fields.remove("@module") {
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            fields.insert("@module".to_owned(), other);
            None
        }
        None => None,
    };
    let fields = fields.into_iter().collect();
    let entry = Entry::plain(level, message.unwrap_or_default());
    Some(Entry { target, timestamp, fields, is_structured: true, ..entry })
}

fn named_level(name: &str) -> Option<Level> {
    let name = name.trim();
    let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
    levels.into_iter().find(|level| name.eq_ignore_ascii_case(level.name()))
}

impl Level {
    /// Returns the level's name as hclog writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

fn plain(line: &str, panicking: &mut bool) -> Entry {
    // `[ERR]` is not among them upstream either.
    const TAGS: [(&str, Level); 5] = [
        ("[TRACE]", Level::Trace),
        ("[DEBUG]", Level::Debug),
        ("[INFO]", Level::Info),
        ("[WARN]", Level::Warn),
        ("[ERROR]", Level::Error),
    ];
    if let Some((_, level)) = TAGS.iter().find(|(tag, _)| line.starts_with(tag)) {
        return Entry::plain(*level, line);
    }
    *panicking |= line.starts_with("panic: ") || line.starts_with("fatal error: ");
    Entry::plain(if *panicking { Level::Error } else { Level::Debug }, line)
}

/// Returns everything that an error says, in one text.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(limit: usize, chunks: &[&[u8]]) -> Vec<Entry> {
        let (mut reader, mut entries) = (LogReader::new(limit), Vec::new());
        for chunk in chunks {
            reader.read(chunk, |entry| entries.push(entry));
        }
        reader.finish(|entry| entries.push(entry));
        entries
    }

    fn check(text: &str, expected: &[(Level, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(level, message)| Entry::plain(*level, *message)).collect();
        assert_eq!(entries(100, &[text.as_bytes()]), expected, "{text:?}");
        // However the bytes are cut, the entries are the same.
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(entries(100, &bytes), expected, "{text:?}, byte by byte");
    }

    /// `serde_json` would show what the text says.
    #[test]
    fn a_field_that_looks_like_hidden_json_stays_as_it_is() {
        let line = br#"{"@level":"info","x":{"$serde_json::private::RawValue":"[1]"}}"#;
        let found = entries(100, &[line]);
        let x = json!({"$serde_json::private::RawValue": "[1]"});
        assert_eq!(found[0].fields, [("x".to_owned(), x)]);
    }

    #[test]
    fn a_structured_line_is_taken_apart() {
        let line = br#"{"@level":" WARN ","@message":"disk","@module":"x.y","@timestamp":"2026-02-28T23:59:59.123456+01:00","@caller":"a.go:1","left":9007199254740993,"of":[1]}"#; // H-30
        let expected = Entry {
            level: Level::Warn,
            message: "disk".to_owned(),
            target: Some("x.y".to_owned()),
            timestamp: Some("2026-02-28T23:59:59.123456+01:00".to_owned()),
            fields: vec![
                ("@caller".to_owned(), json!("a.go:1")),
                ("left".to_owned(), json!(9_007_199_254_740_993_u64)),
                ("of".to_owned(), json!([1])),
            ],
            is_structured: true,
            goes_on: false,
        };
        assert_eq!(entries(1000, &[line, b"\n"]), [expected]);
    }

    #[test]
    fn a_level_that_is_none_leaves_the_line_as_it_is() {
        for line in [r#"{"@message":"m"}"#, r#"{"@level":"all","@message":"m"}"#, r#"{"@level":"off"}"#, "{}"]
        {
            check(line, &[(Level::Debug, line)]); // H-31
        }
    }

    #[test]
    fn special_keys_of_another_type_make_the_line_plain() {
        for line in [
            r#"{"@level":1}"#,
            r#"{"@level":"info","@message":{}}"#,
            r#"{"@level":"info","@timestamp":null}"#,
        ] {
            check(line, &[(Level::Debug, line)]); // H-32
        }
    }

    #[test]
    fn a_time_in_another_form_makes_the_line_plain() {
        let line = |time: &str| format!(r#"{{"@level":"error","@timestamp":"{time}"}}"#);
        for time in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123Z",
            "2026-01-01T00:00:00.123456789Z",
            "2026-02-29T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:00:00.000000",
            "",
        ] {
            check(&line(time), &[(Level::Debug, &line(time))]);
        }
        assert_eq!(entries(100, &[line("2024-02-29T00:00:00.000000Z").as_bytes()])[0].level, Level::Error);
    }

    #[test]
    fn tags_of_plain_lines_are_levels_and_stay() {
        check(
            "[TRACE] a\n[DEBUG] b\r\n[INFO] c\n[WARN]d\n[ERROR]\n[ERR] f\n [INFO] g\n\nrest",
            &[
                (Level::Trace, "[TRACE] a"), // H-33
                (Level::Debug, "[DEBUG] b"),
                (Level::Info, "[INFO] c"),
                (Level::Warn, "[WARN]d"),
                (Level::Error, "[ERROR]"),
                (Level::Debug, "[ERR] f"),
                (Level::Debug, " [INFO] g"),
                (Level::Debug, ""),
                (Level::Debug, "rest"),
            ],
        );
    }

    #[test]
    fn what_follows_a_panic_is_an_error_unless_it_says_otherwise() {
        check(
            "before\npanic: no\n\tmain.go:1\n[INFO] tagged\n{\"@level\":\"x\"}\nfatal error: too",
            &[
                (Level::Debug, "before"), // H-34
                (Level::Error, "panic: no"),
                (Level::Error, "\tmain.go:1"),
                (Level::Info, "[INFO] tagged"),
                (Level::Debug, "{\"@level\":\"x\"}"),
                (Level::Error, "fatal error: too"),
            ],
        );
    }

    #[test]
    fn a_line_over_the_limit_comes_in_pieces_and_is_never_parsed() {
        let long = "[ERROR]".repeat(20); // 140 bytes, H-35
        let text = format!("{long}\n[INFO] next");
        let expected = [
            Entry { goes_on: true, ..Entry::plain(Level::Debug, &long[..100]) },
            Entry::plain(Level::Debug, &long[100..]),
            Entry::plain(Level::Info, "[INFO] next"),
        ];
        assert_eq!(entries(100, &[text.as_bytes()]), expected);
        assert_eq!(entries(100, &text.as_bytes().chunks(1).collect::<Vec<_>>()), expected);
        let fits = "x".repeat(100);
        check(&format!("{fits}\n"), &[(Level::Debug, &fits)]);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let found = entries(100, &[b"[WARN] \xff\n{\"@level\":\"info\",\"@message\":\"\xff\"}\n\0"]);
        let found: Vec<_> = found.iter().map(|e| (e.level, e.message.as_str())).collect();
        assert_eq!(
            found,
            [(Level::Warn, "[WARN] \u{fffd}"), (Level::Info, "\u{fffd}"), (Level::Debug, "\0")]
        );
    }
}
