//! Text that others wrote, made safe for a terminal.
//!
//! A name, a path or a message may come from a plugin. On a terminal it could move the cursor, reverse the direction of
//! the text that follows, or begin a line that looks like one of ours.

use std::fmt::{Display, Write as _};

/// Returns a text in which everything that could move a terminal's cursor is made visible, except line breaks.
#[must_use]
pub fn visible(text: &str) -> String {
    shown(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns a text in which everything that could move a terminal's cursor is made visible, line breaks included.
///
/// This is for text within a line of ours: what follows a line break would look like our next line.
#[must_use]
pub fn visible_line(text: &str) -> String {
    shown(text, |_| false)
}

/// Joins names for a line of ours: the first ten, and how many more there are.
#[must_use]
pub fn visible_list(names: impl ExactSizeIterator<Item = impl Display>) -> String {
    const SHOWN: usize = 10;
    let more = names.len().saturating_sub(SHOWN);
    let names: Vec<_> = names.take(SHOWN).map(|name| visible_line(&name.to_string())).collect();
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

/// Puts a text in quotes the way Go's `%q` does, as upstream's sentences have it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            // Writing to a text does not fail.
            '\0'..='\u{7f}' => _ = write!(out, "\\x{:02x}", u32::from(c)),
            // Rust escapes what is invisible, and a combining mark that has no letter before it.
            _ if ['a', c].iter().collect::<String>().escape_debug().eq(['a', c]) => out.push(c),
            '\u{80}'..='\u{ffff}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            _ => _ = write!(out, "\\U{:08x}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if stays(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Some programs end a line at the first two. The others change the direction of text, which hides as
            // well as a moved cursor does.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, in_lines: &str, in_one_line: &str) {
        assert_eq!(
            (visible(text).as_str(), visible_line(text).as_str()),
            (in_lines, in_one_line),
            "{text:?}"
        );
    }

    #[test]
    fn what_could_fool_a_terminal_is_made_visible() {
        check("plain caf\u{e9}", "plain caf\u{e9}", "plain caf\u{e9}");
        check("a\u{1b}[2Jb\u{202e}c\u{9b}", "a\\u{1b}[2Jb\\u{202e}c\\u{9b}", "a\\u{1b}[2Jb\\u{202e}c\\u{9b}");
        check("a\r\u{2028}b", "a\\u{d}\\u{2028}b", "a\\u{d}\\u{2028}b");
        let marks = "\\u{200e}\\u{200f}\\u{61c}";
        check("\u{200e}\u{200f}\u{61c}", marks, marks);
    }

    #[test]
    fn a_line_stays_one_line() {
        check("a\n\tb", "a\n\tb", "a\\n\\tb");
    }

    #[test]
    fn of_many_names_the_first_are_shown_and_the_others_counted() {
        assert_eq!(visible_list(["a", "b\n"].iter()), "a, b\\n");
        assert_eq!(visible_list(0..0), "");
        assert_eq!(visible_list(0..10), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
        assert_eq!(visible_list(0..5_000), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4990 more");
    }
}
