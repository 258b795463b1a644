//! What others wrote, made fit for a terminal.
//!
//! A name, a path or a message of a plugin is text and nothing more. On a terminal it could move the cursor, turn
//! the direction of what follows around, or begin a line that looks like one of ours.

/// Returns a text with everything that could move a terminal's cursor made visible, but for the ends of its lines.
#[must_use]
pub fn visible(text: &str) -> String {
    shown(text, |c| matches!(c, '\n' | '\t'))
}

/// Returns a text with everything that could move a terminal's cursor made visible, the ends of its lines as well.
///
/// For what stands in a line of ours: what follows would otherwise look like our next one.
#[must_use]
pub fn visible_line(text: &str) -> String {
    shown(text, |_| false)
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if stays(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Some programs end a line at the first two. The marks that turn the direction of text around hide as well as a
            // cursor does.
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
}
