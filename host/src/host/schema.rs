//! The JSON Schema of a provider's input: what it says of each property, and whether an input fits.
//!
//! A schema is the plugin's and is not trusted: nothing that it refers to is fetched, its patterns
//! run in linear time, and a value that nests deep is judged on a stack of its own. It is compiled
//! when an input first has to be judged, once. Formats say something and judge nothing, as upstream
//! has it (contract spec 6.7).

#[cfg(test)]
mod fuzz;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;

use jsonschema::{Draft, PatternOptions, Validator};
use portcullis_contract::{Json, json_string, tree};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::sentences::{self, Input};
use super::text::{self, TextError};

mod patterns;
mod plain;
mod references;

use plain::Plain;
use references::{Extent, References};

/// The most steps (places of a schema, levels of an input) that are taken on the stack of the caller.
const SHALLOW: usize = 16;

/// Bytes of stack that one step takes in the worst of schemas. A guess, four times what was seen in an unoptimised
/// build; too small, and the deepest inputs end the process.
const STACK_PER_STEP: usize = 8 << 10;

/// The largest stack, in bytes. The system reserves it, and gives memory only to what is used.
const MOST_STACK: usize = 8 << 30;

/// The most references that a schema may have.
const MOST_REFERENCES: usize = 1000;

/// The most bytes that a pattern may compile to; a larger one makes the schema unusable.
const PATTERN_SIZE: usize = 1 << 20;

/// Up to so many places of a schema times values of an input, every mistake is told. A guess: the validator collects
/// all of them before it returns the first, and may keep some hundred bytes of each.
const MOST_JUDGED: u64 = 1 << 24;

/// Up to so many bytes of a simple schema times bytes of an input, judging is soon done. A guess: the worst that was found
/// took a seventh of a nanosecond for each.
pub(super) const SOON: usize = 4 << 20;

/// What a schema says of an input.
pub(super) struct InputSchema {
    text: Json,
    /// The declared properties; `None` when the schema declares none at all.
    pub(super) properties: Option<BTreeMap<String, Property>>,
    /// The properties that have to be there.
    pub(super) required: BTreeSet<String>,
    /// What it says, if that is little.
    plain: Option<Plain>,
    compiled: OnceLock<Result<Compiled, String>>,
}

struct Compiled {
    validator: Validator,
    /// What that was made of.
    schema: Value,
    extent: Extent,
    references: References,
    /// The patterns that its author wrote, by what they were rewritten to for the validator.
    patterns: HashMap<String, String>,
}

impl Compiled {
    /// Returns how deep it may go to judge an input of that depth.
    fn steps(&self, depth: usize) -> usize {
        let path = self.extent.path();
        // Only by a reference is a place of the schema come to again, and only at another level of the input.
        let times = if self.extent.references == 0 { 1 } else { depth.saturating_add(1) };
        path.saturating_mul(times).saturating_add(depth)
    }
}

/// What a schema says of one property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Property {
    /// Its one type; empty when it has none or several.
    pub(super) kind: String,
    /// The text of its default.
    pub(super) default: Option<String>,
}

#[derive(Default, Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    properties: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(default)]
    required: Option<BTreeSet<String>>,
}

/// The input does not fit, in upstream's words: one finding, or all of them in a list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) struct Findings(Vec<String>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return write!(f, "inputs: {one}");
        }
        writeln!(f, "validation failed with {} errors:", self.0.len())?;
        self.0.iter().try_for_each(|finding| writeln!(f, "  - inputs: {finding}"))
    }
}

/// Why an input was not found to fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum JudgeError {
    /// It does not.
    #[error(transparent)]
    Findings(Findings),
    /// The schema is of no use.
    #[error("failed to resolve inputs schema: {0}")]
    Schema(String),
    /// The input cannot be looked at.
    #[error("inputs: {0}")]
    Text(String),
}

