//! What a provider streams, made safe for a terminal.
//!
//! Programs colour their output and draw a line of it anew, and people want to see that. But a terminal obeys more: it
//! moves the cursor to what others have written, fills the clipboard, and answers as if somebody had typed. So what
//! changes colours or stays within the line passes, and everything else is made visible.

use std::mem::take;

use portcullis_contract::visible;

/// Begins what a terminal obeys.
const ESCAPE: char = '\u{1b}';

/// The longest sequence whose rest is waited for, in bytes. A guess: those that pass have a dozen.
const LONGEST: usize = 64;

/// A stream on its way to a terminal.
#[derive(Debug, Default)]
pub(super) struct Tame {
    /// The beginning of a character or a sequence whose rest has not come.
    unfinished: Vec<u8>,
    is_coloured: bool,
}

impl Tame {
    /// Returns what to show of a piece. Pieces may be cut anywhere.
    pub(super) fn take(&mut self, piece: &[u8]) -> String {
        let mut bytes = take(&mut self.unfinished);
        bytes.extend_from_slice(piece);
        let (text, cut) = text(&bytes);
        let mut parts = text.split(ESCAPE).peekable();
        let mut out = plain(parts.next().unwrap_or_default());
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            match sequence(part) {
                Sequence::Passes(length) => {
                    let (sequence, rest) = part.split_at(length);
                    if sequence.ends_with('m') {
                        self.is_coloured = !matches!(sequence, "[m" | "[0m");
                    }
                    out.push(ESCAPE);
                    out.push_str(sequence);
                    out.push_str(&plain(rest));
                }
                Sequence::Unfinished if is_last && part.len() < LONGEST => {
                    self.unfinished = format!("{ESCAPE}{part}").into();
                }
                Sequence::Unfinished | Sequence::Other => out.push_str(&visible(&format!("{ESCAPE}{part}"))),
            }
        }
        self.unfinished.extend_from_slice(cut);
        out
    }

    /// Returns what to show when no more comes.
    pub(super) fn end(&mut self) -> String {
        let mut out = visible(&String::from_utf8_lossy(&take(&mut self.unfinished)));
        if take(&mut self.is_coloured) {
            out.push_str("\u{1b}[0m");
        }
        out
    }
}

/// Returns bytes as text, and what may be the beginning of one more character.
fn text(mut bytes: &[u8]) -> (String, &[u8]) {
    let mut text = String::new();
    loop {
        let error = match str::from_utf8(bytes) {
            Ok(rest) => return (text + rest, &[]),
            Err(error) => error,
        };
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(valid));
        let Some(wrong) = error.error_len() else { return (text, rest) };
        text.push(char::REPLACEMENT_CHARACTER);
        bytes = rest.get(wrong..).unwrap_or_default();
    }
}

/// Makes text visible that has no sequence in it. A line may be drawn anew, or its last character.
fn plain(text: &str) -> String {
    const BACK: [char; 2] = ['\r', '\u{8}'];
    let lines = text.split_inclusive(BACK).map(|part| match part.strip_suffix(BACK) {
        Some(line) => visible(line) + &part[line.len()..],
        None => visible(part),
    });
    lines.collect()
}

/// What follows an escape.
enum Sequence {
    /// So many bytes that change colours, or clear the line or a part of it.
    Passes(usize),
    /// There may be more to come.
    Unfinished,
    Other,
}

fn sequence(text: &str) -> Sequence {
    let Some(behind) = text.strip_prefix('[') else {
        return if text.is_empty() { Sequence::Unfinished } else { Sequence::Other };
    };
    let numbers = behind.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'));
    let Some((numbers, end)) = numbers.and_then(|at| Some((at, behind.get(at..)?.chars().next()?))) else {
        return Sequence::Unfinished;
    };
    let length = "[".len() + numbers + "m".len();
    if matches!(end, 'm' | 'K') && length <= LONGEST { Sequence::Passes(length) } else { Sequence::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let mut tame = Tame::default();
        assert_eq!(tame.take(text.as_bytes()) + &tame.end(), expected, "{text:?}");
        // However it is cut.
        let mut tame = Tame::default();
        let shown: String = text.as_bytes().chunks(1).map(|byte| tame.take(byte)).collect();
        assert_eq!(shown + &tame.end(), expected, "{text:?}, byte by byte");
    }

    #[test]
    fn colours_and_lines_that_are_drawn_anew_pass() {
        check("10 %\r20 %\u{1b}[K\n", "10 %\r20 %\u{1b}[K\n");
        check("a\tb \u{e9}\u{1f600} /\u{8}-", "a\tb \u{e9}\u{1f600} /\u{8}-");
        check("\u{1b}[1;31mred\u{1b}[0m\n", "\u{1b}[1;31mred\u{1b}[0m\n");
        check("\u{1b}[38:5:1mred", "\u{1b}[38:5:1mred\u{1b}[0m");
    }

    #[test]
    fn whatever_else_a_terminal_obeys_is_made_visible() {
        check("\u{1b}[2J\u{1b}[H", "\\u{1b}[2J\\u{1b}[H");
        check("\u{1b}[?25l", "\\u{1b}[?25l");
        check("\u{1b}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}");
        check("\u{1b}\u{1b}[m", "\\u{1b}\u{1b}[m");
        check("\u{9b}2J\u{202e}\u{0}", "\\u{9b}2J\\u{202e}\\u{0}");
        check("\u{1b}", "\\u{1b}");
        check("\u{1b}[1", "\\u{1b}[1");
        check(&format!("\u{1b}[{}m", "1".repeat(LONGEST)), &format!("\\u{{1b}}[{}m", "1".repeat(LONGEST)));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut tame = Tame::default();
        assert_eq!(tame.take(b"a\x9b2J\xff"), "a\u{fffd}2J\u{fffd}");
        assert_eq!(tame.take(b"\xc3") + &tame.take(b"\xa9"), "\u{e9}");
        assert_eq!(tame.take(b"\xf0\x9f") + &tame.end(), "\u{fffd}");
    }
}
