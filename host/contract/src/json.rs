//! JSON as text.
//!
//! A plugin's JSON is its own business and its user's. Between the two it is text that nobody takes
//! apart: parsing it would lose what a parser cannot hold (2^53+1, 1e400, `-0`, key order, duplicate
//! keys). Only a room that has to look inside does so, and keeps what it does not change as it was.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;

/// Text that is meant to be JSON. That it is UTF-8 is all that was checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// The text of `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Takes text as it is.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Writes an object of these fields. The values go in as they are; one that is no JSON goes in as a text, so that it is
    /// wrong by itself and spoils none of the others.
    #[must_use]
    pub fn object(fields: &BTreeMap<String, Self>) -> Self {
        let mut text = String::from("{");
        for (name, value) in fields {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&quoted(name));
            text.push(':');
            match serde_json::from_str(&value.0) {
                Ok(IgnoredAny) => text.push_str(&value.0),
                Err(_) => text.push_str(&quoted(&value.0)),
            }
        }
        text.push('}');
        Self(text)
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Shows how long the text is, never what it says: it may hold a secret.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const N: usize>(fields: [(&str, &str); N], expected: &str) {
        let fields = fields.map(|(name, text)| (name.to_owned(), Json::from_text(text)));
        assert_eq!(Json::object(&fields.into()).as_str(), expected);
    }

    #[test]
    fn an_object_holds_its_values_as_they_are() {
        check([], "{}");
        check(
            [("b", "9007199254740993"), ("a\"", "{\"x\": 1.0}")],
            r#"{"a\"":{"x": 1.0},"b":9007199254740993}"#,
        );
    }

    #[test]
    fn a_field_that_is_no_json_spoils_no_other() {
        check([("a", ""), ("b", "true,\"c\":1"), ("d", "2")], r#"{"a":"","b":"true,\"c\":1","d":2}"#);
    }
}
