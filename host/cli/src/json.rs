//! JSON as a tree of its own text, and its form for people.
//!
//! A plugin's answer is printed with every number and every string as the plugin wrote it: no value passes
//! through a type that could not hold it (2^53+1, 1e400, `-0`, lone surrogates, keys that occur twice). The
//! layout is upstream's: two spaces, keys in the order of their bytes, `<`, `>` and `&` escaped.
//!
//! Nothing here recurses: how deep an answer nests is the plugin's choice.

use std::borrow::Cow;
use std::vec;

use serde::de::{Error as _, IgnoredAny};

/// How deep values may nest. Upstream's decoder gives up at the same depth.
const DEEPEST: usize = 10_000;

/// Past this depth JSON is printed without line breaks: indenting is quadratic, and nobody reads that far.
const DEEPEST_INDENT: usize = 1000;

/// How much indentation there may be, as a multiple of the text. A guess: text that is wide where it nests deep would
/// become a thousand times as long, and what people write does not come near this.
const INDENT_RATIO: usize = 16;

/// How many bytes of indentation are allowed for any text.
const INDENT_LEAST: usize = 1 << 20;

/// How many bytes of indentation are allowed at most. A guess: twice the longest answer that a plugin may give without
/// a policy.
const INDENT_MOST: usize = 128 << 20;

/// What may stand between the end of a value or a key and the next one.
const AFTER: [char; 8] = [' ', '\t', '\n', '\r', ',', ':', ']', '}'];

/// A JSON text, taken apart.
///
/// A text may hold very many values, so only the place of each is kept.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    /// Every value, and every key right before its value, in the order of the text. The root comes first.
    marks: Vec<Mark>,
}

/// Where a value or a key is.
#[derive(Debug)]
struct Mark {
    /// The byte at which it begins.
    at: u32,
    /// Which mark follows it and all that is in it.
    next: u32,
}

/// A value in a [`Document`], or a key.
pub(crate) type Id = u32;

