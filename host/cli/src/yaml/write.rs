//! JSON as YAML, laid out as upstream lays it out.
//!
//! Four spaces, two more inside of a list, text plain where it can be read back as text, literal where
//! it has lines. No serializer is used because every one of them takes numbers as numbers, and 1e400 is
//! none to a machine. Keys are sorted by their bytes, where upstream counts digits within them.

use std::vec;

use crate::json::{Document, Id, Node};

/// Past this depth a value is written in one line, as JSON, which is YAML too.
const DEEPEST_BLOCK: usize = 500;

/// Longer keys are written in the form that has no limit.
const LONGEST_SIMPLE_KEY: usize = 128;

/// Writes a document. It ends with an empty line, as upstream's does.
pub(crate) fn from_json(document: &Document<'_>) -> String {
    let mut writer = Writer { document, out: String::new(), open: Vec::new(), room: document.room() };
    writer.value(0, Place::Root);
    while let Some(level) = writer.open.last_mut() {
        let first = !level.begun;
        level.begun = true;
        match (level.left.next(), level.inside) {
            (Some(item), Place::Item(indent)) => {
                writer.line(indent, first);
                writer.out.push('-');
                writer.value(item, Place::Item(indent));
            }
            (Some(key), Place::Field(indent)) => {
                let (key, child) = document.field(key);
                writer.line(indent, first);
                writer.key(&key.text(), indent);
                writer.value(child, Place::Field(indent));
            }
            _ => {
                writer.open.pop();
            }
        }
    }
    // The empty line is upstream's; a text whose own line breaks are kept would take it for one of them.
    writer.out.push_str(if writer.out.ends_with('\n') { "\n" } else { "\n\n" });
    writer.out
}

struct Writer<'a, 'd> {
    document: &'a Document<'d>,
    out: String,
    open: Vec<Level>,
    /// How much the spaces before lines may still take.
    room: usize,
}

/// A list or an object of which something is still to be written.
struct Level {
    left: vec::IntoIter<Id>,
    begun: bool,
    /// Where what is left of it stands: items, or the keys of fields.
    inside: Place,
    /// Whether its first line continues the line that is being written.
    inline: bool,
}

/// Where a value stands; with the indent of what it stands in.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Item(usize),
    Field(usize),
}

impl Place {
    fn indent(self) -> usize {
        match self {
            Self::Root => 0,
            Self::Item(outer) => outer + 2,
            Self::Field(outer) => outer / 4 * 4 + 4,
        }
    }
}

impl Writer<'_, '_> {
    fn line(&mut self, indent: usize, first: bool) {
        let inline = self.open.last().is_some_and(|level| level.inline);
        match (first, inline) {
            (true, true) if self.out.is_empty() => {}
            (true, true) => self.out.push(' '),
            _ => {
                self.out.push('\n');
                self.out.extend(std::iter::repeat_n(' ', indent));
            }
        }
    }

    fn key(&mut self, key: &str, indent: usize) {
        if key.len() <= LONGEST_SIMPLE_KEY {
            self.out.push_str(&scalar(key, None));
        } else {
            self.out.push_str("? ");
            self.out.push_str(&scalar(key, None));
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent));
        }
        self.out.push(':');
    }

    fn value(&mut self, id: Id, place: Place) {
        let indent = place.indent();
        let text = match self.document.node(id) {
            Node::Plain(text) => text.to_owned(),
            Node::Text(raw) => {
                let text = raw.text();
                // The indent of a literal's lines is said relative to its surroundings, and upstream
                // always says 4.
                let hint = matches!(place, Place::Field(outer) if indent - outer == 4);
                let may = !matches!(place, Place::Root) && self.takes(text.matches('\n').count(), indent);
                scalar(&text, may.then_some(Lines { indent, hint }))
            }
            Node::Array(items) if items.is_empty() => "[]".to_owned(),
            Node::Object(keys) if keys.is_empty() => "{}".to_owned(),
            Node::Array(items) => match self.enter(id, items, Place::Item(indent), place) {
                Some(text) => text,
                None => return,
            },
            Node::Object(keys) => match self.enter(id, self.distinct(&keys), Place::Field(indent), place) {
                Some(text) => text,
                None => return,
            },
        };
        if !matches!(place, Place::Root) {
            self.out.push(' ');
        }
        self.out.push_str(&text);
    }

    /// Returns the keys of an object, of equal ones the last alone: YAML has each key once.
    fn distinct(&self, keys: &[Id]) -> Vec<Id> {
        let name = |key: &Id| self.document.field(*key).0.text();
        let followed = keys.iter().zip(keys.iter().skip(1).map(Some).chain([None]));
        let last = followed.filter(|(key, next)| next.is_none_or(|next| name(next) != name(key)));
        last.map(|(key, _)| *key).collect()
    }

    /// Opens a list or an object, to be written line by line; returns it as text where that would be too deep or too long.
    fn enter(&mut self, id: Id, left: Vec<Id>, inside: Place, place: Place) -> Option<String> {
        if self.open.len() < DEEPEST_BLOCK && self.takes(left.len(), place.indent()) {
            let inline = !matches!(place, Place::Field(_));
            self.open.push(Level { left: left.into_iter(), begun: false, inside, inline });
            return None;
        }
        let mut text = String::new();
        self.document.write_compact(id, &mut text);
        Some(text)
    }

    /// Takes the room that so many lines need; returns whether there was so much.
    fn takes(&mut self, lines: usize, indent: usize) -> bool {
        let left = self.room.checked_sub(lines.saturating_mul(indent));
        self.room = left.unwrap_or(self.room);
        left.is_some()
    }
}

