//! The broker's stream, as the host runs it.

use futures_util::stream::{StreamExt as _, pending};
use tokio::sync::watch;
use tonic::Status;

use super::Broker;
use crate::task::Task;
use crate::wire::grpc_broker_client::GrpcBrokerClient;
use crate::{Channel, Standing};

/// Opens the stream in the background, and closes the broker when it ends.
///
/// Never waits for the plugin: a Go plugin answers only when it has something to announce.
pub(crate) fn open(broker: &Broker, channel: Channel, pid: u32) -> (Task, watch::Receiver<Standing>) {
    let closing = Closing(broker.clone());
    let (tell, standing) = watch::channel(Standing::Open);
    let task = Task::spawn(async move {
        let Closing(broker) = &closing;
        let end = read(broker, channel).await;
        if let Err(status) = &end {
            tracing::debug!(pid, code = ?status.code(), "the plugin has no broker, or no longer: it cannot call back");
        }
        tell.send_replace(Standing::after(end));
    });
    (task, standing)
}

async fn read(broker: &Broker, channel: Channel) -> Result<(), Status> {
    let mut client = GrpcBrokerClient::new(channel);
    // When the broker closes, the stream stays open: the plugin may take the end of the stream for our own end.
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
