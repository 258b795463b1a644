//! The inputs of a provider, read off its JSON Schema.
//!
//! Only for showing: what does not look as expected is left out. Validation is the host's.

use std::collections::HashSet;

use portcullis_contract::tree;
use serde_json::Value;

use crate::table;

/// Returns a line for every property: its name, its type, whether it has to be there, what it is.
pub(super) fn of(schema: &str) -> Vec<String> {
    let Ok(schema) = tree(schema) else { return Vec::new() };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let required = schema.get("required").and_then(Value::as_array);
    let required: HashSet<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let is_required = |name: &str| required.contains(name);
    let mut names: Vec<_> = properties.keys().collect();
    // What has to be given comes first.
    names.sort_by_key(|name| (!is_required(name), name.as_str()));
    let rows: Vec<_> = names
        .into_iter()
        .map(|name| {
            let property = &properties[name];
            vec![
                name.clone(),
                kind(property),
                if is_required(name) { "required".to_owned() } else { default(property) },
                about(property),
            ]
        })
        .collect();
    table::set(&["NAME", "TYPE", "GIVEN", "MEANING"], &rows).lines().map(str::to_owned).collect()
}

fn kind(property: &Value) -> String {
    match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => "any".to_owned(),
    }
}

fn default(property: &Value) -> String {
    property.get("default").map_or_else(|| "optional".to_owned(), |default| format!("default {default}"))
}

fn about(property: &Value) -> String {
    let mut text = property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(options) = property.get("enum").and_then(Value::as_array) {
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        text += &format!("{}one of {}", if text.is_empty() { "" } else { "; " }, options.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::in_time;

    use super::*;

    fn check(schema: &str, expected: &[&str]) {
        assert_eq!(of(schema), expected, "{schema}");
    }

    #[test]
    fn inputs_are_read_off_the_schema() {
        check(
            r#"{"properties":{"b":{"type":"string","description":"text"},"a":{"enum":[1,2],"default":1}},"required":["b"]}"#,
            &[
                "NAME  TYPE    GIVEN      MEANING",
                "b     string  required   text",
                "a     any     default 1  one of 1, 2",
            ],
        );
    }

    /// `serde_json` itself would take it for the JSON in it.
    #[test]
    fn a_default_is_shown_as_it_is() {
        check(
            r#"{"properties":{"a":{"default":{"$serde_json::private::RawValue":"[1]"}}}}"#,
            &[
                "NAME  TYPE  GIVEN                                             MEANING",
                r#"a     any   default {"$serde_json::private::RawValue":"[1]"}"#,
            ],
        );
    }

    /// It would not end, were every property looked for in all of what is required.
    #[test]
    fn a_schema_may_require_much() {
        in_time(|| {
            let list = |of: fn(usize) -> String| (0..100_000).map(of).collect::<Vec<_>>().join(",");
            let (properties, required) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"r{n}\"")));
            let lines = of(&format!("{{\"properties\":{{{properties}}},\"required\":[{required}]}}"));
            assert_eq!(lines.len(), 100_001);
        });
    }

    #[test]
    fn a_schema_that_says_nothing_shows_nothing() {
        for schema in ["", "null", "{}", "{\"properties\":[]}", "true"] {
            check(schema, &[]);
        }
    }
}
