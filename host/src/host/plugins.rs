//! The plugins of a host by their files, and what is done to them: to ask one, or to start it.
//!
//! Were that given up with its caller, a slow plugin would never come up for callers in a hurry. So it is nobody's own: who
//! comes meanwhile waits for its end, and then finds what came of it, or begins anew if nothing did. It has the limits of every
//! launch, and ends with the host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;
use tracing::Instrument as _;
use tracing::instrument::WithSubscriber as _;

use super::Rooms;
use super::find::{FindError, Purpose};
use super::started::Started;
use crate::blocking::finished;
use crate::lock::lock;
use crate::supervise::Life;

/// The plugins by their files, and by what is done to them: they are asked with nothing granted, and may be up meanwhile.
pub(super) type Plugins = BTreeMap<(PathBuf, Purpose), Arc<Entry>>;

/// A plugin that is up, or about to be. One that is merely asked is never up.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) up: OnceCell<Started>,
    /// Taken by what is under way.
    turn: Arc<Mutex<()>>,
}

impl Entry {
    /// Ends the plugin, and waits for the end of what is under way: it was told of that.
    pub(super) async fn end(&self, grace: Duration) {
        if let Some(started) = self.up.get() {
            started.plugin.shutdown(grace).await;
        }
        // Who began it may have let its runtime stand still.
        let _too_late = timeout(grace, self.turn.lock()).await.map(drop);
    }
}

impl Rooms {
    /// Does something to the plugin in a file, after whatever is done to it for the same purpose already, and sees it through.
    pub(super) async fn see_through<T, Fut>(
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
        let turn = Arc::clone(&entry.turn).lock_owned().await;
        let work = work(rooms, Arc::clone(&entry));
        let seen_through = async move {
            let _until_the_end = (entry, turn);
            tokio::select! {
                biased;
                // The loser is dropped, and what it has started with it.
                _ = life.wait_for(|life| *life != Life::Up) => Err(FindError::Stopping),
                done = work => done,
            }
        };
        // It is logged as its beginner's, also when that one has gone.
        finished(tokio::spawn(seen_through.in_current_span().with_current_subscriber())).await
    }

    /// Returns what is known of the plugin in a file.
    pub(super) fn entry(&self, file: &Path, purpose: Purpose) -> Arc<Entry> {
        let (mut all, key) = (lock(&self.plugins), (file.to_owned(), purpose));
        if let Some(entry) = all.get(&key) {
            return Arc::clone(entry);
        }
        // Of a file whose plugin is neither up nor about to be there is nothing to remember.
        all.retain(|_, entry| entry.up.initialized() || Arc::strong_count(entry) > 1);
        Arc::clone(all.entry(key).or_default())
    }
}
