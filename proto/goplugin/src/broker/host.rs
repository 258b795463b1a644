//! The broker's stream, as the host runs it.

use futures_util::stream::{StreamExt as _, pending};
use tonic::Status;

use super::Broker;
use crate::Channel;
use crate::task::Task;
use crate::wire::grpc_broker_client::GrpcBrokerClient;

/// Opens the stream in the background, and closes the broker when it ends.
///
/// Never waits for the plugin: a Go plugin answers only when it has something to announce.
pub(crate) fn open(broker: &Broker, channel: Channel) -> Task {
    let closing = Closing(broker.clone());
    Task::spawn(async move {
        let Closing(broker) = &closing;
        if let Err(status) = read(broker, channel).await {
            tracing::debug!(code = ?status.code(), "the plugin's broker is not to be had, or no longer");
        }
    })
}

async fn read(broker: &Broker, channel: Channel) -> Result<(), Status> {
    let mut client = GrpcBrokerClient::new(channel);
    // A closed broker has no more to say, and leaves the stream open all the same: the plugin may take its
    // end for ours.
    let outgoing = broker.outgoing().chain(pending());
    let mut stream = client.start_stream(outgoing).await?.into_inner();
    while let Some(info) = stream.message().await? {
        broker.arrived(info);
    }
    Ok(())
}

/// Closes the broker when the task that reads ends, in whatever way.
struct Closing(Broker);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
