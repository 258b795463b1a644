//! What the component prints, on its way to the host: as a native plugin's own prints go.

use std::io::Write as _;

use async_trait::async_trait;
use bytes::Bytes;
use portcullis_contract::{PluginName, PrintStream, Prints};
use portcullis_serve::Output;

/// Hands prints over to the host, which has one stream for each of the two.
///
/// There is always room: a host that does not read must not stop a component, and what it has left too long is dropped,
/// as the log then says (see [`Output`]).
#[derive(Debug)]
pub(crate) struct ToHost {
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

#[async_trait]
impl Prints for ToHost {
    async fn room(&self) {}

    fn take(&self, _: &PluginName, stream: PrintStream, piece: Bytes) {
        let mut output = match stream {
            PrintStream::Stdout => &self.stdout,
            PrintStream::Stderr => &self.stderr,
        };
        // It never fails.
        let _written = output.write_all(&piece);
    }
}
