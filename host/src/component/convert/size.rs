//! About how many bytes requests and answers take.
//!
//! Text counts, and in descriptions also a little for every element of a list: a list of empty texts is not free.

use crate::component::bindings::auth::exports::portcullis::plugin::auth_handler as wit;
use crate::component::bindings::portcullis::plugin::types;

/// What an element of a list takes beside its text, about.
const ELEMENT: usize = 24;

/// Returns how many bytes of text an output carries.
pub(crate) fn output_size(output: &types::Output) -> u64 {
    let types::Output { data, warnings, metadata, diagnostics, .. } = output;
    bytes(data.len() + some(metadata) + length(warnings) + remarks(diagnostics))
}

/// Returns how many bytes of text a request to execute carries.
pub(crate) fn execution_size(input: &str, context: &types::ExecutionContext) -> u64 {
    let c = context;
    let optional = [
        &c.context,
        &c.mode,
        &c.working_directory,
        &c.output_directory,
        &c.conflict_strategy,
        &c.parameters,
        &c.auth_profile,
        &c.settings,
    ];
    let iteration =
        c.iteration.as_ref().map_or(0, |i| some(&i.item) + length([&i.item_alias, &i.index_alias]));
    let solution = c.solution.as_ref().map_or(0, |s| {
        length([&s.name, &s.version, &s.display_name, &s.description, &s.category, &s.source])
            + length(&s.tags)
    });
    bytes(input.len() + optional.map(some).iter().sum::<usize>() + iteration + solution)
}

/// Returns how many bytes of text a request for a login carries.
pub(crate) fn login_size(request: &wit::LoginRequest) -> u64 {
    let wit::LoginRequest { tenant_id, scopes, flow, profile, hostname, .. } = request;
    bytes(length([tenant_id, flow]) + length(scopes) + some(profile) + some(hostname))
}

/// Returns how many bytes of text it takes to say which account is meant.
pub(crate) fn account_size(account: &wit::Account) -> u64 {
    let wit::Account { profile, hostname } = account;
    bytes(some(profile) + some(hostname))
}

/// Returns how many bytes of text a request for a token carries.
pub(crate) fn access_size(request: &wit::TokenRequest) -> u64 {
    let wit::TokenRequest { scope, profile, server_context, caller, assertion, hostname, .. } = request;
    let optional = [profile, server_context, caller, assertion, hostname];
    bytes(scope.len() + optional.map(some).iter().sum::<usize>())
}

/// Returns how many bytes of text a list carries.
pub(crate) fn texts_size(texts: &[String]) -> u64 {
    bytes(length(texts))
}

/// Returns how many bytes of text the result of a login carries.
pub(crate) fn login_result_size(result: &wit::LoginResult) -> u64 {
    bytes(result.claims.as_ref().map_or(0, claims))
}

/// Returns how many bytes of text there are in how a login stands.
pub(crate) fn status_size(status: &wit::Status) -> u64 {
    let s = status;
    let own = [&s.tenant_id, &s.identity_type, &s.client_id, &s.token_file, &s.reason, &s.flow, &s.hostname];
    bytes(length(own) + length(&s.scopes) + s.claims.as_ref().map_or(0, claims))
}

/// Returns how many bytes of text a token carries.
pub(crate) fn token_size(token: &types::Token) -> u64 {
    let t = token;
    bytes(length([&t.access_token, &t.token_type, &t.scope, &t.flow, &t.session_id]))
}

/// Returns how many bytes of text a list of tokens carries.
pub(crate) fn cached_tokens_size(tokens: &[wit::CachedToken]) -> u64 {
    let token = |t: &wit::CachedToken| {
        length([&t.handler, &t.token_kind, &t.scope, &t.token_type, &t.flow, &t.session_id])
            + length([&t.fingerprint, &t.hostname])
    };
    bytes(tokens.iter().map(token).sum())
}

/// Returns how many bytes of text a list of flows carries.
pub(crate) fn flows_size(flows: &[wit::FlowAvailability]) -> u64 {
    bytes(flows.iter().map(|flow| length([&flow.flow, &flow.reason])).sum())
}

/// Returns about how many bytes a list of names takes.
pub(crate) fn names_size(names: &[String]) -> u64 {
    bytes(list(names))
}

/// Returns about how many bytes a list of handlers takes.
pub(crate) fn handlers_size(handlers: &[wit::HandlerInfo]) -> u64 {
    bytes(each(handlers, |info| {
        info.name.len() + info.display_name.len() + list(&info.flows) + list(&info.capabilities)
    }))
}

/// Returns about how many bytes a refusal takes.
pub(crate) fn refusal_size(error: &types::PluginError) -> u64 {
    match error {
        types::PluginError::Unimplemented => 0,
        types::PluginError::Failed(failure) => {
            bytes(failure.message.len() + failure.diagnostics.len() * ELEMENT + remarks(&failure.diagnostics))
        }
    }
}

