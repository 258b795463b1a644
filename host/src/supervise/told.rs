//! What the log is told of a call: that it begins, how it ended, and how long that took.
//!
//! All of it is at the level debug, and costs a call nothing to speak of below that. What is logged while we wait for
//! the answer, by us or by a component, stands in the span of the call, and so under its number. No word of an answer is
//! told: it may quote what the plugin was given.

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_contract::CallError;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::display;

use super::{PluginKind, Shared};

/// Numbers the calls of this process.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// A call that has begun. If it is dropped before its end, its caller gave it up.
pub(super) struct Told {
    span: Span,
    /// When it began, unless its end was told or nothing is.
    begun: Option<Instant>,
}

impl<K: PluginKind> Shared<K> {
    /// Tells that a call begins.
    pub(super) fn told(&self, method: &'static str, name: Option<&K::Name>) -> Told {
        let span = tracing::debug_span!(
            "call",
            id = CALLS.fetch_add(1, Ordering::Relaxed),
            plugin = %self.spec.name,
            method,
            name = name.map(display),
        );
        span.in_scope(|| tracing::debug!("call begins"));
        let begun = (!span.is_disabled()).then(Instant::now);
        Told { span, begun }
    }
}

impl Told {
    /// Returns the span of the call.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Tells how the call ended, unless that was told.
    pub(super) fn end(&mut self, error: Option<&CallError>) {
        self.tell(|| error.map_or_else(|| "answered".to_owned(), outcome));
    }

    fn tell(&mut self, outcome: impl FnOnce() -> String) {
        if let Some(begun) = self.begun.take() {
            let _within = self.span.enter();
            tracing::debug!(took = ?begun.elapsed(), outcome = outcome(), "call ended");
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(|| "given up by its caller".to_owned());
    }
}

/// Says why there is no answer, in words of ours.
fn outcome(error: &CallError) -> String {
    match error {
        CallError::Refused(_) => "refused".to_owned(),
        CallError::Stopped(reason) => format!("{error}: {}", reason.how()),
        error => error.to_string(),
    }
}