/// One value.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// `null`, `true`, `false` or a number, as it was written.
    Plain(&'a str),
    /// A string.
    Text(Raw<'a>),
    /// The items of an array.
    Array(Vec<Id>),
    /// The keys of an object, sorted; of two that are equal the earlier comes first. [`Document::field`] knows their values.
    Object(Vec<Id>),
}

/// What stands between the quotes of a string, escapes and all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(&'a str);

/// An array or an object of which something is still to be written.
struct Level {
    left: vec::IntoIter<Id>,
    close: char,
    begun: bool,
}

impl<'a> Document<'a> {
    /// Takes a text apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        // This checks the grammar, without recursion; what follows only has to find the parts.
        let IgnoredAny = serde_json::from_str(text)?;
        if u32::try_from(text.len()).is_err() {
            return Err(serde_json::Error::custom("the text is longer than 4 GiB"));
        }
        let mut marks: Vec<Mark> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
            let Some(first) = rest.bytes().next() else { break };
            if matches!(first, b'}' | b']') {
                let next = number(marks.len());
                if let Some(container) = open.pop() {
                    marks[container].next = next;
                }
            } else {
                if matches!(first, b'{' | b'[') {
                    if open.len() == DEEPEST {
                        let problem = format!("values nest deeper than {DEEPEST} levels");
                        return Err(serde_json::Error::custom(problem));
                    }
                    open.push(marks.len());
                }
                let at = number(text.len() - rest.len());
                marks.push(Mark { at, next: number(marks.len() + 1) });
            }
            rest = &rest[token(rest).len()..];
        }
        Ok(Self { text, marks })
    }

    /// Returns how many bytes of indentation are allowed.
    pub(crate) fn room(&self) -> usize {
        self.text.len().saturating_mul(INDENT_RATIO).saturating_add(INDENT_LEAST).min(INDENT_MOST)
    }

    /// Returns one value.
    pub(crate) fn node(&self, id: Id) -> Node<'a> {
        let token = self.token(id);
        match token.as_bytes().first() {
            Some(b'{') => {
                let mut keys = self.inside(id, 1);
                keys.sort_by(|one, other| self.said(*one).cmp(self.said(*other)));
                Node::Object(keys)
            }
            Some(b'[') => Node::Array(self.inside(id, 0)),
            Some(b'"') => Node::Text(self.raw(id)),
            _ => Node::Plain(token),
        }
    }

    /// Returns what a key says, and the value that it has.
    pub(crate) fn field(&self, key: Id) -> (Raw<'a>, Id) {
        (self.raw(key), key + 1)
    }

    /// Returns what stands in an array or, with one mark between a key and the next value, the keys of an object.
    fn inside(&self, container: Id, between: u32) -> Vec<Id> {
        let mut found = Vec::new();
        let mut id = container + 1;
        while id < self.mark(container).next {
            found.push(id);
            id = self.mark(id + between).next;
        }
        found
    }

    fn mark(&self, id: Id) -> &Mark {
        &self.marks[id as usize]
    }

    /// Returns the text from the beginning of a value or a key.
    fn token(&self, id: Id) -> &'a str {
        let end = self.marks.get(id as usize + 1).map_or(self.text.len(), |mark| mark.at as usize);
        self.text[self.mark(id).at as usize..end].trim_end_matches(AFTER)
    }

    /// Returns what a key says, decoded lazily: one long key may be compared with all others.
    fn said(&self, key: Id) -> impl Iterator<Item = char> {
        Units(self.text[self.mark(key).at as usize + 1..].chars()).said()
    }

    fn raw(&self, id: Id) -> Raw<'a> {
        let token = self.token(id);
        Raw(token.get(1..token.len() - 1).unwrap_or_default())
    }

    /// Writes the text as upstream prints it.
    pub(crate) fn to_pretty(&self) -> String {
        let mut out = String::new();
        self.write(0, DEEPEST_INDENT, &mut out);
        out
    }

    /// Writes one value on one line.
    pub(crate) fn write_compact(&self, id: Id, out: &mut String) {
        self.write(id, 0, out);
    }

    /// Writes one value, with line breaks down to a depth.
    fn write(&self, root: Id, deepest: usize, out: &mut String) {
        // What is still to be written of every open container.
        let mut open: Vec<Level> = Vec::new();
        let mut room = self.room();
        let mut next = Some(root);
        loop {
            if let Some(id) = next.take() {
                match self.node(id) {
                    Node::Plain(text) => out.push_str(text),
                    Node::Text(raw) => raw.write_json(out),
                    Node::Array(items) if items.is_empty() => out.push_str("[]"),
                    Node::Object(keys) if keys.is_empty() => out.push_str("{}"),
                    Node::Array(items) => {
                        out.push('[');
                        open.push(Level { left: items.into_iter(), close: ']', begun: false });
                    }
                    Node::Object(keys) => {
                        out.push('{');
                        open.push(Level { left: keys.into_iter(), close: '}', begun: false });
                    }
                }
            }
            let depth = open.len();
            let Some(level) = open.last_mut() else { break };
            let child = level.left.next();
            if child.is_some() && level.begun {
                out.push(',');
            }
            level.begun = true;
            let levels = if child.is_some() { depth } else { depth - 1 };
            if depth <= deepest
                && let Some(left) = room.checked_sub(2 * levels)
            {
                room = left;
                out.push('\n');
                out.extend(std::iter::repeat_n("  ", levels));
            }
            match child {
                None => {
                    out.push(level.close);
                    open.pop();
                }
                Some(key) if level.close == '}' => {
                    let (key, value) = self.field(key);
                    key.write_json(out);
                    out.push_str(": ");
                    next = Some(value);
                }
                Some(item) => next = Some(item),
            }
        }
    }
}

