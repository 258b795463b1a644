//! WIT to contract and back.
//!
//! What leaves us converts with `From` and cannot fail. What comes from a guest converts with
//! `TryFrom` and is checked: text that has to be JSON is read through once, in linear time and without
//! recursion, and kept as it was written.

use portcullis_contract::{
    AuthHandlers, CallError, Capability, Claims, Configuration, Contact, Context, Descriptor, Diagnostic,
    Example, Iteration, Json, Link, Operation, Output, Refusal, Settings, Severity, Solution, Token,
    TokenRequest,
};
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::component::bindings::portcullis::plugin::{identity, types};

/// What a guest said does not fit the contract.
#[derive(Debug, Error)]
pub enum Misfit {
    #[error("{what} is not JSON")]
    NotJson {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0} is not a JSON object")]
    NotAnObject(&'static str),
}

impl From<Misfit> for CallError {
    fn from(misfit: Misfit) -> Self {
        Self::contract(misfit)
    }
}

fn json(what: &'static str, text: String) -> Result<Json, Misfit> {
    let read: Result<IgnoredAny, _> = serde_json::from_str(&text);
    read.map_err(|source| Misfit::NotJson { what, source })?;
    Ok(Json::from_text(text))
}

fn object(what: &'static str, text: String) -> Result<Json, Misfit> {
    let json = json(what, text)?;
    let starts = json.as_str().trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    if starts { Ok(json) } else { Err(Misfit::NotAnObject(what)) }
}

fn all<A, B: TryFrom<A, Error = Misfit>>(list: Vec<A>) -> Result<Vec<B>, Misfit> {
    list.into_iter().map(B::try_from).collect()
}

fn each<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(B::from).collect()
}

// Outwards.

/// Writes settings as one JSON object. The values go in as they are.
pub(crate) fn settings_text(settings: &Settings) -> String {
    let mut text = String::from("{");
    for (key, value) in settings {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key.as_str()).to_string());
        text.push(':');
        text.push_str(value.as_str());
    }
    text.push('}');
    text
}

impl From<&Configuration> for types::Configuration {
    fn from(from: &Configuration) -> Self {
        let Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response } = from;
        Self {
            quiet: *quiet,
            no_color: *no_color,
            binary_name: binary_name.clone(),
            settings: settings_text(settings),
            profile: profile.clone(),
            prompts_for_response: *prompts_for_response,
        }
    }
}

impl From<Context> for types::ExecutionContext {
    fn from(from: Context) -> Self {
        let Context {
            context,
            dry_run,
            mode,
            working_directory,
            output_directory,
            conflict_strategy,
            backup,
            iteration,
            parameters,
            solution,
            auth_profile,
            settings,
        } = from;
        Self {
            context: context.map(Json::into_string),
            dry_run,
            mode: mode.map(|mode| mode.as_str().to_owned()),
            working_directory,
            output_directory,
            conflict_strategy,
            backup,
            iteration: iteration.map(Into::into),
            parameters: parameters.map(Json::into_string),
            solution: solution.map(Into::into),
            auth_profile,
            settings: (!settings.is_empty()).then(|| settings_text(&settings)),
        }
    }
}

impl From<Iteration> for types::Iteration {
    fn from(from: Iteration) -> Self {
        let Iteration { item, index, item_alias, index_alias } = from;
        Self { item: item.map(Json::into_string), index, item_alias, index_alias }
    }
}

impl From<Solution> for types::Solution {
    fn from(from: Solution) -> Self {
        let Solution { name, version, display_name, description, category, tags, source } = from;
        Self { name, version, display_name, description, category, tags, source }
    }
}

impl From<Claims> for types::Claims {
    fn from(from: Claims) -> Self {
        let Claims {
            issuer,
            subject,
            tenant_id,
            object_id,
            client_id,
            email,
            name,
            username,
            issued_at,
            expires_at,
        } = from;
        Self {
            issuer,
            subject,
            tenant_id,
            object_id,
            client_id,
            email,
            name,
            username,
            issued_at,
            expires_at,
        }
    }
}

