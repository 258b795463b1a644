//! Work that goes on elsewhere, and is logged as if it did not.

use tracing::{Dispatch, Span, dispatcher};

/// Has work that another thread does log where its caller would, in the caller's span.
pub(crate) fn in_this_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let (log, span) = (dispatcher::get_default(Dispatch::clone), Span::current());
    move || dispatcher::with_default(&log, || span.in_scope(work))
}
