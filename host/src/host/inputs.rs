//! What was given, made into what a provider expects: forms, defaults and coercions.
//!
//! Upstream's rules and sentences (contract spec 6.6), applied to raw text: a value that needs no
//! coercion stays the text that it was, and an input that needs nothing at all stays the same text
//! as a whole. Upstream would send `1.0` as `1` and lose digits beyond 2^53; the order of properties
//! is the caller's and not the alphabet's.
//!
//! Everything here is pure. Whether the outcome fits the schema is judged in [`schema`](super::schema).

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use portcullis_contract::Json;
use thiserror::Error;

use super::schema::{InputSchema, on_stack};
use super::sentences::{self, MASK, quote};
use super::text::{self, Members, TextError};

/// How many edits away a name may be to be the one that was meant.
const NEAR: usize = 3;

/// How many pairs of names are compared. A guess: beyond it nobody reads which name is near which other.
const MOST_COMPARED: usize = 1 << 20;

/// Why inputs cannot be resolved, in upstream's sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("failed to resolve inputs: {0}")]
pub(super) struct ResolveError(String);

/// Inputs as a provider gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inputs {
    /// The text of an object.
    pub(super) text: Json,
    /// How deep it nests.
    pub(super) depth: usize,
    /// The operation that it names, if it names one in words.
    pub(super) operation: Option<String>,
}

/// Returns the operation that an object names, if it names one in words.
pub(super) fn operation(given: &Members<'_>) -> Option<String> {
    given.get("operation").filter(|v| v.starts_with('"')).map(text::unquote)
}

/// Checks that every input is one that the provider declares, if it declares any.
///
/// # Errors
///
/// Upstream's sentence, which knows the nearest name.
pub(super) fn check_keys(
    provider: &str,
    schema: Option<&InputSchema>,
    given: &Members<'_>,
) -> Result<(), String> {
    let Some(declared) = schema.and_then(|s| s.properties.as_ref()).filter(|p| !p.is_empty()) else {
        return Ok(());
    };
    let unknown: BTreeSet<_> =
        given.members.iter().map(|m| m.key.as_str()).filter(|k| !declared.contains_key(*k)).collect();
    let provider = format!("provider {}", quote(provider));
    let compares = unknown.len().saturating_mul(declared.len()) <= MOST_COMPARED;
    let complaint = |key: &&str| {
        let length = key.chars().count();
        // A name that is longer or shorter by more than that is at least as far away, and may be very long.
        let close = |d: &&String| compares && d.chars().count().abs_diff(length) <= NEAR;
        let near = declared.keys().filter(close).map(|d| (distance(key, d), d)).min();
        let near = near.filter(|(far, _)| *far <= NEAR);
        let said = format!("{provider} does not accept input {}", quote(key));
        near.map_or(said.clone(), |(_, near)| format!("{said} — did you mean {}?", quote(near)))
    };
    let complaints: Vec<_> = unknown.iter().map(complaint).collect();
    let valid = declared.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match complaints.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("{one} (valid inputs: {valid})")),
        many => {
            let list = many.join("\n  - ");
            Err(format!("unknown inputs for {provider}:\n  - {list}\nvalid inputs: {valid}"))
        }
    }
}

