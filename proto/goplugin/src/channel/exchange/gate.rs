//! Where calls wait while their peer lets no more of them run at once.
//!
//! HTTP/2 would have them wait, too, but whoever waits there counts as sent, and fails with the connection. Here
//! nothing has been said of a call, so that it can be made on the next connection, or given up without a trace.
//!
//! We know less than HTTP/2 does: an answer that has come, and that nobody reads, is over for the peer and not for us.
//! So who is first in line waits for a place only for a while, and then in HTTP/2.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::Sender;

/// How long who is first in line waits for a place that we know to be free. A guess: if it is too long, a call waits
/// for answers that are not read, and if it is too short, one more call is lost with a connection that breaks.
const PATIENCE: Duration = Duration::from_secs(1);

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Gate {
    under_way: AtomicUsize,
    /// Its one permit is who is first in line. All others wait for it.
    line: Semaphore,
    /// Tells who is first in line to look again.
    changed: Notify,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), line: Semaphore::new(1), changed: Notify::new() })
    }

    /// Has who is first in line look again. If nobody is, the next one looks once in vain: to ask first could miss
    /// somebody who comes now.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Takes a place if there are not that many calls yet.
    fn place(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let more = |under_way| (under_way < limit).then_some(under_way + 1);
        self.under_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

/// The place of a call that is under way.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
        self.0.look_again();
    }
}

/// Leave to make a call.
pub(super) struct Entry<'a> {
    pub(super) place: Place,
    /// Held by a call that has lost its patience, until HTTP/2 has room for it: others wait here meanwhile.
    pub(super) late: Option<SemaphorePermit<'a>>,
}

impl Sender {
    /// Waits until the peer has room for a call; `None` once it takes no more. Those who wait are let through in their
    /// order.
    pub(super) async fn enter(&self) -> Option<Entry<'_>> {
        let gate = &self.gate;
        if gate.line.available_permits() > 0 {
            let place = gate.place(self.limit());
            if let Some(place) = place {
                return Some(Entry { place, late: None });
            }
        }
        let turn = gate.line.acquire().await.ok()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if self.is_closed() {
                // The others need not find out one by one.
                gate.line.close();
                return None;
            }
            if let Some(place) = gate.place(self.limit()) {
                return Some(Entry { place, late: None });
            }
            if timeout_at(until, gate.changed.notified()).await.is_err() {
                let place = gate.place(usize::MAX)?;
                return Some(Entry { place, late: Some(turn) });
            }
        }
    }

    /// Returns how many calls the peer lets run at once.
    fn limit(&self) -> usize {
        self.requests.current_max_send_streams()
    }
}

#[cfg(test)]
mod tests;
