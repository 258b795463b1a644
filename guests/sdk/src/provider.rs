//! What a provider plugin does, and the messages of doing it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Capability, Descriptor, Diagnostic, Error, Host, Json, Settings, Sink};

/// A plugin that offers providers.
///
/// One plugin may offer several providers, so most methods name the provider that is meant. What to know:
///
/// - A value of this type may live for one call only. What has to last belongs in the host's secrets.
/// - In a native plugin calls may overlap; an instance of a component has one call at a time.
/// - In a component, a call whose caller has gone is ended wherever it stands. In a native plugin it goes on, and is
///   told so: by [`Host::cancelled`], by the sink, and by calls of the host that fail.
/// - A panic ends a native plugin as a whole, and the instance of a component. Its text is shown to the user.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no provider",
    note = "a plugin that is an auth handler is exported by `export_auth_handler!`"
)]
pub trait Provider: Send + Sync + 'static {
    /// Returns the names under which this plugin offers providers.
    ///
    /// # Errors
    ///
    /// If the plugin cannot say. Hosts cannot use it then.
    fn providers(&self) -> Result<Vec<String>, Error>;

    /// Describes one provider. Hosts call this when they start the plugin, or only to list it: the instance that
    /// executes may never have been asked.
    ///
    /// # Errors
    ///
    /// [`Error::unknown_provider`] for a name that the plugin does not offer.
    fn describe(&self, provider: &str) -> Result<Descriptor, Error>;

    /// Prepares one provider. Every instance of the plugin is configured before it is used, so each call may wait for
    /// this; keep it short. The instance may then wait for its call, so ask for what expires, a token say, in the call.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used. The host logs the error, and calls the provider all the same, as if it
    /// had none: a call that cannot do without it has to return an error itself.
    fn configure(&self, host: &Host<'_>, provider: &str, configuration: Configuration) -> Result<(), Error> {
        let _ = (host, provider, configuration);
        Ok(())
    }

    /// Runs one request to its end.
    ///
    /// # Errors
    ///
    /// When the request is declined or fails.
    fn execute(&self, host: &Host<'_>, request: Execute) -> Result<Output, Error>;

    /// Runs one request and shows what it does as it happens.
    ///
    /// # Errors
    ///
    /// When the request is declined or fails. [`Error::Unimplemented`], the default, makes the host call
    /// [`execute`](Self::execute) instead, if it comes before anything was written.
    fn execute_stream(
        &self,
        host: &Host<'_>,
        request: Execute,
        sink: &mut Sink<'_>,
    ) -> Result<Output, Error> {
        let _ = (host, request, sink);
        Err(Error::Unimplemented)
    }

    /// Says in words what a request would do. An empty text leaves the words to the host.
    ///
    /// # Errors
    ///
    /// When it cannot be said.
    fn describe_what_if(&self, host: &Host<'_>, provider: &str, input: &Json) -> Result<String, Error> {
        let _ = (host, provider, input);
        Ok(String::new())
    }

    /// Names the resolvers that raw inputs refer to. An empty list leaves the search to the host.
    ///
    /// # Errors
    ///
    /// When the inputs cannot be understood.
    fn extract_dependencies(
        &self,
        host: &Host<'_>,
        provider: &str,
        inputs: &Json,
    ) -> Result<Vec<String>, Error> {
        let _ = (host, provider, inputs);
        Ok(Vec::new())
    }

    /// Ends one provider, or all of them. The plugin goes on running.
    ///
    /// # Errors
    ///
    /// When it cannot be ended well; it is ended all the same.
    fn stop(&self, host: &Host<'_>, provider: Option<&str>) -> Result<(), Error> {
        let _ = (host, provider);
        Ok(())
    }
}

/// What a host tells a provider or an auth handler before it calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Whether to print less.
    pub quiet: bool,
    /// Whether to print without colours.
    pub no_color: bool,
    /// The name of the host's command.
    pub binary_name: String,
    /// Further settings, by name.
    pub settings: Settings,
    /// The account that is meant, of several.
    pub profile: Option<String>,
    /// Whether the host can ask a person during a login; see
    /// [`Prompts::auth_response`](crate::Prompts::auth_response).
    pub prompts_for_response: bool,
}

/// A request to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// The provider that is meant.
    pub provider: String,
    /// A JSON object, or `null`.
    pub input: Json,
    /// What goes with the input.
    pub context: Context,
}

impl Execute {
    /// Makes a request without any context.
    #[must_use]
    pub fn new(provider: impl Into<String>, input: Json) -> Self {
        Self { provider: provider.into(), input, context: Context::default() }
    }

    /// Parses the input into a type of the author's own. `null` counts as the empty object.
    ///
    /// # Errors
    ///
    /// When the input does not fit the type; ready to be returned to the host.
    pub fn input_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        self.input.decode("input")
    }
}

