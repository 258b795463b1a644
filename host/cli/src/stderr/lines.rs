//! What one plugin prints to one of its streams, made fit for a terminal.

use std::time::Instant;

use portcullis_contract::{PluginName, visible, visible_line};

/// The most bytes that an unfinished character can have.
const LONGEST_BEGINNING: usize = 3;

/// How much of a line waits for the rest. A guess: more, and hardly anybody reads the line as one.
const LONGEST_WAIT: usize = 8 << 10;

/// Makes lines of pieces, which may be cut anywhere.
#[derive(Debug)]
pub(super) struct Lines {
    /// What stands before each line.
    label: String,
    /// The beginning of a line whose rest may be in the next piece.
    held: Vec<u8>,
    /// Since when that waits, if it could be shown.
    since: Option<Instant>,
    /// Whether a line has begun and not ended.
    unfinished: bool,
}

impl Lines {
    pub(super) fn of(plugin: &PluginName) -> Self {
        Self {
            label: format!("{}: ", visible_line(plugin.as_str())),
            held: Vec::new(),
            since: None,
            unfinished: false,
        }
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Notes that the unfinished line was ended by others.
    pub(super) fn interrupt(&mut self) {
        self.unfinished = false;
    }

    /// Returns since when something waits that could be shown.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Adds the lines that end in the next piece.
    pub(super) fn take(&mut self, piece: &[u8], out: &mut String) {
        // What was held ends no line, but for a return that was its last byte.
        let looked_at = self.held.len().saturating_sub(1);
        self.held.extend_from_slice(piece);
        let decided = self.held.len() - undecided(&self.held);
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let end = self.held.get(looked_at..decided).and_then(|new| new.iter().rposition(ends));
        let whole = end.map_or(0, |at| looked_at + at + 1);
        let shown = if decided - whole > LONGEST_WAIT { decided } else { whole };
        self.show_held(shown, out);
        let earlier = self.since.filter(|_| shown == 0);
        self.since = (decided > shown).then(|| earlier.unwrap_or_else(Instant::now));
    }

    /// Adds what waits for the rest of its line, but for what depends on the next piece: a part of a character, or a
    /// return that may precede a line feed.
    pub(super) fn go_on(&mut self, out: &mut String) {
        self.show_held(self.held.len() - undecided(&self.held), out);
        self.since = None;
    }

    fn show_held(&mut self, length: usize, out: &mut String) {
        let rest = self.held.split_off(length);
        let shown = std::mem::replace(&mut self.held, rest);
        self.show(&shown, out);
    }

    /// Adds all that is left, and ends an unfinished line.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.since = None;
        let held = std::mem::take(&mut self.held);
        self.show(&held, out);
        if std::mem::take(&mut self.unfinished) {
            out.push('\n');
        }
    }

    fn show(&mut self, bytes: &[u8], out: &mut String) {
        // A return alone begins the same line anew on a terminal; here each is a line of its own.
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
        for line in text.split_inclusive('\n') {
            if !self.unfinished {
                out.push_str(&self.label);
            }
            out.push_str(&visible(line));
            self.unfinished = !line.ends_with('\n');
        }
    }
}

/// Returns how many bytes at the end depend on the next piece.
fn undecided(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    let begins = |byte: &u8| *byte >= 0xc0;
    let tail = bytes.get(bytes.len().saturating_sub(LONGEST_BEGINNING)..).unwrap_or_default();
    let Some(at) = tail.iter().rposition(begins) else { return 0 };
    let beginning = tail.get(at..).unwrap_or_default();
    match std::str::from_utf8(beginning) {
        // Bytes that no continuation makes a character are not held back.
        Err(error) if error.error_len().is_none() => beginning.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expected: &str) {
        let (mut lines, mut out) = (Lines::of(&PluginName::new("echo")), String::new());
        for piece in pieces {
            lines.take(piece, &mut out);
        }
        lines.finish(&mut out);
        assert_eq!(out, expected, "{pieces:?}");
    }

    #[test]
    fn every_line_says_whose_it_is() {
        check(&[b"one\ntwo\n"], "echo: one\necho: two\n");
        check(&[b"o", b"ne\n\nth", b"ree"], "echo: one\necho: \necho: three\n");
        check(&[], "");
    }

    #[test]
    fn a_line_waits_for_its_end_but_not_for_long() {
        let (mut lines, mut out) = (Lines::of(&PluginName::new("a")), String::new());
        lines.take(b"one\ntw", &mut out);
        assert_eq!((out.as_str(), lines.since().is_some()), ("a: one\n", true));
        lines.take(b"o\nthree\xc3", &mut out);
        lines.go_on(&mut out);
        assert_eq!((out.as_str(), lines.since().is_some()), ("a: one\na: two\na: three", false));
        lines.take(b"\xa9\n", &mut out);
        assert_eq!(out, "a: one\na: two\na: three\u{e9}\n");

        out.clear();
        lines.take(&[b'x'; LONGEST_WAIT], &mut out);
        assert_eq!(out, "");
        lines.take(b"x", &mut out);
        assert_eq!(out.len(), LONGEST_WAIT + "a: x".len());
    }

    #[test]
    fn a_return_ends_a_line_like_a_line_feed_and_both_together_are_one() {
        check(&[b"one\r\ntwo\r", b"\nthree\r", b"four\r"], "echo: one\necho: two\necho: three\necho: four\n");
    }

    #[test]
    fn a_character_may_arrive_in_pieces_and_what_is_none_is_marked() {
        let text = "\u{e9}\u{20ac}\u{1f600}\n".as_bytes();
        for size in 1..text.len() {
            check(&text.chunks(size).collect::<Vec<_>>(), "echo: \u{e9}\u{20ac}\u{1f600}\n");
        }
        check(&[b"\xff\xc3", b"x\n"], "echo: \u{fffd}\u{fffd}x\n");
        check(&[b"\xe2\x82"], "echo: \u{fffd}\n");
    }

    #[test]
    fn nothing_moves_a_cursor() {
        check(&[b"\x1b[2", b"Jgone\n"], "echo: \\u{1b}[2Jgone\n");
        let (mut lines, mut out) = (Lines::of(&PluginName::new("a\nb\u{1b}")), String::new());
        lines.take(b"x\n", &mut out);
        assert_eq!(out, "a\\nb\\u{1b}: x\n");
    }
}
