//! How a plugin reads the JSON that it is given, and writes what it answers.
//!
//! A host leaves JSON as it came; a plugin has to look into it, and may return the errors of that. Except for those of
//! [`Json::parse`], which come from the parser, an error says what was expected and never what was there: that may be a
//! secret, and the error may reach a log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Configuration, Context, Execute, Json, Output, PluginError, Settings};

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// For a value that JSON cannot hold, such as a map with keys that are not strings.
    pub fn from_value(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        serde_json::to_string(value).map(Self::from_json)
    }

    /// Parses the text. The value may borrow from it.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, or does not fit the type. The error may quote what is there.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }

    /// Parses the text as an object that a host sent, called `what` in errors; an empty text and `null` count as the empty
    /// object.
    ///
    /// # Errors
    ///
    /// `failed to decode WHAT: ..` when it does not fit the type.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, PluginError> {
        let text = match self.as_str().trim_ascii() {
            "" | "null" => "{}",
            // Without this, serde would accept `[1]` for a struct whose first field is 1.
            text if !text.starts_with('{') => {
                return Err(PluginError::new(format!("failed to decode {what}: not an object")));
            }
            text => text,
        };
        serde_json::from_str(text).map_err(|error| unread(what, &error))
    }

    /// Takes an object apart, which is called `what` in errors. The values stay as they are; of a name that occurs twice the
    /// last one counts.
    ///
    /// # Errors
    ///
    /// `failed to decode WHAT: ..` when it is no object.
    pub fn fields(&self, what: &str) -> Result<BTreeMap<String, Self>, PluginError> {
        let fields: BTreeMap<String, Box<RawValue>> = self.decode(what)?;
        let whole = |(name, value)| (name, Self::from_json(Box::<str>::from(value).into_string()));
        Ok(fields.into_iter().map(whole).collect())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        Self::from_json(value.to_string())
    }
}

impl Configuration {
    /// Returns one setting, or `None` when it is not set. With this in a policy, `setting::<String>("mode")` is `fast`:
    ///
    /// ```toml
    /// [plugin.greet.settings]
    /// mode = "fast"
    /// ```
    ///
    /// # Errors
    ///
    /// When the setting does not fit the type.
    pub fn setting<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, PluginError> {
        setting(&self.settings, name)
    }
}

impl Execute {
    /// Parses the input into a type of the author's own. `null` counts as the empty object.
    ///
    /// # Errors
    ///
    /// When the input does not fit the type.
    pub fn input_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PluginError> {
        self.input.decode("input")
    }
}

impl Context {
    /// Parses what was resolved so far; `None` when the host sent nothing of it, or something that is not an object.
    ///
    /// # Errors
    ///
    /// When it does not fit the type.
    pub fn resolver_context<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>, PluginError> {
        #[derive(Deserialize)]
        struct Surroundings<'a> {
            #[serde(borrow, default, rename = "resolverContext")]
            resolved: Option<&'a RawValue>,
        }

        let Some(context) = &self.context else {
            return Ok(None);
        };
        let Surroundings { resolved } = context.decode("context")?;
        match resolved.map(RawValue::get).filter(|text| text.starts_with('{')) {
            Some(object) => {
                let resolved = serde_json::from_str(object);
                resolved.map(Some).map_err(|error| unread("context", &error))
            }
            None => Ok(None),
        }
    }

    /// Returns one setting of this call, or `None` when it is not set.
    ///
    /// # Errors
    ///
    /// When the setting does not fit the type.
    pub fn setting<'a, T: Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, PluginError> {
        setting(&self.settings, name)
    }
}

impl Output {
    /// Makes an output of nothing but a value. (What is [`Json`] already is taken by [`new`](Self::new).)
    ///
    /// # Errors
    ///
    /// For a value that JSON cannot hold.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, PluginError> {
        match Json::from_value(value) {
            Ok(data) => Ok(Self::new(data)),
            Err(error) => Err(PluginError::new(format!("failed to encode output: {error}"))),
        }
    }
}

fn setting<'a, T: Deserialize<'a>>(settings: &'a Settings, name: &str) -> Result<Option<T>, PluginError> {
    let found = settings.get(name).map(Json::parse).transpose();
    found.map_err(|error| {
        let said = expectation(&error);
        // Where it is in its own text tells nobody where it was set.
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _place)| said);
        PluginError::new(format!("failed to decode setting {name:?}: {said}"))
    })
}

