//! Schemas: JSON Schema text, and the structured form for peers that know no other (contract spec 2.4).
//!
//! The text is authoritative and passes as it is. The structured form holds less; it is written from
//! the text and read only when there is no text.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use portcullis_proto as proto;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Json;

/// Reads one schema: its text if that is one, else its structured form, else none.
pub(super) fn read(raw: Bytes, structured: Option<proto::Schema>) -> Option<Json> {
    raw_schema(raw).or_else(|| structured.as_ref().map(from_structured))
}

/// Takes the text of a schema, if it is JSON of a kind that a schema can be.
pub(super) fn raw_schema(raw: Bytes) -> Option<Json> {
    let text = String::from_utf8(raw.into()).ok()?;
    let value: &RawValue = serde_json::from_str(&text).ok()?;
    let schema = value.get().starts_with('{') || matches!(value.get(), "true" | "false");
    schema.then(|| Json::from_text(text))
}

/// A property as JSON Schema has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Property<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    r#type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#enum: Option<Vec<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_length: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_length: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pattern: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusive_minimum: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclusive_maximum: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_items: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<i32>,
}

/// An object schema as JSON Schema has it.
#[derive(Serialize)]
struct Object<'a> {
    r#type: &'static str,
    properties: BTreeMap<&'a str, Property<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<&'a str>,
}

/// Writes a structured schema as text. It is always one of an object.
pub(super) fn from_structured(schema: &proto::Schema) -> Json {
    let parameters: BTreeMap<&str, &proto::Parameter> =
        schema.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter)).collect();
    let object = Object {
        r#type: "object",
        properties: parameters.iter().map(|(name, parameter)| (*name, property(parameter))).collect(),
        required: parameters.iter().filter(|(_, p)| p.required).map(|(name, _)| *name).collect(),
    };
    Json::from_text(serde_json::to_string(&object).expect("keys are text and numbers are finite"))
}

/// Converts one parameter. Values that are not JSON are dropped one by one, as upstream does.
fn property(parameter: &proto::Parameter) -> Property<'_> {
    let size = |size: i32| (size > 0).then_some(size);
    let bound = |set: bool, bound: f64| if set { number(bound) } else { None };
    Property {
        r#type: &parameter.r#type,
        description: &parameter.description,
        default: raw(&parameter.default_value),
        examples: raw(parameter.example.as_bytes()).into_iter().collect(),
        r#enum: (!parameter.enum_values.is_empty())
            .then(|| parameter.enum_values.iter().filter_map(|value| raw(value)).collect()),
        min_length: size(parameter.min_length),
        max_length: size(parameter.max_length),
        pattern: &parameter.pattern,
        format: &parameter.format,
        minimum: bound(parameter.has_minimum, parameter.minimum),
        maximum: bound(parameter.has_maximum, parameter.maximum),
        exclusive_minimum: bound(parameter.has_exclusive_minimum, parameter.exclusive_minimum),
        exclusive_maximum: bound(parameter.has_exclusive_maximum, parameter.exclusive_maximum),
        min_items: size(parameter.min_items),
        max_items: size(parameter.max_items),
    }
}

fn raw(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(bytes).ok()
}

/// Writes a whole number without a fraction, as a person would. `None` for NaN and infinity, which JSON does not have.
fn number(value: f64) -> Option<serde_json::Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        // The text of a whole f64 below 2^53 is that of the integer.
        return format!("{value:.0}").parse::<i64>().ok().map(Into::into);
    }
    serde_json::Number::from_f64(value)
}

/// The parts of a JSON Schema that the structured form can hold, each read by itself.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    properties: Option<HashMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    required: Option<&'a RawValue>,
}

/// Writes the structured form of a schema; `None` if it has no properties.
pub(super) fn to_structured(schema: &Json) -> Option<proto::Schema> {
    let parts: Parts<'_> = serde_json::from_str(schema.as_str()).ok()?;
    let properties = parts.properties.filter(|properties| !properties.is_empty())?;
    let required: HashSet<String> =
        parts.required.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let parameters = properties
        .into_iter()
        .map(|(name, raw)| {
            let required = required.contains(&name);
            (name, proto::Parameter { required, ..parameter(raw) })
        })
        .collect();
    Some(proto::Schema { parameters })
}

