//! What a plugin prints after its handshake.
//!
//! A Go plugin sends its own prints through a service, piece by piece, and *blocks* while nobody takes them. So
//! the stream is opened on every connection and read for as long as that lasts, even if the sink discards
//! everything.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Code, Status};

use crate::task::Task;
use crate::wire::grpc_stdio_client::GrpcStdioClient;
use crate::wire::stdio_data::Channel as Origin;
use crate::{Channel, Sink, Standing, Stdio};

/// How much is handed over at once. A plugin may send more; Go's never do.
const PIECE: usize = 64 << 10;

/// Opens the stream in the background, and reads it to its end, which is the connection's.
///
/// A Go plugin sends the headers of its answer with the first piece only; nothing may wait for this
/// to have begun (protocol spec 10.4).
pub(crate) fn open(
    channel: Channel,
    message_limit: usize,
    sink: Arc<dyn Sink>,
    pid: u32,
) -> (Task, watch::Receiver<Standing>) {
    let (tell, standing) = watch::channel(Standing::Open);
    let task = Task::spawn(async move {
        let end = read(channel, message_limit, sink.as_ref(), pid).await;
        say(&end, pid);
        tell.send_replace(Standing::after(end));
    });
    (task, standing)
}

fn say(end: &Result<(), Status>, pid: u32) {
    match end {
        Ok(()) => {}
        // Older plugins, and many that are not written in Go, have no such service.
        Err(status) if matches!(status.code(), Code::Unimplemented | Code::Unavailable | Code::Cancelled) => {
            tracing::debug!(pid, code = ?status.code(), "the plugin hands over no prints, or no more");
        }
        Err(status) => {
            let (code, reason) = (status.code(), status.message());
            tracing::warn!(pid, ?code, reason, "the plugin's prints broke off, and no more are taken");
        }
    }
}

async fn read(channel: Channel, message_limit: usize, sink: &dyn Sink, pid: u32) -> Result<(), Status> {
    let mut client = GrpcStdioClient::new(channel).max_decoding_message_size(message_limit);
    let mut pieces = client.stream_stdio(()).await?.into_inner();
    while let Some(piece) = pieces.message().await? {
        let stdio = match piece.channel() {
            Origin::Stdout => Stdio::Stdout,
            Origin::Stderr => Stdio::Stderr,
            Origin::Invalid => {
                tracing::warn!(pid, "the plugin printed neither to stdout nor to stderr, and that is lost");
                continue;
            }
        };
        for part in piece.data.chunks(PIECE) {
            // Until there is some, the plugin's next pieces stay with it, and in the end it blocks.
            sink.room().await;
            sink.stdio(stdio, part);
        }
    }
    Ok(())
}
