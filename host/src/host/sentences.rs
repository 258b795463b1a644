//! What upstream says of an input that does not fit, word for word.
//!
//! Upstream's sentences come from its JSON Schema library and from the formatting verbs of its
//! language; people know them and scripts match them. They are made here from what our validator
//! found. Values of sensitive inputs are never part of one. How a value is printed is in [`verbs`].

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::iter;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

mod verbs;

pub(super) use crate::names::quoted as quote;
pub(super) use verbs::plain;
use verbs::{fixed, quote_all, ratio};

/// What stands in the place of a sensitive value.
pub(super) const MASK: &str = "***REDACTED***";

/// How many findings are told. The rest of them would not be read.
const MOST_FINDINGS: usize = 50;

/// How many bytes of them are told; the last one is told whole. A guess: each may quote a whole value.
pub(super) const MOST_TOLD: usize = 1 << 20;

/// The input that was judged, whole.
pub(super) struct Input<'i> {
    /// It.
    pub(super) value: &'i Value,
    /// The properties whose values are not told, sorted.
    pub(super) sensitive: &'i [String],
    /// The schema that the validator was made of.
    pub(super) schema: &'i Value,
    /// Patterns as they were written, by what the validator has in their place.
    pub(super) patterns: &'i HashMap<String, String>,
    /// How many bytes are still to be told.
    pub(super) left: Cell<usize>,
}

impl Input<'_> {
    fn as_written<'p>(&'p self, pattern: &'p str) -> &'p str {
        self.patterns.get(pattern).map_or(pattern, String::as_str)
    }
}

/// Tells findings, one to a line.
pub(super) fn findings<'i>(
    errors: impl Iterator<Item = ValidationError<'i>>,
    input: &Input<'_>,
) -> Vec<String> {
    let errors: Vec<_> = errors.take(MOST_FINDINGS).collect();
    let said = say_all(&errors, input).join("\n");
    said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn say_all(errors: &[ValidationError<'_>], input: &Input<'_>) -> Vec<String> {
    let mut said = Vec::new();
    let mut rest = errors;
    while let Some(first) = rest.first()
        && input.left.get() > 0
    {
        // Our validator reports missing properties one by one, upstream's all of a place at once.
        let same = |e: &&ValidationError<'_>| {
            missing(e).is_some()
                && e.instance_path() == first.instance_path()
                && e.schema_path() == first.schema_path()
        };
        let run = rest.iter().take_while(same).count().max(1);
        let (now, later) = rest.split_at(run);
        let names: Vec<_> = now.iter().filter_map(missing).collect();
        let one = say(first, &names, input);
        input.left.set(input.left.get().saturating_sub(one.len()));
        said.push(one);
        rest = later;
    }
    said
}

fn missing<'e>(error: &'e ValidationError<'_>) -> Option<&'e str> {
    match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str(),
        _ => None,
    }
}

fn say(error: &ValidationError<'_>, missing: &[&str], input: &Input<'_>) -> String {
    use ValidationErrorKind as Kind;
    let told = match error.kind() {
        // The inner error has the path.
        Kind::PropertyNames { error } => return say(error, &[], input),
        Kind::Required { .. } => required(error, missing),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            too_many_properties(error, input, unexpected.iter().map(String::as_str))
        }
        Kind::FalseSchema => never(error, input),
        Kind::Contains => contains(error, input),
        kind => format!("{}: {}", kind.keyword(), of_keyword(error, input)),
    };
    places(error, input) + &told
}

fn required(error: &ValidationError<'_>, missing: &[&str]) -> String {
    let names = quote_all(missing.iter().copied());
    match rule(error).as_deref() {
        // Our validator does not say which property needs them.
        Some("dependentRequired") => format!("dependentRequired: missing properties {names}"),
        _ => format!("required: missing properties: {names}"),
    }
}

fn contains(error: &ValidationError<'_>, input: &Input<'_>) -> String {
    match rule(error).as_deref() {
        Some("maxContains") => "maxContains: contains validated more items than that".to_owned(),
        Some("minContains") => "minContains: contains validated fewer items than that".to_owned(),
        _ => {
            let instance = Shown::of(error, input.sensitive);
            format!("contains: {} does not have an item matching <anonymous schema>", instance.plain())
        }
    }
}

fn too_many_properties<'t>(
    error: &ValidationError<'_>,
    input: &Input<'_>,
    names: impl Iterator<Item = &'t str>,
) -> String {
    // The names of what is in a sensitive value are part of it.
    let names = match Shown::of(error, input.sensitive).hidden {
        true => quote_all(iter::once(MASK)),
        false => quote_all(names),
    };
    format!("unexpected additional properties {names}")
}