/// Returns about how many bytes a descriptor takes.
pub(crate) fn descriptor_size(descriptor: &types::Descriptor) -> u64 {
    let d = descriptor;
    let own = [&d.name, &d.display_name, &d.description, &d.version, &d.category, &d.api_version, &d.icon];
    let operation = |o: &types::Operation| {
        length([&o.name, &o.display_name, &o.description, &o.deprecation_message])
            + some(&o.input_schema)
            + some(&o.output_schema)
            + list(&o.capabilities)
            + list(&o.tags)
            + examples(&o.examples)
    };
    let lists = [&d.capabilities, &d.sensitive_fields, &d.tags].map(|texts| list(texts));
    bytes(
        length(own)
            + some(&d.schema)
            + each(&d.output_schemas, |o| o.capability.len() + o.schema.len())
            + lists.iter().sum::<usize>()
            + d.write_operations.as_deref().map_or(0, list)
            + each(&d.links, |l| l.name.len() + l.url.len())
            + each(&d.maintainers, |c| c.name.len() + c.email.len())
            + examples(&d.examples)
            + each(&d.operations, operation),
    )
}

fn claims(claims: &types::Claims) -> usize {
    let c = claims;
    length([&c.issuer, &c.subject, &c.tenant_id, &c.object_id, &c.client_id, &c.email, &c.name, &c.username])
}

fn examples(examples: &[types::Example]) -> usize {
    each(examples, |e| e.name.len() + e.description.len() + e.yaml.len())
}

fn remarks(diagnostics: &[types::Diagnostic]) -> usize {
    diagnostics.iter().map(|d| d.summary.len() + d.detail.len() + d.attribute.len()).sum()
}

fn list(texts: &[String]) -> usize {
    each(texts, String::len)
}

fn each<T>(list: &[T], text: impl Fn(&T) -> usize) -> usize {
    list.iter().map(|element| ELEMENT + text(element)).sum()
}

fn length<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts.into_iter().map(String::len).sum()
}

fn some(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn bytes(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use portcullis_contract::{
        AccessRequest, Capability, Context, Flow, Iteration, Json, LoginRequest, Solution,
    };

    use super::*;

    #[test]
    fn every_text_of_a_request_counts() {
        let some = |text: &str| Some(text.to_owned());
        let login = LoginRequest {
            tenant_id: "1".to_owned(),
            scopes: vec!["22".to_owned(), "3".to_owned()],
            flow: Some(Flow::PAT),
            timeout: None,
            profile: some("4444"),
            hostname: some("55555"),
            callback_port: Some(6),
        };
        assert_eq!(login_size(&login.into()), 16);
        let access = AccessRequest {
            scope: "1".to_owned(),
            profile: some("22"),
            server_context: some("333"),
            caller: some("4444"),
            assertion: some("55555"),
            hostname: some("666666"),
            ..AccessRequest::default()
        };
        assert_eq!(access_size(&access.into()), 21);
    }

    #[test]
    fn every_text_around_an_input_counts() {
        let text = |length: usize| "x".repeat(length);
        let json = |length: usize| Some(Json::from_text(text(length)));
        let context = Context {
            context: json(1),
            dry_run: true,
            mode: Some(Capability::new(text(2))),
            working_directory: Some(text(4)),
            output_directory: Some(text(8)),
            conflict_strategy: Some(text(16)),
            backup: true,
            iteration: Some(Iteration {
                item: json(32),
                index: 7,
                item_alias: text(64),
                index_alias: text(128),
            }),
            parameters: json(256),
            solution: Some(Solution {
                name: text(512),
                version: text(1 << 10),
                display_name: text(1 << 11),
                description: text(1 << 12),
                category: text(1 << 13),
                tags: vec![text(1 << 14), text(1 << 15)],
                source: text(1 << 16),
            }),
            auth_profile: Some(text(1 << 17)),
            settings: [("s".to_owned(), Json::from_text("1"))].into(),
        };
        let settings = r#"{"s":1}"#.len() as u64;
        assert_eq!(execution_size("input", &context.into()), 5 + settings + (1 << 18) - 1);
    }

    #[test]
    fn a_list_of_nothing_takes_room_too() {
        let nothing = vec![String::new(); 1_000];
        assert!(names_size(&nothing) >= 1_000);
        let info = wit::HandlerInfo {
            name: String::new(),
            display_name: String::new(),
            flows: nothing.clone(),
            capabilities: nothing,
        };
        assert!(handlers_size(&[info]) >= 2_000);
        let failure = types::Failure { message: "no".to_owned(), exit_code: None, diagnostics: vec![] };
        assert_eq!(refusal_size(&types::PluginError::Failed(failure)), 2);
    }
}
