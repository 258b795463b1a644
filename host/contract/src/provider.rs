//! What a provider plugin does for us, and the messages of doing it.
//!
//! The trait has the eight calls of the contract (contract spec 1.1). Two of them are made once, at launch,
//! and answered from memory from then on.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use crate::{CallError, Capability, Descriptor, Diagnostic, Json, Plugin, ProviderName};

/// A plugin that offers providers.
///
/// No method here enforces a deadline: the caller drops the future when it passes. [`Call::deadline`] only informs
/// the plugin.
#[async_trait]
pub trait Provider: Plugin {
    /// Returns the names under which the plugin offers providers, in its own order. Never does I/O.
    fn providers(&self) -> &[ProviderName];

    /// Returns the descriptor of one provider, as read at launch. Never does I/O.
    ///
    /// # Errors
    ///
    /// Why the descriptor could not be read at launch; [`CallError::Refused`] if the plugin does not offer the name.
    fn descriptor(&self, name: &ProviderName) -> Result<&Descriptor, &CallError>;

    /// Prepares one provider. A plugin that starts new instances configures them in the same way by itself.
    ///
    /// Succeeds for a plugin that does not implement the call: it has nothing to prepare (contract spec 4.7).
    async fn configure(
        &self,
        call: &Call,
        name: &ProviderName,
        configuration: &Configuration,
    ) -> Result<(), CallError>;

    /// Runs one request to its end.
    async fn execute(&self, call: &Call, request: Execute) -> Result<Output, CallError>;

    /// Runs one request. The stream brings what it prints, as it appears, and then the result.
    ///
    /// The stream ends after exactly one [`Chunk::Result`] or one error, never both. A slow reader slows
    /// the plugin; dropping the stream abandons the call. From a plugin that cannot stream the error is
    /// [`CallError::Unimplemented`].
    fn execute_stream(&self, call: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>>;

    /// Says in words what a request would do; empty when the plugin leaves that to the host.
    async fn describe_what_if(
        &self,
        call: &Call,
        name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError>;

    /// Names the resolvers that raw inputs refer to; empty when the plugin leaves that to the host.
    async fn extract_dependencies(
        &self,
        call: &Call,
        name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError>;

    /// Ends one provider, or all of them. The plugin goes on running. Succeeds if it does not implement the
    /// call: it has nothing to end.
    async fn stop(&self, call: &Call, name: Option<&ProviderName>) -> Result<(), CallError>;
}

/// What goes with every call besides its request.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the caller stops waiting; `None` if it never does.
    pub deadline: Option<Instant>,
}

/// What a host tells a provider or an auth handler before it calls it (contract spec 1.3).
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
    /// Whether the host can ask a person during a login. An auth handler ranks its flows by it; the wire has no such field
    /// for providers.
    pub prompts_for_response: bool,
}

/// Settings by name. Each value is JSON of its own.
pub type Settings = BTreeMap<String, Json>;

/// A request to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// The provider that is meant, by its advertised name.
    pub provider: ProviderName,
    /// A JSON object, or `null`.
    pub input: Json,
    /// What goes with the input.
    pub context: Context,
}

impl Execute {
    /// Makes a request without any context.
    #[must_use]
    pub fn new(provider: impl Into<ProviderName>, input: Json) -> Self {
        Self { provider: provider.into(), input, context: Context::default() }
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
    /// Settings of this call alone. A plugin looks here first, and then in those of its configuration.
    pub settings: Settings,
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
    /// Its name for people.
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

/// What an execution returned (contract spec 2.6).
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
    /// The plugin's remarks. Upstream shows none on success; we log them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Output {
    /// Makes an output of nothing but a value.
    #[must_use]
    pub fn new(data: Json) -> Self {
        Self { data, warnings: Vec::new(), metadata: None, streamed: false, diagnostics: Vec::new() }
    }
}

/// One thing that a streaming execution hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A piece of what it wrote to its standard output, cut anywhere.
    Stdout(Bytes),
    /// A piece of what it wrote to its standard error, cut anywhere.
    Stderr(Bytes),
    /// Its end.
    Result(Output),
}
