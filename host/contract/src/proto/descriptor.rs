//! What a provider says of itself, to and from the wire (contract spec 1.2 and 2.4).

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use portcullis_proto as proto;

use super::{ConvertError, schema, to_bytes, to_optional_bytes};
use crate::{Capability, Contact, Descriptor, Example, Json, Link, Operation};

impl TryFrom<proto::GetProviderDescriptorResponse> for Descriptor {
    type Error = ConvertError;

    fn try_from(response: proto::GetProviderDescriptorResponse) -> Result<Self, ConvertError> {
        let descriptor = response.descriptor.ok_or(ConvertError::Missing { field: "descriptor" })?;
        Ok(descriptor.into())
    }
}

impl From<Descriptor> for proto::GetProviderDescriptorResponse {
    fn from(descriptor: Descriptor) -> Self {
        Self { descriptor: Some(descriptor.into()) }
    }
}

/// Takes a descriptor as it is, and drops schemas that are not valid ones.
impl From<proto::ProviderDescriptor> for Descriptor {
    fn from(descriptor: proto::ProviderDescriptor) -> Self {
        Self {
            name: descriptor.name,
            display_name: descriptor.display_name,
            description: descriptor.description,
            version: descriptor.version,
            category: descriptor.category,
            capabilities: from_names(descriptor.capabilities),
            api_version: descriptor.api_version,
            schema: schema::read(descriptor.raw_schema, descriptor.schema),
            output_schemas: output_schemas(descriptor.raw_output_schemas, &descriptor.output_schemas),
            sensitive_fields: descriptor.sensitive_fields,
            write_operations: (!descriptor.write_operations.is_empty())
                .then_some(descriptor.write_operations),
            operations: descriptor.operations.into_iter().map(Operation::from).collect(),
            has_extract_dependencies: descriptor.has_extract_dependencies,
            tags: descriptor.tags,
            icon: descriptor.icon,
            links: descriptor.links.into_iter().map(Link::from).collect(),
            examples: descriptor.examples.into_iter().map(Example::from).collect(),
            maintainers: descriptor.maintainers.into_iter().map(Contact::from).collect(),
            deprecated: descriptor.deprecated,
            beta: descriptor.beta,
        }
    }
}

/// Writes schemas in both forms.
impl From<Descriptor> for proto::ProviderDescriptor {
    fn from(descriptor: Descriptor) -> Self {
        let structured = descriptor
            .output_schemas
            .iter()
            .filter_map(|(of, text)| Some((of.as_str().to_owned(), schema::to_structured(text)?)))
            .collect();
        let raw = descriptor
            .output_schemas
            .into_iter()
            .map(|(of, text)| (of.as_str().to_owned(), to_bytes(text)))
            .collect();
        Self {
            name: descriptor.name,
            display_name: descriptor.display_name,
            description: descriptor.description,
            version: descriptor.version,
            category: descriptor.category,
            capabilities: to_names(descriptor.capabilities),
            schema: descriptor.schema.as_ref().and_then(schema::to_structured),
            output_schemas: structured,
            api_version: descriptor.api_version,
            sensitive_fields: descriptor.sensitive_fields,
            tags: descriptor.tags,
            icon: descriptor.icon,
            links: descriptor.links.into_iter().map(proto::Link::from).collect(),
            examples: descriptor.examples.into_iter().map(proto::Example::from).collect(),
            maintainers: descriptor.maintainers.into_iter().map(proto::Contact::from).collect(),
            deprecated: descriptor.deprecated,
            beta: descriptor.beta,
            raw_schema: to_optional_bytes(descriptor.schema),
            raw_output_schemas: raw,
            has_extract_dependencies: descriptor.has_extract_dependencies,
            write_operations: descriptor.write_operations.unwrap_or_default(),
            operations: descriptor.operations.into_iter().map(proto::OperationDescriptor::from).collect(),
        }
    }
}

