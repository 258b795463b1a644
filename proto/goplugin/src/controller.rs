//! Asking a plugin to end.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;

use crate::wire::Empty;
use crate::wire::grpc_controller_client::GrpcControllerClient;
use crate::{Asked, Channel};

/// Sends the request, and waits up to `limit` for the answer.
///
/// The answer is only for display: a Go plugin ends before it answers, and one without the service answers
/// that it has none. What counts is whether the process ends.
pub(crate) async fn ask_to_end(channel: Channel, limit: Duration) -> Asked {
    let mut client = GrpcControllerClient::new(channel);
    match timeout(limit, client.shutdown(Empty {})).await {
        Ok(Ok(_)) => Asked::Answered,
        Ok(Err(status)) => match status.code() {
            Code::Unimplemented => Asked::Absent,
            Code::Unavailable | Code::Cancelled | Code::Unknown => Asked::Cut,
            _ => Asked::Failed(status.message().to_owned()),
        },
        Err(_elapsed) => Asked::Unanswered,
    }
}
