//! A provider as data: what it says of itself, in the keys of upstream's `get provider`.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::host::Offer;
use portcullis_contract::{Contact, Example, Json, Link, Operation};
use serde::Serialize;
use serde_json::value::RawValue;

/// A provider, as upstream's `get provider` shows it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Provider<'a> {
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) display_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) capabilities: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    category: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    icon: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deprecated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) beta: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    output_schemas: BTreeMap<&'a str, Box<RawValue>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) sensitive_fields: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    write_operations: Option<&'a [String]>,
    /// All that are held to be such, whichever part of the descriptor says so.
    #[serde(skip)]
    pub(crate) writes: BTreeSet<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    operations: Vec<BTreeMap<&'static str, serde_json::Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    maintainers: Vec<BTreeMap<&'static str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'a str>,
}

impl<'a> Provider<'a> {
    pub(super) fn new(offer: &'a Offer) -> Self {
        let hidden_by = offer.taken_by.as_ref().map(|path| path.display().to_string());
        let d = match &offer.descriptor {
            Ok(descriptor) => descriptor,
            Err(problem) => {
                let name = offer.advertised.as_str();
                return Self { name, hidden_by, problem: Some(problem), ..Self::default() };
            }
        };
        let listed = d.write_operations.iter().flatten();
        let marked =
            d.operations.iter().filter(|operation| operation.is_write).map(|operation| &operation.name);
        Self {
            name: &d.name,
            display_name: &d.display_name,
            api_version: &d.api_version,
            version: &d.version,
            description: &d.description,
            capabilities: d.capabilities.iter().map(portcullis_contract::Capability::as_str).collect(),
            category: &d.category,
            tags: &d.tags,
            icon: &d.icon,
            deprecated: d.deprecated,
            beta: d.beta,
            schema: d.schema.as_ref().and_then(raw),
            output_schemas: d
                .output_schemas
                .iter()
                .filter_map(|(capability, schema)| Some((capability.as_str(), raw(schema)?)))
                .collect(),
            sensitive_fields: &d.sensitive_fields,
            write_operations: d.write_operations.as_deref(),
            writes: listed.chain(marked).map(String::as_str).collect(),
            operations: d.operations.iter().map(operation).collect(),
            links: d.links.iter().map(|Link { name, url }| pairs([("name", name), ("url", url)])).collect(),
            examples: d
                .examples
                .iter()
                .map(|Example { name, description, yaml }| {
                    pairs([("name", name), ("description", description), ("yaml", yaml)])
                })
                .collect(),
            maintainers: d
                .maintainers
                .iter()
                .map(|Contact { name, email }| pairs([("name", name), ("email", email)]))
                .collect(),
            hidden_by,
            problem: None,
        }
    }
}

/// Returns a schema as it was written; what is not even JSON is left out.
fn raw(schema: &Json) -> Option<Box<RawValue>> {
    RawValue::from_string(schema.as_str().to_owned()).ok()
}

fn pairs<'a, const N: usize>(all: [(&'static str, &'a String); N]) -> BTreeMap<&'static str, &'a str> {
    all.into_iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key, text.as_str())).collect()
}

fn operation(operation: &Operation) -> BTreeMap<&'static str, serde_json::Value> {
    let mut all = BTreeMap::from([
        ("name", operation.name.clone().into()),
        ("isWrite", operation.is_write.into()),
        ("capabilities", operation.capabilities.iter().map(|c| c.as_str().to_owned()).collect()),
    ]);
    if !operation.description.is_empty() {
        all.insert("description", operation.description.clone().into());
    }
    if operation.deprecated {
        all.insert("deprecated", true.into());
    }
    if !operation.deprecation_message.is_empty() {
        all.insert("deprecationMessage", operation.deprecation_message.clone().into());
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_is_deprecated_or_not_whatever_is_to_be_used_instead() {
        let check = |deprecated: bool, message: &str, expected: serde_json::Value| {
            let (name, deprecation_message) = ("op".to_owned(), message.to_owned());
            let told =
                operation(&Operation { name, deprecated, deprecation_message, ..Operation::default() });
            assert_eq!(json!(told), expected);
        };
        check(false, "", json!({"name": "op", "isWrite": false, "capabilities": []}));
        let mut gone = json!({"name": "op", "isWrite": false, "capabilities": [], "deprecated": true});
        check(true, "", gone.clone());
        gone["deprecationMessage"] = json!("use up");
        check(true, "use up", gone);
    }
}
