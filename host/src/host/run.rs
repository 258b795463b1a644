//! One run of a provider: the request, the run itself, and its result.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{BackendName, Call, CallError, Capability, Context, Json, Output};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::Host;
use super::execute::{self, ExecuteError};
use super::find::{Describe, FindError, Wanted};

/// A request to run a provider once.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The text of a JSON object; `None` is an empty one.
    pub input: Option<Json>,
    /// The capability that was asked for; `None` takes the one that fits.
    pub capability: Option<String>,
    /// What goes with the input; its mode is set from the capability.
    pub context: Context,
    /// How long the whole run may take, finding and starting the plugin included.
    pub timeout: Option<Duration>,
    /// How the input is processed.
    pub input_check: InputCheck,
}

/// How an input is processed before a plugin sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputCheck {
    /// Defaults, coercion and validation, as upstream's `run provider` does.
    #[default]
    Full,
    /// Not at all, as by upstream's resolvers.
    None,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The provider's registered name.
    pub provider: String,
    /// What runs it.
    pub backend: BackendName,
    /// The capability in which it was called.
    pub capability: Capability,
    /// What it returned.
    pub output: Output,
    /// Whether the provider was told to change nothing.
    pub dry_run: bool,
    /// How long the call itself took.
    pub took: Duration,
    /// The fields of its value that are secret.
    pub sensitive_fields: Vec<String>,
}

impl Ran {
    /// Returns the value with its sensitive fields replaced by `[REDACTED]`, as `--redact` does upstream.
    #[must_use]
    pub fn redacted(&self) -> Json {
        execute::redact(&self.output.data, &self.sensitive_fields)
    }
}

/// Takes the output of a provider while it runs.
#[async_trait]
pub trait OutputSink: Send {
    /// Takes a piece of its standard output, cut anywhere.
    async fn stdout(&mut self, bytes: Bytes);

    /// Takes a piece of its standard error, cut anywhere.
    async fn stderr(&mut self, bytes: Bytes);
}

/// Why a run gave no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// No plugin was found that can be used.
    #[error(transparent)]
    Find(FindError),
    /// The request does not fit the provider: an unknown input, a capability that it does not have.
    #[error("{0}")]
    Request(String),
    /// The execution failed; the chain of sources reads as upstream's sentence.
    #[error("provider execution failed")]
    Execution(#[source] ExecuteError),
    /// The time for the whole run has passed.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// How long that was.
        limit: Duration,
    },
}

impl RunError {
    /// Returns the exit code that the plugin named with its refusal. It is not the command's.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Execution(error) => error.refusal().and_then(|r| r.exit_code),
            _ => None,
        }
    }
}

impl Host {
    /// Finds, starts and configures a provider, and runs one request. Its output goes to `sink` as it appears;
    /// without a sink the provider is not asked to stream.
    ///
    /// Dropping the future abandons the request. A plugin that is being started for it still comes up, for the next
    /// request.
    ///
    /// # Errors
    ///
    /// What went wrong, in upstream's sentences.
    pub async fn run(
        &self,
        wanted: &Wanted,
        describe: Describe,
        request: Run,
        sink: Option<&mut dyn OutputSink>,
    ) -> Result<Ran, RunError> {
        // A limit that is too far off to compute never comes.
        let limited = request.timeout.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        let Some((limit, deadline)) = limited else {
            return self.run_until(None, wanted, describe, request, sink).await;
        };
        // Around all of it, for searching, starting and checking have no clock of their own.
        match timeout_at(deadline, self.run_until(Some(deadline), wanted, describe, request, sink)).await {
            Ok(Err(RunError::Execution(error)))
                if matches!(error.call_error(), Some(CallError::TimedOut { .. })) =>
            {
                Err(RunError::TimedOut { limit })
            }
            Ok(ran) => ran,
            Err(_elapsed) => Err(RunError::TimedOut { limit }),
        }
    }

    async fn run_until(
        &self,
        deadline: Option<Instant>,
        wanted: &Wanted,
        describe: Describe,
        request: Run,
        sink: Option<&mut dyn OutputSink>,
    ) -> Result<Ran, RunError> {
        let provider = self.rooms.find(wanted, describe).await.map_err(RunError::Find)?;
        let dry_run = request.context.dry_run;
        let prepared = execute::prepare(&provider, request).await?;
        let call = Call { deadline: deadline.map(Instant::into_std) };
        let called = execute::call(&provider, &call, prepared.request, sink).await;
        let (output, took) = called.map_err(RunError::Execution)?;
        Ok(Ran {
            provider: provider.name().to_owned(),
            backend: provider.plugin.info().backend,
            capability: prepared.capability,
            output,
            dry_run,
            took,
            sensitive_fields: provider.descriptor.sensitive_fields.clone(),
        })
    }
}