/// Reads the schemas of outputs. Any text at all, even an invalid one, hides the whole structured map, as upstream.
fn output_schemas(
    raw: HashMap<String, Bytes>,
    structured: &HashMap<String, proto::Schema>,
) -> BTreeMap<Capability, Json> {
    if raw.is_empty() {
        let schemas = structured.iter();
        return schemas.map(|(of, s)| (Capability::new(of.as_str()), schema::from_structured(s))).collect();
    }
    raw.into_iter().filter_map(|(of, text)| Some((Capability::new(of), schema::raw_schema(text)?))).collect()
}

fn from_names(names: Vec<String>) -> Vec<Capability> {
    names.into_iter().map(Capability::new).collect()
}

fn to_names(capabilities: Vec<Capability>) -> Vec<String> {
    capabilities.iter().map(ToString::to_string).collect()
}

impl From<proto::OperationDescriptor> for Operation {
    fn from(operation: proto::OperationDescriptor) -> Self {
        Self {
            name: operation.name,
            display_name: operation.display_name,
            description: operation.description,
            capabilities: from_names(operation.capabilities),
            is_write: operation.is_write,
            input_schema: schema::raw_schema(operation.input_schema),
            output_schema: schema::raw_schema(operation.output_schema),
            examples: operation.examples.into_iter().map(Example::from).collect(),
            tags: operation.tags,
            deprecated: operation.deprecated,
            deprecation_message: operation.deprecation_message,
        }
    }
}

impl From<Operation> for proto::OperationDescriptor {
    fn from(operation: Operation) -> Self {
        Self {
            name: operation.name,
            display_name: operation.display_name,
            description: operation.description,
            capabilities: to_names(operation.capabilities),
            is_write: operation.is_write,
            input_schema: to_optional_bytes(operation.input_schema),
            output_schema: to_optional_bytes(operation.output_schema),
            examples: operation.examples.into_iter().map(proto::Example::from).collect(),
            tags: operation.tags,
            deprecated: operation.deprecated,
            deprecation_message: operation.deprecation_message,
        }
    }
}

impl From<proto::Link> for Link {
    fn from(link: proto::Link) -> Self {
        let proto::Link { name, url } = link;
        Self { name, url }
    }
}

impl From<Link> for proto::Link {
    fn from(link: Link) -> Self {
        let Link { name, url } = link;
        Self { name, url }
    }
}

impl From<proto::Example> for Example {
    fn from(example: proto::Example) -> Self {
        let proto::Example { name, description, yaml } = example;
        Self { name, description, yaml }
    }
}

impl From<Example> for proto::Example {
    fn from(example: Example) -> Self {
        let Example { name, description, yaml } = example;
        Self { name, description, yaml }
    }
}

impl From<proto::Contact> for Contact {
    fn from(contact: proto::Contact) -> Self {
        let proto::Contact { name, email } = contact;
        Self { name, email }
    }
}

