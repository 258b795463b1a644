//! Where what plugins print of their own accord goes.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::PluginName;

/// Takes what plugins print of their own accord: the stdout and stderr of a child process and of a guest, as they
/// appear. The output of a streaming call is not part of it, and neither is what a plugin logs.
///
/// The pieces of one stream of one plugin come in the order in which they were printed, cut anywhere. The order of
/// pieces of different streams is unknown.
///
/// Before each piece, its sender waits for [`room`](Self::room); a plugin that prints or logs more meanwhile blocks,
/// while its deadlines go on and it can be stopped. So an implementation needs memory only for the room it gives, and
/// for one more piece of each plugin that prints.
#[async_trait]
pub trait Prints: fmt::Debug + Send + Sync {
    /// Waits until a piece can be taken. The future may be dropped at any time.
    async fn room(&self);

    /// Takes a piece of 64 KiB at most. Never blocks. May be called without room: what is left of a plugin's output
    /// when it ends comes all the same.
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
