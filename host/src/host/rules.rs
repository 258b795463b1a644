//! Whether a descriptor is valid, by upstream's rules and in its words (contract spec 2.4, 6.2).
//!
//! A descriptor is checked once, when its provider is registered. Some of upstream's documented rules, such as
//! the length of a name, are not enforced by upstream; nor are they here.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_contract::{Capability, Descriptor, Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::schema::InputSchema;
use super::sentences::quote;

/// Why a descriptor is not valid, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidDescriptor(String);

/// A descriptor that was found good.
#[derive(Debug)]
pub(super) struct Judged {
    /// Its version in full, without a leading `v`.
    pub(super) version: String,
    /// What it says of its input.
    pub(super) schema: Option<InputSchema>,
}

/// Reads the version of a descriptor; `None` when it names none.
///
/// A leading `v`, missing parts and leading zeros are let through, as upstream's reader does.
///
/// # Errors
///
/// Upstream's sentence.
pub(super) fn version(descriptor: &Descriptor) -> Result<Option<String>, InvalidDescriptor> {
    let text = descriptor.version.as_str();
    if text.is_empty() {
        return Ok(None);
    }
    read_version(text).map(Some).map_err(|reason| {
        let (name, text) = (quote(&descriptor.name), quote(text));
        InvalidDescriptor(format!("plugin {name} has invalid semver version {text}: {reason}"))
    })
}

fn read_version(text: &str) -> Result<String, &'static str> {
    const INVALID: &str = "invalid semantic version";
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(t, p)| (t, Some(p)));
    let named = |part: &str| {
        part.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let mut numbers = [0_u64; 3];
    let mut parts = core.split('.');
    for (i, number) in numbers.iter_mut().enumerate() {
        match parts.next() {
            Some(part) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
                *number = part.parse().map_err(|_| INVALID)?;
            }
            None if i > 0 => {}
            _ => return Err(INVALID),
        }
    }
    if parts.next().is_some() || !pre.is_none_or(named) || !build.is_none_or(named) {
        return Err(INVALID);
    }
    if let Some(pre) = pre {
        let zero = |p: &str| p.len() > 1 && p.starts_with('0') && p.bytes().all(|b| b.is_ascii_digit());
        if pre.split('.').any(zero) {
            return Err("version segment starts with 0");
        }
    }
    let [major, minor, patch] = numbers;
    let pre = pre.map(|p| format!("-{p}")).unwrap_or_default();
    let build = build.map(|b| format!("+{b}")).unwrap_or_default();
    Ok(format!("{major}.{minor}.{patch}{pre}{build}"))
}

/// Judges a descriptor whose version was read already.
///
/// # Errors
///
/// The first rule that it breaks; all rules for outputs at once.
pub(super) fn judge(descriptor: &Descriptor, version: Option<String>) -> Result<Judged, InvalidDescriptor> {
    let fail = |text: &str| Err(InvalidDescriptor(text.to_owned()));
    if descriptor.name.is_empty() {
        return fail("provider name cannot be empty");
    }
    if descriptor.api_version.is_empty() {
        return fail("provider APIVersion cannot be empty");
    }
    let Some(version) = version else { return fail("provider version cannot be nil") };
    if descriptor.description.is_empty() {
        return fail("provider description cannot be empty");
    }
    if descriptor.capabilities.is_empty() {
        return fail("provider must declare at least one capability");
    }
    if let Some((i, capability)) = descriptor.capabilities.iter().enumerate().find(|(_, c)| !c.is_known()) {
        return fail(&format!("capability at index {i} ({}) is not valid", quote(capability.as_str())));
    }
    let schema = match &descriptor.schema {
        None => None,
        Some(text) if text.as_str().trim() == "null" => None,
        Some(text) => {
            let read = InputSchema::read(text);
            Some(read.map_err(|e| InvalidDescriptor(format!("input schema is not a JSON Schema: {e}")))?)
        }
    };
    for (name, property) in schema.iter().flat_map(|s| &s.properties).flatten() {
        let kind = property.kind.as_str();
        if !["string", "integer", "number", "boolean", "array", "object", ""].contains(&kind) {
            return fail(&format!("property {} has invalid type {}", quote(name), quote(kind)));
        }
    }
    match outputs(descriptor) {
        errors if errors.is_empty() => Ok(Judged { version, schema }),
        errors => fail(&format!("output schema validation failed: {}", errors.join("\n"))),
    }
}

