//! The text to write next.
//!
//! Each line has one author: no line is continued by another author, whatever order the pieces come in. A line that a
//! plugin begins starts with the plugin's name and waits a little for its end, because pieces are cut anywhere and
//! others may print meanwhile. A line of the log is never cut.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use portcullis_contract::{PluginName, PrintStream};

use super::lines::Lines;

/// Where a plugin printed.
pub(super) type Origin = (PluginName, PrintStream);

/// Collects text until `turn` takes it.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: Vec<u8>,
    lines: BTreeMap<Origin, Lines>,
    /// The author of a line that has begun and not ended.
    unfinished: Option<Author>,
}

#[derive(Debug, PartialEq, Eq)]
enum Author {
    Plugin(Origin),
    Ourselves,
}

impl Page {
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Takes the text that was collected. What comes later continues it.
    pub(super) fn turn(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// Adds a piece of what a plugin printed.
    pub(super) fn print(&mut self, origin: Origin, piece: &[u8]) {
        let lines = self.lines.entry(origin.clone()).or_insert_with_key(|(plugin, _)| Lines::of(plugin));
        let mut shown = String::new();
        lines.take(piece, &mut shown);
        let goes_on = lines.is_unfinished();
        self.show(Author::Plugin(origin), &shown, goes_on);
    }

    /// Returns since when a line that a plugin has begun waits for its end.
    pub(super) fn since(&self) -> Option<Instant> {
        self.lines.values().filter_map(Lines::since).min()
    }

    /// Adds what there is of the lines that have waited for so long.
    pub(super) fn go_on(&mut self, for_so_long: Duration) {
        let waited = |lines: &Lines| lines.since().is_some_and(|since| since.elapsed() >= for_so_long);
        let waiting: Vec<_> =
            self.lines.iter().filter(|(_, lines)| waited(lines)).map(|(origin, _)| origin.clone()).collect();
        for origin in waiting {
            let mut shown = String::new();
            let goes_on = self.lines.get_mut(&origin).is_some_and(|lines| {
                lines.go_on(&mut shown);
                lines.is_unfinished()
            });
            self.show(Author::Plugin(origin), &shown, goes_on);
        }
    }

    /// Adds what an author has to show, whose last line may go on.
    fn show(&mut self, author: Author, shown: &str, goes_on: bool) {
        if shown.is_empty() {
            return;
        }
        self.give_way_to(Some(&author));
        self.text.extend_from_slice(shown.as_bytes());
        self.unfinished = goes_on.then_some(author);
    }

    /// Adds a line of the log.
    pub(super) fn log(&mut self, line: &[u8]) {
        self.end_line();
        self.text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            self.text.push(b'\n');
        }
    }

    /// Adds text of the command itself, outside of the log. It continues an unfinished line of earlier such text.
    pub(super) fn say(&mut self, text: &[u8]) {
        let Some(last) = text.last() else { return };
        // It may be about what a plugin has just printed.
        self.go_on(Duration::ZERO);
        self.give_way_to(Some(&Author::Ourselves));
        self.text.extend_from_slice(text);
        self.unfinished = (*last != b'\n').then_some(Author::Ourselves);
    }

    /// Ends the unfinished line, if there is one.
    pub(super) fn end_line(&mut self) {
        self.give_way_to(None);
    }

    /// Adds the unfinished characters that plugins printed, and ends the plugins' unfinished lines.
    pub(super) fn end_prints(&mut self) {
        let mut shown = String::new();
        match self.unfinished.take() {
            Some(Author::Plugin(origin)) => {
                if let Some(lines) = self.lines.get_mut(&origin) {
                    lines.finish(&mut shown);
                }
            }
            ours => self.unfinished = ours,
        }
        for lines in self.lines.values_mut() {
            lines.finish(&mut shown);
        }
        if !shown.is_empty() {
            self.end_line();
        }
        self.text.extend_from_slice(shown.as_bytes());
    }

    /// Notes that the person ended our unfinished line, by an answer.
    pub(super) fn answered(&mut self) {
        if self.unfinished == Some(Author::Ourselves) {
            self.unfinished = None;
        }
    }

    /// Ends the unfinished line if another author began it.
    fn give_way_to(&mut self, author: Option<&Author>) {
        if self.unfinished.is_none() || self.unfinished.as_ref() == author {
            return;
        }
        self.text.push(b'\n');
        if let Some(Author::Plugin(origin)) = self.unfinished.take()
            && let Some(lines) = self.lines.get_mut(&origin)
        {
            lines.interrupt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str) -> Origin {
        (PluginName::new(name), PrintStream::Stderr)
    }

    #[test]
    fn what_is_printed_in_pieces_by_several_stays_in_one_piece() {
        let write = |page: &mut Page| {
            page.print(origin("a"), b"on");
            page.print(origin("b"), b"two\nth");
            page.log(b"WARN x\n");
            page.print(origin("a"), b"e\nfo");
            page.print(origin("b"), b"ree\n");
            assert!(page.since().is_some());
            page.go_on(Duration::ZERO);
            assert!(page.since().is_none());
            page.print(origin("a"), b"ur\nfi");
            page.go_on(Duration::ZERO);
            page.print(origin("b"), b"six\n");
            page.print(origin("a"), b"ve\n");
        };
        check(write, "b: two\nWARN x\na: one\nb: three\na: four\na: fi\nb: six\na: ve\n");
    }

    fn check(write: impl FnOnce(&mut Page), expected: &str) {
        let mut page = Page::default();
        write(&mut page);
        assert_eq!(String::from_utf8_lossy(&page.turn()), expected);
    }

    #[test]
    fn a_line_of_the_log_is_whole_and_lets_no_plugin_begin_one() {
        let write = |page: &mut Page| {
            page.print(origin("a"), b"one");
            page.go_on(Duration::ZERO);
            page.log(b"WARN two\n");
            page.print(origin("a"), b"ERROR three\n");
            page.log(b"WARN four");
            page.say(b"fi");
            page.say(b"ve");
            page.log(b"WARN six\n");
        };
        check(write, "a: one\nWARN two\na: ERROR three\nWARN four\nfive\nWARN six\n");
    }

    #[test]
    fn a_line_ends_where_it_is_ended_and_once() {
        let write = |page: &mut Page| {
            page.say(b"one");
            page.end_prints();
            page.say(b", two");
            page.end_line();
            page.end_line();
            page.print(origin("a"), b"three");
            page.end_prints();
            page.end_line();
            page.say(b"");
        };
        check(write, "one, two\na: three\n");
    }

    #[test]
    fn a_question_that_was_answered_needs_no_end() {
        let write = |page: &mut Page| {
            page.say(b"sure? ");
            page.answered();
            page.log(b"WARN one\n");
            page.print(origin("a"), b"two");
            page.go_on(Duration::ZERO);
            page.answered();
            page.log(b"WARN three\n");
        };
        check(write, "sure? WARN one\na: two\nWARN three\n");
    }

    #[test]
    fn what_we_say_comes_behind_what_plugins_have_printed() {
        let write = |page: &mut Page| {
            page.print(origin("a"), b"one");
            page.say(b"sure? ");
            page.go_on(Duration::ZERO);
            page.answered();
            page.log(b"WARN two\n");
        };
        check(write, "a: one\nsure? WARN two\n");
    }

    #[test]
    fn half_a_character_at_the_end_is_in_nobodys_line() {
        let write = |page: &mut Page| {
            page.print(origin("a"), b"one\n\xc3");
            page.say(b"two");
            page.end_prints();
        };
        check(write, "a: one\ntwo\na: \u{fffd}\n");
    }
}
