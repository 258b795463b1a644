//! What is wrong with a line of a plugin's log that was meant to be structured.
//!
//! The reader accepts every line as well as it can. People who look for a plugin's faults want to know of them.

use serde_json::Value;
use thiserror::Error;

use super::named_level;
use super::time::is_timestamp;
use crate::tree::tree;

/// The longest line, in bytes: hosts split longer ones, which loses their structure.
const LONGEST: usize = 64 * 1024;

/// What is wrong with a line of a plugin's log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineFault {
    /// It is longer than what hosts read as one line.
    #[error("it is longer than the 64 KiB that hosts read at once")]
    Long,
    /// It begins like a JSON object, but is none.
    #[error("it begins like JSON, but is not")]
    NoJson,
    /// A required field is missing.
    #[error("it has no {key:?}")]
    Missing {
        /// The field.
        key: &'static str,
    },
    /// A field that has to be a string is something else. Hosts in Go panic over it.
    #[error("its {key:?} is not a string")]
    NoText {
        /// The field.
        key: &'static str,
    },
    /// The time is not in the one form that hosts read: with a fraction of exactly six digits, and a zone.
    #[error("its time {found:?} has another form than 2006-01-02T15:04:05.000000Z")]
    Time {
        /// The time it has.
        found: String,
    },
    /// The level has none of the five names.
    #[error("its level {found:?} is none of trace, debug, info, warn, error")]
    Level {
        /// The level it has.
        found: String,
    },
}

impl LineFault {
    /// Looks for a fault in one line, without its end. Plain text has none.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        if line.len() >= LONGEST {
            return Some(Self::Long);
        }
        if !line.trim_start().starts_with('{') {
            return None;
        }
        let Ok(Value::Object(fields)) = tree(line) else { return Some(Self::NoJson) };
        let text = |key: &'static str| match fields.get(key) {
            None => Err(Self::Missing { key }),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(Self::NoText { key }),
        };
        let find = || {
            let (_message, level, time) = (text("@message")?, text("@level")?, text("@timestamp")?);
            if !is_timestamp(time) {
                return Err(Self::Time { found: time.to_owned() });
            }
            // Hosts read any case; the form that is written has one.
            match named_level(level).filter(|known| known.name() == level) {
                Some(_) => Ok(()),
                None => Err(Self::Level { found: level.to_owned() }),
            }
        };
        find().err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&str>) {
        assert_eq!(LineFault::of(line).map(|fault| fault.to_string()).as_deref(), expected, "{line:?}");
    }

    #[test]
    fn a_line_that_hosts_read_has_no_fault() {
        check("", None);
        check("panic: no", None);
        check("[INFO] {", None);
        check(r#"{"@level":"info","@message":"m","@timestamp":"2026-01-01T00:00:00.000000Z","n":1}"#, None);
    }

    #[test]
    fn a_line_that_hosts_read_otherwise_has_one() {
        check("{broken", Some("it begins like JSON, but is not"));
        check(r#"{"level":"info"}"#, Some(r#"it has no "@message""#));
        check(r#"{"@message":1}"#, Some(r#"its "@message" is not a string"#));
        check(
            r#"{"@level":"info","@message":"m","@timestamp":"2026-01-01T00:00:00Z"}"#,
            Some(r#"its time "2026-01-01T00:00:00Z" has another form than 2006-01-02T15:04:05.000000Z"#),
        );
        for level in ["INFO", "fatal"] {
            check(
                &format!(
                    r#"{{"@level":"{level}","@message":"m","@timestamp":"2026-01-01T00:00:00.000000Z"}}"#
                ),
                Some(&format!("its level {level:?} is none of trace, debug, info, warn, error")),
            );
        }
        let long = "x".repeat(LONGEST);
        check(&long, Some("it is longer than the 64 KiB that hosts read at once"));
    }
}
