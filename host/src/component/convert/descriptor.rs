//! What a guest says of its providers.

use portcullis_contract::{Capability, Contact, Descriptor, Example, Link, Operation};

use crate::component::bindings::portcullis::plugin::types;
use crate::component::convert::{ConvertError, all, each, json};

impl TryFrom<types::Descriptor> for Descriptor {
    type Error = ConvertError;

    fn try_from(from: types::Descriptor) -> Result<Self, ConvertError> {
        let types::Descriptor {
            name,
            display_name,
            description,
            version,
            category,
            capabilities,
            api_version,
            schema,
            output_schemas,
            sensitive_fields,
            write_operations,
            operations,
            has_extract_dependencies,
            tags,
            icon,
            links,
            examples,
            maintainers,
            deprecated,
            beta,
        } = from;
        let output_schema = |types::OutputSchema { capability, schema }| {
            Ok((Capability::new(capability), json("an output schema", schema)?))
        };
        Ok(Self {
            name,
            display_name,
            description,
            version,
            category,
            capabilities: capabilities.into_iter().map(Capability::new).collect(),
            api_version,
            schema: schema.map(|text| json("the schema of the input", text)).transpose()?,
            output_schemas: output_schemas
                .into_iter()
                .map(output_schema)
                .collect::<Result<_, ConvertError>>()?,
            sensitive_fields,
            write_operations,
            operations: all(operations)?,
            has_extract_dependencies,
            tags,
            icon,
            links: each(links),
            examples: each(examples),
            maintainers: each(maintainers),
            deprecated,
            beta,
        })
    }
}

impl TryFrom<types::Operation> for Operation {
    type Error = ConvertError;

    fn try_from(from: types::Operation) -> Result<Self, ConvertError> {
        let types::Operation {
            name,
            display_name,
            description,
            capabilities,
            is_write,
            input_schema,
            output_schema,
            examples,
            tags,
            deprecated,
            deprecation_message,
        } = from;
        let schema = |text| json("the schema of an operation", text);
        Ok(Self {
            name,
            display_name,
            description,
            capabilities: capabilities.into_iter().map(Capability::new).collect(),
            is_write,
            input_schema: input_schema.map(schema).transpose()?,
            output_schema: output_schema.map(schema).transpose()?,
            examples: each(examples),
            tags,
            deprecated,
            deprecation_message,
        })
    }
}

impl From<types::Link> for Link {
    fn from(types::Link { name, url }: types::Link) -> Self {
        Self { name, url }
    }
}

impl From<types::Example> for Example {
    fn from(types::Example { name, description, yaml }: types::Example) -> Self {
        Self { name, description, yaml }
    }
}

impl From<types::Contact> for Contact {
    fn from(types::Contact { name, email }: types::Contact) -> Self {
        Self { name, email }
    }
}