impl InputSchema {
    /// Reads a schema. Compiles nothing yet.
    ///
    /// # Errors
    ///
    /// Why the text is no schema.
    pub(super) fn read(text: &Json) -> Result<Self, String> {
        let head = match text.as_str().trim() {
            "true" | "false" => Head::default(),
            text => serde_json::from_str::<Head<'_>>(text).map_err(|e| e.to_string())?,
        };
        let properties = head.properties.map(|properties| {
            properties.into_iter().map(|(name, schema)| (name, Property::read(schema.get()))).collect()
        });
        Ok(Self {
            plain: Plain::read(text.as_str()),
            text: text.clone(),
            properties,
            required: head.required.unwrap_or_default(),
            compiled: OnceLock::new(),
        })
    }

    /// Returns whether an input of so many bytes, and the defaults that it may get, are soon judged. Any other may take
    /// for ever: the schema is the plugin's.
    pub(super) fn judges_soon(&self, input: usize) -> bool {
        /// What an empty input counts as: there is a schema to compile all the same.
        const LEAST: usize = 64;

        let properties = self.properties.iter().flatten();
        let added: usize =
            properties.filter_map(|(name, of)| Some(name.len() + of.default.as_ref()?.len())).sum();
        let judged = input.saturating_add(added).saturating_add(LEAST);
        self.plain.is_some() && self.text.as_str().len().saturating_mul(judged) <= SOON
    }

    /// Judges an input that nests so deep. Values of sensitive properties are not told.
    ///
    /// # Errors
    ///
    /// Why it does not fit, or cannot be judged.
    pub(super) fn judge(&self, input: &str, depth: usize, sensitive: &[String]) -> Result<(), JudgeError> {
        if depth <= SHALLOW
            && let Some(plain) = &self.plain
            && text::to_value(input).is_ok_and(|value| plain.fits(&value))
        {
            return Ok(());
        }
        let compiled = self.compiled.get_or_init(|| compile(self.text.as_str()));
        let compiled = compiled.as_ref().map_err(|reason| JudgeError::Schema(reason.clone()))?;
        let steps = compiled.steps(depth);
        on_stack(steps, || judge(compiled, input, sensitive)).unwrap_or_else(|why| Err(JudgeError::Text(why)))
    }
}

/// Does something that goes so many steps deep, on a stack of its own if there are many.
pub(super) fn on_stack<T: Send>(steps: usize, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if steps <= SHALLOW {
        return Ok(work());
    }
    let stack = steps.saturating_mul(STACK_PER_STEP);
    if stack > MOST_STACK {
        return Err("nested too deep for a schema with so many references".to_owned());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("judge".to_owned()).stack_size(stack);
        match thread.spawn_scoped(scope, work).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_panic)) => Err("the validator gave up".to_owned()),
            Err(error) => Err(format!("no stack for {steps} steps: {error}")),
        }
    })
}

impl fmt::Debug for InputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputSchema").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl Property {
    fn read(schema: &str) -> Self {
        // A schema may also be `true` or `false`, which say nothing of a type or a default.
        let Ok(keywords) = serde_json::from_str::<BTreeMap<String, &RawValue>>(schema) else {
            return Self::default();
        };
        let kind = keywords.get("type").and_then(|t| serde_json::from_str(t.get()).ok());
        let default = keywords.get("default").map(|d| d.get().to_owned());
        Self { kind: kind.unwrap_or_default(), default }
    }
}

fn compile(text: &str) -> Result<Compiled, String> {
    let schema = tree(text).map_err(|e| e.to_string())?;
    let extent = Extent::of(&schema);
    let references = extent.references;
    if references > MOST_REFERENCES {
        return Err(format!("{references} references, of {MOST_REFERENCES} that a schema may have"));
    }
    on_stack(extent.path().max(16 * references), || compile_value(schema, extent))?
}

