//! An entry, written as hclog writes it.
//!
//! Hosts are strict: the three special keys have to be strings, or a Go host panics; a time has to have a fraction of
//! six digits, or the line counts as plain text; and a line of 64 KiB or more is split. Whatever an entry holds, the
//! line that is written here meets all of this (protocol spec 8.3).

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Entry;
use super::time::{is_timestamp, timestamp};

/// How long a line is at most, its line feed included. Hosts read 64 KiB at once; a little less is as good.
const LONGEST: usize = 64_000;

/// How long the text of one field may stay when a line is too long.
const SHORTENED: usize = 256;

/// What stands at the end of a text that was cut.
const MARK: &str = "... (cut)";

/// Keys that are hclog's own, and no field's.
const SPECIAL: [&str; 4] = ["@level", "@message", "@module", "@timestamp"];

impl Entry {
    /// Writes the entry as one line of hclog's JSON, line feed included.
    ///
    /// Its time is the entry's own or, if that is not valid, `now`. The line is shorter than 64 KiB: if it would not
    /// be, long texts are cut and end in a mark, and if that is not enough, fields are left out. A field whose key is
    /// one of hclog's own gets an underscore in front.
    #[must_use]
    pub fn to_line(&self, now: SystemTime) -> String {
        let time = self.timestamp.as_deref().filter(|time| is_timestamp(time));
        let time = time.map_or_else(|| timestamp(now), str::to_owned);
        let mut fields = Map::new();
        for (key, value) in &self.fields {
            let key = if SPECIAL.contains(&key.as_str()) { format!("_{key}") } else { key.clone() };
            fields.insert(key, value.clone());
        }
        let whole = self.written(&time, &self.message, fields.clone());
        if whole.len() <= LONGEST {
            return whole;
        }
        let marked = |mut fields: Map<String, Value>| {
            fields.insert("cut".to_owned(), Value::Bool(true));
            fields
        };
        let shortened = fields.into_iter().map(|(key, value)| (key, shorten(value))).collect();
        let mut line = self.written(&time, &self.message, marked(shortened));
        let mut kept = LONGEST;
        while line.len() > LONGEST {
            // One character may take six bytes, and so need several turns.
            kept /= 2;
            line = self.written(&time, &cut(&self.message, kept), marked(Map::new()));
        }
        line
    }

    fn written(&self, time: &str, message: &str, mut fields: Map<String, Value>) -> String {
        let mut set = |key: &str, text: &str| fields.insert(key.to_owned(), Value::from(text));
        set("@level", self.level.name());
        set("@message", message);
        set("@timestamp", time);
        if let Some(target) = &self.target {
            set("@module", &cut(target, SHORTENED));
        }
        let mut line = Value::Object(fields).to_string();
        line.push('\n');
        line
    }
}

fn shorten(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cut(&text, SHORTENED)),
        Value::Array(_) | Value::Object(_) => Value::String(cut(&value.to_string(), SHORTENED)),
        small => small,
    }
}

/// Returns `text` as it is, or the first bytes of it and the mark if it is longer than `limit`.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit);
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::super::{Level, LogReader};
    use super::*;

    fn entry(message: &str, fields: &[(&str, Value)]) -> Entry {
        Entry {
            target: Some("shelf".to_owned()),
            fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
            ..Entry::plain(Level::Warn, message)
        }
    }

    /// Writes an entry, and returns it as a host reads it.
    fn read(entry: &Entry) -> Entry {
        let line = entry.to_line(UNIX_EPOCH);
        assert!(line.len() <= LONGEST && line.ends_with('\n'), "{}", line.len()); // P-46
        assert_eq!(line.matches('\n').count(), 1); // P-43
        let (mut reader, mut entries) = (LogReader::new(64 * 1024), Vec::new());
        reader.read(line.as_bytes(), |entry| entries.push(entry));
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = entry("a \"line\"\nand more", &[("count", json!(3)), ("path", json!("/tmp"))]);
        let timestamp = Some("1970-01-01T00:00:00.000000Z".to_owned());
        assert_eq!(read(&written), Entry { timestamp, is_structured: true, ..written });
    }

    #[test]
    fn levels_are_written_small() {
        let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];
        for (level, name) in levels.into_iter().zip(["trace", "debug", "info", "warn", "error"]) {
            let line = Entry { level, ..entry("m", &[]) }.to_line(UNIX_EPOCH);
            assert!(line.contains(&format!("\"@level\":\"{name}\"")), "{line}"); // P-45
        }
    }

    #[test]
    fn no_field_takes_the_place_of_a_special_key() {
        let found = read(&entry(
            "m",
            &[("@message", json!({})), ("@timestamp", json!(1)), ("@caller", json!("a:1"))],
        ));
        assert_eq!((found.level, found.message.as_str()), (Level::Warn, "m"));
        let keys: Vec<_> = found.fields.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["@caller", "_@message", "_@timestamp"]);
    }

    #[test]
    fn a_time_of_its_own_counts_if_it_is_one() {
        let with = |time: &str| Entry { timestamp: Some(time.to_owned()), ..entry("m", &[]) };
        let own = "2026-02-28T23:59:59.123456+01:00";
        assert_eq!(read(&with(own)).timestamp.as_deref(), Some(own));
        assert_eq!(read(&with("yesterday")).timestamp.as_deref(), Some("1970-01-01T00:00:00.000000Z"));
    }

    #[test]
    fn a_line_that_would_be_too_long_is_cut_and_says_so() {
        let long = "ä".repeat(50_000);
        let found = read(&entry(&long, &[("small", json!(1))]));
        assert!(found.message.ends_with(MARK) && found.message.starts_with('ä'));
        assert!(found.fields.contains(&("cut".to_owned(), json!(true))));

        let found =
            read(&entry("whole", &[("long", json!(long)), ("list", json!([long])), ("small", json!(1))]));
        assert_eq!(found.message, "whole");
        assert!(found.fields.contains(&("small".to_owned(), json!(1))));
        assert!(found.fields.iter().any(|(key, value)| key == "long" && value.to_string().contains(MARK)));

        read(&entry(&"\u{1}".repeat(64_000), &[]));
        let many: Vec<(String, Value)> = (0..10_000).map(|n| (n.to_string(), json!(n))).collect();
        let found = read(&Entry { fields: many, target: Some(long), ..entry("m", &[]) });
        assert_eq!(found.fields, [("cut".to_owned(), json!(true))]);
    }
}
