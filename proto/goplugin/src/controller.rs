//! Asking a plugin to end.

use std::time::Duration;

use tokio::time::timeout;

use crate::Channel;
use crate::wire::Empty;
use crate::wire::grpc_controller_client::GrpcControllerClient;

/// Sends the request and gives the plugin up to `limit` to take it.
///
/// The outcome means nothing: a Go plugin ends before it answers, and one without the service answers
/// that it has none. What counts is whether the process ends.
pub(crate) async fn ask_to_end(channel: Channel, limit: Duration) {
    let mut client = GrpcControllerClient::new(channel);
    match timeout(limit, client.shutdown(Empty {})).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => tracing::debug!(code = ?status.code(), "the plugin was asked to end"),
        Err(_elapsed) => tracing::debug!("the plugin did not take the request to end"),
    }
}