/// Converts a place or a count in a text, which fits: [`Document::parse`] refuses larger texts.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Returns what a text starts with: a bracket, or a value that is none.
fn token(text: &str) -> &str {
    let length = match text.as_bytes().first() {
        Some(b'{' | b'[' | b'}' | b']') => 1,
        Some(b'"') => string_length(text),
        _ => text.find(AFTER).unwrap_or(text.len()),
    };
    &text[..length]
}

/// Returns how long the string is that a text starts with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

impl<'a> Raw<'a> {
    /// Returns what the string says; half a surrogate pair says U+FFFD.
    pub(crate) fn text(self) -> Cow<'a, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(self.0);
        }
        Cow::Owned(Units(self.0.chars()).said().collect())
    }

    /// Writes a string of the same meaning, with the escapes that upstream uses.
    fn write_json(self, out: &mut String) {
        out.push('"');
        for unit in Units(self.0.chars()) {
            match unit {
                Ok('"') => out.push_str("\\\""),
                Ok('\\') => out.push_str("\\\\"),
                Ok('\n') => out.push_str("\\n"),
                Ok('\r') => out.push_str("\\r"),
                Ok('\t') => out.push_str("\\t"),
                Ok('\u{8}') => out.push_str("\\b"),
                Ok('\u{c}') => out.push_str("\\f"),
                // There are controls past ASCII, too, and those that turn the direction of a line around. Upstream prints
                // them, but terminals obey them.
                Ok(
                    c @ ('\0'..='\u{1f}'
                    | '\u{7f}'..='\u{9f}'
                    | '<'
                    | '>'
                    | '&'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}'),
                ) => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                Ok(c) => out.push(c),
                Err(half) => out.push_str(&format!("\\u{half:04x}")),
            }
        }
        out.push('"');
    }
}

/// The characters of a string up to its end, with its escapes resolved; an error is half a surrogate pair.
struct Units<'a>(std::str::Chars<'a>);

impl Iterator for Units<'_> {
    type Item = Result<char, u16>;

    fn next(&mut self) -> Option<Self::Item> {
        let plain = match self.0.next()? {
            '"' => return None,
            '\\' => match self.0.next()? {
                'u' => return self.hex().map(|first| self.joined(first)),
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                itself => itself,
            },
            plain => plain,
        };
        Some(Ok(plain))
    }
}

