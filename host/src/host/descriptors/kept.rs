//! The form on disk of what is kept of a plugin and of its file: plain mirrors of the contract's types.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use portcullis_contract::{
    AuthCapability, Capability, Contact, Descriptor, Example, Flow, HandlerInfo, HandlerName, Json, Link,
    Operation, ProviderName,
};
use serde::{Deserialize, Serialize};

use super::Described;

/// Changes with the form of what is kept.
pub(super) const VERSION: u32 = 2;

/// What a plugin said of itself, and in which form it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    offers: KeptOffers,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptOffers {
    Providers(Vec<KeptProvider>),
    AuthHandlers(Vec<KeptHandler>),
}

impl Kept {
    /// Returns what was kept, unless another version wrote it.
    pub(super) fn into_described(self) -> Option<Described> {
        let Self { version, offers } = self;
        (version == VERSION).then(|| match offers {
            KeptOffers::Providers(all) => {
                let all = all.into_iter().map(|p| (ProviderName::new(p.advertised), p.descriptor.into()));
                Described::Providers(all.collect())
            }
            KeptOffers::AuthHandlers(all) => {
                Described::AuthHandlers(all.into_iter().map(HandlerInfo::from).collect())
            }
        })
    }
}

impl From<&Described> for Kept {
    fn from(described: &Described) -> Self {
        let offers = match described {
            Described::Providers(all) => {
                let keep = |(name, d): &(ProviderName, Descriptor)| KeptProvider {
                    advertised: name.as_str().to_owned(),
                    descriptor: d.into(),
                };
                KeptOffers::Providers(all.iter().map(keep).collect())
            }
            Described::AuthHandlers(all) => {
                KeptOffers::AuthHandlers(all.iter().map(KeptHandler::from).collect())
            }
        };
        Self { version: VERSION, offers }
    }
}

/// Which digest a path had.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptFile {
    pub(super) path: Vec<u8>,
    pub(super) looks: Looks,
    pub(super) digest: String,
}

/// How a file looks from outside.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looks {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Looks {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct KeptHandler {
    name: String,
    display_name: String,
    flows: Vec<String>,
    capabilities: Vec<String>,
}

impl From<&HandlerInfo> for KeptHandler {
    fn from(info: &HandlerInfo) -> Self {
        Self {
            name: info.name.as_str().to_owned(),
            display_name: info.display_name.clone(),
            flows: info.flows.iter().map(|flow| flow.as_str().to_owned()).collect(),
            capabilities: info.capabilities.iter().map(|c| c.as_str().to_owned()).collect(),
        }
    }
}

