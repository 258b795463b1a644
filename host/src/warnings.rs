//! How often the log warns of what one plugin asks for.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_contract::PluginName;

/// How many warnings one plugin gets. A guess: more would let it flood the log, fewer could hide what a person looks
/// for.
const MOST: u32 = 100;

/// Counts the warnings of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Warnings(AtomicU32);

impl Warnings {
    /// Returns whether to log one more warning. Logs that there will be no more when the limit is reached.
    pub(crate) fn one_more(&self, plugin: &PluginName) -> bool {
        // Wraps around after 2^32 of them, and then shows a hundred more.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before == MOST {
            tracing::warn!(%plugin, "denied or failed too often: further warnings are left out");
        }
        before < MOST
    }
}
