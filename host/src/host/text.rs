//! JSON text, taken apart without being changed.
//!
//! A value that nobody has to look into stays the text that it was: `1.0`, `-0`, `1e400` and 2^53+1 come out as they
//! went in. [`members`] cuts an object into its properties, [`to_value`] makes the tree that a validator takes. Both
//! use one reader, which keeps a stack of its own, so that deep nesting cannot exhaust ours, and refuses duplicate
//! keys: two readers of such an object may see different values, which is a way round validation.

#[cfg(test)]
mod fuzz;
mod reader;

use serde_json::{Map, Number, Value};
use thiserror::Error;

use reader::{Container, Event, Reader};

/// How deep values may nest. Upstream's decoder gives up at the same depth.
pub(super) const MAX_DEPTH: usize = 10_000;

/// Why a text cannot be checked as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum TextError {
    /// It is no JSON.
    #[error("invalid JSON: expected {expected} at byte {at}")]
    Syntax {
        /// What was expected.
        expected: &'static str,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// An object has a key twice.
    #[error("key {0:?} is given more than once in one object; give it once")]
    Duplicate(String),
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("values nest deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// It is JSON, and no object. Upstream's sentence (contract spec 4.6).
    #[error("expected map[string]any, got {0}")]
    NotObject(&'static str),
}

/// One property of an object, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its key.
    pub(super) key: String,
    /// Its key as it is written, quotes included.
    pub(super) key_text: &'a str,
    /// Its value as it is written, without the space around it.
    pub(super) value: &'a str,
}

/// An object, cut into its properties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members<'a> {
    /// The properties, in order.
    pub(super) members: Vec<Member<'a>>,
    /// How deep its values nest; an object of scalars is 1.
    pub(super) depth: usize,
}

/// Cuts an object into its properties.
///
/// # Errors
///
/// A text that is no JSON, is no object, nests too deep, or gives a key twice, at any depth.
pub(super) fn members(text: &str) -> Result<Members<'_>, TextError> {
    let mut reader = Reader::new(text);
    let mut found = Members::default();
    let mut key = None;
    let mut start = 0;
    while let Some(event) = reader.next()? {
        found.depth = found.depth.max(reader.depth());
        // What begins and ends at the top is the object itself; one level in are its values.
        match (event, reader.depth()) {
            (Event::Open(Container::Array), 1) => return Err(TextError::NotObject(go_type(text))),
            (Event::Key(key_text), 1) => key = Some(key_text),
            (Event::Open(_), 2) => start = reader.token,
            (Event::Scalar(value), 1) => found.push(&mut key, value),
            (Event::Close, 1) => found.push(&mut key, &text[start..reader.at]),
            (Event::Scalar(_), 0) => return Err(TextError::NotObject(go_type(text))),
            _ => {}
        }
    }
    Ok(found)
}

impl<'a> Members<'a> {
    fn push(&mut self, key: &mut Option<&'a str>, value: &'a str) {
        if let Some(key_text) = key.take() {
            self.members.push(Member { key: unquote(key_text), key_text, value });
        }
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|m| m.key == key).map(|m| m.value)
    }
}

/// Returns how deep a value nests; a scalar is 0.
///
/// # Errors
///
/// As [`to_value`].
pub(super) fn depth(text: &str) -> Result<usize, TextError> {
    let mut reader = Reader::new(text);
    let mut deepest = 0;
    while reader.next()?.is_some() {
        deepest = deepest.max(reader.depth());
    }
    Ok(deepest)
}

/// Makes the tree that a validator takes.
///
/// A number that no `f64` holds becomes the largest that one does: every bound that a schema can
/// name gives the same answer. Half a surrogate pair becomes U+FFFD, as it does upstream.
///
/// The result may nest as deep as [`MAX_DEPTH`]; dropping it takes that much stack.
///
/// # Errors
///
/// As [`members`], but for any sort of value.
pub(super) fn to_value(text: &str) -> Result<Value, TextError> {
    let mut reader = Reader::new(text);
    let mut open: Vec<(Value, Option<String>)> = Vec::new();
    let mut key = None;
    let mut root = Value::Null;
    while let Some(event) = reader.next()? {
        let done = match event {
            Event::Key(text) => {
                key = Some(unquote(text));
                continue;
            }
            Event::Open(container) => {
                let empty = match container {
                    Container::Object => Value::Object(Map::new()),
                    Container::Array => Value::Array(Vec::new()),
                };
                open.push((empty, key.take()));
                continue;
            }
            Event::Close => {
                let (value, its_key) = open.pop().expect("the reader closes what it opened");
                key = its_key;
                value
            }
            Event::Scalar(text) => scalar(text),
        };
        match (open.last_mut(), key.take()) {
            (Some((Value::Object(object), _)), Some(key)) => drop(object.insert(key, done)),
            (Some((Value::Array(array), _)), _) => array.push(done),
            _ => root = done,
        }
    }
    Ok(root)
}

fn scalar(text: &str) -> Value {
    match text.as_bytes().first() {
        Some(b'"') => Value::String(unquote(text)),
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') | None => Value::Null,
        Some(_) => Value::Number(number(text)),
    }
}

fn number(text: &str) -> Number {
    if let Ok(small) = text.parse::<i64>() {
        return Number::from(small);
    }
    if let Ok(large) = text.parse::<u64>() {
        return Number::from(large);
    }
    let float = text.parse::<f64>().unwrap_or_default().clamp(f64::MIN, f64::MAX);
    Number::from_f64(float).unwrap_or_else(|| Number::from(0))
}

