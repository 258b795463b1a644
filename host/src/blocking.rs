//! Work that blocks, kept off the threads that drive tasks.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tracing::{Dispatch, Span, dispatcher};

/// Runs blocking work on a thread for that, and passes on its panic.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(in_this_span(work))).await
}

/// Waits for work of the caller's own runtime, and passes on its panic.
pub(crate) async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that is shutting down cancels such work, and in a moment it drops this future as well.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Has work on another thread log as its caller would: to the same subscriber, in the caller's span.
pub(crate) fn in_this_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let (log, span) = (dispatcher::get_default(Dispatch::clone), Span::current());
    move || dispatcher::with_default(&log, || span.in_scope(work))
}
