//! JSON as text.
//!
//! A plugin's JSON stays text on its way to the user: parsing it would lose what a parser cannot hold (2^53+1,
//! 1e400, `-0`, key order, duplicate keys). Only the parts of a host that have to look inside parse it, and what they
//! do not change they keep as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is meant to be JSON. It is valid UTF-8; whether it is JSON was checked only if it was
/// [`read`](Self::read).
#[derive(Clone)]
pub struct Json {
    text: String,
    /// Whether it is known to be JSON. Does not matter for equality.
    is_known: bool,
}

impl Json {
    /// The text of `null`.
    #[must_use]
    pub fn null() -> Self {
        Self::from_json("null".to_owned())
    }

    /// Takes text as it is, without a check.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_known: false }
    }

    /// Takes text that is known to be JSON.
    pub(crate) fn from_json(text: String) -> Self {
        Self { text, is_known: true }
    }

    /// Takes text as it is, if it is JSON. The check takes linear time, does not recurse, and is remembered.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(text: String) -> Result<Self, serde_json::Error> {
        let IgnoredAny = serde_json::from_str(&text)?;
        Ok(Self::from_json(text))
    }

    /// Checks that it is JSON, unless that is known.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), serde_json::Error> {
        if self.is_known { Ok(()) } else { serde_json::from_str(&self.text).map(|IgnoredAny| ()) }
    }

    /// Returns the text if it is JSON, or else as a JSON string.
    fn as_json(&self) -> Cow<'_, str> {
        match self.check() {
            Ok(()) => Cow::Borrowed(&self.text),
            Err(_) => Cow::Owned(json_string(&self.text)),
        }
    }

    /// Makes a JSON string of it unless it is JSON.
    pub fn make_json(&mut self) {
        *self = Self::from_json(self.as_json().into_owned());
    }

    /// Writes an object of these fields. The values go in as they are; one that is not JSON goes in as a string, so
    /// that it does not spoil the others.
    #[must_use]
    pub fn object(fields: &BTreeMap<String, Self>) -> Self {
        let mut text = String::from("{");
        for (name, value) in fields {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&json_string(name));
            text.push(':');
            text.push_str(&value.as_json());
        }
        text.push('}');
        Self::from_json(text)
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }
}

/// Writes a text as a JSON string.
#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Json {}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A string, so that the text stays as it is.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from_text)
    }
}

/// Shows how long the text is, never what it says: it may hold a secret.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.text.len())
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
    fn text_that_was_read_is_json_and_the_same_as_before() {
        for good in ["null", " {\"a\":1e400,\"a\":-0} ", "9007199254740993"] {
            let read = Json::read(good.to_owned()).expect("it is JSON");
            assert_eq!((read.as_str(), &read), (good, &Json::from_text(good)));
            assert!(read.check().is_ok() && Json::from_text(good).check().is_ok());
        }
        for bad in ["", "{oops", "1 2", "1,\"streamed\":true"] {
            assert!(Json::read(bad.to_owned()).is_err() && Json::from_text(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_does_not_show_what_a_text_says() {
        assert_eq!(format!("{:?}", Json::from_text(r#""hush""#)), "Json(6 bytes)");
    }

    #[test]
    fn a_field_that_is_no_json_spoils_no_other() {
        check([("a", ""), ("b", "true,\"c\":1"), ("d", "2")], r#"{"a":"","b":"true,\"c\":1","d":2}"#);
    }
}
