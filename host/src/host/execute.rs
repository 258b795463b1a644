//! One execution: inputs are checked, the provider is called, and its answer is read.
//!
//! The validating path of upstream's `run provider` (contract spec 6.6) in its order: unknown keys,
//! the capability, the inputs, write protection, the schema, the call. Each step's sentence is
//! upstream's, and the chain of an error's sources reads as the line that upstream prints. Values of
//! sensitive inputs are in none of them, and nothing here logs an input.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use portcullis_contract::{
    Call, CallError, Capability, Chunk, Execute, Json, Output, PluginInfo, Refusal, Severity, chain,
};
use thiserror::Error;

use super::inputs::{self, ResolveError};
use super::registry::RegisteredProvider;
use super::schema::JudgeError;
use super::sentences::quote;
use super::text;
use super::{InputCheck, OutputSink, Run, RunError};
use crate::blocking::blocking;

/// The capabilities that may change something, most general first. The last two are of upstream's later hosts.
const WRITING: [Capability; 3] = [Capability::ACTION, Capability::STATE, Capability::KUBECONFIG];

/// How long a plugin may think about dependencies (contract spec 4.5).
const DEPENDENCIES_LIMIT: Duration = Duration::from_secs(30);

/// Why an execution gave no result. The chain of sources reads as upstream's sentence.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The inputs cannot be resolved or coerced to what the provider expects.
    #[error("{0}")]
    Inputs(String),
    /// The operation changes something, and the capability does not allow that.
    #[error(
        "operation {} is a write operation and cannot be used in read-only execution mode {}; \
         use a workflow action instead",
        quote(operation),
        quote(mode.as_str())
    )]
    Write {
        /// The operation.
        operation: String,
        /// The capability in which it was called.
        mode: Capability,
    },
    /// The inputs do not fit the provider's schema.
    #[error("input validation failed")]
    Invalid(#[source] InvalidInput),
    /// The call gave no answer.
    #[error("provider execution failed")]
    Call(#[source] FailedCall),
}

/// The rules that an input breaks, one to a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidInput(String);

/// A call to a provider that gave no answer.
///
/// A refusal is shown in the plugin's words, as upstream does; the cause of any other failure is the source.
#[derive(Debug)]
pub struct FailedCall {
    /// The provider's registered name.
    pub provider: String,
    /// Its plugin.
    pub plugin: Box<PluginInfo>,
    /// The error of the call.
    pub error: CallError,
    /// How long the call itself took.
    pub took: Duration,
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = &self.provider;
        match &self.error {
            CallError::Refused(refusal) => match refusal.error_diagnostics() {
                Some(diagnostics) => write!(f, "{provider}: {diagnostics}"),
                None if refusal.by_library => write!(f, "{provider}: {}", refusal.message),
                None => write!(f, "{provider}: provider execution failed: {}", refusal.message),
            },
            _ => f.write_str(provider),
        }
    }
}

impl Error for FailedCall {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.error {
            // Part of the text already.
            CallError::Refused(_) => None,
            error => Some(error),
        }
    }
}

impl ExecuteError {
    /// Returns the error of the call, if there was one.
    #[must_use]
    pub fn call_error(&self) -> Option<&CallError> {
        match self {
            Self::Call(failed) => Some(&failed.error),
            _ => None,
        }
    }

