//! A plugin in words and in data: what `list` and `inspect` tell of it.
//!
//! Both show the same facts; `inspect` shows all of them. What a plugin says of itself is quoted, never
//! believed: what it may touch is what the policy says, and what can be held to that.

use std::collections::BTreeMap;

use portcullis::host::{HandlerOffer, Listed, Offers, Origin, Wrapped};
use portcullis::policy::{self, Line};
use portcullis_contract::{
    Amount, AuthCapability, BackendName, Environment, Flow, Grants, InstanceReuse, Isolation, Kind, Limits,
    Resolved, RunAs, Stdin, chain,
};
use serde::Serialize;

mod provider;
mod row;

pub(crate) use provider::Provider;
pub(crate) use row::rows;

/// What a plugin is held to: its policy or, if its file is known to carry a component, the policy in the file. Of two
/// limits the lower holds.
struct Terms<'a> {
    backend: BackendName,
    grants: &'a Grants,
    limits: Limits,
    run_as: RunAs,
}

impl<'a> Terms<'a> {
    fn of(listed: &'a Listed) -> Self {
        match &listed.wrapped {
            Some(Wrapped { manifest, origin: Origin::Known }) => {
                let (backend, isolation) = (BackendName::Component, Isolation::Process);
                Self {
                    backend,
                    grants: &manifest.grants,
                    limits: lower(manifest.limits.resolve(backend), &listed.limits),
                    run_as: RunAs { instances: manifest.instances, isolation, ..RunAs::default() },
                }
            }
            _ => Self {
                backend: listed.file.backend,
                grants: &listed.settings.grants,
                limits: listed.settings.limits.clone(),
                run_as: listed.settings.run_as.clone(),
            },
        }
    }
}

/// Returns the lower of each two limits.
fn lower(inside: Resolved, outside: &Resolved) -> Limits {
    fn least<T: Ord>(inside: Option<T>, outside: Option<T>) -> Option<T> {
        inside.into_iter().chain(outside).min()
    }
    Limits {
        memory: least(inside.memory, outside.memory),
        cpu: least(inside.cpu, outside.cpu),
        wall: least(inside.wall, outside.wall),
        message: Some(inside.message.min(outside.message)),
        output: least(inside.output, outside.output),
        handles: least(inside.handles, outside.handles),
        concurrency: Some(inside.concurrency.min(outside.concurrency)),
    }
}

/// Returns whether nothing proves what a file says of the component in it.
fn is_wrapped_elsewhere(listed: &Listed) -> bool {
    listed.wrapped.as_ref().is_some_and(|wrapped| wrapped.origin == Origin::Unknown)
}

/// All that is known of a plugin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plugin<'a> {
    pub(crate) plugin: String,
    pub(crate) path: String,
    pub(crate) backend: String,
    pub(crate) digest: String,
    /// The component in it, if it is a program that carries one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wrapped: Option<WrappedComponent>,
    /// What people call the entry of the policy that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<&'a str>,
    /// The names of the settings that it is told. What they are may be secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) settings: Vec<&'a str>,
    pub(crate) run_as: String,
    /// The interfaces that it imports; only a component says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) imports: Option<Vec<String>>,
    /// What it could ask for at all, because of its imports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) could_ask_for: Option<Vec<&'static str>>,
    /// What it may do, each made true by this program or, of a component in the file, by the shim in front of it. Secrets
    /// and identities that a file says have to be granted here as well.
    pub(crate) may: Vec<String>,
    /// What is true of it all the same, whatever the policy says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_held: Vec<String>,
    pub(crate) limits: BTreeMap<&'static str, String>,
    pub(crate) providers: Vec<Provider<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) auth_handlers: Vec<Handler<'a>>,
    /// The names of those that were not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) also_offers: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// The component in a native program.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrappedComponent {
    pub(crate) component: String,
    pub(crate) portcullis: String,
    pub(crate) origin: WrappedBy,
}

/// Whether the file is known to be what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum WrappedBy {
    /// It is.
    Known,
    /// It may do anything.
    Unknown,
}

impl WrappedComponent {
    fn new(wrapped: &Wrapped) -> Self {
        Self {
            component: wrapped.manifest.component.to_string(),
            portcullis: wrapped.manifest.version.clone(),
            origin: match wrapped.origin {
                Origin::Known => WrappedBy::Known,
                Origin::Unknown => WrappedBy::Unknown,
            },
        }
    }
}

/// An auth handler, as upstream's `get authhandler` shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Handler<'a> {
    pub(crate) name: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) flows: Vec<&'a str>,
    pub(crate) capabilities: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<&'a str>,
}

impl<'a> Handler<'a> {
    fn new(offer: &'a HandlerOffer) -> Self {
        Self {
            name: offer.info.name.as_str(),
            display_name: &offer.info.display_name,
            flows: offer.info.flows.iter().map(Flow::as_str).collect(),
            capabilities: offer.info.capabilities.iter().map(AuthCapability::as_str).collect(),
            problem: offer.problem.as_deref(),
        }
    }
}

