//! A provider as a component: its exports, and the crossing of its messages.

use std::marker::PhantomData;

use crate::component::bindings::provider::exports::portcullis::plugin::provider as exports;
use crate::component::bindings::provider::portcullis::plugin::types as wit;
use crate::component::{Exports, Imports, all, configuration, host};
use crate::{
    Capability, Contact, Context, Descriptor, Error, Example, Execute, Iteration, Json, Link, Operation,
    Output, Provider, ProviderName, Settings, Sink, Solution,
};

impl<E: Exports> exports::Guest for E
where
    E::Plugin: Provider,
{
    fn list_providers() -> Result<Vec<String>, wit::PluginError> {
        Ok(E::plugin().providers()?)
    }

    fn describe(provider: String) -> Result<wit::Descriptor, wit::PluginError> {
        Ok(E::plugin().describe(&provider)?.into())
    }

    fn configure(provider: String, told: wit::Configuration) -> Result<(), wit::PluginError> {
        Ok(E::plugin().configure(&host(), &provider, configuration(told)?)?)
    }

    fn execute(
        provider: String,
        input: String,
        context: wit::ExecutionContext,
    ) -> Result<wit::Output, wit::PluginError> {
        Ok(E::plugin().execute(&host(), request(provider, input, context)?)?.into())
    }

    fn execute_stream(
        provider: String,
        input: String,
        context: wit::ExecutionContext,
    ) -> Result<wit::Output, wit::PluginError> {
        let mut sink = Sink::from_imports(Imports(PhantomData));
        Ok(E::plugin().execute_stream(&host(), request(provider, input, context)?, &mut sink)?.into())
    }

    fn describe_what_if(provider: String, input: String) -> Result<String, wit::PluginError> {
        Ok(E::plugin().describe_what_if(&host(), &provider, &Json::from_text(input))?)
    }

    fn extract_dependencies(provider: String, inputs: String) -> Result<Vec<String>, wit::PluginError> {
        Ok(E::plugin().extract_dependencies(&host(), &provider, &Json::from_text(inputs))?)
    }

    fn stop(provider: Option<String>) -> Result<(), wit::PluginError> {
        Ok(E::plugin().stop(&host(), provider.as_deref())?)
    }
}

fn request(provider: String, input: String, told: wit::ExecutionContext) -> Result<Execute, Error> {
    let (provider, input) = (ProviderName::new(provider), Json::from_text(input));
    Ok(Execute { provider, input, context: context(told)? })
}

fn context(from: wit::ExecutionContext) -> Result<Context, Error> {
    let settings = match from.settings {
        Some(settings) => Json::from_text(settings).fields("settings")?,
        None => Settings::new(),
    };
    Ok(Context {
        context: from.context.map(Json::from_text),
        dry_run: from.dry_run,
        mode: from.mode.map(Capability::new),
        working_directory: from.working_directory,
        output_directory: from.output_directory,
        conflict_strategy: from.conflict_strategy,
        backup: from.backup,
        iteration: from.iteration.map(Iteration::from),
        parameters: from.parameters.map(Json::from_text),
        solution: from.solution.map(Solution::from),
        auth_profile: from.auth_profile,
        settings,
    })
}

impl From<Output> for wit::Output {
    fn from(output: Output) -> Self {
        let Output { data, warnings, metadata, streamed, diagnostics } = output;
        Self {
            data: data.into_string(),
            warnings,
            metadata: metadata.map(Json::into_string),
            streamed,
            diagnostics: all(diagnostics),
        }
    }
}

impl From<Descriptor> for wit::Descriptor {
    fn from(descriptor: Descriptor) -> Self {
        let output_schema = |(capability, schema): (Capability, Json)| wit::OutputSchema {
            capability: capability.into_string(),
            schema: schema.into_string(),
        };
        Self {
            name: descriptor.name,
            display_name: descriptor.display_name,
            description: descriptor.description,
            version: descriptor.version,
            category: descriptor.category,
            capabilities: names(descriptor.capabilities),
            api_version: descriptor.api_version,
            schema: descriptor.schema.map(Json::into_string),
            output_schemas: descriptor.output_schemas.into_iter().map(output_schema).collect(),
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

impl From<Operation> for wit::Operation {
    fn from(operation: Operation) -> Self {
        Self {
            name: operation.name,
            display_name: operation.display_name,
            description: operation.description,
            capabilities: names(operation.capabilities),
            is_write: operation.is_write,
            input_schema: operation.input_schema.map(Json::into_string),
            output_schema: operation.output_schema.map(Json::into_string),
            examples: all(operation.examples),
            tags: operation.tags,
            deprecated: operation.deprecated,
            deprecation_message: operation.deprecation_message,
        }
    }
}

impl From<Link> for wit::Link {
    fn from(link: Link) -> Self {
        let Link { name, url } = link;
        Self { name, url }
    }
}

impl From<Example> for wit::Example {
    fn from(example: Example) -> Self {
        let Example { name, description, yaml } = example;
        Self { name, description, yaml }
    }
}

impl From<Contact> for wit::Contact {
    fn from(contact: Contact) -> Self {
        let Contact { name, email } = contact;
        Self { name, email }
    }
}

impl From<wit::Iteration> for Iteration {
    fn from(iteration: wit::Iteration) -> Self {
        let wit::Iteration { item, index, item_alias, index_alias } = iteration;
        Self { item: item.map(Json::from_text), index, item_alias, index_alias }
    }
}

impl From<wit::Solution> for Solution {
    fn from(solution: wit::Solution) -> Self {
        let wit::Solution { name, version, display_name, description, category, tags, source } = solution;
        Self { name, version, display_name, description, category, tags, source }
    }
}

fn names(capabilities: Vec<Capability>) -> Vec<String> {
    capabilities.into_iter().map(Capability::into_string).collect()
}