/// Says what is wrong where a schema allows nothing at all.
fn never(error: &ValidationError<'_>, input: &Input<'_>) -> String {
    let place = input.value.pointer(error.instance_path().as_str()).and_then(Value::as_object);
    match (rule(error).as_deref(), place) {
        (Some("additionalProperties" | "unevaluatedProperties"), Some(object)) => {
            too_many_properties(error, input, object.keys().map(String::as_str))
        }
        _ => "not: validated against <anonymous schema>".to_owned(),
    }
}

/// Says what is wrong by one keyword of a schema, which upstream names before it.
fn of_keyword(error: &ValidationError<'_>, input: &Input<'_>) -> String {
    use ValidationErrorKind as Kind;
    let instance = Shown::of(error, input.sensitive);
    match error.kind() {
        Kind::Type { kind } => match kind {
            TypeKind::Single(wanted) => {
                format!(
                    "{} has type {}, want {}",
                    instance.plain(),
                    instance.kind(),
                    quote(&wanted.to_string())
                )
            }
            TypeKind::Multiple(wanted) => {
                let mut wanted: Vec<_> = wanted.iter().map(|w| w.to_string()).collect();
                // The validator keeps no order, so that of the schema is restored where the path leads there. To a part with
                // a name of its own it does not lead, and may lead to other types instead.
                let written = input.schema.pointer(error.schema_path().as_str()).and_then(Value::as_array);
                if let Some(written) = written {
                    wanted.sort_by_key(|name| written.iter().position(|written| written == name));
                }
                let wanted = quote(&wanted.join(", "));
                format!("{} has type {}, want one of {wanted}", instance.plain(), instance.kind())
            }
        },
        Kind::Enum { options } => {
            format!("{} does not equal any of: {}", instance.plain(), plain(options))
        }
        Kind::Constant { expected_value } => {
            format!("{} does not equal {}", instance.plain(), plain(expected_value))
        }
        Kind::MultipleOf { multiple_of } => {
            format!("{} is not a multiple of {multiple_of:.6}", instance.ratio())
        }
        Kind::Minimum { limit } => format!("{} is less than {}", instance.ratio(), fixed(limit)),
        Kind::Maximum { limit } => format!("{} is greater than {}", instance.ratio(), fixed(limit)),
        Kind::ExclusiveMinimum { limit } => {
            format!("{} is less than or equal to {}", instance.ratio(), fixed(limit))
        }
        Kind::ExclusiveMaximum { limit } => {
            format!("{} is greater than or equal to {}", instance.ratio(), fixed(limit))
        }
        Kind::MinLength { limit } => {
            let (text, length) = (instance.quoted(), instance.length());
            format!("{text} contains {length} Unicode code points, fewer than {limit}")
        }
        Kind::MaxLength { limit } => {
            let (text, length) = (instance.quoted(), instance.length());
            format!("{text} contains {length} Unicode code points, more than {limit}")
        }
        Kind::Pattern { pattern } => {
            let pattern = quote(input.as_written(pattern));
            format!("{} does not match regular expression {pattern}", instance.quoted())
        }
        Kind::MinItems { limit } => format!("array length {} is less than {limit}", instance.length()),
        Kind::MaxItems { limit } => format!("array length {} is greater than {limit}", instance.length()),
        Kind::UniqueItems => {
            let (first, second) = instance.twins();
            format!("array items {second} and {first} are equal")
        }
        Kind::MinProperties { limit } => {
            format!("object has {} properties, less than {limit}", instance.length())
        }
        Kind::MaxProperties { limit } => {
            format!("object has {} properties, greater than {limit}", instance.length())
        }
        Kind::AnyOf { context } => {
            let branches = vec!["<anonymous schema>"; context.len()].join(" ");
            // The first line says where all of it is.
            let here = places(error, input);
            let each = context.iter().flat_map(|errors| say_all(errors, input));
            let each: Vec<_> = each.map(|one| one.strip_prefix(&here).unwrap_or(&one).to_owned()).collect();
            format!("did not validate against any of [{branches}]:\n{}", each.join("\n"))
        }
        Kind::OneOfNotValid { context } => {
            let branches = vec!["<anonymous schema>"; context.len()].join(" ");
            format!("did not validate against any of [{branches}]")
        }
        Kind::OneOfMultipleValid { .. } => {
            "validated against both <anonymous schema> and <anonymous schema>".to_owned()
        }
        Kind::Not { .. } => "validated against <anonymous schema>".to_owned(),
        // Upstream has no sentence for the rest: the validator's own, without the value.
        _ => error.masked_with(MASK).to_string(),
    }
}

