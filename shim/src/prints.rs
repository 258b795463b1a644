//! What the component prints, on its way to the host: as a native plugin's own prints go.

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use portcullis_serve::Output;

/// Hands prints over to the host, which has one stream and so one room for the two.
///
/// A component waits for a host that reads, as it would in the host's own process. One that does not read must not stop it:
/// what it has left too long is dropped, as the log then says (see [`Output`]).
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
