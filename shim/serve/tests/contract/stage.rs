//! A plugin that is served beside its test, and a connection to it.

use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{AuthHandler, LaunchError, Provider};
use portcullis_goplugin::{Attach, Channel, Connection, TestServing};
use portcullis_proto as proto;
use portcullis_proto::auth_handler_service_client::AuthHandlerServiceClient;
use portcullis_proto::plugin_service_client::PluginServiceClient;
use portcullis_serve::{Served, Surroundings};
use tonic::{Code, Status};

/// Generous: it is only ever waited out by a test that fails.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) connection: Connection,
    _serving: TestServing,
    /// Last, so that it is there until everything else has let go of it.
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Serves a provider.
    pub(crate) async fn provider<P: Provider + 'static>(
        plugin: impl FnOnce(Surroundings) -> Result<P, LaunchError> + Send + 'static,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let launch = async move |around| plugin(around).map(|plugin| Arc::new(plugin) as Arc<dyn Provider>);
        Self::of(Served::provider(launch)).await
    }

    /// Serves an auth handler.
    pub(crate) async fn auth_handler<A: AuthHandler + 'static>(
        plugin: impl FnOnce(Surroundings) -> Result<A, LaunchError> + Send + 'static,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let launch =
            async move |around| plugin(around).map(|plugin| Arc::new(plugin) as Arc<dyn AuthHandler>);
        Self::of(Served::auth_handler(launch)).await
    }

    async fn of(mut served: Served) -> Result<Self, Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        served.options.variables = vec![("TMPDIR".into(), directory.path().into())];
        let serving = served.serve_in_test().await?;
        let mut attach = Attach::new(serving.reattach().clone());
        attach.socket_base = Some(directory.path().to_owned());
        Ok(Self { connection: attach.connect().await?, _serving: serving, _directory: directory })
    }

    pub(crate) fn providers(&self) -> PluginServiceClient<Channel> {
        PluginServiceClient::new(self.connection.channel()).max_encoding_message_size(usize::MAX)
    }

    pub(crate) fn handlers(&self) -> AuthHandlerServiceClient<Channel> {
        AuthHandlerServiceClient::new(self.connection.channel())
    }
}

/// Makes a request to play that.
pub(crate) fn execute(what: &str) -> proto::ExecuteProviderRequest {
    proto::ExecuteProviderRequest {
        provider_name: "good".to_owned(),
        input: format!("{{\"do\":\"{what}\"}}").into(),
        ..Default::default()
    }
}

pub(crate) fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

/// Waits for something that has to happen.
pub(crate) async fn generous<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("this takes no minute")
}
