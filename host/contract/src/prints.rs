//! Where what plugins print of their own accord goes.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::PluginName;

/// Takes what plugins print of their own accord: the stdout and stderr of a child process and of a guest, as they
/// appear. What a provider shows in a streaming call is no part of it, and neither is what a plugin logs.
///
/// The pieces of one stream of one plugin come one after the other, in the order in which they were printed and cut
/// anywhere. Pieces of different streams come as they do: nobody knows their order.
///
/// Whoever brings pieces waits for [`room`](Self::room) before each, and the plugin behind them stands still
/// meanwhile as soon as it prints more. So an implementation needs no more memory than it makes room for, and one
/// piece for everybody who prints. A plugin that logs waits for it, too. Its deadlines go on, and it can be stopped.
#[async_trait]
pub trait Prints: fmt::Debug + Send + Sync {
    /// Waits until a piece can be taken. The future may be dropped at any time.
    async fn room(&self);

    /// Takes a piece of 64 KiB at most. Never blocks, and nothing keeps it from being called without room: what a
    /// plugin leaves behind when it ends is brought all the same.
    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes);
}

/// Which of its two streams a plugin printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrintStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