/// How a text may be written on lines of its own.
#[derive(Clone, Copy)]
struct Lines {
    indent: usize,
    /// Whether the indent can be said, which a text that starts with a space needs.
    hint: bool,
}

/// Writes a text so that it is read back as that text.
fn scalar(text: &str, lines: Option<Lines>) -> String {
    let Shape { plain, single, literal } = Shape::of(text);
    if text.contains('\n') {
        let starts_blank = text.starts_with([' ', '\n']);
        return match lines {
            Some(lines) if literal && (lines.hint || !starts_blank) => literal_lines(text, lines.indent),
            _ => double_quoted(text),
        };
    }
    match (is_text(text), plain, single) {
        (true, true, _) => text.to_owned(),
        (true, false, true) => format!("'{}'", text.replace('\'', "''")),
        _ => double_quoted(text),
    }
}

/// The forms in which a text can be written.
struct Shape {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let special = text.chars().any(|c| c != '\t' && !is_printable(c));
        let space_break = text.contains(" \n");
        let break_space = text.contains("\n ");
        let tab = text.contains('\t');
        let edges = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        let starts_as_syntax = text
            .starts_with(['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\''])
            || text.starts_with(['"', '%', '@', '`'])
            || text.starts_with("---")
            || text.starts_with("...")
            || (text.starts_with(['?', ':', '-']) && text[1..].chars().next().is_none_or(is_blank));
        let has_syntax =
            text.contains(": ") || text.contains(":\t") || text.ends_with(':') || text.contains(" #");
        let quoted = !(special || space_break || tab);
        Self {
            plain: quoted && !(edges || break_space || text.contains('\n') || starts_as_syntax || has_syntax),
            single: quoted && !break_space,
            literal: !(special || space_break || text.ends_with(' ')),
        }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Returns whether a character stands for itself. Past the first plane none does, as upstream has it;
/// the line breaks that only some know are escaped, too, and so is what turns a line's direction around.
fn is_printable(c: char) -> bool {
    matches!(c, '\n'
        | ' '..='~'
        | '\u{a0}'..='\u{2027}'
        | '\u{202f}'..='\u{2065}'
        | '\u{206a}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}')
}

fn literal_lines(text: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if text.starts_with([' ', '\n']) {
        out.push('4');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text == "\n" || text.ends_with("\n\n") {
        out.push('+');
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match u32::from(c) {
                code @ 0..=0xff => format!("\\x{code:02X}"),
                code @ 0x100..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            }),
        }
    }
    out.push('"');
    out
}

/// Returns whether a plain scalar is read back as text, by the readers of YAML 1.1 and of 1.2.
///
/// In doubt it is not: quotes do no harm.
fn is_text(text: &str) -> bool {
    const WORDS: [&str; 13] =
        ["", "~", "null", "true", "false", "y", "yes", "on", "n", "no", "off", "<<", "="];
    if WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return false;
    }
    let number = text.trim_start_matches(['+', '-']);
    if [".inf", ".nan"].contains(&number.to_ascii_lowercase().as_str()) {
        return false;
    }
    let plain = number.replace('_', "");
    let after_radix = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().find_map(|radix| plain.strip_prefix(radix));
    if after_radix.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit())) {
        return false;
    }
    let starts_as_number = plain.starts_with(|c: char| c.is_ascii_digit())
        || plain.strip_prefix('.').is_some_and(starts_with_digit);
    // Decimals, base 60 (1:30) and dates are made of these alone; a date and a time have a `T` or a space between.
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | ':' | 'e' | 'E' | '+' | '-');
    !(starts_as_number && (plain.chars().all(numeric) || is_time(&plain)))
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else { return false };
    let digits = |text: &str, also: &[char]| text.chars().all(|c| c.is_ascii_digit() || also.contains(&c));
    date.contains('-') && digits(date, &['-']) && digits(time, &[':', '.', '+', '-', 'Z', ' '])
}

