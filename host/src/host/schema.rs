//! The JSON Schema of a provider's input: what it says of each property, and whether an input fits.
//!
//! A schema is the plugin's and is not trusted: nothing that it refers to is fetched, its patterns
//! run in linear time, and a value that nests deep is judged on a stack of its own. It is compiled
//! when an input first has to be judged, once. Formats say something and judge nothing, as upstream
//! has it (contract spec 6.7).

#[cfg(test)]
mod fuzz;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use jsonschema::{Draft, PatternOptions, Validator};
use portcullis_contract::Json;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use super::references::{self, References};
use super::sentences::{self, Input};
use super::text::{self, TextError};

mod plain;

use plain::Plain;

/// Deeper values than this are judged on a stack of their own, and so is what follows more references.
const SHALLOW: usize = 16;

/// What one step, a level of nesting or a reference, may take of a stack in the worst of schemas. A
/// guess, and four times what was seen in an unoptimised build; when it is too small, the deepest
/// inputs end the process.
const STACK_PER_STEP: usize = 8 << 10;

/// More of a stack is not asked for. It is only set aside; what is used of it counts.
const MOST_STACK: usize = 8 << 30;

/// A schema may have so many references.
const MOST_REFERENCES: usize = 1000;

/// A pattern may compile to so much; a larger one makes the schema unusable.
const PATTERN_SIZE: usize = 1 << 20;

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
    references: References,
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
pub(super) struct Misfits(Vec<String>);

impl fmt::Display for Misfits {
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
    Misfits(Misfits),
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
        let references = compiled.references.count;
        let steps = depth.saturating_add(1).saturating_mul(references.saturating_add(1));
        on_stack(steps, || judge(compiled, input, sensitive)).unwrap_or_else(|why| Err(JudgeError::Text(why)))
    }
}

/// Does something that may go so many steps deep, where there is the stack for it.
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
    // The reader itself refuses what nests deeper than 128 levels.
    let schema: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let references = references::count(&schema);
    if references > MOST_REFERENCES {
        return Err(format!("{references} references, of {MOST_REFERENCES} that a schema may have"));
    }
    on_stack(16 * references, || compile_value(&schema))?
}

fn compile_value(schema: &Value) -> Result<Compiled, String> {
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
    let references = references::references(schema)?;
    let validator = jsonschema::options()
        .with_draft(draft)
        .should_validate_formats(false)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE))
        .build(schema)
        .map_err(|e| e.to_string())?;
    Ok(Compiled { validator, references })
}

fn judge(compiled: &Compiled, input: &str, sensitive: &[String]) -> Result<(), JudgeError> {
    let value = text::to_value(input).map_err(|e: TextError| JudgeError::Text(e.to_string()))?;
    let validator = &compiled.validator;
    if validator.is_valid(&value) {
        return Ok(());
    }
    let found = if compiled.references.finite {
        // The plugin may call very much sensitive; of that, what is not there cannot be told.
        let there: BTreeSet<_> = sensitive.iter().filter(|name| value.get(name.as_str()).is_some()).collect();
        let sensitive: Vec<_> = there.into_iter().cloned().collect();
        sentences::findings(validator.iter_errors(&value), &Input { value: &value, sensitive: &sensitive })
    } else {
        culprits(validator, value)
    };
    Err(JudgeError::Misfits(Misfits(found)))
}

