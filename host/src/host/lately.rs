//! What failed a moment ago, so that whoever asks in a loop does not have it tried, and programs started, every time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// For how long it is not tried again. A guess: too short, and who asks in a loop has programs started all the time; too long, and
/// what was put right is missed.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// How many failures are remembered at a time: no host has nearly so many, and a plugin may ask for any name.
const MOST: usize = 64;

/// Failures by what was tried, and until when each holds.
#[derive(Debug)]
pub(super) struct Lately<K, E>(Mutex<HashMap<K, (Instant, E)>>);

impl<K, E> Default for Lately<K, E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, E> Lately<K, E> {
    /// Notes that something failed.
    pub(super) fn note(&self, tried: K, error: E) {
        let now = Instant::now();
        let mut all = lock(&self.0);
        all.retain(|_, (until, _)| *until > now);
        if all.len() < MOST {
            all.insert(tried, (now + PAUSE, error));
        }
    }

    /// Returns what `say` makes of the failure, if something failed a moment ago.
    pub(super) fn recall<T>(&self, tried: &K, say: impl FnOnce(&E) -> T) -> Option<T> {
        let all = lock(&self.0);
        let (until, error) = all.get(tried)?;
        (*until > Instant::now()).then(|| say(error))
    }
}
