//! Conversions between the SDK's types and the contract's. Every field is moved and not copied; JSON stays text.

mod auth;

use portcullis_contract as contract;
use portcullis_contract::CallError;

pub(super) use self::auth::{access_request, login_request};
use crate::{
    Capability, Configuration, Contact, Context, Descriptor, Diagnostic, Error, Example, Execute, Iteration,
    Json, Link, Operation, Output, Refusal, Settings, Severity, Solution,
};

// What a plugin is told.

impl From<contract::Json> for Json {
    fn from(json: contract::Json) -> Self {
        Self::from_text(json.into_string())
    }
}

impl From<contract::Settings> for Settings {
    fn from(settings: contract::Settings) -> Self {
        Self::from_json(contract::Json::object(&settings).into())
    }
}

impl From<contract::Configuration> for Configuration {
    fn from(configuration: contract::Configuration) -> Self {
        Self {
            quiet: configuration.quiet,
            no_color: configuration.no_color,
            binary_name: configuration.binary_name,
            settings: configuration.settings.into(),
            profile: configuration.profile,
            prompts_for_response: configuration.prompts_for_response,
        }
    }
}

impl From<contract::Execute> for Execute {
    fn from(execute: contract::Execute) -> Self {
        let contract::Execute { provider, input, context } = execute;
        Self { provider: provider.as_str().to_owned(), input: input.into(), context: context.into() }
    }
}

impl From<contract::Context> for Context {
    fn from(context: contract::Context) -> Self {
        Self {
            context: context.context.map(Json::from),
            dry_run: context.dry_run,
            mode: context.mode.map(|mode| Capability::new(mode.as_str())),
            working_directory: context.working_directory,
            output_directory: context.output_directory,
            conflict_strategy: context.conflict_strategy,
            backup: context.backup,
            iteration: context.iteration.map(Iteration::from),
            parameters: context.parameters.map(Json::from),
            solution: context.solution.map(Solution::from),
            auth_profile: context.auth_profile,
            settings: context.settings.into(),
        }
    }
}

impl From<contract::Iteration> for Iteration {
    fn from(iteration: contract::Iteration) -> Self {
        let contract::Iteration { item, index, item_alias, index_alias } = iteration;
        Self { item: item.map(Json::from), index, item_alias, index_alias }
    }
}

impl From<contract::Solution> for Solution {
    fn from(solution: contract::Solution) -> Self {
        let contract::Solution { name, version, display_name, description, category, tags, source } =
            solution;
        Self { name, version, display_name, description, category, tags, source }
    }
}

// What a plugin says.

impl From<Json> for contract::Json {
    fn from(json: Json) -> Self {
        Self::from_text(json.into_string())
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unimplemented => Self::Unimplemented,
            Error::Refused(Refusal { message, exit_code, diagnostics }) => {
                Self::Refused(contract::Refusal { message, exit_code, diagnostics: all(diagnostics) })
            }
        }
    }
}

impl From<Diagnostic> for contract::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic { severity, summary, detail, attribute } = diagnostic;
        let severity = match severity {
            Severity::Invalid => contract::Severity::Invalid,
            Severity::Error => contract::Severity::Error,
            Severity::Warning => contract::Severity::Warning,
        };
        Self { severity, summary, detail, attribute }
    }
}

impl From<Output> for contract::Output {
    fn from(output: Output) -> Self {
        let Output { data, warnings, metadata, streamed, diagnostics } = output;
        Self {
            data: data.into(),
            warnings,
            metadata: metadata.map(contract::Json::from),
            streamed,
            diagnostics: all(diagnostics),
        }
    }
}

impl From<Capability> for contract::Capability {
    fn from(capability: Capability) -> Self {
        Self::new(capability.into_string())
    }
}

impl From<Descriptor> for contract::Descriptor {
    fn from(descriptor: Descriptor) -> Self {
        let output_schemas = descriptor.output_schemas.into_iter();
        Self {
            name: descriptor.name,
            display_name: descriptor.display_name,
            description: descriptor.description,
            version: descriptor.version,
            category: descriptor.category,
            capabilities: all(descriptor.capabilities),
            api_version: descriptor.api_version,
            schema: descriptor.schema.map(contract::Json::from),
            output_schemas: output_schemas.map(|(of, schema)| (of.into(), schema.into())).collect(),
            sensitive_fields: descriptor.sensitive_fields,
            write_operations: descriptor.write_operations,
            operations: all(descriptor.operations),
            has_extract_dependencies: descriptor.has_extract_dependencies,
            tags: descriptor.tags,
            icon: descriptor.icon,
            links: all(descriptor.links),
            examples: all(descriptor.examples),
            maintainers: all(descriptor.maintainers),
            deprecated: descriptor.deprecated,
            beta: descriptor.beta,
        }
    }
}

impl From<Operation> for contract::Operation {
    fn from(operation: Operation) -> Self {
        Self {
            name: operation.name,
            display_name: operation.display_name,
            description: operation.description,
            capabilities: all(operation.capabilities),
            is_write: operation.is_write,
            input_schema: operation.input_schema.map(contract::Json::from),
            output_schema: operation.output_schema.map(contract::Json::from),
            examples: all(operation.examples),
            tags: operation.tags,
            deprecated: operation.deprecated,
            deprecation_message: operation.deprecation_message,
        }
    }
}

impl From<Link> for contract::Link {
    fn from(link: Link) -> Self {
        let Link { name, url } = link;
        Self { name, url }
    }
}

impl From<Example> for contract::Example {
    fn from(example: Example) -> Self {
        let Example { name, description, yaml } = example;
        Self { name, description, yaml }
    }
}

impl From<Contact> for contract::Contact {
    fn from(contact: Contact) -> Self {
        let Contact { name, email } = contact;
        Self { name, email }
    }
}

fn all<A: Into<B>, B>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_everything() {
        let refusal =
            Refusal::new("no").exit_code(4).diagnostic(Diagnostic::warning("w").detail("d").attribute("a"));
        let CallError::Refused(found) = CallError::from(Error::from(refusal)) else {
            panic!("it is refused")
        };
        let warning = contract::Diagnostic {
            severity: contract::Severity::Warning,
            summary: "w".to_owned(),
            detail: "d".to_owned(),
            attribute: "a".to_owned(),
        };
        let expected =
            contract::Refusal { message: "no".to_owned(), exit_code: Some(4), diagnostics: vec![warning] };
        assert_eq!(found, expected);
        assert!(matches!(CallError::from(Error::Unimplemented), CallError::Unimplemented));
    }
}