impl From<KeptHandler> for HandlerInfo {
    fn from(kept: KeptHandler) -> Self {
        Self {
            name: HandlerName::new(kept.name),
            display_name: kept.display_name,
            flows: kept.flows.into_iter().map(Flow::new).collect(),
            capabilities: kept.capabilities.into_iter().map(AuthCapability::new).collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct KeptProvider {
    advertised: String,
    descriptor: KeptDescriptor,
}

#[derive(Serialize, Deserialize)]
struct KeptDescriptor {
    name: String,
    display_name: String,
    description: String,
    version: String,
    category: String,
    capabilities: Vec<String>,
    api_version: String,
    schema: Option<String>,
    output_schemas: BTreeMap<String, String>,
    sensitive_fields: Vec<String>,
    write_operations: Option<Vec<String>>,
    operations: Vec<KeptOperation>,
    has_extract_dependencies: bool,
    tags: Vec<String>,
    icon: String,
    links: Vec<[String; 2]>,
    examples: Vec<[String; 3]>,
    maintainers: Vec<[String; 2]>,
    deprecated: bool,
    beta: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptOperation {
    name: String,
    display_name: String,
    description: String,
    capabilities: Vec<String>,
    is_write: bool,
    input_schema: Option<String>,
    output_schema: Option<String>,
    examples: Vec<[String; 3]>,
    tags: Vec<String>,
    deprecated: bool,
    deprecation_message: String,
}

fn capability_names(capabilities: &[Capability]) -> Vec<String> {
    capabilities.iter().map(|c| c.as_str().to_owned()).collect()
}

fn capabilities(names: Vec<String>) -> Vec<Capability> {
    names.into_iter().map(Capability::new).collect()
}

fn kept_text(json: Option<&Json>) -> Option<String> {
    json.map(|j| j.as_str().to_owned())
}

fn kept_examples(examples: &[Example]) -> Vec<[String; 3]> {
    examples.iter().map(|e| [e.name.clone(), e.description.clone(), e.yaml.clone()]).collect()
}

fn examples(kept: Vec<[String; 3]>) -> Vec<Example> {
    kept.into_iter().map(|[name, description, yaml]| Example { name, description, yaml }).collect()
}

impl From<&Descriptor> for KeptDescriptor {
    fn from(d: &Descriptor) -> Self {
        let schemas = d.output_schemas.iter();
        Self {
            name: d.name.clone(),
            display_name: d.display_name.clone(),
            description: d.description.clone(),
            version: d.version.clone(),
            category: d.category.clone(),
            capabilities: capability_names(&d.capabilities),
            api_version: d.api_version.clone(),
            schema: kept_text(d.schema.as_ref()),
            output_schemas: schemas.map(|(c, s)| (c.as_str().to_owned(), s.as_str().to_owned())).collect(),
            sensitive_fields: d.sensitive_fields.clone(),
            write_operations: d.write_operations.clone(),
            operations: d.operations.iter().map(KeptOperation::from).collect(),
            has_extract_dependencies: d.has_extract_dependencies,
            tags: d.tags.clone(),
            icon: d.icon.clone(),
            links: d.links.iter().map(|l| [l.name.clone(), l.url.clone()]).collect(),
            examples: kept_examples(&d.examples),
            maintainers: d.maintainers.iter().map(|m| [m.name.clone(), m.email.clone()]).collect(),
            deprecated: d.deprecated,
            beta: d.beta,
        }
    }
}

impl From<KeptDescriptor> for Descriptor {
    fn from(d: KeptDescriptor) -> Self {
        let schemas = d.output_schemas.into_iter();
        Self {
            name: d.name,
            display_name: d.display_name,
            description: d.description,
            version: d.version,
            category: d.category,
            capabilities: capabilities(d.capabilities),
            api_version: d.api_version,
            schema: d.schema.map(Json::from_text),
            output_schemas: schemas.map(|(c, s)| (Capability::new(c), Json::from_text(s))).collect(),
            sensitive_fields: d.sensitive_fields,
            write_operations: d.write_operations,
            operations: d.operations.into_iter().map(Operation::from).collect(),
            has_extract_dependencies: d.has_extract_dependencies,
            tags: d.tags,
            icon: d.icon,
            links: d.links.into_iter().map(|[name, url]| Link { name, url }).collect(),
            examples: examples(d.examples),
            maintainers: d.maintainers.into_iter().map(|[name, email]| Contact { name, email }).collect(),
            deprecated: d.deprecated,
            beta: d.beta,
        }
    }
}

impl From<&Operation> for KeptOperation {
    fn from(o: &Operation) -> Self {
        Self {
            name: o.name.clone(),
            display_name: o.display_name.clone(),
            description: o.description.clone(),
            capabilities: capability_names(&o.capabilities),
            is_write: o.is_write,
            input_schema: kept_text(o.input_schema.as_ref()),
            output_schema: kept_text(o.output_schema.as_ref()),
            examples: kept_examples(&o.examples),
            tags: o.tags.clone(),
            deprecated: o.deprecated,
            deprecation_message: o.deprecation_message.clone(),
        }
    }
}

impl From<KeptOperation> for Operation {
    fn from(o: KeptOperation) -> Self {
        Self {
            name: o.name,
            display_name: o.display_name,
            description: o.description,
            capabilities: capabilities(o.capabilities),
            is_write: o.is_write,
            input_schema: o.input_schema.map(Json::from_text),
            output_schema: o.output_schema.map(Json::from_text),
            examples: examples(o.examples),
            tags: o.tags,
            deprecated: o.deprecated,
            deprecation_message: o.deprecation_message,
        }
    }
}
