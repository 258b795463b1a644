//! What is logged of a call: that it begins, how it ended, and how long that took.
//!
//! All of it is at level debug, and costs next to nothing when that is off. What we or a component log during the call
//! stands in its span, and so under its number. No word of an answer is logged: it may quote what the plugin was given.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_contract::CallError;
use tokio::time::Instant;
use tracing::Span;

use super::{PluginKind, Shared};

/// Numbers the calls of this process.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// A call that has begun. If it is dropped before its end, its caller gave it up.
pub(super) struct CallLog {
    span: Span,
    /// When it began, unless its end was logged already or nothing is logged.
    begun: Option<Instant>,
}

impl<K: PluginKind> Shared<K> {
    /// Logs that a call begins.
    pub(super) fn log_call(&self, method: &'static str, name: Option<&K::Name>) -> CallLog {
        let span = tracing::debug_span!(
            "call",
            id = CALLS.fetch_add(1, Ordering::Relaxed),
            plugin = %self.spec.name,
            method,
            offering = name.map(display),
        );
        span.in_scope(|| tracing::debug!("call begins"));
        let begun = (!span.is_disabled()).then(Instant::now);
        CallLog { span, begun }
    }
}

impl CallLog {
    /// Returns the span of the call.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Logs how the call ended, unless that was done.
    pub(super) fn end(&mut self, error: Option<&CallError>) {
        self.log_end(|| error.map_or_else(|| "answered".to_owned(), outcome));
    }

    fn log_end(&mut self, outcome: impl FnOnce() -> String) {
        if let Some(begun) = self.begun.take() {
            let _within = self.span.enter();
            tracing::debug!(took = ?begun.elapsed(), outcome = outcome(), "call ended");
        }
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        self.log_end(|| "given up by its caller".to_owned());
    }
}

/// Says why there is no answer. The words of a refusal are the plugin's, and are left out.
fn outcome(error: &CallError) -> String {
    match error {
        CallError::Refused(_) => "refused".to_owned(),
        CallError::Stopped(reason) => format!("{error}: {}", reason.how()),
        error => error.to_string(),
    }
}
