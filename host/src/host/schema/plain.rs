//! Simple schemas, judged without being compiled.
//!
//! Most schemas of providers name types, choices and a few bounds. Compiling one takes longer than everything else in a
//! run of a small component; judging by it is a walk. The walk says yes only where the validator would; whatever it
//! does not know, and every no, is left to the validator.

use std::collections::BTreeMap;

use portcullis_contract::tree;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::SHALLOW;

/// From here on two whole numbers may be one float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A schema that says no more than this.
#[derive(Debug, Default)]
pub(super) struct Plain {
    kinds: Option<Vec<Kind>>,
    choices: Option<Vec<Value>>,
    properties: BTreeMap<String, Plain>,
    required: Vec<String>,
    closed: bool,
    items: Option<Box<Plain>>,
    least_items: usize,
    most_items: Option<usize>,
    least_length: usize,
    most_length: Option<usize>,
    minimum: Option<f64>,
    maximum: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
    Null,
}

/// One type, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kinds {
    One(Kind),
    Some(Vec<Kind>),
}

/// A part of the schema's own text. It is not copied: each level would be a copy of all that is below it.
type Raw<'a> = &'a RawValue;

impl Plain {
    /// Reads a schema. `None` for one that says more, is invalid, or nests deeper than inputs that are judged here: a
    /// plugin may nest it as it likes, and each level is read once more for every level around it.
    pub(super) fn read(text: &str) -> Option<Self> {
        Self::read_within(text, SHALLOW + 1)
    }

    fn read_within(text: &str, levels: usize) -> Option<Self> {
        let below = levels.checked_sub(1)?;
        let keywords: BTreeMap<String, Raw<'_>> = parse(text)?;
        let mut plain = Self::default();
        for (keyword, value) in &keywords {
            let value = value.get();
            match keyword.as_str() {
                "$schema" if value == "\"https://json-schema.org/draft/2020-12/schema\"" => {}
                // These judge nothing.
                "$comment" | "default" | "deprecated" | "description" | "examples" | "format"
                | "readOnly" | "title" | "writeOnly" => {}
                "type" => {
                    plain.kinds = Some(match parse(value)? {
                        Kinds::One(kind) => vec![kind],
                        Kinds::Some(kinds) => kinds,
                    });
                }
                "enum" => {
                    let Value::Array(choices) = tree(value).ok()? else { return None };
                    plain.choices = Some(choices);
                }
                "properties" => {
                    let properties: BTreeMap<String, Raw<'_>> = parse(value)?;
                    for (name, schema) in properties {
                        plain.properties.insert(name, Self::read_within(schema.get(), below)?);
                    }
                }
                "required" => plain.required = parse(value)?,
                "additionalProperties" => plain.closed = !parse::<bool>(value)?,
                "items" => plain.items = Some(Box::new(Self::read_within(value, below)?)),
                "minItems" => plain.least_items = parse(value)?,
                "maxItems" => plain.most_items = Some(parse(value)?),
                "minLength" => plain.least_length = parse(value)?,
                "maxLength" => plain.most_length = Some(parse(value)?),
                "minimum" => plain.minimum = Some(parse(value)?),
                "maximum" => plain.maximum = Some(parse(value)?),
                _ => return None,
            }
        }
        Some(plain)
    }

    /// Returns whether a value certainly fits.
    pub(super) fn fits(&self, value: &Value) -> bool {
        let kind = self.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| kind.admits(value)));
        // Equal by the letter: that 1 equals 1.0 is for the validator to say.
        let choice = self.choices.as_ref().is_none_or(|choices| choices.contains(value));
        kind && choice
            && match value {
                Value::Null | Value::Bool(_) => true,
                Value::Number(number) => {
                    let bound = |bound: Option<f64>, holds: fn(&f64, &f64) -> bool| {
                        let fits = |n: f64, bound: f64| holds(&n, &bound) && (n != bound || n.abs() < EXACT);
                        bound.is_none_or(|bound| number.as_f64().is_some_and(|n| fits(n, bound)))
                    };
                    bound(self.minimum, f64::ge) && bound(self.maximum, f64::le)
                }
                Value::String(text) => {
                    let bounded = self.least_length > 0 || self.most_length.is_some();
                    !bounded || within(text.chars().count(), self.least_length, self.most_length)
                }
                Value::Array(items) => {
                    within(items.len(), self.least_items, self.most_items)
                        && self.items.as_ref().is_none_or(|plain| items.iter().all(|item| plain.fits(item)))
                }
                Value::Object(members) => {
                    let fits = |(name, value): (&String, &Value)| match self.properties.get(name) {
                        Some(plain) => plain.fits(value),
                        None => !self.closed,
                    };
                    members.iter().all(fits) && self.required.iter().all(|name| members.contains_key(name))
                }
            }
    }
}

impl Kind {
    fn admits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
            Self::Null => value.is_null(),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn within(size: usize, least: usize, most: Option<usize>) -> bool {
    size >= least && most.is_none_or(|most| size <= most)
}
