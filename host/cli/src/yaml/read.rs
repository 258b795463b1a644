//! YAML as JSON text.
//!
//! The first document of a stream, read as upstream reads it: YAML 1.2 with the numbers of 1.1 (`0x1f`,
//! `017`, `1_000`) and the words of 1.2 (`yes` is text). Two differences: a number keeps all its digits, and
//! a date is the text that it was, not a moment.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::rc::Rc;

use anyhow::bail;
use portcullis_contract::{json_string, quoted};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Deeper than anybody writes by hand, and shallow enough to recurse. What an alias stands for counts as if it were written.
const DEEPEST: usize = 500;

/// What aliases may make of a document. A few hundred bytes of them can stand for terabytes.
const LARGEST: usize = 64 << 20;

/// How many fields `<<` may add to a document. A guess: many times what anybody merges, and read in a second.
const MOST_MERGED: usize = 1 << 20;

/// Reads the first document of a text. Nothing at all is `null`.
pub(crate) fn to_json(text: &str) -> anyhow::Result<String> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| anyhow::anyhow!("line {}: {}", e.marker().line(), e.info()))?;
        match reader.take(event) {
            Ok(false) => {}
            Ok(true) => break,
            Err(problem) => bail!("line {}: {problem}", span.start.line()),
        }
    }
    let mut out = String::new();
    match reader.root {
        Some(root) => root.write(&mut out)?,
        None => out.push_str("null"),
    }
    Ok(out)
}

#[derive(Debug)]
enum Value {
    /// JSON text.
    Scalar(String),
    List(Vec<Rc<Value>>),
    Map(Vec<Field>),
}

type Field = (Rc<str>, Rc<Value>);

impl Value {
    fn write(&self, out: &mut String) -> anyhow::Result<()> {
        if out.len() > LARGEST {
            bail!("aliases make the document larger than {} MiB", LARGEST >> 20);
        }
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out)?;
                }
                out.push(']');
            }
            Self::Map(fields) => {
                out.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write!(out, "{}:", json_string(key))?;
                    value.write(out)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    open: Vec<Level>,
    anchors: HashMap<usize, Known>,
    root: Option<Rc<Value>>,
    /// How many fields were merged.
    merged: usize,
}

/// A value, and how deep it nests; a scalar is 0.
type Known = (Rc<Value>, usize);

/// A list or a map that has not ended.
struct Level {
    open: Open,
    anchor: usize,
    /// How deep it nests so far.
    depth: usize,
}

enum Open {
    List(Vec<Rc<Value>>),
    Map { fields: Fields, merged: Fields, key: Option<Key> },
}

/// Fields in their order, each name once.
#[derive(Default)]
struct Fields {
    ordered: Vec<Field>,
    names: HashSet<Rc<str>>,
}

impl Fields {
    /// Adds a field if its name is new; returns whether it was.
    fn add(&mut self, name: Rc<str>, value: Rc<Value>) -> bool {
        let new = self.names.insert(Rc::clone(&name));
        if new {
            self.ordered.push((name, value));
        }
        new
    }
}

enum Key {
    Named(String),
    /// `<<`: what follows is merged in.
    Merge,
}

