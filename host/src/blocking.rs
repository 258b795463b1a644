//! Work that blocks, kept off the threads that drive tasks.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tracing::{Dispatch, Span, dispatcher};

/// How long a runtime that is shutting down may take to drop its tasks. A guess.
const MOMENT: Duration = Duration::from_millis(100);

/// Runs blocking work on a thread for that, and passes on its panic.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(spawn_blocking(in_this_span(work))).await
}

/// Waits for work of the caller's own runtime, and passes on its panic. Panics, as tokio's own timers do, if that runtime
/// has ended.
pub(crate) async fn finished<T>(work: JoinHandle<T>) -> T {
    match work.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(cancelled)) => {
            // Only a runtime that is shutting down cancels such work, and in a moment it drops this future as well: but
            // for one that a thread waits for from outside, by a handle of that runtime, whose timers have ended, too.
            let (over, moment) = oneshot::channel::<()>();
            let clock = std::thread::Builder::new().spawn(move || {
                std::thread::sleep(MOMENT);
                drop(over);
            });
            let _ended_or_not_begun = (clock, moment.await);
            panic!("{cancelled}: its runtime has ended");
        }
    }
}

/// Has work on another thread log as its caller would: to the same subscriber, in the caller's span.
pub(crate) fn in_this_span<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let (log, span) = (dispatcher::get_default(Dispatch::clone), Span::current());
    move || dispatcher::with_default(&log, || span.in_scope(work))
}