#[cfg(test)]
mod tests {
    use portcullis_contract::json_string;

    use super::*;

    fn check(json: &str, expected: &str) {
        let document = Document::parse(json).unwrap();
        let yaml = from_json(&document);
        let end = if expected.ends_with('\n') { "\n" } else { "\n\n" };
        assert_eq!(yaml, format!("{expected}{end}"), "{json}");
        // What was written is what is read.
        let again = super::super::to_json(&yaml).unwrap();
        let parse = |text: &str| Document::parse(text).unwrap().to_pretty();
        assert_eq!(parse(&again), document.to_pretty(), "{yaml}");
    }

    #[test]
    fn of_keys_that_are_equal_the_last_is_written() {
        let document = Document::parse(r#"{"b":1,"a":2,"b":{"c":3,"\u0063":4}}"#).unwrap();
        assert_eq!(from_json(&document), "a: 2\nb:\n    c: 4\n\n");
    }

    #[test]
    fn the_layout_is_upstreams() {
        check("{}", "{}");
        check(r#"{"b":1,"a":{"c":[]}}"#, "a:\n    c: []\nb: 1");
        check(r#"{"a":[1,{"b":2,"c":{"d":3}},[4,[5]]]}"#, {
            "a:\n    - 1\n    - b: 2\n      c:\n        d: 3\n    - - 4\n      - - 5"
        });
        check(r#"[{"a":[1]}]"#, "- a:\n    - 1");
        check(r#"{"data":{"x":{"z":null}}}"#, "data:\n    x:\n        z: null");
    }

    #[test]
    fn numbers_are_written_as_they_were() {
        check(
            r#"{"a":[9007199254740993,1e400,1.0,-0]}"#,
            "a:\n    - 9007199254740993\n    - 1e400\n    - 1.0\n    - -0",
        );
    }

    fn check_text(text: &str, expected: &str) {
        check(&format!("{{\"a\":{}}}", json_string(text)), &format!("a: {expected}"));
    }

    #[test]
    fn text_is_quoted_when_it_would_be_read_as_something_else() {
        for word in
            ["true", "Null", "yes", "~", "1", "-1.5", "0x1F", "1_000", "1:30", "2024-01-15", ".5", "<<", ""]
        {
            check_text(word, &format!("\"{word}\""));
        }
        // PyYAML fails at the first two, and takes the others for times.
        for word in ["=", "0x_", "2001-12-14 21:59:43.10 -5", "2001-12-14T21:59:43 Z", "2001-12-14  21:59:43"]
        {
            check_text(word, &format!("\"{word}\""));
        }
        for word in
            ["hello world", "a:b", "a#b", "-a", "1.2.3.x", "v1.2", "é", "it's", "http://x/y?z=1", "./a"]
        {
            check_text(word, word);
        }
        for syntax in ["a: b", "#a", "- a", "[a", "{a}", "@a", "a #b", "a:", " a", "a ", "---"] {
            check_text(syntax, &format!("'{syntax}'"));
        }
        check_text("\u{1f600}", "\"\\U0001F600\"");
        check_text("a\tb\u{1b}", "\"a\\tb\\e\"");
        check_text("\u{202e}\u{2066}", "\"\\u202E\\u2066\"");
    }

    #[test]
    fn text_of_several_lines_is_literal_where_it_can_be() {
        check_text("one\ntwo", "|-\n    one\n    two");
        check_text("one\n\ntwo\n", "|\n    one\n\n    two");
        check_text("one\n\n", "|+\n    one\n");
        check_text(" one\ntwo", "|4-\n     one\n    two");
        check_text("one \ntwo", "\"one \\ntwo\"");
        check(r#"{"a":[" one\ntwo"]}"#, "a:\n    - \" one\\ntwo\"");
    }

    #[test]
    fn what_nests_deep_and_is_wide_is_no_flood() {
        for inner in ["1,".repeat(10_000) + "1", json_string(&"a\n".repeat(10_000))] {
            let json = format!("{}{inner}{}", "[".repeat(450), "]".repeat(450));
            let yaml = from_json(&Document::parse(&json).unwrap());
            assert!(yaml.len() < 2 << 20, "{} bytes", yaml.len());
        }
    }
}