    /// Returns the plugin's own refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self.call_error() {
            Some(CallError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

impl From<ResolveError> for ExecuteError {
    fn from(error: ResolveError) -> Self {
        Self::Inputs(error.to_string())
    }
}

impl From<JudgeError> for ExecuteError {
    fn from(error: JudgeError) -> Self {
        Self::Invalid(InvalidInput(error.to_string()))
    }
}

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct ReadyRequest {
    /// What is sent.
    pub(super) request: Execute,
    /// The capability in which it is sent.
    pub(super) capability: Capability,
}

/// Checks a request against a provider, and makes the message, on a thread for that if it may take long. Calls no plugin.
///
/// # Errors
///
/// What does not fit.
pub(super) async fn prepare(provider: &Arc<RegisteredProvider>, run: Run) -> Result<ReadyRequest, RunError> {
    // The input may take values from the context.
    let parts = [&run.input, &run.context.context];
    let length = parts.into_iter().flatten().map(|part| part.as_str().len()).sum();
    let is_unchecked = run.input_check != InputCheck::Full;
    if is_unchecked || provider.schema.as_ref().is_none_or(|schema| schema.judges_soon(length)) {
        return prepare_now(provider, run);
    }
    let provider = Arc::clone(provider);
    if provider.judges.available_permits() == 0 {
        let (plugin, provider) = (&provider.plugin.info().name, provider.name());
        tracing::info!(%plugin, provider, "a request waits, because checking others by the plugin's schemas takes long");
    }
    let permit = Arc::clone(&provider.judges).acquire_owned().await;
    let check = move || {
        // It cannot be cancelled: abandoned by its caller it still has a thread, and so keeps the permit.
        let _permit = permit;
        prepare_now(&provider, run)
    };
    blocking(check).await
}

fn prepare_now(provider: &RegisteredProvider, run: Run) -> Result<ReadyRequest, RunError> {
    let Run { input, capability, mut context, input_check, .. } = run;
    let is_checked = input_check == InputCheck::Full;
    let input = match input {
        Some(input) => input,
        None if is_checked => Json::from_text("{}"),
        // Upstream's other path sends what it has, which is no map at all.
        None => Json::null(),
    };
    let given = match text::members(input.as_str()) {
        Err(_) if !is_checked && input == Json::null() => text::Members::default(),
        given => given.map_err(|error| unreadable(provider, &error))?,
    };

    if is_checked {
        inputs::check_keys(provider.name(), provider.schema.as_ref(), &given).map_err(RunError::Request)?;
    }
    let operation = inputs::operation(&given);
    let capability = choose(provider, capability.as_deref(), operation.as_deref())?;
    let input = if is_checked {
        check(provider, &capability, &input, &given, context.context.as_ref())
    } else {
        protect(provider, &capability, operation.as_deref()).map(|()| input)
    };
    let input = input.map_err(RunError::Execution)?;

    // Upstream sends the directory with actions only (contract spec 10.4).
    context.output_directory = context.output_directory.filter(|_| capability == Capability::ACTION);
    context.mode = Some(capability.clone());
    let request = Execute { provider: provider.advertised.clone(), input, context };
    Ok(ReadyRequest { request, capability })
}

/// Says why an input is no object. What is in a secret field is not told by its keys either.
fn unreadable(provider: &RegisteredProvider, error: &text::TextError) -> RunError {
    let name = provider.name();
    let is_secretive = !provider.descriptor.sensitive_fields.is_empty();
    RunError::Request(match error {
        text::TextError::Duplicate(_) if is_secretive => {
            format!("{name}: a key is given more than once in one object; give it once")
        }
        error => format!("{name}: {error}"),
    })
}

/// Returns an input with its values resolved and coerced, if it may be sent in that capability and fits the schema.
fn check(
    provider: &RegisteredProvider,
    capability: &Capability,
    input: &Json,
    given: &text::Members<'_>,
    context: Option<&Json>,
) -> Result<Json, ExecuteError> {
    let (schema, sensitive) = (provider.schema.as_ref(), &provider.descriptor.sensitive_fields);
    let resolved = inputs::resolve(input, given, schema, sensitive, context)?;
    protect(provider, capability, resolved.operation.as_deref())?;
    if let Some(schema) = schema {
        schema.judge(resolved.text.as_str(), resolved.depth, sensitive)?;
    }
    Ok(resolved.text)
}

/// Chooses the capability: the one that was asked for; else, for an operation that changes something, one
/// that allows it; else the provider's first.
fn choose(
    provider: &RegisteredProvider,
    asked: Option<&str>,
    operation: Option<&str>,
) -> Result<Capability, RunError> {
    let name = quote(provider.name());
    let all = &provider.descriptor.capabilities;
    if let Some(asked) = asked {
        let capability = Capability::new(asked);
        let asked = quote(asked);
        if !capability.is_known() {
            // Upstream's sentence, which does not know the later ones yet.
            return Err(RunError::Request(format!(
                "invalid capability {asked} (valid: from, transform, validation, authentication, action)"
            )));
        }
        if all.contains(&capability) {
            return Ok(capability);
        }
        let all: Vec<_> = all.iter().map(Capability::as_str).collect();
        return Err(RunError::Request(format!(
            "provider {name} does not support capability {asked} (supported: [{}])",
            all.join(" ")
        )));
    }
    let Some(first) = all.first() else {
        return Err(RunError::Request(format!("provider {name} declares no capabilities")));
    };
    let writes = operation.is_some_and(|o| provider.writes(o));
    let writing = WRITING.into_iter().find(|capability| writes && all.contains(capability));
    Ok(writing.unwrap_or_else(|| first.clone()))
}

/// Refuses an operation that changes something, unless it is called in a capability that allows it
/// (contract spec 6.5).
fn protect(
    provider: &RegisteredProvider,
    mode: &Capability,
    operation: Option<&str>,
) -> Result<(), ExecuteError> {
    match operation.filter(|o| !WRITING.contains(mode) && provider.writes(o)) {
        Some(operation) => Err(ExecuteError::Write { operation: operation.to_owned(), mode: mode.clone() }),
        None => Ok(()),
    }
}

/// Calls a provider, streaming if somebody watches. Returns its output, and how long the call took.
///
/// # Errors
///
/// What the call said.
pub(super) async fn call(
    provider: &RegisteredProvider,
    call: &Call,
    request: Execute,
    sink: Option<&mut dyn OutputSink>,
) -> Result<(Output, Duration), ExecuteError> {
    let begun = Instant::now();
    let answer = match sink {
        Some(sink) if provider.may_stream() => match streamed(provider, call, request.clone(), sink).await {
            Err(BrokenOff { error: CallError::Unimplemented, has_begun }) => {
                let answer = provider.plugin.execute(call, request).await;
                // One that declines this request, and not to stream, declines it again.
                if !has_begun && is_the_authors(&answer) {
                    provider.does_not_stream();
                }
                answer
            }
            answer => answer.map_err(|broken| broken.error),
        },
        _ => provider.plugin.execute(call, request).await,
    };
    let took = begun.elapsed();
    log_remarks(provider, &answer);
    let output = answer.map_err(|error| {
        let plugin = Box::new(provider.plugin.info().clone());
        ExecuteError::Call(FailedCall { provider: provider.name().to_owned(), plugin, error, took })
    })?;
    Ok((output, took))
}

/// Returns whether the plugin's author answers, with success or not.
fn is_the_authors(answer: &Result<Output, CallError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(CallError::Refused(refusal)) => !refusal.by_library,
        Err(_) => false,
    }
}

/// A stream that came to no end.
struct BrokenOff {
    error: CallError,
    /// Whether something came before. Whoever declines to stream then knows the call, and has failed in another way
    /// (contract item 97).
    has_begun: bool,
}

/// Calls a provider and shows what it streams.
async fn streamed(
    provider: &RegisteredProvider,
    call: &Call,
    request: Execute,
    sink: &mut dyn OutputSink,
) -> Result<Output, BrokenOff> {
    let mut chunks = provider.plugin.execute_stream(call, request);
    let mut result = None;
    let mut has_begun = false;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| BrokenOff { error, has_begun })?;
        has_begun = true;
        match chunk {
            Chunk::Stdout(bytes) => sink.stdout(bytes).await,
            Chunk::Stderr(bytes) => sink.stderr(bytes).await,
            Chunk::Result(output) => result = Some(output),
        }
    }
    let without = || CallError::contract("it ended its stream without a result");
    result.ok_or_else(|| BrokenOff { error: without(), has_begun })
}

