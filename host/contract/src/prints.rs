//! Where what plugins print of their own accord goes.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::PluginName;

/// Takes what plugins print outside of streaming calls: the stdout and stderr of child processes and of guests, as it
/// appears. The output of a streaming call does not come here, and neither does the log of a plugin.
///
/// The pieces of one stream of one plugin come in the order in which they were printed, cut anywhere. The order of
/// pieces of different streams is unknown. What a child writes to its stderr by itself comes in whole lines if they have
/// at most 64 KiB, because its log is told from it by the line: without a carriage return at their end, with a line feed
/// behind the last one, and with U+FFFD for bytes that are no text.
///
/// Before each piece, the backend waits for [`room`](Self::room). A plugin that prints or logs more meanwhile blocks;
/// its deadlines go on, and it can be stopped. So an implementation needs memory only for the room that it gives, and
/// for one more piece of each plugin that prints.
#[async_trait]
pub trait Prints: fmt::Debug + Send + Sync {
    /// Waits until a piece can be taken. The future may be dropped at any time.
    async fn room(&self);

    /// Takes a piece of at most 64 KiB. Must not block. May be called without room: what is left of a plugin's output
    /// when it ends is handed over all the same.
    fn take(&self, plugin: &PluginName, stream: PrintStream, piece: Bytes);
}

/// Which of its two streams a plugin printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrintStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
