//! Work that goes on elsewhere: on a disk, which may hold very much or be far away, or beside who began it.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::span::in_this_span;

/// Does some work where nobody who waits for something else waits for it, too.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(in_this_span(work))).await
}

/// Waits for work of the caller's own runtime, and passes on its panic.
pub(super) async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that shuts down cancels such work. Whoever it still polls is given up in a moment.
        Err(Err(_)) => std::future::pending().await,
    }
}