/// Logs a plugin's remarks on a success or a refusal. Remarks of a plugin with sensitive inputs may quote them, so only
/// their number is logged.
fn log_remarks(provider: &RegisteredProvider, answer: &Result<Output, CallError>) {
    let name = provider.name();
    let remarks: Vec<_> = match answer {
        Ok(output) => output.diagnostics.iter().collect(),
        // Its errors are what the refusal itself says.
        Err(CallError::Refused(refusal)) => {
            refusal.diagnostics.iter().filter(|remark| remark.severity != Severity::Error).collect()
        }
        Err(_) => Vec::new(),
    };
    if !provider.descriptor.sensitive_fields.is_empty() {
        if !remarks.is_empty() {
            tracing::debug!(provider = name, remarks = remarks.len(), "the plugin remarked on it");
        }
        return;
    }
    for remark in remarks {
        tracing::debug!(provider = name, severity = ?remark.severity, %remark, "the plugin remarked on it");
    }
}

impl RegisteredProvider {
    /// Says in words what a request would do: in the plugin's words, or in upstream's general ones if the plugin
    /// has none or fails.
    pub async fn what_if(&self, call: &Call, input: Json) -> String {
        match self.plugin.describe_what_if(call, &self.advertised, input).await {
            Ok(words) if !words.is_empty() => return words,
            Ok(_) | Err(CallError::Unimplemented) => {}
            Err(error) => {
                tracing::debug!(
                    provider = self.name(),
                    error = self.loggable(&error),
                    "the plugin does not say what it would do"
                );
            }
        }
        format!("Would execute {} provider", self.name())
    }

