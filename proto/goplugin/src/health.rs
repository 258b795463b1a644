//! Whether a plugin answers.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Channel;

/// The name under which every go-plugin plugin reports its health.
pub(crate) const SERVICE: &str = "plugin";

/// Asks once, and waits no longer than `limit`.
///
/// Upstream takes any answer for a healthy one; here only "serving" is.
pub(crate) async fn ping(channel: Channel, limit: Duration) -> Result<(), PingError> {
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    match timeout(limit, client.check(request)).await {
        Ok(Ok(answer)) => match answer.get_ref().status() {
            ServingStatus::Serving => Ok(()),
            _ => Err(PingError::NotServing),
        },
        Ok(Err(status)) => Err(PingError::Failed(Box::new(status))),
        Err(_elapsed) => Err(PingError::TimedOut { limit }),
    }
}

/// Why a plugin does not count as healthy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PingError {
    /// It answered that it does not serve.
    #[error("the plugin says that it is not serving")]
    NotServing,
    /// It answered with an error, or its connection is lost.
    #[error("the plugin cannot be asked for its health")]
    Failed(#[source] Box<Status>),
    /// It did not answer.
    #[error("no answer within {limit:?}")]
    TimedOut {
        /// How long it was waited for.
        limit: Duration,
    },
}