/// Tells which properties do not fit, where telling why could take for ever: those without which the
/// rest does.
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
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn judged(schema: &str, input: &str) -> Result<(), String> {
        let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
        let depth = text::members(input).unwrap().depth;
        schema.judge(input, depth, &["secret".to_owned()]).map_err(|e| e.to_string())
    }

    fn check(schema: &str, input: &str, expected: &str) {
        assert_eq!(judged(schema, input).err().unwrap_or_default(), expected, "{schema}: {input}");
    }

    #[test]
    fn what_does_not_fit_is_told_in_upstreams_words() {
        let one = |keywords: &str| format!(r#"{{"type":"object","properties":{{"a":{keywords}}}}}"#);
        let at = |rest: &str| format!("inputs: validating root: validating /properties/a: {rest}");
        let check_one = |keywords: &str, value: &str, expected: &str| {
            check(&one(keywords), &format!("{{\"a\":{value}}}"), &at(expected));
        };
        check_one(r#"{"type":"string"}"#, "5", r#"type: 5 has type "integer", want "string""#);
        check_one(
            r#"{"type":["string","null"]}"#,
            "1.5",
            r#"type: 1.5 has type "number", want one of "null, string""#,
        );
        check_one(r#"{"enum":["x","y"]}"#, "\"z\"", "enum: z does not equal any of: [x y]");
        check_one(r#"{"const":1}"#, "2", "const: 2 does not equal 1");
        check_one(r#"{"minimum":3}"#, "2", "minimum: 2/1 is less than 3.000000");
        check_one(
            r#"{"exclusiveMaximum":2}"#,
            "2",
            "exclusiveMaximum: 2/1 is greater than or equal to 2.000000",
        );
        check_one(r#"{"multipleOf":2}"#, "3", "multipleOf: 3/1 is not a multiple of 2.000000");
        check_one(
            r#"{"minLength":3}"#,
            "\"\u{1f600}b\"",
            "minLength: \"\u{1f600}b\" contains 2 Unicode code points, fewer than 3",
        );
        check_one(r#"{"pattern":"^a$"}"#, "\"b\"", r#"pattern: "b" does not match regular expression "^a$""#);
        check_one(r#"{"minItems":2}"#, "[1]", "minItems: array length 1 is less than 2");
        check_one(r#"{"uniqueItems":true}"#, "[1,2,1]", "uniqueItems: array items 0 and 2 are equal");
        check_one(
            r#"{"maxProperties":0}"#,
            "{\"b\":1}",
            "maxProperties: object has 1 properties, greater than 0",
        );
        check_one(
            r#"{"additionalProperties":false}"#,
            "{\"b\":1}",
            r#"unexpected additional properties ["b"]"#,
        );
        check_one(r#"{"required":["b","c"]}"#, "{}", r#"required: missing properties: ["b" "c"]"#);
        check_one(
            r#"{"items":{"type":"string"}}"#,
            "[1]",
            r#"validating /properties/a/items: type: 1 has type "integer", want "string""#,
        );
        check_one(
            r##"{"oneOf":[{"type":"string"},{"type":"null"}]}"##,
            "1",
            "oneOf: did not validate against any of [<anonymous schema> <anonymous schema>]",
        );
    }

    /// The short way says yes where the long one does, and leaves every no to it.
    #[test]
    fn a_plain_schema_is_judged_without_being_compiled() {
        let check = |schema: &str, input: &str, plain: bool| {
            let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
            let value = text::to_value(input).unwrap();
            assert_eq!(schema.plain.is_some_and(|plain| plain.fits(&value)), plain, "{input}");
            if plain {
                let compiled = compile(schema.text.as_str()).unwrap();
                assert_eq!(judge(&compiled, input, &[]), Ok(()), "{input}");
            }
        };
        let types = r#"{"type":"object","required":["s"],"additionalProperties":false,"properties":{
            "s":{"type":"string","description":"d","format":"email"},"i":{"type":"integer"},"x":{}}}"#;
        check(types, r#"{"s":"a","i":1,"x":null}"#, true);
        check(types, r#"{"s":"a","i":1.0}"#, true);
        check(types, r#"{"s":"a","i":1e400}"#, true);
        check(types, r#"{"s":"a","i":1.5}"#, false);
        check(types, r#"{"i":1}"#, false);
        check(types, r#"{"s":"a","other":1}"#, false);
        let bounds = r#"{"properties":{
            "n":{"minimum":0,"maximum":9},"s":{"minLength":1,"maxLength":2},"c":{"enum":["x",1]},
            "w":{"maximum":9007199254740992},
            "l":{"type":["array","null"],"minItems":1,"maxItems":2,"items":{"type":"string"}},
            "o":{"type":"object","required":["k"],"properties":{"k":{"type":"boolean"}}}}}"#;
        for (input, plain) in [
            (r#"{"n":9}"#, true),
            (r#"{"n":-1}"#, false),
            (r#"{"n":1e400}"#, false),
            (r#"{"w":9007199254740991}"#, true),
            // As a float it is the bound.
            (r#"{"w":9007199254740993}"#, false),
            (r#"{"n":"x","s":3}"#, true),
            ("{\"s\":\"\u{1f600}b\"}", true),
            (r#"{"s":"abc"}"#, false),
            (r#"{"s":""}"#, false),
            (r#"{"c":"x"}"#, true),
            // It fits, but only the validator says so.
            (r#"{"c":1.0}"#, false),
            (r#"{"l":null}"#, true),
            (r#"{"l":["a","b"]}"#, true),
            (r#"{"l":[]}"#, false),
            (r#"{"l":["a",1]}"#, false),
            (r#"{"o":{"k":1}}"#, false),
            (r#"{"o":{"k":true,"more":1}}"#, true),
            (r#"{"o":{}}"#, false),
        ] {
            check(bounds, input, plain);
        }
        for more in [
            r#"{"properties":{"s":{"pattern":"a"}}}"#,
            r#"{"properties":{"s":{"type":["text"]}}}"#,
            r#"{"properties":{"s":{"minLength":-1}}}"#,
            r#"{"properties":{"s":false}}"#,
            r#"{"properties":{"s":{}},"minProperties":1}"#,
            r#"{"properties":{"s":{}},"additionalProperties":{"type":"string"}}"#,
        ] {
            check(more, r#"{"s":"a"}"#, false);
        }
    }

    #[test]
    fn a_reference_is_told_by_what_it_leads_to() {
        let schema = r##"{"properties":{"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"string"}}}"##;
        let said = r#"inputs: validating root: validating /properties/a: validating /$defs/n: type: 1 has type "integer", want "string""#;
        check(schema, r#"{"a":1}"#, said);
    }

    #[test]
    fn several_findings_are_a_list() {
        let schema = r#"{"properties":{"a":{"type":"string"},"b":{"minimum":1}}}"#;
        let said = "validation failed with 2 errors:\n  \
            - inputs: validating root: validating /properties/a: type: 1 has type \"integer\", want \"string\"\n  \
            - inputs: validating root: validating /properties/b: minimum: 0/1 is less than 1.000000\n";
        check(schema, r#"{"a":1,"b":0}"#, said);
    }

    #[test]
    fn a_sensitive_value_is_never_told() {
        let nested =
            r#"{"properties":{"secret":{"pattern":"^x","minLength":9,"properties":{"k":{"const":1}}}}}"#;
        for input in [r#"{"secret":"hunter2"}"#, r#"{"secret":{"k":"hunter2"}}"#] {
            let said = judged(nested, input).unwrap_err();
            assert!(!said.contains("hunter2") && said.contains(sentences::MASK), "{said}");
        }
        for schema in
            [r#"{"const":1}"#, r#"{"enum":[1]}"#, r#"{"type":"string"}"#, r#"{"anyOf":[{"const":2}]}"#]
        {
            let said = judged(schema, r#"{"secret":"hunter2","b":3}"#).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    /// It would not end, were every item compared with all others.
    #[test]
    fn two_that_are_equal_are_found_among_very_many() {
        let items: Vec<_> = (0..200_000).map(|n| n.to_string()).collect();
        let input = format!("{{\"a\":[{},199999]}}", items.join(","));
        let said = "inputs: validating root: validating /properties/a: uniqueItems: array items 199999 and 200000 are equal";
        check(r#"{"properties":{"a":{"uniqueItems":true}}}"#, &input, said);
    }

    #[test]
    fn numbers_that_nothing_holds_are_judged() {
        let schema = r#"{"properties":{"a":{"type":"number","minimum":0}}}"#;
        check(schema, r#"{"a":1e400}"#, "");
        check(schema, r#"{"a":18446744073709551617}"#, "");
        let said = judged(schema, r#"{"a":-1e400}"#).unwrap_err();
        assert!(said.contains("is less than 0.000000"), "{said}");
    }

    #[test]
    fn nothing_is_fetched() {
        let said = judged(r#"{"$ref":"https://example.com/schema.json"}"#, "{}").unwrap_err();
        assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
        let said = judged(r#"{"$ref":"file:///etc/passwd"}"#, "{}").unwrap_err();
        assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
    }

    #[test]
    fn formats_judge_nothing_and_patterns_cannot_hang() {
        check(r#"{"properties":{"a":{"format":"email"}}}"#, r#"{"a":"no"}"#, "");
        let input = format!("{{\"a\":\"{}!\"}}", "a".repeat(100_000));
        assert!(judged(r#"{"properties":{"a":{"pattern":"^(a+)+$"}}}"#, &input).is_err());
        let said = judged(r#"{"properties":{"a":{"pattern":"(?=a)b"}}}"#, "{\"a\":\"b\"}").unwrap_err();
        assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for schema in [
            r##"{"$ref":"#"}"##,
            r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##,
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
            r##"{"not":{"$ref":"#"}}"##,
        ] {
            let _ = judged(schema, r#"{"a":1}"#);
        }
    }

    #[test]
    fn a_schema_that_doubles_at_every_step_is_refused() {
        let mut defs = String::new();
        for i in 0..40 {
            let next = i + 1;
            let _ = write!(
                defs,
                r##""a{i}":{{"allOf":[{{"$ref":"#/$defs/a{next}"}},{{"$ref":"#/$defs/a{next}"}}]}},"##
            );
        }
        let schema = format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{defs}"a40":{{"required":["b"]}}}}}}"##);
        let much = "failed to resolve inputs schema: its references stand for more than 20000 schemas";
        check(&schema, r#"{"b":1}"#, much);
    }

    #[test]
    fn a_schema_that_looks_at_everything_again_at_every_step_is_refused() {
        let (open, close) = (r#"{"anyOf":["#, r#"],"unevaluatedProperties":false}"#);
        let schema = |steps: usize| {
            format!("{}{{\"properties\":{{\"a\":{{}}}}}}{}", open.repeat(steps), close.repeat(steps))
        };
        check(&schema(5), r#"{"a":1}"#, "");
        let much = "failed to resolve inputs schema: its unevaluated properties or items stand for more than 20000 schemas";
        check(&schema(30), r#"{"a":1}"#, much);
    }

    #[test]
    fn a_schema_that_doubles_at_every_level_of_the_input_ends() {
        let schema = r##"{"additionalProperties":{"allOf":[{"$ref":"#"},{"$ref":"#"}]},"type":"object"}"##;
        let nested = |inner: &str| format!("{}{inner}{}", "{\"a\":".repeat(60), "}".repeat(60));
        check(schema, &nested("{}"), "");
        check(schema, &nested("1"), "inputs: validating root: property \"a\" does not fit");
    }

    #[test]
    fn a_long_chain_of_references_ends() {
        let chain = |length: usize| {
            let links: Vec<_> =
                (0..length).map(|i| format!(r##""a{i}":{{"$ref":"#/$defs/a{}"}}"##, i + 1)).collect();
            let links = links.join(",");
            format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{links},"a{length}":{{"required":["b"]}}}}}}"##)
        };
        assert!(judged(&chain(900), r#"{"a":1}"#).is_err());
        assert!(judged(&chain(900), r#"{"b":1}"#).is_ok());
        let many = "failed to resolve inputs schema: 1501 references, of 1000 that a schema may have";
        check(&chain(1500), "{}", many);
    }

    #[test]
    fn what_does_not_fit_a_schema_that_refers_to_itself_is_told_by_property() {
        let schema = r##"{"properties":{"tree":{"$ref":"#/$defs/t"},"n":{}},
            "$defs":{"t":{"type":"object","additionalProperties":{"$ref":"#/$defs/t"}}}}"##;
        check(schema, r#"{"tree":{"a":{}},"n":1}"#, "");
        check(schema, r#"{"tree":{"a":1},"n":1}"#, "inputs: validating root: property \"tree\" does not fit");
    }

    #[test]
    fn no_depth_of_a_schema_reaches_the_stack() {
        for (before, after) in [(r#"{"items":"#, "}"), (r#"{"properties":{"a":"#, "}}")] {
            let deep = format!("{}{{}}{}", before.repeat(100_000), after.repeat(100_000));
            let said = judged(&deep, "{}").unwrap_err();
            assert!(said.starts_with("failed to resolve inputs schema: recursion limit exceeded"), "{said}");
        }
    }

    #[test]
    fn deep_values_are_judged_on_a_stack_of_their_own() {
        let schema = r##"{"additionalProperties":{"anyOf":[{"$ref":"#"},{"items":{"$ref":"#"}}]},"items":{"$ref":"#"}}"##;
        let deep =
            format!("{{\"a\":{}{}}}", "[".repeat(text::MAX_DEPTH - 1), "]".repeat(text::MAX_DEPTH - 1));
        check(schema, &deep, "");
    }
}
