//! Work that waits for a disk: it may hold very much, or be far away.

use tokio::task::JoinError;

/// Does some work where nobody who waits for something else waits for it, too.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // Only a runtime that shuts down cancels such work. Whoever it still polls is given up in a moment.
        Err(Err(_)) => std::future::pending().await,
    }
}