/// Tells by which schemas a finding was reached: `validating root: validating /properties/a: `.
fn places(error: &ValidationError<'_>, input: &Input<'_>) -> String {
    let as_written = |pointer: &str| -> Vec<String> {
        segments(pointer).iter().map(|segment| input.as_written(segment).to_owned()).collect()
    };
    let path = as_written(error.evaluation_path().as_str());
    let canonical = as_written(error.schema_path().as_str());
    let mut said = "validating root: ".to_owned();
    let mut here = String::new();
    let mut at = 0;
    while let Some(segment) = path.get(at) {
        let left = path.len() - at;
        let numbered = path.get(at + 1).is_some_and(|s| s.parse::<usize>().is_ok());
        let taken = match segment.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" if left > 2 => {
                2
            }
            "prefixItems" | "allOf" | "anyOf" | "oneOf" | "items" if numbered && left > 2 => 2,
            "items"
            | "additionalProperties"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties"
                if left > 1 =>
            {
                1
            }
            "$ref" | "$dynamicRef" if left > 1 => {
                // Where it leads is known of the last one only; the others are passed over.
                let tail = &path[at + 1..];
                here = match canonical.len().checked_sub(tail.len()) {
                    Some(head) if canonical[head..] == *tail => pointer(&canonical[..head]),
                    _ => String::new(),
                };
                if !here.is_empty() {
                    let _ = write!(said, "validating {here}: ");
                }
                at += 1;
                continue;
            }
            _ => break,
        };
        here.push_str(&pointer(&path[at..at + taken]));
        let _ = write!(said, "validating {here}: ");
        at += taken;
    }
    said
}

/// Returns the last segment of where a finding was made: mostly the keyword that was broken.
fn rule(error: &ValidationError<'_>) -> Option<String> {
    segments(error.evaluation_path().as_str()).pop()
}

fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect()
}

fn pointer(segments: &[String]) -> String {
    segments.iter().map(|s| format!("/{}", s.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Copies a value with [`MASK`] in the place of every sensitive property, wherever it is.
fn masked(value: &Value, sensitive: &[String]) -> Value {
    let shown = |(name, value): (&String, &Value)| {
        let is_hidden = sensitive.binary_search(name).is_ok();
        let value = if is_hidden { Value::String(MASK.to_owned()) } else { masked(value, sensitive) };
        (name.clone(), value)
    };
    match value {
        Value::Array(items) => items.iter().map(|item| masked(item, sensitive)).collect(),
        Value::Object(properties) => Value::Object(properties.iter().map(shown).collect()),
        other => other.clone(),
    }
}

/// A value as it may be shown.
struct Shown<'e> {
    value: &'e Value,
    hidden: bool,
    /// The names of sensitive properties, which may be in the value.
    sensitive: &'e [String],
}

impl<'e> Shown<'e> {
    fn of(error: &'e ValidationError<'_>, sensitive: &'e [String]) -> Self {
        let path = segments(error.instance_path().as_str());
        let hidden = path.iter().any(|step| sensitive.binary_search(step).is_ok());
        Self { value: error.instance().as_ref(), hidden, sensitive }
    }

    fn plain(&self) -> String {
        if self.hidden {
            return MASK.to_owned();
        }
        if self.sensitive.is_empty() || !(self.value.is_object() || self.value.is_array()) {
            return plain(self.value);
        }
        plain(&masked(self.value, self.sensitive))
    }

    fn quoted(&self) -> String {
        if self.hidden { quote(MASK) } else { quote(self.value.as_str().unwrap_or_default()) }
    }

    fn ratio(&self) -> String {
        if self.hidden { MASK.to_owned() } else { ratio(self.value) }
    }

    fn kind(&self) -> String {
        quote(match self.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    fn length(&self) -> usize {
        match self.value {
            Value::String(text) => text.chars().count(),
            Value::Array(items) => items.len(),
            Value::Object(object) => object.len(),
            _ => 0,
        }
    }

    /// The first two items that are equal.
    fn twins(&self) -> (usize, usize) {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut seen = HashMap::with_capacity(items.len());
        for (second, item) in items.iter().enumerate() {
            let mut worth = String::new();
            write_worth(item, &mut worth);
            if let Some(first) = seen.insert(worth, second) {
                return (first, second);
            }
        }
        (0, 0)
    }
}

/// Writes a value so that it is the same text as every value that equals it: `1.0` is `1`, at any depth.
fn write_worth(value: &Value, out: &mut String) {
    match value {
        Value::Number(n) if n.is_f64() => match n.as_f64().filter(|f| f.fract() == 0.0) {
            Some(0.0) => out.push('0'),
            // Writing to a text does not fail.
            Some(whole) => _ = write!(out, "{whole:.0}"),
            None => out.push_str(&n.to_string()),
        },
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_worth(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in pairs {
                out.push_str(&quote(key));
                out.push(':');
                write_worth(value, out);
                out.push(',');
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}