/// Counts the edits between two names (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Resolves inputs by what a schema says of them.
///
/// `context` is the object whose `resolverContext` the form `rslvr` refers to.
///
/// # Errors
///
/// Upstream's sentence; the value of a sensitive property is no part of it.
pub(super) fn resolve(
    whole: &Json,
    given: &Members<'_>,
    schema: Option<&InputSchema>,
    sensitive: &[String],
    context: Option<&Json>,
) -> Result<Inputs, ResolveError> {
    let resolver = Resolver { sensitive, context };
    let mut forms = Vec::with_capacity(given.members.len());
    for member in &given.members {
        let form = Form::of(&member.key, member.value)
            .map_err(|e| ResolveError(format!("failed to normalize inputs: {e}")))?;
        forms.push((member, form));
    }

    let mut changed = false;
    let mut kept: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(forms.len());
    match schema.and_then(|s| s.properties.as_ref().map(|p| (s, p))) {
        None => {
            for (member, form) in &forms {
                let value = resolver.value(&member.key, form)?;
                changed |= value != member.value;
                kept.push((member.key_text.into(), value));
            }
        }
        Some((schema, properties)) => {
            for (member, form) in &forms {
                let Some(property) = properties.get(&member.key) else {
                    changed = true;
                    continue;
                };
                form.one(&member.key)?;
                let value = resolver.value(&member.key, form)?;
                let value = resolver.coerce(&member.key, value, &property.kind)?;
                changed |= value != member.value;
                kept.push((member.key_text.into(), value));
            }
            let names: HashSet<_> = given.members.iter().map(|m| m.key.as_str()).collect();
            for (name, property) in properties {
                if names.contains(name.as_str()) {
                    continue;
                }
                if let Some(default) = &property.default {
                    changed = true;
                    let key = serde_json::Value::from(name.as_str()).to_string();
                    kept.push((key.into(), default.as_str().into()));
                } else if schema.required.contains(name) {
                    return Err(ResolveError(format!("required property {} is missing", quote(name))));
                }
            }
        }
    }
    if !changed {
        return Ok(Inputs { text: whole.clone(), depth: given.depth, operation: operation(given) });
    }

    let pairs: Vec<_> = kept.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let text = format!("{{{}}}", pairs.join(","));
    let outcome = text::members(&text).map_err(|e: TextError| ResolveError(e.to_string()))?;
    let (depth, operation) = (outcome.depth, operation(&outcome));
    Ok(Inputs { text: Json::from_text(text), depth, operation })
}

/// The form in which a value was given.
struct Form<'a> {
    literal: Option<&'a str>,
    resolver: Option<String>,
    expression: Option<String>,
    template: Option<String>,
}

impl<'a> Form<'a> {
    fn of(key: &str, value: &'a str) -> Result<Self, String> {
        let literal = |value: &'a str| Some(value).filter(|v| *v != "null");
        let bare = Self { literal: literal(value), resolver: None, expression: None, template: None };
        if !value.starts_with('{') {
            return Ok(bare);
        }
        let map = text::members(value).map_err(|e| e.to_string())?;
        let key = quote(key);
        let said = |form: &str, what: &str| match map.get(form) {
            Some(text) if text.starts_with('"') => Ok(Some(text::unquote(text))),
            Some(text) => Err(format!("property {key}: {form} must be {what}, got {}", text::go_type(text))),
            None => Ok(None),
        };
        let form = Self {
            literal: map.get("literal").and_then(literal),
            resolver: said("rslvr", "a string")?,
            expression: said("expr", "a string or Expression")?,
            template: said("tmpl", "a string or GoTemplatingContent")?,
        };
        let forms = ["literal", "rslvr", "expr", "tmpl"];
        Ok(if forms.iter().any(|f| map.get(f).is_some()) { form } else { bare })
    }

    fn texts(&self) -> [Option<&str>; 3] {
        [&self.resolver, &self.expression, &self.template].map(|t| t.as_deref().filter(|t| !t.is_empty()))
    }

    /// Refuses a property that is given in no form or in several.
    fn one(&self, key: &str) -> Result<(), ResolveError> {
        let forms = usize::from(self.literal.is_some()) + self.texts().iter().flatten().count();
        let wrong = match forms {
            0 => "no input form specified (must provide one of: literal, rslvr, expr, tmpl)",
            1 => return Ok(()),
            _ => "multiple input forms specified (only one of literal, rslvr, expr, tmpl is allowed)",
        };
        Err(ResolveError(format!("property {}: {wrong}", quote(key))))
    }
}

struct Resolver<'a> {
    sensitive: &'a [String],
    context: Option<&'a Json>,
}