/// What goes with the input of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// A JSON object whose key `resolverContext` holds what was resolved so far.
    pub context: Option<Json>,
    /// Whether to change nothing.
    pub dry_run: bool,
    /// The capability in which the provider is called.
    pub mode: Option<Capability>,
    /// The directory that relative paths start from.
    pub working_directory: Option<String>,
    /// The directory that actions write to.
    pub output_directory: Option<String>,
    /// What to do if a file exists already: `error`, `overwrite`, `skip`, `skip-unchanged`, `append`.
    pub conflict_strategy: Option<String>,
    /// Whether to keep a copy of what is overwritten.
    pub backup: bool,
    /// Where the call stands in a loop.
    pub iteration: Option<Iteration>,
    /// The parameters of the run, as a JSON object.
    pub parameters: Option<Json>,
    /// The solution on whose behalf the call is made.
    pub solution: Option<Solution>,
    /// The account that is meant, of several.
    pub auth_profile: Option<String>,
    /// Settings of this call, which override those of the configuration.
    pub settings: Settings,
}

impl Context {
    /// Parses what was resolved so far; `None` when the host sent nothing of it, or something that is not an object.
    ///
    /// # Errors
    ///
    /// When it does not fit the type; ready to be returned to the host.
    pub fn resolver_context<'a, T: Deserialize<'a>>(&'a self) -> Result<Option<T>, Error> {
        #[derive(Deserialize)]
        struct Surroundings<'a> {
            #[serde(borrow, default, rename = "resolverContext")]
            resolved: Option<&'a RawValue>,
        }
        let failed = |e: serde_json::Error| Error::new(format!("failed to decode context: {e}"));

        let Some(context) = &self.context else {
            return Ok(None);
        };
        let Surroundings { resolved } = context.decode("context")?;
        match resolved.map(RawValue::get).filter(|text| text.starts_with('{')) {
            Some(object) => serde_json::from_str(object).map(Some).map_err(failed),
            None => Ok(None),
        }
    }
}

/// Where a call stands in a loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iteration {
    /// The item of this turn.
    pub item: Option<Json>,
    /// Which turn it is, from 0.
    pub index: i32,
    /// The name by which expressions refer to the item.
    pub item_alias: String,
    /// The name by which expressions refer to the index.
    pub index_alias: String,
}

/// The solution on whose behalf a call is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The name for people.
    pub display_name: String,
    /// What it is about.
    pub description: String,
    /// What it belongs to.
    pub category: String,
    /// What else it belongs to.
    pub tags: Vec<String>,
    /// Where it came from.
    pub source: String,
}

/// What an execution returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value itself; any JSON.
    pub data: Json,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// A JSON object of things beside the value.
    pub metadata: Option<Json>,
    /// Whether the user has seen the value already, so that it need not be shown.
    pub streamed: bool,
    /// Remarks on the execution.
    pub diagnostics: Vec<Diagnostic>,
}

impl Output {
    /// Makes an output of nothing but a value that is JSON already.
    #[must_use]
    pub fn new(data: Json) -> Self {
        Self { data, warnings: Vec::new(), metadata: None, streamed: false, diagnostics: Vec::new() }
    }

    /// Makes an output of nothing but a value.
    ///
    /// # Errors
    ///
    /// For a value that JSON cannot hold; ready to be returned to the host.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        match Json::from_value(value) {
            Ok(data) => Ok(Self::new(data)),
            Err(e) => Err(Error::new(format!("failed to encode output: {e}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(input: &str, expected: Result<&[(&str, i32)], &str>) {
        let request = Execute::new("p", Json::from_text(input));
        match (request.input_as::<BTreeMap<&str, i32>>(), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, BTreeMap::from_iter(expected.iter().copied())),
            (Err(Error::Refused(refusal)), Err(start)) => {
                assert!(refusal.message.starts_with(start), "{input:?}: {}", refusal.message);
            }
            (found, expected) => panic!("{input:?}: {found:?} instead of {expected:?}"),
        }
    }

    /// Contract items 29 to 31.
    #[test]
    fn an_input_is_an_object_or_nothing() {
        check(r#"{"a":1}"#, Ok(&[("a", 1)]));
        check("null", Ok(&[]));
        check("", Ok(&[]));
        check("[1]", Err("failed to decode input: "));
        check("{", Err("failed to decode input: "));
    }

    fn check_resolved(context: Option<&str>, expected: Option<&[(&str, i32)]>) {
        let context = Context { context: context.map(Json::from_text), ..Context::default() };
        let found: Option<BTreeMap<String, i32>> = context.resolver_context().expect("it has this form");
        let expected = expected.map(|all| all.iter().map(|&(name, n)| (name.to_owned(), n)).collect());
        assert_eq!(found, expected, "{context:?}");
    }

    /// Contract item 34.
    #[test]
    fn the_resolver_context_is_an_object_or_nothing() {
        check_resolved(Some(r#"{"other":[],"resolverContext": {"a":1}}"#), Some(&[("a", 1)]));
        check_resolved(Some(r#"{"resolverContext":[1]}"#), None);
        check_resolved(Some(r#"{"resolverContext":null}"#), None);
        check_resolved(Some("{}"), None);
        check_resolved(Some(""), None);
        check_resolved(None, None);
    }

    #[test]
    fn a_value_that_json_cannot_hold_is_refused() {
        let keys_are_lists = BTreeMap::from([(vec![1], 2)]);
        let Err(Error::Refused(refusal)) = Output::json(&keys_are_lists) else {
            panic!("JSON has no such keys");
        };
        assert!(refusal.message.starts_with("failed to encode output: "), "{}", refusal.message);
    }
}