fn compile_value(mut schema: Value, extent: Extent) -> Result<Compiled, String> {
    let draft = match schema.get("$schema").and_then(Value::as_str) {
        None | Some("" | "https://json-schema.org/draft/2020-12/schema") => Draft::Draft202012,
        Some("http://json-schema.org/draft-07/schema#" | "https://json-schema.org/draft-07/schema#") => {
            Draft::Draft7
        }
        Some(other) => {
            return Err(format!(
                "cannot validate version {other}, supported versions: draft-07 and draft 2020-12"
            ));
        }
    };
    let references = references::references(&schema, extent)?;
    let patterns = patterns::rewrite(&mut schema, draft);
    let validator = jsonschema::options()
        .with_draft(draft)
        .should_validate_formats(false)
        // Upstream takes them for remarks, as it does formats.
        .without_content_encoding_support("base64")
        .without_content_media_type_support("application/json")
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE))
        .build(&schema)
        .map_err(|error| {
            let written = |given: &str| patterns.get(given).map(String::as_str);
            let said = match error.instance().as_str().and_then(written) {
                Some(written) => error.masked_with(json_string(written)).to_string(),
                None => error.to_string(),
            };
            let path = error.instance_path().to_string();
            // A pattern may be a key.
            let steps = path
                .split('/')
                .map(|step| written(&step.replace("~1", "/").replace("~0", "~")).unwrap_or(step));
            let at = steps.collect::<Vec<_>>().join("/");
            if at.is_empty() { said } else { format!("{said}, at {}", sentences::quote(&at)) }
        })?;
    Ok(Compiled { validator, schema, extent, references, patterns })
}

fn judge(compiled: &Compiled, input: &str, sensitive: &[String]) -> Result<(), JudgeError> {
    let value = text::to_value(input).map_err(|e: TextError| JudgeError::Text(e.to_string()))?;
    let validator = &compiled.validator;
    if validator.is_valid(&value) {
        return Ok(());
    }
    let References { finite, places, .. } = compiled.references;
    let found = if finite && places.saturating_mul(values(&value)) <= MOST_JUDGED {
        // Only those in the input matter, at whatever depth, and a plugin may name very many as sensitive.
        let (named, mut there) = (sensitive.iter().map(String::as_str).collect(), BTreeSet::new());
        names_within(&value, &named, &mut there);
        let sensitive: Vec<_> = there.into_iter().map(str::to_owned).collect();
        let Compiled { schema, patterns, .. } = compiled;
        let left = Cell::new(sentences::MOST_TOLD);
        let input = Input { value: &value, sensitive: &sensitive, schema, patterns, left };
        sentences::findings(validator.iter_errors(&value), &input)
    } else {
        culprits(validator, value)
    };
    Err(JudgeError::Findings(Findings(found)))
}

/// Collects those of some names that properties in a value have.
fn names_within<'v>(value: &'v Value, named: &HashSet<&str>, there: &mut BTreeSet<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| names_within(item, named, there)),
        Value::Object(properties) => {
            for (name, value) in properties {
                if named.contains(name.as_str()) {
                    there.insert(name);
                }
                names_within(value, named, there);
            }
        }
        _ => {}
    }
}

/// Counts a value and all that are in it.
fn values(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<u64>(),
        Value::Object(object) => 1 + object.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

/// Names the properties that do not fit, where finding out why could take for ever: those without which the rest fits.
fn culprits(validator: &Validator, mut value: Value) -> Vec<String> {
    const MOST_TRIES: usize = 100;
    let keys: Vec<_> =
        value.as_object().map(|o| o.keys().take(MOST_TRIES).cloned().collect()).unwrap_or_default();
    let mut found = Vec::new();
    for key in keys {
        let Some(taken) = value.as_object_mut().and_then(|o| o.remove(&key)) else { continue };
        if validator.is_valid(&value) {
            found.push(format!("validating root: property {} does not fit", sentences::quote(&key)));
        }
        if let Some(object) = value.as_object_mut() {
            object.insert(key, taken);
        }
    }
    if found.is_empty() {
        found.push("validating root: the properties do not fit".to_owned());
    }
    found
}

#[cfg(test)]
mod tests;