/// Returns what a string says. Only for the text of a string that a reader has accepted.
pub(super) fn unquote(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    let mut said = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        said.push_str(&rest[..at]);
        let escape = rest[at + 1..].chars().next().unwrap_or('\\');
        rest = rest.get(at + 1 + escape.len_utf8()..).unwrap_or_default();
        match escape {
            'n' => said.push('\n'),
            't' => said.push('\t'),
            'r' => said.push('\r'),
            'b' => said.push('\u{8}'),
            'f' => said.push('\u{c}'),
            'u' => {
                let high = code_unit(rest);
                rest = rest.get(4..).unwrap_or_default();
                let low = rest.strip_prefix("\\u").map(code_unit);
                match char::decode_utf16([high].into_iter().chain(low)).next() {
                    Some(Ok(char)) => {
                        if char.len_utf16() == 2 {
                            rest = rest.get(6..).unwrap_or_default();
                        }
                        said.push(char);
                    }
                    _ => said.push(char::REPLACEMENT_CHARACTER),
                }
            }
            other => said.push(other),
        }
    }
    said.push_str(rest);
    said
}

fn code_unit(text: &str) -> u16 {
    text.get(..4).and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0xfffd)
}

/// Returns what upstream calls the type of a value (`%T` of what its decoder makes of it).
pub(super) fn go_type(text: &str) -> &'static str {
    match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') | None => "<nil>",
        Some(b'{') => "map[string]interface {}",
        Some(b'[') => "[]interface {}",
        Some(_) => "float64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = members(text).unwrap();
        let found: Vec<_> = found.members.iter().map(|m| (m.key.as_str(), m.value)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn an_object_is_cut_into_properties_whose_text_is_untouched() {
        check("{}", &[]);
        check(" { \"a\" : 1.0 , \"b\":-0} ", &[("a", "1.0"), ("b", "-0")]);
        check(r#"{"n":9007199254740993,"h":1e400}"#, &[("n", "9007199254740993"), ("h", "1e400")]);
        check(r#"{"o": {"x" : [1, {}]} ,"e":[]}"#, &[("o", r#"{"x" : [1, {}]}"#), ("e", "[]")]);
        check(r#"{"\u0061\n":"\ud83d\ude00"}"#, &[("a\n", r#""\ud83d\ude00""#)]);
        check(r#"{"":null}"#, &[("", "null")]);
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(members(text).unwrap_err().to_string(), expected, "{text:?}");
    }

    /// Contract item 91.
    #[test]
    fn what_is_no_object_is_refused_by_upstreams_name_for_it() {
        check_error("[1]", "expected map[string]any, got []interface {}");
        check_error("5", "expected map[string]any, got float64");
        check_error("\"x\"", "expected map[string]any, got string");
        check_error("null", "expected map[string]any, got <nil>");
        check_error("true", "expected map[string]any, got bool");
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_place() {
        check_error("", "invalid JSON: expected a value at byte 0");
        check_error("{", "invalid JSON: expected a key in double quotes at byte 1");
        check_error("{\"a\":1,}", "invalid JSON: expected a key in double quotes at byte 7");
        check_error("{\"a\" 1}", "invalid JSON: expected \":\" at byte 5");
        check_error("{\"a\":1 2}", "invalid JSON: expected \",\" or \"}\" at byte 7");
        check_error("{\"a\":[1 2]}", "invalid JSON: expected \",\" or \"]\" at byte 8");
        check_error("{\"a\":01}", "invalid JSON: expected \",\" or \"}\" at byte 6");
        check_error("{\"a\":nul}", "invalid JSON: expected true, false or null at byte 5");
        check_error("{\"a\":1}x", "invalid JSON: expected the end at byte 7");
        check_error("{\"a\":\"\\x\"}", "invalid JSON: expected an escape at byte 7");
        check_error("{\"a\":\"\\ud83\"}", "invalid JSON: expected four hexadecimal digits at byte 11");
        check_error(
            "{\"a\":\"\n\"}",
            "invalid JSON: expected no bare control character in a string at byte 6",
        );
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth_and_however_it_is_written() {
        let said = "key \"a\" is given more than once in one object; give it once";
        check_error(r#"{"a":1,"a":2}"#, said);
        check_error(r#"{"a":1,"\u0061":2}"#, said);
        check_error(r#"{"x":[{"a":1,"b":{},"a":1}]}"#, said);
        check(r#"{"a":{"a":{"a":1}}}"#, &[("a", r#"{"a":{"a":1}}"#)]);
    }

    #[test]
    fn no_depth_of_nesting_reaches_the_stack() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(members(&nested(MAX_DEPTH - 1)).unwrap().depth, MAX_DEPTH);
        check_error(&nested(MAX_DEPTH), "values nest deeper than 10000 levels");
        check_error(&nested(3_000_000), "values nest deeper than 10000 levels");
    }

    #[test]
    fn a_validator_sees_numbers_that_nothing_holds_as_the_largest_there_are() {
        let value = to_value(r#"{"a":[1e400,-1e400,18446744073709551615,-0,1.5],"b":"\ud800"}"#).unwrap();
        let expected = serde_json::json!({"a": [f64::MAX, f64::MIN, u64::MAX, 0, 1.5], "b": "\u{fffd}"});
        assert_eq!(value, expected);
    }
}