impl Resolver<'_> {
    fn is_sensitive(&self, key: &str) -> bool {
        self.sensitive.iter().any(|s| s == key)
    }

    fn value<'v>(&self, key: &str, form: &Form<'v>) -> Result<Cow<'v, str>, ResolveError> {
        let unresolved =
            |reason: String| ResolveError(format!("failed to resolve property {}: {reason}", quote(key)));
        if let Some(literal) = form.literal {
            return Ok(literal.into());
        }
        match form.texts() {
            [Some(binding), ..] => {
                self.look_up(binding, self.is_sensitive(key)).map(Cow::Owned).map_err(unresolved)
            }
            // Upstream evaluates these two with libraries of its language; nothing here does.
            [_, Some(_), _] => Err(unresolved(
                "failed to compile CEL expression: expressions are not evaluated here; give the value itself"
                    .to_owned(),
            )),
            [.., Some(_)] => Err(unresolved(
                "failed to render template: templates are not rendered here; give the value itself"
                    .to_owned(),
            )),
            [None, None, None] => Err(unresolved(format!("property {}: no input form provided", quote(key)))),
        }
    }

    fn look_up(&self, binding: &str, sensitive: bool) -> Result<String, String> {
        let context = self.context.map_or("{}", Json::as_str);
        let context = text::members(context).map_err(|e| e.to_string())?;
        let mut current = context.get("resolverContext").unwrap_or("{}");
        let mut parts = binding.split('.').peekable();
        while let Some(part) = parts.next() {
            if current.starts_with('{') {
                let map = text::members(current).map_err(|e| e.to_string())?;
                let Some(next) = map.get(part) else {
                    return Err(if sensitive {
                        format!("resolver binding {MASK}: path not found")
                    } else {
                        format!("resolver binding {} not found at part {}", quote(binding), quote(part))
                    });
                };
                current = next;
            } else if parts.peek().is_some() {
                return Err(if sensitive {
                    format!("cannot access nested property {MASK}: path invalid")
                } else {
                    let (binding, part) = (quote(binding), quote(part));
                    format!("cannot access nested property: {binding} is not a map at part {part}")
                });
            }
        }
        Ok(current.to_owned())
    }

    fn coerce<'v>(&self, key: &str, value: Cow<'v, str>, kind: &str) -> Result<Cow<'v, str>, ResolveError> {
        match coerce(&value, kind) {
            Ok(None) => Ok(value),
            Ok(Some(coerced)) => Ok(Cow::Owned(coerced)),
            Err(reason) => {
                let reason = if self.is_sensitive(key) {
                    "coercion failed for secret value".to_owned()
                } else {
                    reason
                };
                let key = quote(key);
                Err(ResolveError(format!("failed to coerce property {key} to type {kind}: {reason}")))
            }
        }
    }
}

/// Coerces the text of a value to a type; `None` when it stays as it is.
fn coerce(value: &str, kind: &str) -> Result<Option<String>, String> {
    let wrong = || Err(format!("cannot convert {} to {kind}", text::go_type(value)));
    let said = value.starts_with('"').then(|| text::unquote(value));
    let is_number = value.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if value == "null" {
        return Ok(None);
    }
    match (kind, said) {
        ("string", Some(_)) => Ok(None),
        ("string", None) => {
            let shown = if value.starts_with(['{', '[']) { printed(value)? } else { value.to_owned() };
            Ok(Some(json_string(&shown)))
        }
        ("integer", Some(said)) => integer(&said).map(Some).map_err(|why| {
            let said = quote(&said);
            format!("cannot convert {said} to integer: strconv.ParseInt: parsing {said}: {why}")
        }),
        ("integer", None) if is_number => truncated(value),
        ("number", Some(said)) => number(&said).map(Some).map_err(|why| {
            let said = quote(&said);
            format!("cannot convert {said} to number: strconv.ParseFloat: parsing {said}: {why}")
        }),
        ("number", None) if is_number => Ok(None),
        ("boolean", Some(said)) => match said.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some("true".to_owned())),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some("false".to_owned())),
            _ => {
                let said = quote(&said);
                let why = "invalid syntax";
                Err(format!("cannot convert {said} to boolean: strconv.ParseBool: parsing {said}: {why}"))
            }
        },
        ("boolean", None) if matches!(value, "true" | "false") => Ok(None),
        ("array", Some(said)) if said.is_empty() => Ok(Some("[]".to_owned())),
        ("array", Some(said)) => {
            let items: Vec<_> = said.split(',').map(|item| json_string(item.trim())).collect();
            Ok(Some(format!("[{}]", items.join(","))))
        }
        ("array", None) if value.starts_with('[') => Ok(None),
        ("integer" | "number" | "boolean" | "array", _) => wrong(),
        _ => Ok(None),
    }
}

