//! Fresh instances that wait for calls, and used ones that wait to be cleared up.
//!
//! A call should pay neither for the next instance nor for clearing up its own. A task does both. Instances that are
//! slow to make are made on another thread while a call runs. Quick ones are made when a thread has nothing else to do:
//! waking one would cost the call about as much as the instance, which is there anyway by the time that the answer is
//! read.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::component::bindings::portcullis::plugin::types::Configuration;
use crate::component::engine::Class;
use crate::component::instances::Live;
use crate::lock::lock;

/// The instances that were made ahead of calls, and those that calls have left.
pub(crate) struct Ahead {
    /// Instances that no call has seen.
    pub(crate) ready: Mutex<Vec<Live>>,
    /// Instances that are to be dropped.
    pub(crate) spent: Mutex<Vec<Live>>,
    /// What the last call was for, and what the next is expected to be for: a name and its configuration.
    pub(crate) whom: Mutex<Option<Whom>>,
    signal: Arc<Signal>,
    task: Mutex<Option<AbortHandle>>,
}

/// A provider or handler, and what it is configured with.
pub(crate) type Whom = (String, Arc<Configuration>);

/// A call that has its instance. It is over when this is dropped: answered, failed or abandoned.
#[must_use]
pub(crate) struct UnderWay<'a>(&'a Ahead);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Signal::InAPause(_) = *self.0.signal {
            self.0.signal.give();
        }
    }
}

impl Ahead {
    /// Makes a place for instances of a class. Small ones take less time than waking another thread.
    pub(crate) fn new(class: Class) -> Self {
        let signal = match (class == Class::Small).then(Signal::in_a_pause) {
            Some(Ok(signal)) => signal,
            // Without a descriptor small ones are made at once, too: no help to calls that come one by one, and no
            // harm.
            Some(Err(_)) | None => Signal::AtOnce(Notify::new()),
        };
        Self {
            ready: Mutex::default(),
            spent: Mutex::default(),
            whom: Mutex::default(),
            signal: Arc::new(signal),
            task: Mutex::default(),
        }
    }

    /// Returns how many instances may be ready, and how many spent. More would cost memory for little.
    pub(crate) fn most(&self) -> usize {
        match *self.signal {
            // One is taken while the next is made; the second smooths a burst.
            Signal::AtOnce(_) => 2,
            Signal::InAPause(_) => 1,
        }
    }

    /// Notes that a call has its instance. `work` is the task; it is started by the first call.
    pub(crate) fn begun<W>(&self, whom: Option<Whom>, work: impl FnOnce(Arc<Signal>) -> W) -> UnderWay<'_>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        *lock(&self.whom) = whom;
        let mut task = lock(&self.task);
        if !is_alive(&task) {
            *task = Some(tokio::spawn(work(Arc::clone(&self.signal))).abort_handle());
        }
        drop(task);
        if let Signal::AtOnce(_) = *self.signal {
            self.signal.give();
        }
        UnderWay(self)
    }

    /// Returns where to put an instance that has answered, to be cleared up later; `None` drops it now.
    pub(crate) fn place_for_spent(&self) -> Option<&Mutex<Vec<Live>>> {
        // What waits keeps its slot until calls pause.
        let waits = matches!(*self.signal, Signal::InAPause(_))
            && is_alive(&lock(&self.task))
            && lock(&self.spent).len() < self.most();
        waits.then_some(&self.spent)
    }

    /// Clears up after one call, for a call that has to make its own instance: in the slot that this frees, whose memory
    /// is there already. (The place that is free again saves this call from clearing up after itself.)
    pub(crate) fn clear_one(&self) {
        let spent = lock(&self.spent).pop();
        drop(spent);
    }

    /// Ends the task, and drops what waits.
    pub(crate) fn end(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        lock(&self.ready).clear();
        lock(&self.spent).clear();
    }
}