/// Returns every rule for outputs that a descriptor breaks.
fn outputs(descriptor: &Descriptor) -> Vec<String> {
    // Upstream tells a map that is absent from one that is empty; the wire does not, and neither
    // does a component's descriptor.
    if descriptor.output_schemas.is_empty() {
        return vec!["descriptor must define OutputSchemas".to_owned()];
    }
    let mut errors = Vec::new();
    let mut judged = BTreeSet::new();
    // Each once: a plugin may repeat a capability as often as it likes, and each time the schema is read.
    for capability in &descriptor.capabilities {
        if !judged.insert(capability) {
            continue;
        }
        let named = quote(capability.as_str());
        let Some(schema) = descriptor.output_schemas.get(capability) else {
            errors.push(format!("missing output schema for capability {named}"));
            continue;
        };
        let properties = property_types(schema);
        for (field, wanted) in required_outputs(capability) {
            match properties.get(*field) {
                None => errors.push(format!("capability {named} requires output field {}", quote(field))),
                Some(got) if got != wanted => errors.push(format!(
                    "capability {named} field {} must be type {}, got {}",
                    quote(field),
                    quote(wanted),
                    quote(got)
                )),
                Some(_) => {}
            }
        }
    }
    let mut seen = BTreeSet::new();
    for operation in descriptor.write_operations.iter().flatten() {
        if operation.is_empty() {
            errors.push("WriteOperations must not contain empty strings".to_owned());
            break;
        }
        if !seen.insert(operation) {
            errors.push(format!("WriteOperations contains duplicate entry {}", quote(operation)));
        }
    }
    errors
}

/// What an output has to have, by capability, in the order in which upstream asks.
fn required_outputs(capability: &Capability) -> &'static [(&'static str, &'static str)] {
    match capability.as_str() {
        "validation" => &[("errors", "array"), ("valid", "boolean")],
        "authentication" => &[("authenticated", "boolean"), ("token", "string")],
        "action" | "state" | "kubeconfig" => &[("success", "boolean")],
        _ => &[],
    }
}

