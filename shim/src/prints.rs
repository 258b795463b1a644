//! Passes what the component prints to the host, as a native plugin's prints are.

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use portcullis_serve::Output;

/// Passes prints to the host, which has one stream, and so one bound, for both outputs.
///
/// A component waits for a host that reads, as it would in the host's own process. A host that does not read must not
/// stop it: what that leaves unread for too long is dropped, and the log says so (see [`Output`]).
#[derive(Debug)]
pub(crate) struct ToHost {
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

#[async_trait]
impl Prints for ToHost {
    async fn room(&self) {
        self.stdout.room().await;
    }

    fn take(&self, _: &PluginName, stream: PrintStream, piece: Bytes) {
        match stream {
            PrintStream::Stdout => self.stdout.take(&piece),
            PrintStream::Stderr => self.stderr.take(&piece),
        }
    }
}