/// Prints a list or an object as upstream does, with the stack that its depth takes.
fn printed(value: &str) -> Result<String, String> {
    let print = || text::to_value(value).map(|value| sentences::plain(&value));
    let depth = text::depth(value).map_err(|e| e.to_string())?;
    on_stack(depth, print)?.map_err(|e| e.to_string())
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// Reads an integer as upstream does: a sign, digits, 64 bits.
fn integer(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    text.parse::<i64>().map(|i| i.to_string()).map_err(|_| RANGE)
}

/// Drops what follows the point of a number. A number that is whole already stays as it is.
fn truncated(text: &str) -> Result<Option<String>, String> {
    if !text.contains(['.', 'e', 'E']) {
        return Ok(None);
    }
    let float = text.parse::<f64>().unwrap_or(f64::INFINITY).trunc();
    // 2^63 is the first that does not fit; what lies between is exact.
    if float.abs() >= 9_223_372_036_854_775_808.0 {
        return Err(format!("cannot convert {text} to integer: {RANGE}"));
    }
    Ok(Some(format!("{:.0}", if float == 0.0 { 0.0 } else { float })))
}

/// Reads a number as upstream does. A whole one keeps its digits, however many.
fn number(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let float = match hexadecimal(text) {
        Some(float) => float,
        // What is no digit, sign, point or exponent would be "inf" or "nan", which JSON cannot say.
        None if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            text.parse::<f64>().map_err(|_| SYNTAX)?
        }
        None => return Err(SYNTAX),
    };
    if !float.is_finite() {
        return Err(RANGE);
    }
    if whole {
        let digits = digits.trim_start_matches('0');
        let sign = if text.starts_with('-') { "-" } else { "" };
        return Ok(format!("{sign}{}", if digits.is_empty() { "0" } else { digits }));
    }
    let exponent = float.abs();
    let plain = exponent == 0.0 || (1e-6..1e21).contains(&exponent);
    Ok(if plain { format!("{float}") } else { format!("{float:e}") })
}