impl Reader {
    /// Takes one event; returns whether the document has ended.
    fn take(&mut self, event: Event<'_>) -> Result<bool, String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            Event::StreamEnd | Event::DocumentEnd => return Ok(true),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).ok_or("an alias stands within what it stands for")?;
                self.put(known.clone(), 0)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(Level { open: Open::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
                    let merges = text == "<<" && style == ScalarStyle::Plain && tag.is_none();
                    *key = Some(if merges { Key::Merge } else { Key::Named(text.clone().into_owned()) });
                    if anchor > 0 {
                        self.anchors.insert(anchor, (Rc::new(Value::Scalar(json_string(&text))), 0));
                    }
                } else {
                    let value = Value::Scalar(scalar(&text, style, tag.as_deref())?);
                    self.put((Rc::new(value), 0), anchor)?;
                }
            }
            Event::SequenceStart(anchor, _) => self.enter(Open::List(Vec::new()), anchor)?,
            Event::MappingStart(anchor, _) => {
                self.enter(
                    Open::Map { fields: Fields::default(), merged: Fields::default(), key: None },
                    anchor,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Level { open, anchor, depth }) = self.open.pop() else { return Ok(true) };
                let value = match open {
                    Open::List(items) => Value::List(items),
                    Open::Map { mut fields, merged, .. } => {
                        for (name, value) in merged.ordered {
                            fields.add(name, value);
                        }
                        Value::Map(fields.ordered)
                    }
                };
                self.put((Rc::new(value), depth), anchor)?;
            }
        }
        Ok(false)
    }

    fn enter(&mut self, open: Open, anchor: usize) -> Result<(), String> {
        if let Some(Level { open: Open::Map { key: None, .. }, .. }) = self.open.last() {
            return Err("a key has to be a single word or text".to_owned());
        }
        self.fits(1)?;
        self.open.push(Level { open, anchor, depth: 1 });
        Ok(())
    }

    /// Refuses what would nest so deep where we are.
    fn fits(&self, depth: usize) -> Result<(), String> {
        if self.open.len() + depth > DEEPEST {
            return Err(format!("nested more than {DEEPEST} deep"));
        }
        Ok(())
    }

    fn put(&mut self, (value, depth): Known, anchor: usize) -> Result<(), String> {
        self.fits(depth)?;
        if anchor > 0 {
            self.anchors.insert(anchor, (Rc::clone(&value), depth));
        }
        let Some(level) = self.open.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        level.depth = level.depth.max(depth + 1);
        match &mut level.open {
            Open::List(items) => items.push(value),
            Open::Map { fields, merged, key } => match key.take() {
                Some(Key::Named(name)) => {
                    if !fields.add(name.as_str().into(), value) {
                        return Err(format!("mapping key {} already defined", quoted(name.as_str())));
                    }
                }
                Some(Key::Merge) => merge(merged, &value, &mut self.merged)?,
                None => match &*value {
                    // An alias in the place of a key.
                    Value::Scalar(text) => {
                        let name = serde_json::from_str(text).unwrap_or_else(|_| text.clone());
                        *key = Some(Key::Named(name));
                    }
                    Value::List(_) | Value::Map(_) => {
                        return Err("a key has to be a single word or text".to_owned());
                    }
                },
            },
        }
        Ok(())
    }
}

fn merge(into: &mut Fields, value: &Value, merged: &mut usize) -> Result<(), String> {
    match value {
        Value::List(items) => items.iter().try_for_each(|item| merge_map(into, item, merged)),
        one => merge_map(into, one, merged),
    }
}

/// Merges one map, and counts: what a few aliases stand for may be merged again and again.
fn merge_map(into: &mut Fields, value: &Value, merged: &mut usize) -> Result<(), String> {
    let Value::Map(fields) = value else {
        return Err("map merge requires map or sequence of maps as the value".to_owned());
    };
    *merged += fields.len();
    if *merged > MOST_MERGED {
        return Err(format!("more than {MOST_MERGED} fields are merged"));
    }
    for (name, value) in fields {
        into.add(Rc::clone(name), Rc::clone(value));
    }
    Ok(())
}

/// Returns the JSON of a scalar.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<String, String> {
    let tag = tag.map(|tag| if tag.is_yaml_core_schema() { tag.suffix.as_str() } else { "str" });
    let resolved = match (tag, style) {
        (None, ScalarStyle::Plain) => resolve(text)?,
        (None, _) | (Some("str"), _) => None,
        (Some(wanted @ ("null" | "bool" | "int" | "float")), _) => {
            let resolved = resolve(text)?;
            let fits = match wanted {
                "null" => resolved.as_deref() == Some("null"),
                "bool" => matches!(resolved.as_deref(), Some("true" | "false")),
                "int" => resolved.as_deref().is_some_and(|n| !n.contains(['.', 'e', 'E', 'u', 'a'])),
                _ => resolved.as_deref().is_some_and(|n| !n.contains(['u', 'a'])),
            };
            if !fits {
                return Err(format!("cannot decode `{text}` as a !!{wanted}"));
            }
            resolved
        }
        (Some(_), _) => None,
    };
    Ok(resolved.unwrap_or_else(|| json_string(text)))
}

/// Returns the JSON of a plain scalar that is more than text.
fn resolve(text: &str) -> Result<Option<String>, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Some("null".to_owned())),
        "true" | "True" | "TRUE" => return Ok(Some("true".to_owned())),
        "false" | "False" | "FALSE" => return Ok(Some("false".to_owned())),
        _ => {}
    }
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(number, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("{text} cannot be said in JSON"));
    }
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(None);
    }
    let number = number.replace('_', "");
    Ok(with_radix(&number).or_else(|| decimal(&number)).map(|number| format!("{sign}{number}")))
}

/// Returns the decimal digits of a number in base 2, 8 or 16.
fn with_radix(number: &str) -> Option<String> {
    let rest = number.strip_prefix('0')?;
    let (radix, digits) = match rest.as_bytes().first()? {
        b'x' | b'X' => (16, &rest[1..]),
        b'o' | b'O' => (8, &rest[1..]),
        b'b' | b'B' => (2, &rest[1..]),
        _ => (8, rest),
    };
    let digits = (!digits.starts_with(['+', '-'])).then_some(digits)?;
    u64::from_str_radix(digits, radix).ok().map(|number| number.to_string())
}

