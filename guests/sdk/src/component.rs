//! A plugin as a component: its exports, its imports, and the crossing of types in between.
//!
//! Nothing here is public but by name, for the sake of [`export!`](crate::export). Every field crosses
//! by a move; JSON crosses as it is.

use std::marker::PhantomData;
use std::time::Duration;

pub mod bindings;

use bindings::exports::portcullis::plugin::provider as exports;
use bindings::portcullis::plugin::{control, identity, log, output, secrets, types as wit};

use crate::{
    AuthHandlers, Capability, Channel, Claims, Closed, Configuration, Contact, Context, Descriptor,
    Diagnostic, Error, Example, Execute, Host, Iteration, Json, Level, Link, Operation, Output, Provider,
    Refusal, Settings, Severity, Sink, Solution, Token, TokenRequest,
};

/// The one plugin of a library, as [`export!`](crate::export) finds it.
pub trait Exports: 'static {
    type Plugin: Provider;

    fn plugin() -> &'static Self::Plugin;
}

impl<E: Exports> exports::Guest for E {
    fn list_providers() -> Result<Vec<String>, wit::PluginError> {
        Ok(E::plugin().providers()?)
    }

    fn describe(provider: String) -> Result<wit::Descriptor, wit::PluginError> {
        Ok(E::plugin().describe(&provider)?.into())
    }

    fn configure(provider: String, configuration: wit::Configuration) -> Result<(), wit::PluginError> {
        Ok(E::plugin().configure(&host(), &provider, configuration.into())?)
    }

    fn execute(
        provider: String,
        input: String,
        context: wit::ExecutionContext,
    ) -> Result<wit::Output, wit::PluginError> {
        Ok(E::plugin().execute(&host(), request(provider, input, context))?.into())
    }

    fn execute_stream(
        provider: String,
        input: String,
        context: wit::ExecutionContext,
    ) -> Result<wit::Output, wit::PluginError> {
        let mut sink = Sink::from_imports(Imports(PhantomData));
        Ok(E::plugin().execute_stream(&host(), request(provider, input, context), &mut sink)?.into())
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

fn host() -> Host<'static> {
    Host::from_imports(Imports(PhantomData))
}

fn request(provider: String, input: String, context: wit::ExecutionContext) -> Execute {
    Execute { provider, input: Json::from_text(input), context: context.into() }
}

/// What the host offers, for the time of one call.
#[derive(Debug)]
pub(crate) struct Imports<'a>(PhantomData<&'a ()>);

impl Imports<'_> {
    pub(crate) fn get_secret(&self, name: &str) -> Result<Option<String>, String> {
        secrets::get(name)
    }

    pub(crate) fn set_secret(&self, name: &str, value: &str) -> Result<(), String> {
        secrets::set(name, value)
    }

    pub(crate) fn delete_secret(&self, name: &str) -> Result<(), String> {
        secrets::delete(name)
    }

    pub(crate) fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, String> {
        secrets::list(pattern)
    }

    pub(crate) fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, String> {
        Ok(identity::get_claims(handler, scope)?.map(Claims::from))
    }

    pub(crate) fn auth_handlers(&self) -> Result<AuthHandlers, String> {
        let identity::HandlerList { names, default } = identity::list_handlers();
        Ok(AuthHandlers { names, default })
    }

    pub(crate) fn auth_token(&self, request: &TokenRequest) -> Result<Token, String> {
        let TokenRequest { handler, scope, min_valid_for, force_refresh, profile } = request.clone();
        let request = identity::TokenRequest { handler, scope, min_valid_for, force_refresh, profile };
        Ok(identity::get_token(&request)?.into())
    }

    pub(crate) fn auth_groups(&self, handler: &str) -> Result<Vec<String>, String> {
        identity::get_groups(handler)
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message, fields);
    }

    pub(crate) fn cancelled(&self) -> bool {
        control::cancelled()
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        control::time_left().map(Duration::from_nanos)
    }

    pub(crate) fn write(&self, channel: Channel, chunk: &[u8]) -> Result<(), Closed> {
        let channel = match channel {
            Channel::Stdout => output::Channel::Stdout,
            Channel::Stderr => output::Channel::Stderr,
        };
        output::write(channel, chunk).map_err(|output::WriteError::Closed| Closed)
    }
}

impl From<Error> for wit::PluginError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unimplemented => Self::Unimplemented,
            Error::Refused(Refusal { message, exit_code, diagnostics }) => {
                Self::Failed(wit::Failure { message, exit_code, diagnostics: all(diagnostics) })
            }
        }
    }
}

impl From<Diagnostic> for wit::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic { severity, summary, detail, attribute } = diagnostic;
        let severity = match severity {
            Severity::Invalid => wit::Severity::Invalid,
            Severity::Error => wit::Severity::Error,
            Severity::Warning => wit::Severity::Warning,
        };
        Self { severity, summary, detail, attribute }
    }
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

impl From<wit::Configuration> for Configuration {
    fn from(configuration: wit::Configuration) -> Self {
        // Whether prompts can be answered is a matter of auth handlers.
        let wit::Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response: _ } =
            configuration;
        Self {
            quiet,
            no_color,
            binary_name,
            settings: Settings::from_json(Json::from_text(settings)),
            profile,
        }
    }
}

impl From<wit::ExecutionContext> for Context {
    fn from(context: wit::ExecutionContext) -> Self {
        Self {
            context: context.context.map(Json::from_text),
            dry_run: context.dry_run,
            mode: context.mode.map(Capability::new),
            working_directory: context.working_directory,
            output_directory: context.output_directory,
            conflict_strategy: context.conflict_strategy,
            backup: context.backup,
            iteration: context.iteration.map(Iteration::from),
            parameters: context.parameters.map(Json::from_text),
            solution: context.solution.map(Solution::from),
            auth_profile: context.auth_profile,
            settings: context.settings.map(|s| Settings::from_json(Json::from_text(s))).unwrap_or_default(),
        }
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

impl From<wit::Claims> for Claims {
    fn from(claims: wit::Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
        }
    }
}

impl From<wit::Token> for Token {
    fn from(token: wit::Token) -> Self {
        let wit::Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = token;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

fn all<A: Into<B>, B>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}

fn names(capabilities: Vec<Capability>) -> Vec<String> {
    capabilities.into_iter().map(Capability::into_string).collect()
}