fn unread(what: &str, error: &serde_json::Error) -> PluginError {
    PluginError::new(format!("failed to decode {what}: {}", expectation(error)))
}

/// Says what was expected, and not what was there.
pub(crate) fn expectation(error: &serde_json::Error) -> String {
    let said = error.to_string();
    match said.rsplit_once(", expected ") {
        Some((_found, expected)) if error.is_data() => format!("expected {expected}"),
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<&[(&str, i32)], &str>) {
        let request = Execute::new("p", Json::from_text(input));
        let found: Result<BTreeMap<&str, i32>, _> = request.input_as();
        let expected = expected.map(|fields| fields.iter().copied().collect());
        assert_eq!(found, expected.map_err(PluginError::new), "{input:?}");
    }

    /// Contract items 29 to 31.
    #[test]
    fn an_input_is_an_object_or_nothing() {
        check(r#" {"a":1} "#, Ok(&[("a", 1)]));
        check("null", Ok(&[]));
        check("", Ok(&[]));
        check("[1]", Err("failed to decode input: not an object"));
        check("1", Err("failed to decode input: not an object"));
        check("{", Err("failed to decode input: EOF while parsing an object at line 1 column 1"));
        check(r#"{"a":"hush"}"#, Err("failed to decode input: expected i32 at line 1 column 11"));
    }

    fn check_resolved(context: Option<&str>, expected: Option<&[(&str, i32)]>) {
        let context = Context { context: context.map(Json::from_text), ..Context::default() };
        let found: Option<BTreeMap<&str, i32>> = context.resolver_context().expect("it has this form");
        assert_eq!(found, expected.map(|all| all.iter().copied().collect()), "{context:?}");
    }

    /// Contract item 34.
    #[test]
    fn the_resolver_context_is_an_object_or_nothing() {
        check_resolved(Some(r#"{"other":[],"resolverContext": {"a":1}}"#), Some(&[("a", 1)]));
        check_resolved(Some(r#"{"resolverContext":[1]}"#), None);
        check_resolved(Some(r#"{"resolverContext":null}"#), None);
        check_resolved(Some("{}"), None);
        check_resolved(Some(""), None);
        check_resolved(None, None);
    }

    #[test]
    fn an_object_is_taken_apart_into_what_it_was_made_of() {
        let fields = |text: &str| Json::from_text(text).fields("it");
        let texts = [("a\"", "{\"x\": 1.0}"), ("b", "9007199254740993")];
        let texts = texts.map(|(name, text)| (name.to_owned(), Json::from_text(text)));
        assert_eq!(Json::object(&texts.clone().into()).fields("it"), Ok(texts.into()));
        assert_eq!(fields(r#"{"\u0061":1,"a":-0}"#), Ok([("a".to_owned(), Json::from_text("-0"))].into()));
        assert_eq!(fields("null"), Ok(BTreeMap::new()));
        assert_eq!(fields("[]"), Err(PluginError::new("failed to decode it: not an object")));
    }

    #[test]
    fn a_setting_of_another_form_is_an_error_and_its_neighbour_is_none() {
        let settings = Json::from_text(r#"{"a":"text","b":2}"#).fields("settings").expect("it is an object");
        let context = Context { settings: settings.clone(), ..Context::default() };
        let configuration = Configuration { settings, ..Configuration::default() };
        let wrong = PluginError::new(r#"failed to decode setting "a": expected u8"#);
        assert_eq!(configuration.setting::<u8>("a"), Err(wrong.clone()));
        assert_eq!(context.setting::<u8>("a"), Err(wrong));
        assert_eq!([configuration.setting("b"), context.setting("b")], [Ok(Some(2)), Ok(Some(2))]);
        assert_eq!(configuration.setting::<u8>("c"), Ok(None));
    }

    #[test]
    fn a_value_that_json_cannot_hold_is_refused() {
        let keys_are_lists = BTreeMap::from([(vec![1], 2)]);
        let Err(PluginError::Refused(refusal)) = Output::json(&keys_are_lists) else {
            panic!("JSON has no such keys");
        };
        assert!(refusal.message.starts_with("failed to encode output: "), "{}", refusal.message);
        let output = Output::json(&[1, 2]).expect("JSON has lists");
        assert_eq!(output.data.as_str(), "[1,2]");
    }
}