/// Reads every keyword by itself, so that an odd one does not spoil the others.
fn parameter(raw: &RawValue) -> proto::Parameter {
    let keywords: HashMap<String, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let text = |key: &str| {
        keywords.get(key).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default()
    };
    let size = |key: &str| {
        let size = keywords.get(key).and_then(|raw| serde_json::from_str::<u64>(raw.get()).ok());
        i32::try_from(size.unwrap_or_default()).unwrap_or(i32::MAX)
    };
    let bound = |key: &str| keywords.get(key).and_then(|raw| serde_json::from_str::<f64>(raw.get()).ok());
    let list = |key: &str| {
        keywords
            .get(key)
            .and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok())
            .unwrap_or_default()
    };
    let [minimum, maximum] = ["minimum", "maximum"].map(bound);
    let [exclusive_minimum, exclusive_maximum] = ["exclusiveMinimum", "exclusiveMaximum"].map(bound);
    proto::Parameter {
        r#type: text("type"),
        required: false,
        description: text("description"),
        default_value: keywords
            .get("default")
            .map(|raw| Bytes::copy_from_slice(raw.get().as_bytes()))
            .unwrap_or_default(),
        example: list("examples").first().map(|raw| raw.get().to_owned()).unwrap_or_default(),
        max_length: size("maxLength"),
        pattern: text("pattern"),
        pattern_description: String::new(),
        min_length: size("minLength"),
        minimum: minimum.unwrap_or_default(),
        maximum: maximum.unwrap_or_default(),
        exclusive_minimum: exclusive_minimum.unwrap_or_default(),
        exclusive_maximum: exclusive_maximum.unwrap_or_default(),
        enum_values: list("enum").iter().map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).collect(),
        format: text("format"),
        min_items: size("minItems"),
        max_items: size("maxItems"),
        has_minimum: minimum.is_some(),
        has_maximum: maximum.is_some(),
        has_exclusive_minimum: exclusive_minimum.is_some(),
        has_exclusive_maximum: exclusive_maximum.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::in_time;

    use super::*;

    /// Every field of the structured form but `pattern_description`, which no schema can hold.
    fn full() -> proto::Schema {
        let full = proto::Parameter {
            r#type: "integer".to_owned(),
            required: true,
            description: "d".to_owned(),
            default_value: Bytes::from_static(b"9007199254740993"),
            example: "1e400".to_owned(),
            max_length: 1,
            pattern: "p".to_owned(),
            pattern_description: String::new(),
            min_length: 2,
            minimum: 0.0,
            maximum: 3.5,
            exclusive_minimum: -4.0,
            exclusive_maximum: 5.0,
            enum_values: vec![Bytes::from_static(b"1.0"), Bytes::from_static(b"\"x\"")],
            format: "f".to_owned(),
            min_items: 6,
            max_items: 7,
            has_minimum: true,
            has_maximum: true,
            has_exclusive_minimum: true,
            has_exclusive_maximum: true,
        };
        let parameters = [("full".to_owned(), full), ("empty".to_owned(), proto::Parameter::default())];
        proto::Schema { parameters: parameters.into() }
    }

    /// Contract items 57 to 59.
    #[test]
    fn every_field_of_a_structured_schema_survives() {
        let text = from_structured(&full());
        assert_eq!(
            text.as_str(),
            concat!(
                r#"{"type":"object","properties":{"empty":{},"full":{"type":"integer","description":"d","#,
                r#""default":9007199254740993,"examples":[1e400],"enum":[1.0,"x"],"minLength":2,"maxLength":1,"#,
                r#""pattern":"p","format":"f","minimum":0,"maximum":3.5,"exclusiveMinimum":-4,"#,
                r#""exclusiveMaximum":5,"minItems":6,"maxItems":7}},"required":["full"]}"#,
            )
        );
        assert_eq!(to_structured(&text), Some(full()));
    }

    #[test]
    fn what_is_no_json_in_a_structured_schema_is_dropped_by_itself() {
        let odd = proto::Parameter {
            r#type: "string".to_owned(),
            default_value: Bytes::from_static(b"{"),
            example: "nope".to_owned(),
            enum_values: vec![Bytes::from_static(b"\xff"), Bytes::from_static(b"2")],
            minimum: f64::NAN,
            has_minimum: true,
            max_length: -1,
            ..proto::Parameter::default()
        };
        let schema = proto::Schema { parameters: [("p".to_owned(), odd)].into() };
        assert_eq!(
            from_structured(&schema).as_str(),
            r#"{"type":"object","properties":{"p":{"type":"string","enum":[2]}}}"#
        );
    }

    /// It would take forever if every property were searched for in the whole list of required ones.
    #[test]
    fn a_schema_may_require_much() {
        in_time(|| {
            let list = |of: fn(usize) -> String| (0..200_000).map(of).collect::<Vec<_>>().join(",");
            let (properties, required) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"r{n}\"")));
            let schema = format!("{{\"properties\":{{{properties}}},\"required\":[{required}]}}");
            let structured = to_structured(&Json::from_text(schema)).expect("there are properties");
            assert_eq!(structured.parameters.len(), 200_000);
        });
    }

    fn check(raw: &'static [u8], expected: Option<&str>) {
        let schema = raw_schema(Bytes::from_static(raw));
        assert_eq!(schema.as_ref().map(Json::as_str), expected);
    }

    #[test]
    fn the_text_of_a_schema_passes_as_it_is_or_not_at_all() {
        check(br#" {"z":1,"a":1.0, "a":1e400}"#, Some(r#" {"z":1,"a":1.0, "a":1e400}"#));
        check(b"true", Some("true"));
        for bad in [&b""[..], b"{", b"[]", b"null", b"1", b"\"s\"", b"{} {}", b"{\"a\":\"\xff\"}"] {
            check(bad, None);
        }
    }

    #[test]
    fn odd_keywords_leave_the_others_alone() {
        let odd = r#"{"properties":{"a":{"type":["string","null"],"minLength":-1,"maxLength":1e99,"format":"f"},
            "b":true,"c":{"minLength":9999999999}},"required":"a"}"#;
        let schema = to_structured(&Json::from_text(odd)).expect("there are properties");
        assert_eq!(schema.parameters["a"], proto::Parameter { format: "f".to_owned(), ..Default::default() });
        assert_eq!(schema.parameters["b"], proto::Parameter::default());
        assert_eq!(schema.parameters["c"].min_length, i32::MAX);
        for none in ["true", "{}", r#"{"properties":{}}"#, r#"{"properties":1}"#] {
            assert_eq!(to_structured(&Json::from_text(none)), None, "{none}");
        }
    }
}
