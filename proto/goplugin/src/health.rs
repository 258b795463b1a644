//! Whether a plugin answers.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{Channel, is_unknown_call};

/// The name under which every go-plugin plugin reports its health.
pub(crate) const SERVICE: &str = "plugin";

/// Asks once, and waits no longer than `limit`.
///
/// Upstream takes any answer for a healthy one; here only "serving" counts.
pub(crate) async fn ping(channel: Channel, limit: Duration) -> Result<(), PingError> {
    match check(channel, SERVICE, limit).await? {
        Health::Serving => Ok(()),
        Health::NotServing | Health::Unsaid | Health::NoSuchService => Err(PingError::NotServing),
    }
}

/// Asks once for the health of `service`, and waits no longer than `limit`.
pub(crate) async fn check(channel: Channel, service: &str, limit: Duration) -> Result<Health, PingError> {
    let mut client = HealthClient::new(channel);
    let request = HealthCheckRequest { service: service.to_owned() };
    match timeout(limit, client.check(request)).await {
        Ok(Ok(answer)) => Ok(match answer.get_ref().status() {
            ServingStatus::Serving => Health::Serving,
            ServingStatus::NotServing => Health::NotServing,
            ServingStatus::ServiceUnknown => Health::NoSuchService,
            ServingStatus::Unknown => Health::Unsaid,
        }),
        Ok(Err(status)) => match status.code() {
            Code::NotFound => Ok(Health::NoSuchService),
            _ if is_unknown_call(&status) => Err(PingError::Absent),
            _ => Err(PingError::Failed(Box::new(status))),
        },
        Err(_elapsed) => Err(PingError::TimedOut { limit }),
    }
}

/// What a plugin says of the health of one of its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It does not serve, or not yet, or no longer.
    NotServing,
    /// It answers that it does not know.
    Unsaid,
    /// It knows no service of that name.
    NoSuchService,
}

/// Why a plugin does not count as healthy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PingError {
    /// It answered that it does not serve.
    #[error("the plugin says that it is not serving")]
    NotServing,
    /// It has no health service.
    #[error("the plugin has no health service")]
    Absent,
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
