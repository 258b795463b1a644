//! How often the log warns of what one plugin asks for.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_contract::PluginName;

/// How often at the most. A guess: more would let a plugin flood the log, fewer could hide what a person looks for.
const MOST: u32 = 100;

/// Counts the warnings of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Warnings(AtomicU32);

impl Warnings {
    /// Returns whether the log is to have one more. Where they end, it is told.
    pub(crate) fn one_more(&self, plugin: &PluginName) -> bool {
        // Wrapping around takes four thousand million of them, and then shows a hundred more.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before == MOST {
            tracing::warn!(%plugin, "denied or failed too often: no more of it is shown");
        }
        before < MOST
    }
}
