//! Inputs, made into what a provider expects: forms, defaults and coercions.
//!
//! Upstream's rules and sentences (contract spec 6.6), applied to raw text: a value that needs no
//! coercion stays the text that it was, and an input that needs nothing at all stays the same text
//! as a whole. Upstream would send `1.0` as `1` and lose digits beyond 2^53; the order of properties
//! is the caller's and not the alphabet's.
//!
//! Everything here is pure. Whether the outcome fits the schema is judged in [`schema`](super::schema).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use portcullis_contract::{Json, json_string};
use thiserror::Error;

use super::schema::{InputSchema, Property};
use super::sentences::{MASK, quote};
use super::text::{self, Members, TextError};

mod coerce;
mod form;
mod unknown;

use coerce::coerce;
use form::Form;
pub(super) use unknown::check_keys;

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
    // All are read before one is resolved: the first complaint is then upstream's.
    let forms = given.members.iter().map(|member| Form::of(&member.key, member.value));
    let forms = forms
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| ResolveError(format!("failed to normalize inputs: {e}")))?;

    let declared = schema.and_then(|schema| schema.properties.as_ref());
    let resolver = Resolver { declared, sensitive, context };
    let mut changed = false;
    let mut kept: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(forms.len());
    for (member, form) in given.members.iter().zip(&forms) {
        let value = resolver.resolve(&member.key, form)?;
        changed |= value.as_deref() != Some(member.value);
        kept.extend(value.map(|value| (Cow::from(member.key_text), value)));
    }
    for (name, default) in schema.map_or(Ok(Vec::new()), |schema| defaults(schema, given))? {
        changed = true;
        kept.push((json_string(name).into(), default.into()));
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

/// Returns the defaults of the properties that were not given, with their names.
fn defaults<'s>(
    schema: &'s InputSchema,
    given: &Members<'_>,
) -> Result<Vec<(&'s str, &'s str)>, ResolveError> {
    let names: HashSet<_> = given.members.iter().map(|m| m.key.as_str()).collect();
    let mut defaults = Vec::new();
    for (name, property) in schema.properties.iter().flatten() {
        if names.contains(name.as_str()) {
            continue;
        }
        if let Some(default) = &property.default {
            defaults.push((name.as_str(), default.as_str()));
        } else if schema.required.contains(name) {
            return Err(ResolveError(format!("required property {} is missing", quote(name))));
        }
    }
    Ok(defaults)
}

struct Resolver<'a> {
    declared: Option<&'a BTreeMap<String, Property>>,
    sensitive: &'a [String],
    context: Option<&'a Json>,
}

impl Resolver<'_> {
    /// Returns what a property becomes; `None` when the schema knows nothing of it and it is left out.
    fn resolve<'v>(&self, key: &str, form: &Form<'v>) -> Result<Option<Cow<'v, str>>, ResolveError> {
        let Some(declared) = self.declared else { return self.value(key, form).map(Some) };
        let Some(property) = declared.get(key) else { return Ok(None) };
        form.one(key)?;
        let value = self.value(key, form)?;
        self.coerce(key, value, &property.kind).map(Some)
    }

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
            [Some(binding), ..] => self.look_up(key, binding).map(Cow::Owned).map_err(unresolved),
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

    /// Returns the value that a reference to a resolver leads to, or why there is none; of a sensitive property, that
    /// reason does not quote the reference.
    fn look_up(&self, key: &str, binding: &str) -> Result<String, String> {
        let context = self.context.map_or("{}", Json::as_str);
        let context = text::members(context).map_err(|e| e.to_string())?;
        let mut current = context.get("resolverContext").unwrap_or("{}");
        let mut parts = binding.split('.').peekable();
        while let Some(part) = parts.next() {
            if current.starts_with('{') {
                let map = text::members(current).map_err(|e| e.to_string())?;
                let Some(next) = map.get(part) else {
                    return Err(if self.is_sensitive(key) {
                        format!("resolver binding {MASK}: path not found")
                    } else {
                        format!("resolver binding {} not found at part {}", quote(binding), quote(part))
                    });
                };
                current = next;
            } else if parts.peek().is_some() {
                return Err(if self.is_sensitive(key) {
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

#[cfg(test)]
mod tests;