/// Reads a hexadecimal float, `0x1.8p3`, which upstream's numbers may be.
fn hexadecimal(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"))?;
    let (mantissa, exponent) = rest.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mantissa = u64::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(shift)?;
    #[expect(clippy::cast_precision_loss, reason = "a float holds no more than upstream's does")]
    Some(sign * mantissa as f64 * 2_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &str = r#"{"type":"object","required":["s"],"properties":{
        "s":{"type":"string","default":"dflt"},"i":{"type":"integer"},"n":{"type":"number"},
        "b":{"type":"boolean"},"a":{"type":"array"},"o":{"type":"object"},"x":{},"y":{"type":["string","null"]},
        "d":{"type":"number","default":1.0},"pin":{"type":"integer"}}}"#;

    fn resolved(schema: &str, input: &str) -> Result<String, String> {
        let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
        let whole = Json::from_text(input);
        let given = text::members(input).unwrap();
        let context = Json::from_text(r#"{"resolverContext":{"env":"prod","cfg":{"ns":{"a":1.0}},"n":5}}"#);
        resolve(&whole, &given, Some(&schema), &["pin".to_owned()], Some(&context))
            .map(|inputs| inputs.text.into_string())
            .map_err(|e| e.to_string())
    }

    fn check(input: &str, expected: &str) {
        let all = input.strip_suffix('}').unwrap();
        let input = format!("{all}{}\"s\":\"\",\"d\":0}}", if all == "{" { "" } else { "," });
        let expected = expected.strip_suffix('}').unwrap();
        let expected = format!("{expected}{}\"s\":\"\",\"d\":0}}", if expected == "{" { "" } else { "," });
        assert_eq!(resolved(TYPES, &input).as_deref(), Ok(expected.as_str()), "{input}");
    }

    fn check_error(input: &str, expected: &str) {
        let expected = format!("failed to resolve inputs: {expected}");
        assert_eq!(resolved(TYPES, input), Err(expected), "{input}");
    }

    /// Contract item 121.
    #[test]
    fn only_what_has_to_change_changes() {
        let same = r#"{ "s" : "\u0041", "n":1e400,"i" : 9007199254740993 , "x":{"deep":[ 1.0,-0 ]},"d":-0}"#;
        assert_eq!(resolved(TYPES, same).as_deref(), Ok(same));
        check(r#"{"i":"7","x":1.0,"n":1E5}"#, r#"{"i":7,"x":1.0,"n":1E5}"#);
        check(r#"{"i":12345678901234567890123}"#, r#"{"i":12345678901234567890123}"#);
        check(r#"{"gone":1,"x":null}"#.replace("null", "0").as_str(), r#"{"x":0}"#);
    }

    #[test]
    fn values_are_coerced_by_upstreams_rules() {
        check(r#"{"i":"+5"}"#, r#"{"i":5}"#);
        check(r#"{"i":3.9}"#, r#"{"i":3}"#);
        check(r#"{"i":-3.9}"#, r#"{"i":-3}"#);
        check(r#"{"i":-0.5}"#, r#"{"i":0}"#);
        check(r#"{"i":1e15}"#, r#"{"i":1000000000000000}"#);
        check(r#"{"n":"1.0"}"#, r#"{"n":1}"#);
        check(r#"{"n":"1e3"}"#, r#"{"n":1000}"#);
        check(r#"{"n":"1e21"}"#, r#"{"n":1e21}"#);
        check(r#"{"n":"9007199254740993"}"#, r#"{"n":9007199254740993}"#);
        check(r#"{"n":"-007"}"#, r#"{"n":-7}"#);
        check(r#"{"n":"0x1.8p3"}"#, r#"{"n":12}"#);
        check(r#"{"n":5}"#, r#"{"n":5}"#);
        check(r#"{"b":"T"}"#, r#"{"b":true}"#);
        check(r#"{"b":"0"}"#, r#"{"b":false}"#);
        check(r#"{"a":" x , y,"}"#, r#"{"a":["x","y",""]}"#);
        check(r#"{"a":""}"#, r#"{"a":[]}"#);
        check(r#"{"o":5,"y":5}"#, r#"{"o":5,"y":5}"#);
    }

    #[test]
    fn anything_can_become_a_string() {
        let check = |value: &str, expected: &str| {
            let input = format!("{{\"s\":{value},\"d\":0}}");
            assert_eq!(resolved(TYPES, &input), Ok(format!("{{\"s\":{expected},\"d\":0}}")));
        };
        check("5", "\"5\"");
        check("1.0", "\"1.0\"");
        check("true", "\"true\"");
        check("[1,\"x\",null]", "\"[1 x <nil>]\"");
        check("{\"k\":{\"j\":1}}", "\"map[k:map[j:1]]\"");
    }

    #[test]
    fn no_depth_of_what_becomes_a_string_reaches_the_stack() {
        let depth = text::MAX_DEPTH - 1;
        for (open, close, printed) in [("[", "]", ["[", "]"]), ("{\"k\":", "}", ["map[k:", "]"])] {
            let nest = |[open, inner, close]: [&str; 3]| open.repeat(depth) + inner + &close.repeat(depth);
            let input = format!("{{\"s\":{},\"d\":0}}", nest([open, "0", close]));
            let [before, after] = printed;
            let expected = format!("{{\"s\":\"{}\",\"d\":0}}", nest([before, "0", after]));
            assert_eq!(resolved(TYPES, &input), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_coerced_is_told_in_upstreams_words() {
        let syntax = "strconv.ParseInt: parsing \"x\": invalid syntax";
        check_error(
            r#"{"i":"x"}"#,
            &format!(
                "failed to coerce property \"i\" to type integer: cannot convert \"x\" to integer: {syntax}"
            ),
        );
        check_error(
            r#"{"n":"1e400"}"#,
            "failed to coerce property \"n\" to type number: cannot convert \"1e400\" to number: \
             strconv.ParseFloat: parsing \"1e400\": value out of range",
        );
        check_error(
            r#"{"b":"yes"}"#,
            "failed to coerce property \"b\" to type boolean: cannot convert \"yes\" to boolean: \
             strconv.ParseBool: parsing \"yes\": invalid syntax",
        );
        check_error(
            r#"{"a":5}"#,
            "failed to coerce property \"a\" to type array: cannot convert float64 to array",
        );
        check_error(
            r#"{"i":{}}"#,
            "failed to coerce property \"i\" to type integer: cannot convert map[string]interface {} to integer",
        );
        check_error(
            r#"{"pin":"hunter2"}"#,
            "failed to coerce property \"pin\" to type integer: coercion failed for secret value",
        );
    }

    #[test]
    fn a_value_may_be_given_in_a_form() {
        check(r#"{"x":{"literal":{"rslvr":1}}}"#, r#"{"x":{"rslvr":1}}"#);
        check(r#"{"x":{"rslvr":"env"}}"#, r#"{"x":"prod"}"#);
        check(r#"{"x":{"rslvr":"cfg.ns.a"}}"#, r#"{"x":1.0}"#);
        check(r#"{"x":{"rslvr":"n.more"}}"#, r#"{"x":5}"#);
        check(r#"{"i":{"literal":"7"}}"#, r#"{"i":7}"#);
        let none = "no input form specified (must provide one of: literal, rslvr, expr, tmpl)";
        check_error(r#"{"x":null}"#, &format!("property \"x\": {none}"));
        check_error(r#"{"x":{"rslvr":""}}"#, &format!("property \"x\": {none}"));
        check_error(
            r#"{"x":{"literal":1,"rslvr":"env"}}"#,
            "property \"x\": multiple input forms specified (only one of literal, rslvr, expr, tmpl is allowed)",
        );
        check_error(
            r#"{"x":{"rslvr":1}}"#,
            "failed to normalize inputs: property \"x\": rslvr must be a string, got float64",
        );
        check_error(
            r#"{"x":{"rslvr":"no.such"}}"#,
            "failed to resolve property \"x\": resolver binding \"no.such\" not found at part \"no\"",
        );
        check_error(
            r#"{"x":{"rslvr":"n.a.b"}}"#,
            "failed to resolve property \"x\": cannot access nested property: \"n.a.b\" is not a map at part \"a\"",
        );
        check_error(
            r#"{"pin":{"rslvr":"hunter2"}}"#,
            "failed to resolve property \"pin\": resolver binding ***REDACTED***: path not found",
        );
    }

    /// Contract item 122.
    #[test]
    fn what_is_required_has_to_be_there_or_have_a_default() {
        assert_eq!(resolved(TYPES, "{}").as_deref(), Ok(r#"{"d":1.0,"s":"dflt"}"#));
        let schema = r#"{"required":["a"],"properties":{"a":{}}}"#;
        let missing = "failed to resolve inputs: required property \"a\" is missing";
        assert_eq!(resolved(schema, "{}"), Err(missing.to_owned()));
    }

    /// It would not end, were every property looked for in all of what is required.
    #[test]
    fn a_schema_may_require_much() {
        let list = |of: fn(usize) -> String| (0..200_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, required) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"r{n}\"")));
        let schema = format!("{{\"properties\":{{{properties}}},\"required\":[{required}]}}");
        assert_eq!(resolved(&schema, "{}").as_deref(), Ok("{}"));
    }

    /// Nor would it, were every property looked for in all of what was given.
    #[test]
    fn much_may_be_given() {
        let list = |of: fn(usize) -> String| (0..200_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, given) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"p{n}\":{n}")));
        let (schema, input) = (format!("{{\"properties\":{{{properties}}}}}"), format!("{{{given}}}"));
        assert_eq!(resolved(&schema, &input).as_deref(), Ok(input.as_str()));
    }

    #[test]
    fn without_declared_properties_everything_goes_through() {
        let input = r#"{"b":1.0,"a":{"c":[]}}"#;
        assert_eq!(resolved(r#"{"type":"object"}"#, input).as_deref(), Ok(input));
        assert_eq!(resolved("true", input).as_deref(), Ok(input));
        assert_eq!(resolved(r#"{"properties":{}}"#, input).as_deref(), Ok("{}"));
    }

    #[test]
    fn an_unknown_input_is_told_with_the_nearest_name() {
        let schema = InputSchema::read(&Json::from_text(r#"{"properties":{"url":{},"method":{}}}"#)).unwrap();
        let check = |input: &str, expected: &str| {
            let said = check_keys("http", Some(&schema), &text::members(input).unwrap());
            assert_eq!(said.err().unwrap_or_default(), expected);
        };
        check(r#"{"url":1}"#, "");
        check(
            r#"{"ulr":1}"#,
            "provider \"http\" does not accept input \"ulr\" — did you mean \"url\"? (valid inputs: method, url)",
        );
        check(
            r#"{"zzzzzzzz":1,"metod":2}"#,
            "unknown inputs for provider \"http\":\n  - provider \"http\" does not accept input \"metod\" — did you \
             mean \"method\"?\n  - provider \"http\" does not accept input \"zzzzzzzz\"\nvalid inputs: method, url",
        );
    }

    /// It would not end, were each compared with each.
    #[test]
    fn very_many_unknown_inputs_are_told_without_the_names_that_are_near() {
        let list = |of: fn(usize) -> String| (0..20_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, given) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"q{n}\":{n}")));
        let schema =
            InputSchema::read(&Json::from_text(format!("{{\"properties\":{{{properties}}}}}"))).unwrap();
        let given = format!("{{{given}}}");
        let said = check_keys("http", Some(&schema), &text::members(&given).unwrap()).unwrap_err();
        let line = "\n  - provider \"http\" does not accept input \"q7\"\n";
        assert!(said.contains(line) && said.lines().count() == 20_002);
    }
}
