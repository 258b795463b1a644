//! What the references in a schema could cost whoever follows them.
//!
//! A schema is the plugin's. A few lines of references can stand for a tree without end, or for one
//! of a billion leaves. One of too many leaves is refused; by one without end can be judged, because
//! the input has an end, but not everything that is wrong can be told. Pure, and no deeper in the stack than the schema has values.

use std::collections::HashMap;

use serde_json::Value;

/// A schema may stand for so many places. A guess: real ones have hundreds, and so many are told in a
/// few milliseconds. Beyond, the validator itself takes longer than anybody waits.
const MOST_PLACES: u64 = 20_000;

/// The references of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct References {
    /// How many there are.
    pub(super) count: usize,
    /// Whether what they stand for has an end.
    pub(super) finite: bool,
}

/// Looks at the references of a schema.
///
/// # Errors
///
/// That they stand for too much.
pub(super) fn references(schema: &Value) -> Result<References, String> {
    let count = count(schema);
    if count == 0 {
        return Ok(References { count, finite: true });
    }
    let mut walk = Walk { root: schema, known: HashMap::new(), finite: true };
    if walk.places(schema) > MOST_PLACES {
        return Err(format!("its references stand for more than {MOST_PLACES} schemas"));
    }
    Ok(References { count, finite: walk.finite })
}

const KEYWORDS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Counts the references of a schema.
pub(super) fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(object) => {
            object.iter().map(|(key, v)| usize::from(KEYWORDS.contains(&key.as_str())) + count(v)).sum()
        }
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

struct Walk<'s> {
    root: &'s Value,
    /// What a target stands for; `None` while that is being found out.
    known: HashMap<&'s str, Option<u64>>,
    finite: bool,
}

impl<'s> Walk<'s> {
    /// Counts the places that a part of the schema stands for. What leads back to itself counts once.
    fn places(&mut self, part: &'s Value) -> u64 {
        match part {
            Value::Object(object) => object.iter().fold(1, |places: u64, (key, value)| {
                places.saturating_add(match (KEYWORDS.contains(&key.as_str()), value) {
                    (true, Value::String(target)) => self.target(target),
                    // What is only defined costs where it is referred to.
                    (false, _) if matches!(key.as_str(), "$defs" | "definitions") => 0,
                    _ => self.places(value),
                })
            }),
            Value::Array(items) => {
                items.iter().fold(1, |places: u64, item| places.saturating_add(self.places(item)))
            }
            _ => 1,
        }
    }

    fn target(&mut self, target: &'s str) -> u64 {
        match self.known.get(target) {
            Some(Some(known)) => return *known,
            Some(None) => {
                self.finite = false;
                return 1;
            }
            None => {}
        }
        // Names and other documents are not followed: what they stand for is not known.
        let Some(part) = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            self.finite = false;
            return 1;
        };
        self.known.insert(target, None);
        let places = self.places(part);
        self.known.insert(target, Some(places));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, count: usize, finite: bool) {
        assert_eq!(references(schema), Ok(References { count, finite }), "{schema}");
    }

    #[test]
    fn what_has_an_end_can_be_told() {
        check(&json!({"properties": {"a": {"type": "string"}}}), 0, true);
        check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}), 1, true);
        check(&json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {}}}), 2, true);
    }

    #[test]
    fn what_has_none_or_is_not_known_cannot() {
        check(&json!({"properties": {"a": {"$ref": "#"}}}), 1, false);
        check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}), 2, false);
        check(&json!({"$ref": "other.json"}), 1, false);
        check(&json!({"$dynamicRef": "#name"}), 1, false);
    }

    #[test]
    fn what_doubles_at_every_step_is_refused() {
        let doubled = |i: usize| json!([{"$ref": format!("#/$defs/{}", i + 1)}, {"$ref": format!("#/$defs/{}", i + 1)}]);
        let mut defs: serde_json::Map<_, _> =
            (0..40).map(|i| (i.to_string(), json!({"allOf": doubled(i)}))).collect();
        defs.insert("40".to_owned(), json!({}));
        assert!(references(&json!({"$ref": "#/$defs/0", "$defs": defs.clone()})).is_err());
        // Nor does a way back to the start hide it.
        let back = json!({"$ref": "#/$defs/0", "properties": {"a": {"$ref": "#"}}, "$defs": defs});
        assert!(references(&back).is_err());
    }
}
