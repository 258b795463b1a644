//! JSON as a tree of its own text, and its form for people.
//!
//! A plugin's answer is printed with every number and every string as the plugin wrote it: no value passes
//! through a type that could not hold it (2^53+1, 1e400, `-0`, lone surrogates, keys that occur twice). The
//! layout is upstream's: two spaces, keys in the order of their bytes, `<`, `>` and `&` escaped.
//!
//! Nothing here recurses: how deep an answer nests is the plugin's choice.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Past this depth JSON is printed without line breaks: indenting is quadratic, and nobody reads that far.
const DEEPEST_INDENT: usize = 1000;

/// How much the spaces before all lines may take, as a multiple of the text. A guess: what is wide where it nests deep would
/// become a thousand times as long, and what people write does not come near this.
const ROOM: usize = 16;

/// They may take this much in any case.
const LEAST_ROOM: usize = 1 << 20;

/// A JSON text, taken apart.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    /// The root comes first; a container knows its children by their place in here.
    nodes: Vec<Node<'a>>,
    /// How much the spaces before all lines may take when it is printed.
    room: usize,
}

/// A place in a [`Document`].
pub(crate) type Id = usize;

/// One value.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// `null`, `true`, `false` or a number, as it was written.
    Plain(&'a str),
    /// A string.
    Text(Raw<'a>),
    /// An array.
    Array(Vec<Id>),
    /// An object. Its keys are sorted; of two that are equal the earlier comes first.
    Object(Vec<(Raw<'a>, Id)>),
}

/// What stands between the quotes of a string, escapes and all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(&'a str);

impl<'a> Document<'a> {
    /// Takes a text apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        // The grammar is checked here, without recursion, so that what follows only has to find the parts.
        serde_json::from_str::<IgnoredAny>(text)?;
        let mut nodes = Vec::new();
        let mut open: Vec<(Id, Option<Raw<'a>>)> = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', ':']);
            let Some(first) = rest.bytes().next() else { break };
            let length = match first {
                b'{' | b'[' | b'}' | b']' => 1,
                b'"' => string_length(rest),
                _ => rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            if matches!(first, b'}' | b']') {
                open.pop();
                continue;
            }
            let raw = Raw(token.get(1..token.len() - 1).unwrap_or_default());
            if first == b'"'
                && let Some((parent, key @ None)) = open.last_mut()
                && matches!(nodes[*parent], Node::Object(_))
            {
                *key = Some(raw);
                continue;
            }
            let id = nodes.len();
            nodes.push(match first {
                b'{' => Node::Object(Vec::new()),
                b'[' => Node::Array(Vec::new()),
                b'"' => Node::Text(raw),
                _ => Node::Plain(token),
            });
            if let Some((parent, key)) = open.last_mut() {
                match (&mut nodes[*parent], key.take()) {
                    (Node::Array(items), _) => items.push(id),
                    (Node::Object(fields), Some(key)) => fields.push((key, id)),
                    (Node::Object(_) | Node::Plain(_) | Node::Text(_), _) => {}
                }
            }
            if matches!(first, b'{' | b'[') {
                open.push((id, None));
            }
        }
        for node in &mut nodes {
            if let Node::Object(fields) = node {
                fields.sort_by_cached_key(|(key, _)| key.text().into_owned());
            }
        }
        let room = text.len().saturating_mul(ROOM).saturating_add(LEAST_ROOM);
        Ok(Self { nodes, room })
    }

    /// Returns how much the spaces before all lines may take.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Returns one value.
    pub(crate) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id]
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
        // What is still to be written: for every open container, how much of it has been.
        let mut open: Vec<(Id, usize)> = Vec::new();
        let mut room = self.room;
        let mut next = Some(root);
        loop {
            if let Some(id) = next.take() {
                match &self.nodes[id] {
                    Node::Plain(text) => out.push_str(text),
                    Node::Text(raw) => raw.write_json(out),
                    Node::Array(items) if items.is_empty() => out.push_str("[]"),
                    Node::Object(fields) if fields.is_empty() => out.push_str("{}"),
                    Node::Array(_) => {
                        out.push('[');
                        open.push((id, 0));
                    }
                    Node::Object(_) => {
                        out.push('{');
                        open.push((id, 0));
                    }
                }
            }
            let depth = open.len();
            let Some((id, done)) = open.last_mut() else { break };
            let (key, child, close) = match &self.nodes[*id] {
                Node::Object(fields) => {
                    (fields.get(*done).map(|f| &f.0), fields.get(*done).map(|f| f.1), '}')
                }
                Node::Array(items) => (None, items.get(*done).copied(), ']'),
                Node::Plain(_) | Node::Text(_) => (None, None, ' '),
            };
            if child.is_some() && *done > 0 {
                out.push(',');
            }
            *done += 1;
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
                    out.push(close);
                    open.pop();
                }
                Some(child) => {
                    if let Some(key) = key {
                        key.write_json(out);
                        out.push_str(": ");
                    }
                    next = Some(child);
                }
            }
        }
    }
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
        Cow::Owned(Units(self.0.chars()).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
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
                // Past ASCII there are controls, too; upstream prints those, and terminals obey them.
                Ok(
                    c @ ('\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}'),
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

/// The characters of a string, with its escapes resolved; an error is half a surrogate pair.
struct Units<'a>(std::str::Chars<'a>);

impl Iterator for Units<'_> {
    type Item = Result<char, u16>;

    fn next(&mut self) -> Option<Self::Item> {
        let plain = match self.0.next()? {
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

/// Writes a text as a JSON string.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn nesting_without_end_is_neither_a_crash_nor_a_flood() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let printed = Document::parse(&deep).unwrap().to_pretty();
        assert!(printed.len() < 4 << 20, "{} bytes", printed.len());

        let wide = format!("{}{}1{}", "[".repeat(900), "1,".repeat(10_000), "]".repeat(900));
        let printed = Document::parse(&wide).unwrap().to_pretty();
        assert!(printed.len() < 2 << 20, "{} bytes", printed.len());
        let plain: String = printed.split_ascii_whitespace().collect();
        assert_eq!(plain, wide);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "[1,]", "01", "\"\u{1}\"", "nul", "{} {}"] {
            assert!(Document::parse(bad).is_err(), "{bad:?}");
        }
    }
}
