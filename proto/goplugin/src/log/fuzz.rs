//! Fuzz target: what a plugin writes to its standard error.

use std::time::UNIX_EPOCH;

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

/// How many entries of one input are written again.
const WRITTEN: usize = 16;

/// Reads bytes that arrive in pieces of `size`.
fn read(bytes: &[u8], limit: usize, size: usize) -> Vec<Entry> {
    let (mut reader, mut entries) = (LogReader::new(limit), Vec::new());
    for piece in bytes.chunks(size) {
        reader.read(piece, |entry| entries.push(entry));
        assert!(reader.line.len() <= reader.limit, "more is kept than a line");
    }
    reader.finish(|entry| entries.push(entry));
    assert!(reader.line.is_empty());
    entries
}

fn is_structured(entry: &Entry) -> bool {
    entry.timestamp.is_some() || entry.target.is_some() || !entry.fields.is_empty()
}

/// Whatever an entry holds, what is written of it is one line without a fault, and says the same.
fn check_written(entry: &Entry) {
    let line = entry.to_line(UNIX_EPOCH);
    assert_eq!(LineFault::of(line.trim_end_matches('\n')), None, "{line:?}");
    let again = read(line.as_bytes(), line.len(), line.len());
    let [again] = again.as_slice() else { panic!("{} entries of one", again.len()) };
    assert_eq!(again.level, entry.level);
    // A text that is too long is cut, and says so.
    assert!(again.message == entry.message || line.contains("(cut)"), "{line:?}");
}

#[test]
fn any_bytes_are_entries_however_they_arrive() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/log"), |input| {
        // The first two bytes say how long a line may be, and in which pieces it arrives.
        let [limit, size, bytes @ ..] = input else { return Outcome::Refused };
        let (limit, size) = (usize::from(*limit) * 16 + 1, usize::from(*size) + 1);
        let entries = read(bytes, limit, size);
        assert_eq!(entries, read(bytes, limit, bytes.len().max(1)));

        let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.len() / limit + 1).sum::<usize>();
        assert!(entries.len() <= lines, "{} entries of {lines} lines", entries.len());
        for entry in &entries {
            // A byte that is no text becomes a mark of three.
            assert!(entry.message.len() <= 3 * limit, "a message of {} bytes", entry.message.len());
        }
        // Thousands of empty lines show no more than some do.
        entries.iter().take(WRITTEN).for_each(check_written);
        if entries.iter().any(is_structured) { Outcome::Taken } else { Outcome::Refused }
    });
}
