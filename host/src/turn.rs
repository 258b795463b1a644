//! Work that waits for its turn.

use tokio::sync::oneshot;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use crate::blocking::finished;

/// Does work once its turn has come, and gives it the turn to hold. A caller that is dropped before gives the turn up;
/// after that the work goes on to its end.
///
/// All of that is done in a task: a caller that waits and is not looked at again, as a stream that nobody reads, would
/// be given the turn and keep it from everybody.
pub(crate) async fn in_turn<P, W>(
    turn: impl Future<Output = P> + Send + 'static,
    work: impl FnOnce(P) -> W + Send + 'static,
) -> W::Output
where
    P: Send + 'static,
    W: Future + Send + 'static,
    W::Output: Send + 'static,
{
    let (caller, gone) = oneshot::channel::<()>();
    let task = async move {
        let turn = tokio::select! {
            biased;
            _ = gone => return None,
            turn = turn => turn,
        };
        Some(work(turn).await)
    };
    // Logs in the span of the caller, even after that is gone.
    let done = finished(tokio::spawn(task.in_current_span().with_current_subscriber())).await;
    drop(caller);
    match done {
        Some(done) => done,
        // It is `None` only for a caller that is gone.
        None => std::future::pending().await,
    }
}
