//! Work that blocks, kept off the threads that drive tasks.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tracing::{Dispatch, Span, dispatcher};

/// Does work that blocks, on a thread for such, and passes on its panic.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(in_this_span(work))).await
}

/// Waits for work of the caller's own runtime, and passes on its panic.
pub(crate) async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that shuts down cancels such work. Whoever it still polls is given up in a moment.
        Err(Err(_)) => std::future::pending().await,
    }
}

/// Has work that another thread does log where its caller would, in the caller's span.
pub(crate) fn in_this_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let (log, span) = (dispatcher::get_default(Dispatch::clone), Span::current());
    move || dispatcher::with_default(&log, || span.in_scope(work))
}
