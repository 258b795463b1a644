//! JSON as text.
//!
//! JSON stays text between a plugin and its user, so that numbers, key order and duplicate keys arrive as they
//! were written. A plugin parses only what it has to look into, into types of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

/// Text that is meant to be JSON. It is valid UTF-8; nothing else was checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// The text of `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Takes text as it is, without a check.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// For a value that JSON cannot hold, such as a map with keys that are not strings.
    pub fn from_value(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self)
    }

    /// Parses the text. The value may borrow from it.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, or does not fit the type.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }

    /// Parses the text as an object that a host sent; an empty text and `null` count as the empty object.
    ///
    /// # Errors
    ///
    /// `failed to decode WHAT: ..` when it does not fit the type; ready to be returned to the host.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, Error> {
        let text = match self.0.trim_ascii() {
            "" | "null" => "{}",
            // Without this, serde would accept `[1]` for a struct whose first field is 1.
            text if !text.starts_with('{') => {
                return Err(Error::new(format!("failed to decode {what}: not an object")));
            }
            text => text,
        };
        serde_json::from_str(text).map_err(|e| Error::new(format!("failed to decode {what}: {}", misfit(&e))))
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

/// Shows how long the text is, never what it says: it may hold a secret.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self(value.to_string())
    }
}

/// Settings by name. The object is parsed when a setting is asked for, not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(Json);

impl Settings {
    /// Takes a JSON object as it is.
    #[must_use]
    pub fn from_json(object: Json) -> Self {
        Self(object)
    }

    /// Returns one setting, or `None` when it is not set.
    ///
    /// # Errors
    ///
    /// When the setting does not fit the type; ready to be returned to the host.
    pub fn setting<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, Error> {
        let all: BTreeMap<Cow<'a, str>, &'a RawValue> = self.0.decode("settings")?;
        let Some(value) = all.get(name) else {
            return Ok(None);
        };
        let value = serde_json::from_str(value.get());
        value.map(Some).map_err(|e| Error::new(format!("failed to decode setting {name:?}: {}", misfit(&e))))
    }

    /// Returns all of them, as a JSON object.
    #[must_use]
    pub fn as_json(&self) -> &Json {
        &self.0
    }
}

/// Says what was expected, and not what was there, which may be a secret: such an error gets to a log, or to whoever asked.
fn misfit(error: &serde_json::Error) -> String {
    let said = error.to_string();
    match said.rsplit_once(", expected ") {
        Some((_found, expected)) if error.is_data() => format!("expected {expected}"),
        _ => said,
    }
}

/// No settings at all.
impl Default for Settings {
    fn default() -> Self {
        Self(Json::from_text("{}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Point {
        x: i32,
    }

    fn check_decode(text: &str, expected: Result<Point, &str>) {
        let found = Json::from_text(text).decode::<Point>("point");
        assert_eq!(found, expected.map_err(Error::new), "{text:?}");
    }

    #[test]
    fn what_a_host_sends_is_an_object_or_nothing() {
        check_decode(r#" {"x":1} "#, Ok(Point { x: 1 }));
        check_decode("null", Ok(Point { x: 0 }));
        check_decode("", Ok(Point { x: 0 }));
        check_decode("[1]", Err("failed to decode point: not an object"));
        check_decode("1", Err("failed to decode point: not an object"));
        let unfinished = "failed to decode point: EOF while parsing an object at line 1 column 1";
        check_decode("{", Err(unfinished));
    }

    fn check(settings: &str, name: &str, expected: Option<u8>) {
        let settings = Settings::from_json(Json::from_text(settings));
        assert_eq!(settings.setting(name).expect("the setting has this form"), expected, "{settings:?}");
    }

    #[test]
    fn a_setting_is_found_by_its_name() {
        check(r#"{"a":1,"b":2}"#, "b", Some(2));
        check(r#"{"\u0061":1}"#, "a", Some(1));
        check(r#"{"a":1}"#, "b", None);
        check("", "a", None);
        check("null", "a", None);
    }

    #[test]
    fn a_setting_of_another_form_is_an_error_and_its_neighbour_is_none() {
        let settings = Settings::from_json(Json::from_text(r#"{"a":"text","b":2}"#));
        let misfit = settings.setting::<u8>("a").expect_err("a is a text");
        assert_eq!(misfit, Error::new(r#"failed to decode setting "a": expected u8 at line 1 column 6"#));
        assert_eq!(settings.setting::<u8>("b").expect("b is a number"), Some(2));
    }

    #[test]
    fn debug_does_not_show_what_a_text_says() {
        assert_eq!(format!("{:?}", Json::from_text(r#""hush""#)), "Json(6 bytes)");
    }
}
