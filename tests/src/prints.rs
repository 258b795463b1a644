//! Somebody who reads what plugins print, as slowly as a test wants.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::contract::{PluginName, PrintStream, Prints};
use tokio::sync::Notify;

/// Keeps what is printed until a test reads it, and has room for so much.
#[derive(Debug)]
pub struct Reader {
    room: usize,
    kept: Mutex<Kept>,
    more: Notify,
    less: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: VecDeque<(PluginName, PrintStream, Bytes)>,
    bytes: usize,
    most: usize,
}

impl Reader {
    /// Makes a reader with room for `room` bytes.
    #[must_use]
    pub fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self { room, kept: Mutex::default(), more: Notify::new(), less: Notify::new() })
    }

    /// Waits for the next piece and takes it.
    pub async fn next(&self) -> (PluginName, PrintStream, Bytes) {
        loop {
            let more = self.more.notified();
            if let Some(piece) = self.pop() {
                return piece;
            }
            more.await;
        }
    }

    /// Waits until there is no room.
    pub async fn full(&self) {
        loop {
            let more = self.more.notified();
            if self.kept().bytes >= self.room {
                return;
            }
            more.await;
        }
    }

    /// Returns the most that was ever kept.
    pub fn most(&self) -> usize {
        self.kept().most
    }

    fn pop(&self) -> Option<(PluginName, PrintStream, Bytes)> {
        let mut kept = self.kept();
        let piece = kept.pieces.pop_front()?;
        kept.bytes -= piece.2.len();
        self.less.notify_waiters();
        Some(piece)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Prints for Reader {
    async fn room(&self) {
        loop {
            let less = self.less.notified();
            if self.kept().bytes < self.room {
                return;
            }
            less.await;
        }
    }

    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes) {
        let mut kept = self.kept();
        kept.bytes += piece.len();
        kept.most = kept.most.max(kept.bytes);
        kept.pieces.push_back((plugin.clone(), stream, piece));
        self.more.notify_one();
    }
}
