//! The plugins of a host by their files, and the work on them: asking one what it offers, or starting it.
//!
//! Such work goes on when the caller that began it is dropped: otherwise a slow plugin would never come up for callers
//! in a hurry. Others wait for it, and then find the result, or begin anew if it failed. It has the limits of every
//! launch, and ends with the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use super::Rooms;
use super::find::{FindError, Purpose};
use super::started::Started;
use crate::lock::lock;
use crate::supervise::Life;
use crate::turn::in_turn;

/// The plugins by file and purpose: one may be asked, with nothing granted, while it is up.
pub(super) type Plugins = BTreeMap<(PathBuf, Purpose), Arc<Entry>>;

/// A plugin that is up, or about to be. One that is merely asked is never up.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) up: OnceCell<Started>,
    /// Held by the work under way.
    turn: Arc<Mutex<()>>,
}

impl Entry {
    /// Returns whether its plugin, if it is up, was not shut down by somebody who holds it.
    fn is_of_use(&self) -> bool {
        self.up.get().is_none_or(|started| started.plugin.is_running())
    }

    /// Ends the plugin, and waits for the work under way, which was told to end.
    pub(super) async fn end(&self, grace: Duration) {
        if let Some(started) = self.up.get() {
            started.plugin.shutdown(grace).await;
        }
        // The runtime of the work may stand still.
        let _too_late = timeout(grace, self.turn.lock()).await.map(drop);
    }
}

impl Rooms {
    /// Does work on the plugin in a file, after other work of the same purpose, and to its end even if the caller is
    /// dropped.
    pub(super) async fn run_to_end<T, Fut>(
        &self,
        file: &Path,
        purpose: Purpose,
        work: impl FnOnce(Arc<Self>, Arc<Entry>) -> Fut + Send,
    ) -> Result<T, FindError>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, FindError>> + Send + 'static,
    {
        let rooms = self.me.upgrade().ok_or(FindError::Stopping)?;
        let mut life = self.life.subscribe();
        let entry = self.entry(file, purpose);
        let turn = Arc::clone(&entry.turn).lock_owned();
        let work = work(rooms, Arc::clone(&entry));
        in_turn(turn, move |turn| async move {
            let _until_the_end = (entry, turn);
            tokio::select! {
                biased;
                // The loser is dropped, and what it has started with it.
                _ = life.wait_for(|life| *life != Life::Up) => Err(FindError::Stopping),
                done = work => done,
            }
        })
        .await
    }

    /// Returns what is known of the plugin in a file.
    pub(super) fn entry(&self, file: &Path, purpose: Purpose) -> Arc<Entry> {
        let (mut all, key) = (lock(&self.plugins), (file.to_owned(), purpose));
        // While all are stopped, nothing is started in their place.
        let stays = |entry: &&Arc<Entry>| entry.is_of_use() || *self.life.borrow() != Life::Up;
        if let Some(entry) = all.get(&key).filter(stays) {
            return Arc::clone(entry);
        }
        all.remove(&key);
        // Entries of plugins that are neither up nor starting are of no use.
        all.retain(|_, entry| entry.up.initialized() && entry.is_of_use() || Arc::strong_count(entry) > 1);
        Arc::clone(all.entry(key).or_default())
    }
}