fn property_types(schema: &Json) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        properties: Option<BTreeMap<String, &'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    let head: Option<Head<'_>> = serde_json::from_str(schema.as_str()).ok();
    let properties = head.and_then(|h| h.properties).unwrap_or_default();
    properties
        .into_iter()
        .filter(|(_, schema)| schema.get() != "null")
        .map(|(name, schema)| {
            let typed: Option<Typed> = serde_json::from_str(schema.get()).ok();
            (name, typed.map(|t| t.kind).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::in_time;

    use super::*;

    fn good() -> Descriptor {
        Descriptor {
            name: "echo".to_owned(),
            description: "Says it again.".to_owned(),
            version: "v1.2".to_owned(),
            api_version: "v1".to_owned(),
            capabilities: vec![Capability::FROM],
            output_schemas: BTreeMap::from([(Capability::FROM, Json::from_text("{}"))]),
            ..Descriptor::default()
        }
    }

    fn check(change: impl FnOnce(&mut Descriptor), expected: &str) {
        let mut descriptor = good();
        change(&mut descriptor);
        let judged = version(&descriptor).and_then(|v| judge(&descriptor, v));
        let said = judged.map(|j| j.version).unwrap_or_else(|e| e.to_string());
        assert_eq!(said, expected);
    }

    /// Contract item 85, and the rules of contract spec 6.2.
    #[test]
    fn a_descriptor_is_judged_by_upstreams_rules() {
        check(|_| {}, "1.2.0");
        check(|d| d.name.clear(), "provider name cannot be empty");
        check(|d| d.api_version.clear(), "provider APIVersion cannot be empty");
        check(|d| d.version.clear(), "provider version cannot be nil");
        check(|d| d.description.clear(), "provider description cannot be empty");
        check(|d| d.capabilities.clear(), "provider must declare at least one capability");
        check(
            |d| d.capabilities.push(Capability::new("fly")),
            "capability at index 1 (\"fly\") is not valid",
        );
        check(
            |d| d.schema = Some(Json::from_text(r#"{"properties":{"p":{"type":"null"}}}"#)),
            "property \"p\" has invalid type \"null\"",
        );
        check(
            |d| d.schema = Some(Json::from_text(r#"{"properties":{"p":{"type":["null"]},"q":true}}"#)),
            "1.2.0",
        );
    }

    #[test]
    fn a_version_is_read_as_upstream_reads_it() {
        for (text, expected) in [
            ("1", "1.0.0"),
            ("v1.2.3-rc.1+b.7", "1.2.3-rc.1+b.7"),
            ("01.2", "1.2.0"),
            ("latest", "plugin \"echo\" has invalid semver version \"latest\": invalid semantic version"),
            ("1.2.3.4", "plugin \"echo\" has invalid semver version \"1.2.3.4\": invalid semantic version"),
            ("1.2.3-", "plugin \"echo\" has invalid semver version \"1.2.3-\": invalid semantic version"),
            (
                "1.2-01",
                "plugin \"echo\" has invalid semver version \"1.2-01\": version segment starts with 0",
            ),
        ] {
            check(|d| d.version = text.to_owned(), expected);
        }
    }

    #[test]
    fn outputs_are_judged_all_at_once() {
        let schemas = |pairs: &[(Capability, &str)]| {
            pairs.iter().map(|(c, s)| (c.clone(), Json::from_text(*s))).collect::<BTreeMap<_, _>>()
        };
        let all = |text: &str| format!("output schema validation failed: {text}");
        check(|d| d.output_schemas.clear(), &all("descriptor must define OutputSchemas"));
        check(
            |d| {
                d.capabilities = vec![Capability::FROM, Capability::VALIDATION, Capability::ACTION];
                d.output_schemas = schemas(&[
                    (Capability::VALIDATION, r#"{"properties":{"valid":{"type":"string"}}}"#),
                    (Capability::ACTION, r#"{"properties":{"success":{"type":"boolean"}}}"#),
                ]);
            },
            &all("missing output schema for capability \"from\"\n\
                 capability \"validation\" requires output field \"errors\"\n\
                 capability \"validation\" field \"valid\" must be type \"boolean\", got \"string\""),
        );
        for later in [Capability::STATE, Capability::KUBECONFIG] {
            let lacking = format!("capability \"{later}\" requires output field \"success\"");
            check(
                |d| {
                    d.capabilities = vec![later.clone()];
                    d.output_schemas = schemas(&[(later.clone(), "{}")]);
                },
                &all(&lacking),
            );
        }
        let twice =
            |d: &mut Descriptor| d.write_operations = Some(["a", "a", ""].map(str::to_owned).to_vec());
        let said =
            "WriteOperations contains duplicate entry \"a\"\nWriteOperations must not contain empty strings";
        check(twice, &all(said));
    }

    /// It would not end, were everything in it looked at once for everything else.
    #[test]
    fn a_descriptor_may_be_long() {
        in_time(|| {
            let properties: Vec<_> = (0..50_000).map(|n| format!("\"{n}\":{{}}")).collect();
            let schema = format!(
                "{{\"properties\":{{\"success\":{{\"type\":\"boolean\"}},{}}}}}",
                properties.join(",")
            );
            let long = |d: &mut Descriptor| {
                d.capabilities = vec![Capability::ACTION; 50_000];
                d.output_schemas = BTreeMap::from([(Capability::ACTION, Json::from_text(schema))]);
                d.write_operations = Some((0..500_000).map(|n| n.to_string()).collect());
            };
            check(long, "1.2.0");
        });
    }
}