impl Units<'_> {
    /// Returns what they say; half a surrogate pair says U+FFFD.
    fn said(self) -> impl Iterator<Item = char> {
        self.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u16> {
        let digits = self.0.as_str().get(..4)?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        self.0 = self.0.as_str().get(4..)?.chars();
        Some(unit)
    }

    fn joined(&mut self, first: u16) -> Result<char, u16> {
        if let Some(c) = char::from_u32(u32::from(first)) {
            return Ok(c);
        }
        let before = self.0.clone();
        if self.0.as_str().starts_with("\\u") {
            self.0 = self.0.as_str()[2..].chars();
            if let Some(second) = self.hex()
                && let Some(Ok(c)) = char::decode_utf16([first, second]).next()
            {
                return Ok(c);
            }
        }
        self.0 = before;
        Err(first)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::in_time;

    use super::*;

    fn check(text: &str, expected: &str) {
        let printed = Document::parse(text).unwrap().to_pretty();
        assert_eq!(printed, expected, "{text:?}");
    }

    #[test]
    fn the_layout_is_upstreams() {
        check("1", "1");
        check(" { } ", "{}");
        check("[]", "[]");
        check(
            r#"{"b":[1,{"x":null}],"a":{},"B":""}"#,
            "{\n  \"B\": \"\",\n  \"a\": {},\n  \"b\": [\n    1,\n    {\n      \"x\": null\n    }\n  ]\n}",
        );
    }

    #[test]
    fn numbers_are_printed_as_they_were_written() {
        for number in ["9007199254740993", "1e400", "1.0", "-0", "1E+2", "0.10"] {
            check(number, number);
        }
    }

    #[test]
    fn strings_keep_their_meaning_and_get_upstreams_escapes() {
        check(r#""a<b>&c""#, r#""a\u003cb\u003e\u0026c""#);
        check(r#""\/\u0041\"\\""#, r#""/A\"\\""#);
        check("\"\\u2028\u{2029}\"", r#""\u2028\u2029""#);
        check("\"\u{202e}\u{2066}\u{200f}\"", "\"\\u202e\\u2066\u{200f}\"");
        check(r#""\ud83d\ude00""#, "\"\u{1f600}\"");
        check(r#""\u0000\u001f\u007f""#, r#""\u0000\u001f\u007f""#);
        check("\"\u{9b}\u{a0}\"", "\"\\u009b\u{a0}\"");
    }

    #[test]
    fn half_a_surrogate_pair_stays_half_a_pair() {
        check(r#""\ud800""#, r#""\ud800""#);
        check(r#""\ud800\ud800x""#, r#""\ud800\ud800x""#);
        check(r#""\udc00\ud83d\ude00""#, "\"\\udc00\u{1f600}\"");
    }

    #[test]
    fn keys_that_occur_twice_are_both_printed_in_their_order() {
        check(r#"{"b":1,"a":1,"b":2}"#, "{\n  \"a\": 1,\n  \"b\": 1,\n  \"b\": 2\n}");
    }

    /// It would take forever if the long one were read for each of the others.
    #[test]
    fn a_key_may_be_long_among_many() {
        in_time(|| {
            let many: String = (0..100_000).map(|n| format!("\"{n:06}\":0,")).collect();
            for (long, space) in
                [("\\n".repeat(1 << 20), String::new()), ("!".to_owned(), " ".repeat(8 << 20))]
            {
                let text = format!("{{{many}\"{long}\"{space}:1}}");
                let printed = Document::parse(&text).unwrap().to_pretty();
                assert!(printed.starts_with(&format!("{{\n  \"{long}\": 1,\n  \"000000\": 0,")));
            }
        });
    }

    #[test]
    fn keys_are_sorted_by_what_they_say() {
        check(r#"{"b":1,"\u0061\"":2,"a":3,"\ud800":4,"\ud83d\ude00":5,"":6}"#, {
            "{\n  \"\": 6,\n  \"a\": 3,\n  \"a\\\"\": 2,\n  \"b\": 1,\n  \"\\ud800\": 4,\n  \"\u{1f600}\": 5\n}"
        });
    }

    #[test]
    fn nesting_without_end_is_neither_a_crash_nor_a_flood() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let printed = Document::parse(&nested(DEEPEST)).unwrap().to_pretty();
        assert!(printed.len() < 4 << 20, "{} bytes", printed.len());
        let problem = Document::parse(&nested(3_000_000)).unwrap_err().to_string();
        assert_eq!(problem, "values nest deeper than 10000 levels");

        let wide = format!("{}{}1{}", "[".repeat(900), "1,".repeat(10_000), "]".repeat(900));
        let printed = Document::parse(&wide).unwrap().to_pretty();
        assert!(printed.len() < 2 << 20, "{} bytes", printed.len());
        let plain: String = printed.split_ascii_whitespace().collect();
        assert_eq!(plain, wide);
    }

    /// A text of 64 MiB that a plugin sent would take more than a gigabyte otherwise.
    #[test]
    fn a_text_of_very_many_values_takes_a_few_times_its_size() {
        let text = format!("[{}1]", "1,".repeat(100_000));
        let document = Document::parse(&text).unwrap();
        let size = document.marks.len() * size_of::<Mark>();
        assert!(size <= 5 * text.len(), "{size} bytes for {}", text.len());

        let long = format!("\"{}\"", "x".repeat(8 << 20));
        assert_eq!(Document::parse(&long).unwrap().room(), INDENT_MOST);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "[1,]", "01", "\"\u{1}\"", "nul", "{} {}"] {
            assert!(Document::parse(bad).is_err(), "{bad:?}");
        }
    }
}
