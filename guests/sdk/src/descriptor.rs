//! What a provider says of itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::Json;

/// What a provider says of itself.
///
/// Hosts insist on a name, a version, an API version, a description, at least one capability, and an
/// output schema for each capability; everything else may stay as [`Default`] has it.
///
/// ```
/// use std::collections::BTreeMap;
/// use portcullis_sdk::{Capability, Descriptor, Json};
///
/// let descriptor = Descriptor {
///     name: "greet".into(),
///     description: "Says hello to somebody.".into(),
///     version: "1.0.0".into(),
///     schema: Some(Json::from_text(r#"{"type":"object","properties":{"name":{"type":"string"}}}"#)),
///     output_schemas: BTreeMap::from([(Capability::FROM, Json::from_text(r#"{"type":"string"}"#))]),
///     capabilities: vec![Capability::FROM],
///     ..Descriptor::default()
/// };
/// # assert_eq!(descriptor.api_version, "v1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The name that users write.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What it is about.
    pub description: String,
    /// A semantic version.
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
    /// An empty list means the same as `None`: the wire cannot tell them apart.
    pub write_operations: Option<Vec<String>>,
    /// Its operations one by one, if it describes them.
    pub operations: Vec<Operation>,
    /// Whether hosts should call [`extract_dependencies`](crate::Provider::extract_dependencies).
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

/// A mode in which a provider can be called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(Cow<'static, str>);

impl Capability {
    /// Produces a value.
    pub const FROM: Self = Self(Cow::Borrowed("from"));
    /// Changes a value.
    pub const TRANSFORM: Self = Self(Cow::Borrowed("transform"));
    /// Judges a value.
    pub const VALIDATION: Self = Self(Cow::Borrowed("validation"));
    /// Obtains a token.
    pub const AUTHENTICATION: Self = Self(Cow::Borrowed("authentication"));
    /// Changes the world.
    pub const ACTION: Self = Self(Cow::Borrowed("action"));
    /// Keeps the state of a solution.
    pub const STATE: Self = Self(Cow::Borrowed("state"));
    /// Reads and changes the configuration of clusters.
    pub const KUBECONFIG: Self = Self(Cow::Borrowed("kubeconfig"));

    /// Takes a name as it is.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

/// One operation of a provider that has several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its name: a value of the input `operation`.
    pub name: String,
    /// The name for people.
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

/// Where to read more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What is found there.
    pub name: String,
    /// Its address.
    pub url: String,
}

/// How a provider is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// What it shows, in a word.
    pub name: String,
    /// What it shows.
    pub description: String,
    /// The example, in YAML.
    pub yaml: String,
}

/// Who looks after a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
}
