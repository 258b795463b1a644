//! One at a time: the calls of a plugin that has one instance.
//!
//! A login may take minutes, because a person takes part in it, and whoever waits behind one should learn that. So this
//! keeps the deadline of a waiting call, but only while a login has the turn; all other deadlines are the caller's.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use portcullis_contract::CallError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

/// Where calls wait for each other, first come, first served.
#[derive(Debug)]
pub(crate) struct Queue {
    turns: Semaphore,
    /// Whether the turn is a login's.
    login: AtomicBool,
}

/// The turn of one call, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queue: &'a Queue,
    _permit: SemaphorePermit<'a>,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { turns: Semaphore::new(1), login: AtomicBool::new(false) }
    }

    /// Waits for a turn. Fails when a login still has it at the deadline, and once the queue is closed.
    pub(crate) async fn turn(&self, deadline: Option<Instant>) -> Result<Turn<'_>, CallError> {
        let mut permit = pin!(self.turns.acquire());
        let in_time = match deadline {
            Some(deadline) => timeout_at(deadline.into(), permit.as_mut()).await.ok(),
            None => Some(permit.as_mut().await),
        };
        let permit = match in_time {
            Some(permit) => permit,
            None if self.login.load(Ordering::SeqCst) => return Err(CallError::Busy { with: "login" }),
            // No login: the caller's own deadline ends this.
            None => permit.await,
        };
        Ok(Turn { queue: self, _permit: permit.map_err(|_closed| CallError::Gone)? })
    }

    /// Waits for a turn that is a login's.
    pub(crate) async fn login(&self, deadline: Option<Instant>) -> Result<Turn<'_>, CallError> {
        let turn = self.turn(deadline).await?;
        self.login.store(true, Ordering::SeqCst);
        Ok(turn)
    }

    /// Fails every call that waits or comes later. The turn that is held goes on.
    pub(crate) fn close(&self) {
        self.turns.close();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.login.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_login_is_told_so_at_the_deadline() {
        let queue = Queue::new();
        let login = queue.login(None).await.unwrap();
        for waits in [queue.turn(Some(Instant::now() + SOON)).await, queue.login(Some(Instant::now())).await]
        {
            assert!(matches!(waits, Err(CallError::Busy { with: "login" })), "{waits:?}");
        }
        drop(login);
        queue.turn(Some(Instant::now())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_another_call_waits_on() {
        let queue = Queue::new();
        drop(queue.login(None).await.unwrap());
        let turn = queue.turn(None).await.unwrap();
        let mut waits = pin!(queue.turn(Some(Instant::now())));
        assert!(tokio::time::timeout(SOON, waits.as_mut()).await.is_err());
        drop(turn);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn a_closed_queue_sends_everybody_away() {
        let queue = Queue::new();
        let turn = queue.login(None).await.unwrap();
        let waits = async { queue.turn(None).await.map(drop) };
        let (waited, ()) = tokio::join!(waits, async { queue.close() });
        assert!(matches!(waited, Err(CallError::Gone)), "{waited:?}");
        drop(turn);
        assert!(matches!(queue.turn(None).await, Err(CallError::Gone)));
    }
}
