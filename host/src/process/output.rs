//! What a child prints, into our logs.
//!
//! Three streams of a child end here (protocol spec 8): log entries from its stderr, and what it
//! prints to stdout and stderr after its start, which its library sends us. All of it is a stranger's
//! text: it goes to `tracing` under one target, with the plugin's name beside it, in pieces of bounded
//! length, and nothing here keeps more than the line that is not finished yet.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use portcullis_contract::PluginName;
use portcullis_goplugin::log::{Entry, Level};
use portcullis_goplugin::{Sink, Stdio};
use tracing::field::display;
use tracing::{debug, error, info, trace, warn};

/// The target of everything that a plugin says. Targets cannot be made at run time, so the plugin's
/// name is a field.
const TARGET: &str = "portcullis::plugin";

/// A line longer than this comes in pieces. A guess: no person reads a longer one, and a plugin that
/// never ends its line costs no more memory than this.
const LONGEST: usize = 8 << 10;

/// Where one child's words go.
#[derive(Debug)]
pub(super) struct Words {
    plugin: PluginName,
    stdout: Mutex<Lines>,
    stderr: Mutex<Lines>,
}

impl Words {
    /// Makes a place for the words of one plugin.
    pub(super) fn new(plugin: PluginName) -> Self {
        Self { plugin, stdout: Mutex::default(), stderr: Mutex::default() }
    }
}

impl Sink for Words {
    fn log(&self, entry: Entry) {
        let Self { plugin, .. } = self;
        let Entry { level, message, target, timestamp, fields } = entry;
        let (module, at) = (target.as_deref(), timestamp.as_deref());
        let fields = (!fields.is_empty()).then(|| display(Fields(fields)));
        match level {
            Level::Trace => trace!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Debug => debug!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Info => info!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Warn => warn!(target: TARGET, %plugin, module, at, fields, "{message}"),
            Level::Error => error!(target: TARGET, %plugin, module, at, fields, "{message}"),
        }
    }

    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let Self { plugin, .. } = self;
        let (lines, stream) = match stdio {
            Stdio::Stdout => (&self.stdout, "stdout"),
            Stdio::Stderr => (&self.stderr, "stderr"),
        };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.take(piece, |line| debug!(target: TARGET, %plugin, stream, "{line}"));
    }
}

/// What else belongs to an entry, as one text: the names of fields cannot be made at run time either.
struct Fields(Vec<(String, serde_json::Value)>);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, (key, value))| {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{key}={value}")
        })
    }
}

/// Hands over what the plugin never finished.
impl Drop for Words {
    fn drop(&mut self) {
        let Self { plugin, stdout, stderr } = self;
        for (lines, stream) in [(stdout, "stdout"), (stderr, "stderr")] {
            let lines = lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            lines.end(|line| debug!(target: TARGET, %plugin, stream, "{line}"));
        }
    }
}

/// One of a plugin's two streams of print, cut into lines.
#[derive(Debug, Default)]
struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes, cut anywhere, and hands over the lines that they complete.
    fn take(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = LONGEST - self.unfinished.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            let (length, skipped) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, 1),
                None => (window.len(), 0),
            };
            let (piece, rest) = bytes.split_at(length);
            self.unfinished.extend_from_slice(piece);
            bytes = rest.get(skipped..).unwrap_or_default();
            if skipped == 1 || self.unfinished.len() == LONGEST {
                line(&String::from_utf8_lossy(&self.unfinished));
                self.unfinished.clear();
            }
        }
    }

    /// Hands over what was never finished.
    fn end(&mut self, line: impl FnOnce(&str)) {
        if !self.unfinished.is_empty() {
            line(&String::from_utf8_lossy(&self.unfinished));
            self.unfinished.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&[u8]], expected: &[&str]) {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.take(chunk, |line| found.push(line.to_owned()));
        }
        lines.end(|line| found.push(line.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn print_is_cut_into_lines_however_it_arrives() {
        check(&[b"one\ntwo\n"], &["one", "two"]);
        check(&[b"o", b"ne\n\nth", b"ree"], &["one", "", "three"]);
        check(&["\u{e9}\n".as_bytes().split_at(1).0, "\u{e9}\n".as_bytes().split_at(1).1], &["\u{e9}"]);
        check(&[b"\xff\n"], &["\u{fffd}"]);
        check(&[], &[]);
    }

    #[test]
    fn a_line_that_never_ends_comes_in_pieces() {
        let long = "x".repeat(2 * LONGEST + 5);
        let pieces = [&long[..LONGEST], &long[..LONGEST], "xxxxx"];
        check(&[long.as_bytes()], &pieces);
        check(&long.as_bytes().chunks(1000).collect::<Vec<_>>(), &pieces);
    }
}