/// Returns a decimal number in the form of JSON, with all its digits.
fn decimal(number: &str) -> Option<String> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (number, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut out = match whole.trim_start_matches('0') {
        "" => "0".to_owned(),
        whole => whole.to_owned(),
    };
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !all_digits(digits) {
            return None;
        }
        out.push('e');
        out.push_str(exponent);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &str) {
        let found = to_json(yaml).unwrap_or_else(|problem| format!("error: {problem}"));
        assert_eq!(found, expected, "{yaml:?}");
    }

    #[test]
    fn maps_lists_and_scalars_become_json() {
        check("", "null");
        check("a: 1\nb:\n  - x\n  - {c: true}\n", r#"{"a":1,"b":["x",{"c":true}]}"#);
        check("a: |\n  one\n  two\nb: >-\n  one\n  two\n", r#"{"a":"one\ntwo\n","b":"one two"}"#);
        check("a: 1\n---\nb: 2\n", r#"{"a":1}"#);
        check(r#"{"a": [1, "b\u0041"]}"#, r#"{"a":[1,"bA"]}"#);
    }

    #[test]
    fn a_number_keeps_all_its_digits() {
        check(
            "[9007199254740993, 1e400, 1.10, -0, 123456789012345678901]",
            "[9007199254740993,1e400,1.10,-0,123456789012345678901]",
        );
        check("[+1, 1., .5, 007.5, 1_000, -.5E-3]", "[1,1,0.5,7.5,1000,-0.5e-3]");
        check("[0x1f, 0o17, 017, 0b11, 089]", "[31,15,15,3,89]");
    }

    #[test]
    fn what_looks_like_something_else_is_text() {
        check("[yes, off, y, 1:30, 2024-01-15, 1.2.3, 0xzz, ., 1e, _1]", {
            r#"["yes","off","y","1:30","2024-01-15","1.2.3","0xzz",".","1e","_1"]"#
        });
        check("['1', \"true\", !!str 1, !mine 1]", r#"["1","true","1","1"]"#);
        check("[~, Null, '', TRUE, !!float 1]", r#"[null,null,"",true,1]"#);
    }

    #[test]
    fn aliases_and_merges_are_resolved() {
        check("a: &x [1, 2]\nb: *x\n", r#"{"a":[1,2],"b":[1,2]}"#);
        check("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3\n", r#"{"a":{"k":1,"l":2},"b":{"l":3,"k":1}}"#);
        check("a: &x {k: 1}\nb:\n  <<: [*x, {k: 2, l: 2}]\n", r#"{"a":{"k":1},"b":{"k":1,"l":2}}"#);
    }

    #[test]
    fn trouble_is_named_with_its_line() {
        check("a: 1\na: 2\n", "error: line 2: mapping key \"a\" already defined");
        check("a: .inf\n", "error: line 1: .inf cannot be said in JSON");
        check("a: !!int x\n", "error: line 1: cannot decode `x` as a !!int");
        check("? [a]\n: 1\n", "error: line 1: a key has to be a single word or text");
        assert!(to_json("a: [1\nb: 2").is_err());
    }

    #[test]
    fn aliases_make_nothing_deeper_than_it_may_be_written() {
        let chain = |length: usize| {
            let next = |level: usize| format!("a{level}: &a{level} [*a{}]\n", level - 1);
            (1..length).map(next).fold("a0: &a0 [x]\n".to_owned(), |chain, link| chain + &link)
        };
        // The map around them is a level, too.
        assert!(to_json(&chain(DEEPEST - 1)).is_ok());
        let deep = to_json(&chain(DEEPEST)).unwrap_err();
        assert!(deep.to_string().ends_with("nested more than 500 deep"), "{deep}");
        assert!(to_json(&chain(100_000)).is_err());
    }

    #[test]
    fn a_document_that_explodes_is_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = level - 1;
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", "));
        }
        check(&bomb, "error: aliases make the document larger than 64 MiB");
        assert!(to_json(&("[".repeat(100_000) + &"]".repeat(100_000))).is_err());

        let lists = format!("{bomb}b:\n  <<: *a11\n");
        check(&lists, "error: line 14: map merge requires map or sequence of maps as the value");
        let fields: String = (0..2_000).map(|n| format!("  k{n}: x\n")).collect();
        let maps = format!("a: &a\n{fields}b:\n{}", "- <<: *a\n".repeat(2_000));
        let refused = to_json(&maps).unwrap_err();
        assert!(refused.to_string().ends_with("more than 1048576 fields are merged"), "{refused}");
    }
}