impl From<Token> for types::Token {
    fn from(from: Token) -> Self {
        let Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = from;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

impl From<AuthHandlers> for identity::HandlerList {
    fn from(from: AuthHandlers) -> Self {
        let AuthHandlers { names, default } = from;
        Self { names, default }
    }
}

// Inwards.

impl From<identity::TokenRequest> for TokenRequest {
    fn from(from: identity::TokenRequest) -> Self {
        let identity::TokenRequest { handler, scope, min_valid_for, force_refresh, profile } = from;
        Self { handler, scope, min_valid_for, force_refresh, profile }
    }
}

impl From<types::PluginError> for CallError {
    fn from(from: types::PluginError) -> Self {
        match from {
            types::PluginError::Unimplemented => Self::Unimplemented,
            types::PluginError::Failed(failure) => Self::Refused(failure.into()),
        }
    }
}

impl From<types::Failure> for Refusal {
    fn from(from: types::Failure) -> Self {
        let types::Failure { message, exit_code, diagnostics } = from;
        // A refusal that names success names nothing; on the wire, too, 0 is "not said".
        Self { message, exit_code: exit_code.filter(|code| *code != 0), diagnostics: each(diagnostics) }
    }
}

impl From<types::Diagnostic> for Diagnostic {
    fn from(from: types::Diagnostic) -> Self {
        let types::Diagnostic { severity, summary, detail, attribute } = from;
        let severity = match severity {
            types::Severity::Invalid => Severity::Invalid,
            types::Severity::Error => Severity::Error,
            types::Severity::Warning => Severity::Warning,
        };
        Self { severity, summary, detail, attribute }
    }
}

impl TryFrom<types::Output> for Output {
    type Error = Misfit;

    fn try_from(from: types::Output) -> Result<Self, Misfit> {
        let types::Output { data, warnings, metadata, streamed, diagnostics } = from;
        Ok(Self {
            data: json("the data of the output", data)?,
            warnings,
            metadata: metadata.map(|text| object("the metadata of the output", text)).transpose()?,
            streamed,
            diagnostics: each(diagnostics),
        })
    }
}

impl TryFrom<types::Descriptor> for Descriptor {
    type Error = Misfit;

    fn try_from(from: types::Descriptor) -> Result<Self, Misfit> {
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
            output_schemas: output_schemas.into_iter().map(output_schema).collect::<Result<_, Misfit>>()?,
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
    type Error = Misfit;

    fn try_from(from: types::Operation) -> Result<Self, Misfit> {
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

/// Returns how many bytes of text an output carries.
pub(crate) fn output_size(output: &types::Output) -> u64 {
    let texts = [output.data.len(), output.metadata.as_ref().map_or(0, String::len)];
    let warnings = output.warnings.iter().map(String::len);
    let remarks = output.diagnostics.iter().map(|d| d.summary.len() + d.detail.len() + d.attribute.len());
    texts.into_iter().chain(warnings).chain(remarks).map(|n| u64::try_from(n).unwrap_or(u64::MAX)).sum()
}

/// Returns about how many bytes a refusal takes: those of the texts in it.
pub(crate) fn refusal_size(error: &types::PluginError) -> u64 {
    let types::PluginError::Failed(failure) = error else { return 0 };
    let remarks = failure.diagnostics.iter().map(|d| d.summary.len() + d.detail.len() + d.attribute.len());
    u64::try_from(failure.message.len() + remarks.sum::<usize>()).unwrap_or(u64::MAX)
}

/// Returns about how many bytes a descriptor takes: those of the texts in it that can be long.
pub(crate) fn descriptor_size(descriptor: &types::Descriptor) -> u64 {
    let some = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let all = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let examples = |examples: &[types::Example]| -> usize {
        examples.iter().map(|e| e.name.len() + e.description.len() + e.yaml.len()).sum()
    };
    let d = descriptor;
    let own = [&d.name, &d.display_name, &d.description, &d.version, &d.category, &d.api_version, &d.icon];
    let operations = d.operations.iter().map(|o| {
        let texts = [&o.name, &o.display_name, &o.description, &o.deprecation_message];
        texts.map(String::len).iter().sum::<usize>()
            + some(&o.input_schema)
            + some(&o.output_schema)
            + all(&o.capabilities)
            + all(&o.tags)
            + examples(&o.examples)
    });
    let bytes = own.map(String::len).iter().sum::<usize>()
        + some(&d.schema)
        + d.output_schemas.iter().map(|o| o.capability.len() + o.schema.len()).sum::<usize>()
        + [&d.capabilities, &d.sensitive_fields, &d.tags].map(|texts| all(texts)).iter().sum::<usize>()
        + d.write_operations.as_deref().map_or(0, all)
        + d.links.iter().map(|l| l.name.len() + l.url.len()).sum::<usize>()
        + d.maintainers.iter().map(|c| c.name.len() + c.email.len()).sum::<usize>()
        + examples(&d.examples)
        + operations.sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, good: bool) {
        assert_eq!(json("it", text.to_owned()).is_ok(), good, "{:?}", text.get(..20).unwrap_or(text));
    }

    #[test]
    fn text_has_to_be_json_and_stays_as_it_is() {
        for good in ["null", " {\"a\":1e400,\"a\":-0} ", "9007199254740993", "\"\\ud83d\\ude00\"", "[]"] {
            check(good, true);
            assert_eq!(json("it", good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["", "{oops", "nul", "1 2", "[1,]", "\"\n\"", "{\"a\"}", "01", "\u{feff}1"] {
            check(bad, false);
        }
    }

    #[test]
    fn no_depth_of_nesting_overflows_the_stack() {
        let depth = 1_000_000;
        check(&("[".repeat(depth) + &"]".repeat(depth)), true);
        check(&"[".repeat(depth), false);
        check(&"{\"a\":".repeat(depth), false);
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        assert!(object("it", " \n{}".to_owned()).is_ok());
        assert!(matches!(object("it", "[]".to_owned()), Err(Misfit::NotAnObject("it"))));
    }

    #[test]
    fn settings_cross_as_one_object() {
        let mut settings = Settings::new();
        assert_eq!(settings_text(&settings), "{}");
        settings.insert("b".to_owned(), Json::from_text("9007199254740993"));
        settings.insert("a\"".to_owned(), Json::from_text("{\"x\": 1}"));
        assert_eq!(settings_text(&settings), r#"{"a\"":{"x": 1},"b":9007199254740993}"#);
    }

    #[test]
    fn an_exit_code_of_a_refusal_is_never_0() {
        let failure = |exit_code| types::Failure { message: "no".to_owned(), exit_code, diagnostics: vec![] };
        assert_eq!(Refusal::from(failure(Some(0))).exit_code, None);
        assert_eq!(Refusal::from(failure(Some(7))).exit_code, Some(7));
    }
}