/// Returns all that is known of a plugin; of what it offers, if one was asked for, that one.
pub(crate) fn plugin<'a>(
    listed: &'a Listed,
    asked: Option<&str>,
    imports: Option<Vec<String>>,
) -> Plugin<'a> {
    let kind = match &listed.offers {
        Offers::AuthHandlers(_) => Kind::AuthHandler,
        _ => Kind::Provider,
    };
    let terms = Terms::of(listed);
    let lines = policy::sentences(kind, terms.grants, &terms.limits, &terms.run_as, terms.backend);
    let (held, not_held): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| line.held);
    let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect();
    let (mut providers, mut auth_handlers, mut problem): (Vec<Provider<'_>>, Vec<Handler<'_>>, _) =
        (Vec::new(), Vec::new(), None);
    match &listed.offers {
        Offers::Providers(offers) => providers = offers.iter().map(Provider::new).collect(),
        Offers::AuthHandlers(offers) => auth_handlers = offers.iter().map(Handler::new).collect(),
        Offers::NotYetDescribed => problem = Some("not yet described".to_owned()),
        Offers::Failed(error) => problem = Some(chain(error)),
    }
    let may: Vec<String> = texts(held);
    let mut not_held: Vec<String> = texts(not_held);
    if is_wrapped_elsewhere(listed) {
        not_held.push(
            "carries a component and was wrapped elsewhere: what it says of that is a claim".to_owned(),
        );
    }
    let is_asked_for = |name: &str| asked.is_none_or(|asked| asked == name);
    let mut also_offers: Vec<_> = providers.iter().map(|provider| provider.name).collect();
    also_offers.extend(auth_handlers.iter().map(|handler| handler.name));
    also_offers.retain(|name| !is_asked_for(name));
    providers.retain(|provider| is_asked_for(provider.name));
    auth_handlers.retain(|handler| is_asked_for(handler.name));
    Plugin {
        plugin: listed.file.name.to_string(),
        path: listed.file.path.display().to_string(),
        backend: listed.file.backend.to_string(),
        digest: listed.digest.to_string(),
        policy: listed.settings.label.as_deref(),
        settings: listed.settings.settings.keys().map(String::as_str).collect(),
        wrapped: listed.wrapped.as_ref().map(WrappedComponent::new),
        run_as: run_as(&terms.run_as, terms.backend, kind),
        could_ask_for: imports.as_deref().map(could_ask_for),
        imports,
        may,
        not_held,
        limits: limits(&terms.limits.resolve(terms.backend)),
        providers,
        auth_handlers,
        also_offers,
        problem,
    }
}

/// What an import lets a component ask for. Whether it gets that is for the grants to decide.
const IMPORTS: [(&str, &str); 13] = [
    ("portcullis:plugin/secrets", "secrets"),
    ("portcullis:plugin/identity", "who is logged in, and access tokens"),
    ("portcullis:plugin/prompts", "showing codes and asking for answers during a login"),
    ("portcullis:plugin/output", "showing output while it runs"),
    ("portcullis:plugin/log", "writing to the log"),
    ("portcullis:plugin/control", "whether its call was cancelled, and how much time is left"),
    ("wasi:cli/environment", "environment variables"),
    ("wasi:cli/std", "its own stdin, stdout and stderr"),
    ("wasi:clocks/", "the time, and waiting"),
    ("wasi:filesystem/", "files"),
    ("wasi:http/", "the network, by HTTP"),
    ("wasi:random/", "random numbers"),
    ("wasi:sockets/", "the network, by sockets, which is never granted"),
];

fn could_ask_for(imports: &[String]) -> Vec<&'static str> {
    let asked = IMPORTS.iter().filter(|(prefix, _)| imports.iter().any(|import| import.starts_with(prefix)));
    asked.map(|(_, what)| *what).collect()
}

fn run_as(run_as: &RunAs, backend: BackendName, kind: Kind) -> String {
    match backend {
        // Auth handlers keep state. What the policy says of instances applies to providers only.
        BackendName::Component if kind == Kind::AuthHandler => {
            format!("a sandboxed component, one instance that remembers{}", apart(run_as))
        }
        BackendName::Component => {
            let instances = match run_as.instances {
                InstanceReuse::PerCall => "a fresh instance for every call".to_owned(),
                InstanceReuse::Single => "one instance for all calls".to_owned(),
                InstanceReuse::Pooled(count) => format!("{count} instances that are kept"),
            };
            format!("a sandboxed component, {instances}{}", apart(run_as))
        }
        BackendName::Process => {
            let environment = match run_as.environment {
                Environment::Usual => "the usual environment",
                Environment::Inherit => "all of the environment",
            };
            let stdin = match run_as.stdin {
                Stdin::Null => "nothing to read",
                Stdin::Inherit => "our stdin",
            };
            format!("a native go-plugin process with {environment} and {stdin}")
        }
    }
}

/// Says where a component runs, unless it is the usual place.
fn apart(run_as: &RunAs) -> &'static str {
    if run_as.isolation == Isolation::Process { ", in a process of its own" } else { "" }
}

/// Returns limits by their names in a policy, as text.
pub(crate) fn limits(limits: &Resolved) -> BTreeMap<&'static str, String> {
    use Amount::{Bytes, Count, Time};
    let or_none =
        |amount: Option<Amount>| amount.map_or_else(|| "none".to_owned(), |amount| amount.to_string());
    BTreeMap::from([
        ("memory", or_none(limits.memory.map(Bytes))),
        ("cpu", or_none(limits.cpu.map(Time))),
        ("wall", or_none(limits.wall.map(Time))),
        ("message", Bytes(limits.message).to_string()),
        ("output", or_none(limits.output.map(Bytes))),
        ("handles", or_none(limits.handles.map(|count| Count(count.into())))),
        ("concurrency", Count(limits.concurrency.into()).to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_imports(imports: &[&str], expected: &[&str]) {
        let imports: Vec<_> = imports.iter().map(ToString::to_string).collect();
        assert_eq!(could_ask_for(&imports), expected);
    }

    #[test]
    fn imports_are_told_in_words_each_once() {
        check_imports(&[], &[]);
        check_imports(
            &[
                "wasi:cli/stdout@0.2.6",
                "wasi:cli/stderr@0.2.6",
                "portcullis:plugin/secrets@0.1.0",
                "wasi:io/poll@0.2.6",
            ],
            &["secrets", "its own stdin, stdout and stderr"],
        );
    }
}
