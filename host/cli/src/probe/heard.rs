//! What a plugin said while it was looked at.
//!
//! All of it is a stranger's, and only so much is kept of each kind: the rest is counted.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard};

use portcullis_goplugin::log::{Entry, LineFault};
use portcullis_goplugin::{Sink, Stdio};

use crate::lock::lock;

/// How many bytes are kept of what was printed, on each way.
const PRINTED: usize = 64 * 1024;

/// How many entries of the log are kept, and how many bytes of all of them.
const ENTRIES: usize = 1000;
const LOG: usize = 1 << 20;

/// How many bytes of a line are looked at. One more than the longest that a log may have.
const LINE: usize = 64 * 1024 + 1;

/// How many kinds of fault are told apart in a log.
const FAULTS: usize = 20;

/// Takes everything that a plugin says.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Told>);

/// What a plugin said.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) first_line: Option<String>,
    /// What came on its standard output after that line.
    pub(super) raw_stdout: Printed,
    /// What it printed, over its stdio service.
    pub(super) stdout: Printed,
    pub(super) stderr: Printed,
    pub(super) log: Vec<Entry>,
    /// How many further entries were not kept.
    pub(super) log_left_out: usize,
    /// What is wrong with lines of its log, with the first of those lines and how many there are.
    pub(super) faults: BTreeMap<String, Faulty>,
    log_size: usize,
    line: Vec<u8>,
}

/// Lines with the same fault.
#[derive(Clone, Debug)]
pub(super) struct Faulty {
    pub(super) fault: LineFault,
    pub(super) line: String,
    pub(super) count: usize,
}

/// The beginning of what was printed, and how long all of it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Printed {
    bytes: Vec<u8>,
    pub(super) length: usize,
}

impl Printed {
    fn push(&mut self, piece: &[u8]) {
        let room = PRINTED.saturating_sub(self.bytes.len()).min(piece.len());
        self.bytes.extend_from_slice(piece.get(..room).unwrap_or_default());
        self.length = self.length.saturating_add(piece.len());
    }

    /// Returns what is kept of it.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Heard {
    /// Returns what was heard until now.
    pub(super) fn told(&self) -> Told {
        let mut told = self.lock().clone();
        if !told.line.is_empty() {
            told.end_of_line();
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        lock(&self.0)
    }
}

impl Sink for Heard {
    fn first_line(&self, line: &str) {
        self.lock().first_line = Some(line.to_owned());
    }

    fn raw_stdout(&self, piece: &[u8]) {
        self.lock().raw_stdout.push(piece);
    }

    fn log(&self, entry: Entry) {
        let mut told = self.lock();
        let fields = entry.fields.iter().map(|(key, value)| key.len() + value.to_string().len());
        let module = entry.target.as_ref().map_or(0, String::len);
        let size = entry.message.len() + module + fields.sum::<usize>();
        if told.log.len() < ENTRIES && told.log_size + size <= LOG {
            told.log_size += size;
            told.log.push(entry);
        } else {
            told.log_left_out += 1;
        }
    }

    fn stdio(&self, stdio: Stdio, piece: &[u8]) {
        let mut told = self.lock();
        match stdio {
            Stdio::Stdout => told.stdout.push(piece),
            Stdio::Stderr => told.stderr.push(piece),
        }
    }

    fn raw_stderr(&self, piece: &[u8]) {
        let mut told = self.lock();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LINE.saturating_sub(told.line.len()).min(text.len());
            told.line.extend_from_slice(text.get(..room).unwrap_or_default());
            if whole {
                told.end_of_line();
            }
        }
    }
}

impl Told {
    fn end_of_line(&mut self) {
        let line = mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let Some(fault) = LineFault::of(&line) else { return };
        let key = fault.to_string();
        if let Some(known) = self.faults.get_mut(&key) {
            known.count += 1;
        } else if self.faults.len() < FAULTS {
            let line = line.chars().take(200).collect();
            self.faults.insert(key, Faulty { fault, line, count: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_goplugin::log::Level;

    use super::*;

    #[test]
    fn lines_are_looked_at_however_they_are_cut() {
        let heard = Heard::default();
        for piece in [&b"{bro"[..], b"ken\n{too\nplain\n", b"{and", b" last"] {
            heard.raw_stderr(piece);
        }
        let faults: Vec<_> = heard.told().faults.into_values().map(|f| (f.line, f.count)).collect();
        assert_eq!(faults, [("{broken".to_owned(), 3)]);
    }

    #[test]
    fn what_never_ends_is_counted_and_not_kept() {
        let heard = Heard::default();
        let piece = vec![b'x'; PRINTED - 1];
        for _ in 0..3 {
            heard.raw_stdout(&piece);
            heard.raw_stderr(&piece);
        }
        let told = heard.told();
        assert_eq!((told.raw_stdout.length, told.raw_stdout.text().len()), (3 * (PRINTED - 1), PRINTED));
        assert_eq!(
            told.faults.into_values().map(|faulty| faulty.fault).collect::<Vec<_>>(),
            [LineFault::Long]
        );
    }

    #[test]
    fn of_a_log_a_mebibyte_is_kept_wherever_it_stands() {
        let heard = Heard::default();
        for _ in 0..20 {
            heard.log(Entry { target: Some("x".repeat(LOG / 10)), ..Entry::plain(Level::Info, "") });
        }
        let told = heard.told();
        assert_eq!((told.log.len(), told.log_left_out), (10, 10));
    }
}
