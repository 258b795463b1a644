//! What it could cost to follow the references in a schema.
//!
//! A schema is the plugin's. A few lines of references can stand for a tree of a billion leaves, which is refused, or
//! for an infinite one. Inputs can still be judged by an infinite one, because an input has an end, but not every
//! mistake can be told. A keyword about unevaluated parts has the validator look at everything beside it again, and
//! counts as references to that.
//!
//! Pure, and no deeper in the stack than the schema nests.

use std::collections::HashMap;

use serde_json::Value;

/// The most places that a schema may stand for. A guess: real ones have hundreds, and these are judged in a few
/// milliseconds. With more, the validator takes longer than anybody waits.
const MOST_PLACES: u64 = 20_000;

/// How far a schema goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// How many references it has.
    pub(super) references: usize,
    /// How many levels it has.
    levels: usize,
    /// How many values it consists of.
    values: usize,
    /// Whether a reference may lead out of it. Nothing is fetched, but the validator knows the standard's own schemas.
    leaves: bool,
}

impl Extent {
    /// Looks at a whole schema.
    pub(super) fn of(schema: &Value) -> Self {
        let mut all = Self { levels: 0, values: 1, ..Self::default() };
        match schema {
            Value::Object(object) => {
                for (key, value) in object {
                    if KEYWORDS.contains(&key.as_str()) {
                        all.references += 1;
                        all.leaves |= !value.as_str().is_some_and(|target| target.starts_with('#'));
                    }
                    all.add(Self::of(value));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| all.add(Self::of(item))),
            _ => {}
        }
        all.levels += 1;
        all
    }

    fn add(&mut self, part: Self) {
        self.references += part.references;
        self.levels = self.levels.max(part.levels);
        self.values += part.values;
        self.leaves |= part.leaves;
    }

    /// Returns how deep the validator may go in it at one level of the input. It comes to no place twice on the way, and
    /// each reference begins a way down at most as long as the schema is deep.
    pub(super) fn path(self) -> usize {
        let more = if self.leaves { STANDARD } else { 0 };
        let ways = self.references.saturating_add(1).saturating_mul(self.levels);
        self.values.min(ways).saturating_add(more)
    }
}

/// What the references of a schema stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct References {
    /// Whether what they stand for has an end.
    pub(super) finite: bool,
    /// For how many places the schema stands with them.
    pub(super) places: u64,
}

/// Looks at the references of a schema that goes so far.
///
/// # Errors
///
/// That they stand for too much.
pub(super) fn references(schema: &Value, extent: Extent) -> Result<References, String> {
    let mut walk = Walk { root: schema, known: HashMap::new(), finite: true, repeated: 0 };
    let places = walk.places(schema);
    // Without references a schema may be as long as it likes.
    let too_much = if extent.references > 0 && places > MOST_PLACES {
        "references"
    } else if walk.repeated > MOST_PLACES {
        "unevaluated properties or items"
    } else {
        return Ok(References { finite: walk.finite, places });
    };
    Err(format!("its {too_much} stand for more than {MOST_PLACES} schemas"))
}

/// More than the values that the standard's own schemas consist of, which the validator knows.
const STANDARD: usize = 1_000;

const KEYWORDS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Keywords for which the validator reads what stands beside them once more, and judges by it twice more.
const UNEVALUATED: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];

/// Keywords whose schemas it does not read again for that: they are about a part of the value.
const OF_PARTS: [&str; 4] = ["items", "prefixItems", "properties", "propertyNames"];

struct Walk<'s> {
    root: &'s Value,
    /// What a target stands for; `None` while that is being found out.
    known: HashMap<&'s str, Option<u64>>,
    finite: bool,
    /// How many places are looked at again because of what may be left unevaluated.
    repeated: u64,
}

impl<'s> Walk<'s> {
    /// Counts the places that a part of the schema stands for. What leads back to itself counts once.
    fn places(&mut self, part: &'s Value) -> u64 {
        match part {
            Value::Object(object) => {
                let asked = UNEVALUATED.iter().filter(|keyword| object.contains_key(**keyword));
                let times = asked.fold(1_u64, |times, _| 3 * times);
                object.iter().fold(1, |places: u64, (key, value)| {
                    let of_value = match (KEYWORDS.contains(&key.as_str()), value) {
                        (true, Value::String(target)) => self.target(target),
                        // What is only defined costs where it is referred to.
                        (false, _) if matches!(key.as_str(), "$defs" | "definitions") => 0,
                        _ => self.places(value),
                    };
                    let again = if OF_PARTS.contains(&key.as_str()) { 0 } else { times - 1 };
                    let again = of_value.saturating_mul(again);
                    self.repeated = self.repeated.saturating_add(again);
                    places.saturating_add(of_value).saturating_add(again)
                })
            }
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

    fn references(schema: &Value) -> Result<References, String> {
        super::references(schema, Extent::of(schema))
    }

    fn check(schema: &Value, count: usize, finite: bool) {
        assert_eq!(Extent::of(schema).references, count, "{schema}");
        assert_eq!(references(schema).map(|found| found.finite), Ok(finite), "{schema}");
    }

    #[test]
    fn a_way_down_is_as_long_as_references_make_it() {
        let path = |schema: Value| Extent::of(&schema).path();
        assert_eq!(path(json!(true)), 1);
        assert_eq!(path(json!({"properties": {"a": {"type": "string"}, "b": {"type": "string"}}})), 4);
        let defs = json!({"a": {"not": {"not": {"not": {"$ref": "#/$defs/b"}}}}, "b": {"not": {"not": {}}}, "c": [1, 2, 3, 4, 5]});
        assert_eq!(path(json!({"$ref": "#/$defs/a", "$defs": defs})), 17);
        assert_eq!(path(json!({"$ref": "#"})), 2);
        assert!(path(json!({"$ref": "https://json-schema.org/draft/2020-12/schema"})) > STANDARD);
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
    fn what_looks_at_everything_below_it_again_is_refused_where_it_nests() {
        let nested = |wrap: fn(Value) -> Value, levels: usize| {
            let schema = (0..levels).fold(json!({"properties": {"a": {}}}), |below, _| wrap(below));
            references(&schema)
        };
        let wraps: [fn(Value) -> Value; 4] = [
            |below| json!({"anyOf": [below], "unevaluatedProperties": false}),
            |below| json!({"if": below, "unevaluatedItems": false}),
            |below| json!({"additionalProperties": below, "unevaluatedProperties": false}),
            |below| json!({"contains": below, "unevaluatedItems": false, "unevaluatedProperties": false}),
        ];
        let much = "its unevaluated properties or items stand for more than 20000 schemas";
        for wrap in wraps {
            assert!(nested(wrap, 3).is_ok_and(|found| found.finite));
            assert_eq!(nested(wrap, 20), Err(much.to_owned()));
        }
        // As generators write it, in every object.
        let closed: fn(Value) -> Value =
            |below| json!({"properties": {"a": below}, "unevaluatedProperties": false});
        assert!(nested(closed, 60).is_ok());
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