/// Returns whether the task runs. It may have ended with the runtime of an earlier call.
fn is_alive(task: &Option<AbortHandle>) -> bool {
    task.as_ref().is_some_and(|task| !task.is_finished())
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells the task that there is something to do.
pub(crate) enum Signal {
    /// Wakes a thread for it.
    AtOnce(Notify),
    /// Is noticed by the next thread that waits for events, and so has nothing else to do.
    InAPause(OwnedFd),
}

/// Where a signal is waited for: in one runtime.
pub(crate) enum Waiting<'s> {
    AtOnce(&'s Notify),
    InAPause(AsyncFd<BorrowedFd<'s>>),
}

impl Signal {
    fn in_a_pause() -> io::Result<Self> {
        Ok(Self::InAPause(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    fn give(&self) {
        match self {
            Self::AtOnce(notify) => notify.notify_one(),
            // Fails only when the counter is full, and then the signal is given already.
            Self::InAPause(event) => _ = rustix::io::write(event, &1_u64.to_ne_bytes()),
        }
    }

    /// Registers the signal with the runtime of the caller.
    #[expect(unsafe_code, reason = "tokio asks for a promise about the descriptor, which its type keeps")]
    pub(crate) fn waiting(&self) -> io::Result<Waiting<'_>> {
        let event = match self {
            Self::AtOnce(notify) => return Ok(Waiting::AtOnce(notify)),
            Self::InAPause(event) => event.as_fd(),
        };
        // SAFETY: it is borrowed by what is registered, and open as long as that is.
        Ok(Waiting::InAPause(unsafe { AsyncFd::register_with_interest(event, Interest::READABLE)? }))
    }
}

impl Waiting<'_> {
    /// Waits until it is given; fails when the runtime ends.
    pub(crate) async fn given(&self) -> io::Result<()> {
        match self {
            Self::AtOnce(notify) => notify.notified().await,
            Self::InAPause(event) => {
                let mut given = false;
                while !given {
                    let mut ready = event.readable().await?;
                    given = rustix::io::read(event, &mut [0_u8; 8]).is_ok();
                    // The read took every signal so far; a new one makes it ready again.
                    ready.clear_ready();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn the_work_goes_on_in_another_runtime_when_one_has_ended() {
        let ahead = Ahead::new(Class::Large);
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime().block_on(async { drop(ahead.begun(None, |_signal| std::future::pending())) });
        assert!(!is_alive(&lock(&ahead.task)));
        runtime().block_on(async {
            drop(ahead.begun(None, |_signal| std::future::pending()));
            assert!(is_alive(&lock(&ahead.task)));
        });
    }

    #[test]
    fn what_is_spent_waits_only_where_somebody_clears_up() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let first = runtime();
        let ahead = Ahead::new(Class::Small);
        assert!(ahead.place_for_spent().is_none());
        first.block_on(async { drop(ahead.begun(None, |_signal| std::future::pending())) });
        assert!(ahead.place_for_spent().is_some());
        drop(first);
        assert!(ahead.place_for_spent().is_none());
    }

    #[test]
    fn a_signal_is_seen_in_one_runtime_after_another() {
        let ahead = Ahead::new(Class::Small);
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let waiting = ahead.signal.waiting().unwrap();
                drop(ahead.begun(None, |_signal| std::future::ready(())));
                timeout(Duration::from_secs(60), waiting.given()).await.unwrap().unwrap();
            });
        }
    }

    #[tokio::test]
    async fn a_call_that_is_abandoned_is_over_as_well() {
        let ahead = Ahead::new(Class::Small);
        let call = async {
            let _under_way = ahead.begun(None, |_signal| std::future::ready(()));
            std::future::pending::<()>().await;
        };
        assert!(timeout(Duration::ZERO, call).await.is_err());
        let waiting = ahead.signal.waiting().unwrap();
        timeout(Duration::from_secs(60), waiting.given()).await.unwrap().unwrap();
    }
}
