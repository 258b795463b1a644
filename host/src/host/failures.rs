//! Recent failures, remembered for a moment: whoever asks in a loop does not have programs started each time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// How long something that failed is not tried again. A guess: too short, and a loop starts programs all the time; too
/// long, and a fault that was removed still counts.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// The most failures that are remembered, the latest. No host has nearly as many, but a plugin may ask for any name.
const MOST: usize = 64;

/// Failures by what was tried, each with the moment until which it holds.
#[derive(Debug)]
pub(super) struct RecentFailures<K, E>(Mutex<HashMap<K, (Instant, E)>>);

impl<K, E> Default for RecentFailures<K, E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, E> RecentFailures<K, E> {
    /// Notes that something failed.
    pub(super) fn note(&self, tried: K, error: E) {
        let now = Instant::now();
        let mut all = lock(&self.0);
        all.retain(|_, (until, _)| *until > now);
        if all.len() >= MOST
            && let Some(oldest) = all.values().map(|(until, _)| *until).min()
        {
            all.retain(|_, (until, _)| *until > oldest);
        }
        all.insert(tried, (now + PAUSE, error));
    }

    /// Returns what `say` makes of the error, if this failed a moment ago.
    pub(super) fn recall<T>(&self, tried: &K, say: impl FnOnce(&E) -> T) -> Option<T> {
        let all = lock(&self.0);
        let (until, error) = all.get(tried)?;
        (*until > Instant::now()).then(|| say(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_among_very_many_is_remembered_and_the_oldest_is_not() {
        let failures = RecentFailures::default();
        for tried in 0..=MOST {
            failures.note(tried, ());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(failures.recall(&MOST, |()| ()), Some(()));
        assert_eq!(failures.recall(&1, |()| ()), Some(()));
        assert_eq!(failures.recall(&0, |()| ()), None);
    }
}
