//! The calls of a supervised provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use portcullis_contract::{
    Backend, Call, CallError, Chunk, Configuration, Descriptor, Execute, Json, Kind, LaunchError, Output,
    PluginSpec, Provider, ProviderName,
};

use super::clocks::Clocks;
use super::{PluginKind, Supervised};

/// What a plugin says of its providers at launch.
#[derive(Debug)]
pub struct SaidOfProviders {
    providers: Vec<ProviderName>,
    descriptors: BTreeMap<ProviderName, Result<Descriptor, CallError>>,
}

/// Plugins that offer providers.
#[derive(Clone, Copy, Debug)]
pub enum ProviderKind {}

#[async_trait]
impl PluginKind for ProviderKind {
    type Plugin = dyn Provider;
    type Name = ProviderName;
    type Said = SaidOfProviders;
    const KIND: Kind = Kind::Provider;
    const LOST: Option<&'static str> = None;

    async fn launch(backend: &dyn Backend, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError> {
        backend.launch_provider(spec).await
    }

    fn said(provider: &dyn Provider) -> SaidOfProviders {
        let providers = provider.providers().to_vec();
        let describe = |name: &ProviderName| provider.descriptor(name).cloned().map_err(CallError::clone);
        let descriptors = providers.iter().map(|name| (name.clone(), describe(name))).collect();
        SaidOfProviders { providers, descriptors }
    }

    async fn configure(
        plugin: &dyn Provider,
        call: &Call,
        name: &ProviderName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        plugin.configure(call, name, configuration).await
    }
}

#[async_trait]
impl Provider for Supervised<ProviderKind> {
    fn providers(&self) -> &[ProviderName] {
        &self.said.providers
    }

    fn descriptor(&self, name: &ProviderName) -> Result<&Descriptor, &CallError> {
        self.said.descriptors.get(name).map_or_else(|| Err(CallError::no_such_provider()), Result::as_ref)
    }

    async fn configure(
        &self,
        call: &Call,
        name: &ProviderName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.shared.configure(call, name, configuration).await
    }

    async fn execute(&self, call: &Call, request: Execute) -> Result<Output, CallError> {
        let log = self.shared.log_call("execute", Some(&request.provider));
        self.shared
            .call(log, call, |provider, call| async move { provider.execute(&call, request).await })
            .await
    }

    fn execute_stream(&self, call: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>> {
        let log = self.shared.log_call("execute_stream", Some(&request.provider));
        let clocks = Clocks::start(call, &self.shared.limits);
        let make =
            move |provider: &(dyn Provider + 'static), call: &Call| provider.execute_stream(call, request);
        self.shared.stream(log, clocks, make, |chunk| matches!(chunk, Chunk::Result(_)))
    }

    async fn describe_what_if(
        &self,
        call: &Call,
        name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError> {
        let log = self.shared.log_call("describe_what_if", Some(name));
        self.shared
            .call(
                log,
                call,
                |provider, call| async move { provider.describe_what_if(&call, name, input).await },
            )
            .await
    }

    async fn extract_dependencies(
        &self,
        call: &Call,
        name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        let log = self.shared.log_call("extract_dependencies", Some(name));
        self.shared
            .call(log, call, |provider, call| async move {
                provider.extract_dependencies(&call, name, inputs).await
            })
            .await
    }

    async fn stop(&self, call: &Call, name: Option<&ProviderName>) -> Result<(), CallError> {
        let log = self.shared.log_call("stop", name);
        self.shared.call(log, call, |provider, call| async move { provider.stop(&call, name).await }).await
    }
}
