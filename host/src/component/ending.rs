//! The end of a plugin, and how the calls under way learn of it.
//!
//! It is checked around every poll of a guest, so that no guest can put it off.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use crate::component::clock::Meter;
use crate::lock::lock;

/// How far the end of a plugin has come.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    phase: AtomicU8,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Ending {
    const ASKED: u8 = 1;
    const ENDED: u8 = 2;

    /// Returns whether no more calls may begin.
    pub(crate) fn asked(&self) -> bool {
        self.phase.load(Ordering::SeqCst) >= Self::ASKED
    }

    fn ended(&self) -> bool {
        self.phase.load(Ordering::SeqCst) >= Self::ENDED
    }

    /// Lets no more calls begin.
    pub(crate) fn ask(&self) {
        self.phase.fetch_max(Self::ASKED, Ordering::SeqCst);
    }

    /// Ends whatever is under way.
    pub(crate) fn end(&self) {
        self.phase.fetch_max(Self::ENDED, Ordering::SeqCst);
        // A call that is woken may be dropped at once, which takes the lock.
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for waker in waiting.into_values() {
            waker.wake();
        }
    }
}

/// Polls a guest under its meter, or what a call waits for without one. `None` once the plugin has ended.
pub(crate) struct Watch<'a, F> {
    /// The clock of a guest.
    meter: Option<&'a Meter>,
    ending: &'a Ending,
    work: Pin<&'a mut F>,
    /// The number and the waker by which the plugin's end wakes us; set by the first poll that is pending.
    waiting: Option<(u64, Waker)>,
}

impl<'a, F: Future> Watch<'a, F> {
    pub(crate) fn new(meter: &'a Meter, ending: &'a Ending, work: Pin<&'a mut F>) -> Self {
        Self { meter: Some(meter), ending, work, waiting: None }
    }

    /// Watches something that a call waits for while no guest runs.
    pub(crate) fn waiting(ending: &'a Ending, work: Pin<&'a mut F>) -> Self {
        Self { meter: None, ending, work, waiting: None }
    }
}

impl<F: Future> Future for Watch<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ending.ended() {
            return Poll::Ready(None);
        }
        let work = this.work.as_mut();
        let polled = match this.meter {
            Some(meter) => meter.run(|| work.poll(cx)),
            None => work.poll(cx),
        };
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Some(result));
        }
        if this.waiting.as_ref().is_none_or(|(_, waker)| !waker.will_wake(cx.waker())) {
            let number = match &this.waiting {
                Some((number, _)) => *number,
                None => this.ending.next.fetch_add(1, Ordering::Relaxed),
            };
            lock(&this.ending.waiting).insert(number, cx.waker().clone());
            this.waiting = Some((number, cx.waker().clone()));
        }
        // The end may have come before we were on the list.
        if this.ending.ended() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<F> Drop for Watch<'_, F> {
    fn drop(&mut self) {
        if let Some((number, _)) = self.waiting.take() {
            lock(&self.ending.waiting).remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Wake;

    use futures_util::future::BoxFuture;

    use super::*;

    /// Lets go of what waits when it is woken, as an executor does that is closed.
    struct Closed(Mutex<Option<BoxFuture<'static, Option<()>>>>);

    impl Wake for Closed {
        fn wake(self: Arc<Self>) {
            let waits = lock(&self.0).take();
            drop(waits);
        }
    }

    #[test]
    fn who_is_woken_by_the_end_may_let_go_of_what_waits() {
        let ending = Arc::new(Ending::default());
        let ends = Arc::clone(&ending);
        let mut waits: BoxFuture<'static, _> = Box::pin(async move {
            let forever = pin!(std::future::pending::<()>());
            Watch::waiting(&ends, forever).await
        });
        let closed = Arc::new(Closed(Mutex::default()));
        let waker = Arc::clone(&closed).into();
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        *lock(&closed.0) = Some(waits);

        ending.end();

        assert!(lock(&closed.0).is_none());
        assert!(lock(&ending.waiting).is_empty());
    }
}