    /// Names the resolvers that raw inputs refer to; `None` leaves the search to the caller.
    ///
    /// The plugin is asked only if its descriptor says that it implements this. An empty answer counts as none, as
    /// upstream has it.
    pub async fn dependencies(&self, inputs: Json) -> Option<Vec<String>> {
        if !self.descriptor.has_extract_dependencies {
            return None;
        }
        let deadline = tokio::time::Instant::now() + DEPENDENCIES_LIMIT;
        let call = Call { deadline: Some(deadline.into_std()) };
        let asked = self.plugin.extract_dependencies(&call, &self.advertised, inputs);
        match tokio::time::timeout_at(deadline, asked).await {
            Ok(Ok(names)) => Some(names).filter(|names| !names.is_empty()),
            Ok(Err(CallError::Unimplemented)) => None,
            Ok(Err(error)) => {
                tracing::debug!(
                    provider = self.name(),
                    error = self.loggable(&error),
                    "dependencies not extracted"
                );
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Returns why a call failed, for the log. Errors of a plugin with sensitive inputs may quote them, and are not
    /// told.
    fn loggable(&self, error: &CallError) -> String {
        match self.descriptor.sensitive_fields.is_empty() {
            true => chain(error),
            false => "not told, for it has sensitive inputs".to_owned(),
        }
    }
}

/// Replaces the values of sensitive fields at the top of an output, as `--redact` does upstream.
///
/// An object that cannot be taken apart is replaced as a whole.
pub(super) fn redact(data: &Json, sensitive: &[String]) -> Json {
    const REDACTED: &str = "\"[REDACTED]\"";
    if sensitive.is_empty() || !data.as_str().trim_start().starts_with('{') {
        return data.clone();
    }
    let Ok(object) = text::members(data.as_str()) else { return Json::from_text(REDACTED) };
    // Both are the plugin's, and may be very many.
    let sensitive: HashSet<&str> = sensitive.iter().map(String::as_str).collect();
    let is_hidden = |key: &str| sensitive.contains(key);
    if !object.members.iter().any(|m| is_hidden(&m.key)) {
        return data.clone();
    }
    let pairs: Vec<_> = object
        .members
        .iter()
        .map(|m| format!("{}:{}", m.key_text, if is_hidden(&m.key) { REDACTED } else { m.value }))
        .collect();
    Json::from_text(format!("{{{}}}", pairs.join(",")))
}

#[cfg(test)]
mod tests;