impl From<Contact> for proto::Contact {
    fn from(contact: Contact) -> Self {
        let Contact { name, email } = contact;
        Self { name, email }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).into()
    }

    fn example(name: &str) -> Example {
        Example { name: name.to_owned(), description: format!("{name} d"), yaml: format!("{name} y") }
    }

    fn full() -> Descriptor {
        Descriptor {
            name: "name".to_owned(),
            display_name: "display".to_owned(),
            description: "description".to_owned(),
            version: "1.2.3".to_owned(),
            category: "category".to_owned(),
            capabilities: vec![Capability::ACTION, Capability::new("unknown")],
            api_version: "v1".to_owned(),
            schema: Some(Json::from_text(r#"{"properties":{"a":{"maximum":1e400,"default":1.0}}, "x":-0}"#)),
            output_schemas: [
                (Capability::FROM, Json::from_text(r#"{"properties":{"b":{"type":"string"}}}"#)),
                (Capability::TRANSFORM, Json::from_text("true")),
            ]
            .into(),
            sensitive_fields: texts(["s1", "s2"]),
            write_operations: Some(texts(["w1", "w2"])),
            operations: vec![Operation {
                name: "op".to_owned(),
                display_name: "op display".to_owned(),
                description: "op description".to_owned(),
                capabilities: vec![Capability::VALIDATION],
                is_write: true,
                input_schema: Some(Json::from_text(r#"{"in":1}"#)),
                output_schema: Some(Json::from_text(r#"{"out":1}"#)),
                examples: vec![example("op example")],
                tags: texts(["op tag"]),
                deprecated: true,
                deprecation_message: "op message".to_owned(),
            }],
            has_extract_dependencies: true,
            tags: texts(["t1", "t2"]),
            icon: "icon".to_owned(),
            links: vec![Link { name: "link".to_owned(), url: "url".to_owned() }],
            examples: vec![example("e1"), example("e2")],
            maintainers: vec![Contact { name: "who".to_owned(), email: "mail".to_owned() }],
            deprecated: true,
            beta: true,
        }
    }

    #[test]
    fn every_field_of_a_descriptor_survives_both_ways() {
        let message = proto::GetProviderDescriptorResponse::from(full());
        let back = Descriptor::try_from(message.clone()).expect("there is a descriptor");
        assert_eq!(back, full());
        assert_eq!(proto::GetProviderDescriptorResponse::from(back), message);
    }

    /// A test with every field set would not show that a missing flag is read as true.
    #[test]
    fn an_empty_descriptor_survives_both_ways() {
        let empty = Descriptor { api_version: String::new(), ..Descriptor::default() };
        let message = proto::ProviderDescriptor::from(empty.clone());
        assert_eq!(message, proto::ProviderDescriptor::default());
        assert_eq!(Descriptor::from(message), empty);
    }

    /// Contract item 56.
    #[test]
    fn schemas_are_written_in_both_forms() {
        let message = proto::ProviderDescriptor::from(full());
        assert!(message.raw_schema.starts_with(b"{\"properties\""));
        assert!(message.schema.is_some_and(|s| s.parameters.contains_key("a")));
        assert_eq!(message.raw_output_schemas.len(), 2);
        assert_eq!(message.output_schemas.len(), 1, "one of the two has no properties");
    }

    fn structured() -> proto::Schema {
        proto::Schema { parameters: [("p".to_owned(), proto::Parameter::default())].into() }
    }

    const OF_STRUCTURED: &str = r#"{"type":"object","properties":{"p":{}}}"#;

    /// Contract item 86.
    #[test]
    fn a_text_that_is_no_schema_gives_way_to_the_structured_form() {
        for raw in [&b""[..], b"{", b"[]"] {
            let message = proto::ProviderDescriptor {
                raw_schema: Bytes::from_static(raw),
                schema: Some(structured()),
                ..Default::default()
            };
            assert_eq!(Descriptor::from(message).schema, Some(Json::from_text(OF_STRUCTURED)));
        }
        let message =
            proto::ProviderDescriptor { raw_schema: Bytes::from_static(b"{"), ..Default::default() };
        assert_eq!(Descriptor::from(message).schema, None);
    }

    /// Contract item 87.
    #[test]
    fn any_text_of_an_output_schema_hides_all_structured_ones() {
        let mut message = proto::ProviderDescriptor {
            output_schemas: [("from".to_owned(), structured())].into(),
            ..Default::default()
        };
        let of_structured = [(Capability::FROM, Json::from_text(OF_STRUCTURED))].into();
        assert_eq!(Descriptor::from(message.clone()).output_schemas, of_structured);

        message.raw_output_schemas = [
            ("action".to_owned(), Bytes::from_static(b"{}")),
            ("transform".to_owned(), Bytes::from_static(b"{")),
        ]
        .into();
        let of_raw = [(Capability::ACTION, Json::from_text("{}"))].into();
        assert_eq!(Descriptor::from(message).output_schemas, of_raw);
    }

    /// Contract item 89.
    #[test]
    fn a_response_without_a_descriptor_is_an_error() {
        let error = Descriptor::try_from(proto::GetProviderDescriptorResponse { descriptor: None });
        assert_eq!(error.expect_err("it is missing").to_string(), "descriptor is missing");
    }
}
