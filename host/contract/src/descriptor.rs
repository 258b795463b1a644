//! What a provider says of itself (contract spec 1.2).
//!
//! A descriptor is kept as the plugin sent it. Whether it is a good one is for the registry to judge. The form that it has
//! for serde is the one in which a host keeps it between runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Capability, Json};

/// What a provider says of itself.
///
/// Hosts insist on a name, a version, an API version, a description, at least one capability, and an output schema for each
/// capability. Everything else may stay as [`Default`] has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The name it is registered under; not always the one it is advertised under.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What it is about.
    pub description: String,
    /// A semantic version as text; empty when the plugin named none.
    pub version: String,
    /// What it belongs to.
    pub category: String,
    /// The modes in which it can be called, first choice first.
    pub capabilities: Vec<Capability>,
    /// The contract's version: `v1` today.
    pub api_version: String,
    /// The JSON Schema of its input; `None` accepts anything.
    pub schema: Option<Json>,
    /// The JSON Schemas of its outputs, as objects with some properties: in `action`, `state` and `kubeconfig` a boolean
    /// `success`, in `validation` a boolean `valid` and an array `errors`, in `authentication` a boolean `authenticated` and a
    /// string `token`.
    pub output_schemas: BTreeMap<Capability, Json>,
    /// The names of inputs and outputs whose values are secret.
    pub sensitive_fields: Vec<String>,
    /// Values of the input `operation` that change something, and are refused outside of `action`, `state` and `kubeconfig`.
    ///
    /// `None` means unknown; an empty list means that all of them only read. The wire cannot tell the
    /// two apart, so a native plugin's empty list arrives as `None` (contract spec 2.4).
    pub write_operations: Option<Vec<String>>,
    /// Its operations one by one, if it describes them.
    pub operations: Vec<Operation>,
    /// Whether it implements [`extract_dependencies`](crate::Provider::extract_dependencies).
    pub has_extract_dependencies: bool,
    /// What else it belongs to.
    pub tags: Vec<String>,
    /// The address of a picture.
    pub icon: String,
    /// Where to read more.
    pub links: Vec<Link>,
    /// How it is used.
    pub examples: Vec<Example>,
    /// Who looks after it.
    pub maintainers: Vec<Contact>,
    /// Whether something better has taken its place.
    pub deprecated: bool,
    /// Whether it may still change.
    pub beta: bool,
}

/// Everything is empty except the API version, which is `v1`.
impl Default for Descriptor {
    fn default() -> Self {
        Self {
            name: String::new(),
            display_name: String::new(),
            description: String::new(),
            version: String::new(),
            category: String::new(),
            capabilities: Vec::new(),
            api_version: "v1".to_owned(),
            schema: None,
            output_schemas: BTreeMap::new(),
            sensitive_fields: Vec::new(),
            write_operations: None,
            operations: Vec::new(),
            has_extract_dependencies: false,
            tags: Vec::new(),
            icon: String::new(),
            links: Vec::new(),
            examples: Vec::new(),
            maintainers: Vec::new(),
            deprecated: false,
            beta: false,
        }
    }
}

/// One operation of a provider that has several (contract spec 1.9).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name: a value of the input `operation`.
    pub name: String,
    /// Its name for people.
    pub display_name: String,
    /// What it does.
    pub description: String,
    /// The modes in which it can be called.
    pub capabilities: Vec<Capability>,
    /// Whether it changes something.
    pub is_write: bool,
    /// The JSON Schema of its input.
    pub input_schema: Option<Json>,
    /// The JSON Schema of its output.
    pub output_schema: Option<Json>,
    /// How it is used.
    pub examples: Vec<Example>,
    /// What it belongs to.
    pub tags: Vec<String>,
    /// Whether something better has taken its place.
    pub deprecated: bool,
    /// What to use instead.
    pub deprecation_message: String,
}

/// Where more is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What is found there.
    pub name: String,
    /// Its address.
    pub url: String,
}

/// How a provider is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What it shows, in a word.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// The example, in YAML.
    pub yaml: String,
}

/// Who looks after a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
}
