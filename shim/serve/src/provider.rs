//! The calls of a provider, served (contract spec 3).
//!
//! Names are not checked: the plugin refuses those that it does not know. Only the connection to the host is kept from
//! one call to the next.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::proto::{Answer, Configure, StreamItem};
use portcullis_contract::{CallError, Chunk, Descriptor, Output, Provider, ProviderName};
use portcullis_goplugin::contained_stream;
use portcullis_proto as proto;
use portcullis_proto::plugin_service_server::{PluginService, PluginServiceServer};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::host_service::RemoteHost;
use crate::service::{Responded, Service, answered, refused};
use crate::{call, request, status};

/// The error of a provider that does not stream. Hosts decide by the code, and show the text.
const NO_STREAMING: &str = "streaming execution not supported";

/// Returns the service of a provider, or of one that could not say what it offers.
pub(crate) fn routes(
    plugin: Result<Arc<dyn Provider>, CallError>,
    host: RemoteHost,
    message_limit: usize,
) -> Routes {
    let service = PluginServiceServer::new(Service { plugin, host });
    Routes::new(service.max_decoding_message_size(message_limit))
}

/// Returns the answer for an output. One that is not JSON breaks the contract.
fn executed(output: Output) -> Result<proto::ExecuteProviderResponse, Status> {
    let response = proto::ExecuteProviderResponse::from(Answer(Ok(output)));
    if response.error.is_empty() {
        return Ok(response);
    }
    Err(status::of(&CallError::contract(response.error), ""))
}

#[tonic::async_trait]
impl PluginService for Service<dyn Provider> {
    async fn get_providers(
        &self,
        _: Request<proto::GetProvidersRequest>,
    ) -> Responded<proto::GetProvidersResponse> {
        let plugin = self.plugin("GetProviders: ")?;
        let provider_names = plugin.providers().iter().map(ToString::to_string).collect();
        Ok(Response::new(proto::GetProvidersResponse { provider_names }))
    }

    async fn get_provider_descriptor(
        &self,
        request: Request<proto::GetProviderDescriptorRequest>,
    ) -> Responded<proto::GetProviderDescriptorResponse> {
        let name = ProviderName::new(request.into_inner().provider_name);
        let words = format!("GetProviderDescriptor {:?}: ", name.as_str());
        let plugin = self.plugin(&words)?;
        match plugin.descriptor(&name) {
            // Upstream's plugins answer so by convention. Ours said at launch what it offers.
            Err(_) if !plugin.providers().contains(&name) => {
                Err(Status::unknown(format!("{words}unknown provider: {name}")))
            }
            Ok(descriptor) => Ok(Response::new(Descriptor::clone(descriptor).into())),
            Err(error) => Err(status::of(error, &words)),
        }
    }

    async fn configure_provider(
        &self,
        request: Request<proto::ConfigureProviderRequest>,
    ) -> Responded<proto::ConfigureProviderResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let configure = match Configure::try_from(request.into_inner()) {
            Ok(configure) => configure,
            Err(error) => return Ok(refused(request::undecodable(&error))),
        };
        if let Err(refusal) = self.bind(configure.host_service).await {
            return Ok(refused(refusal));
        }
        let Configure { provider, configuration, .. } = configure;
        let done = plugin.configure(&call, &provider, &configuration).await;
        answered("ConfigureProvider", done)
    }

    async fn execute_provider(
        &self,
        request: Request<proto::ExecuteProviderRequest>,
    ) -> Responded<proto::ExecuteProviderResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let execute = match request::execute(request.into_inner()) {
            Ok(execute) => execute,
            Err(refusal) => return Ok(refused(refusal)),
        };
        match plugin.execute(&call, execute).await {
            Ok(output) => executed(output).map(Response::new),
            Err(error) => answered("ExecuteProvider", Err::<Output, _>(error)),
        }
    }

    type ExecuteProviderStreamStream = BoxStream<'static, Result<proto::ExecuteProviderStreamChunk, Status>>;

    /// The plugin is asked for the next chunk when there is room for it, so that a slow host slows the plugin. A host
    /// that has gone drops the stream.
    async fn execute_provider_stream(
        &self,
        request: Request<proto::ExecuteProviderRequest>,
    ) -> Responded<Self::ExecuteProviderStreamStream> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let execute = match request::execute(request.into_inner()) {
            Ok(execute) => execute,
            Err(refusal) => {
                let last = StreamItem::Result(Answer(Err(refusal)));
                return Ok(Response::new(stream::iter([Ok(last.into())]).boxed()));
            }
        };
        let chunks = plugin.execute_stream(&call, execute).map(sent);
        Ok(Response::new(contained_stream(chunks).boxed()))
    }

    async fn describe_what_if(
        &self,
        request: Request<proto::DescribeWhatIfRequest>,
    ) -> Responded<proto::DescribeWhatIfResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let proto::DescribeWhatIfRequest { provider_name, input } = request.into_inner();
        let (name, input) = match request::object("input", input) {
            Ok(input) => (ProviderName::new(provider_name), input),
            Err(refusal) => return Ok(refused(refusal)),
        };
        let description = plugin.describe_what_if(&call, &name, input).await;
        answered("DescribeWhatIf", description)
    }

    async fn extract_dependencies(
        &self,
        request: Request<proto::ExtractDependenciesRequest>,
    ) -> Responded<proto::ExtractDependenciesResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let proto::ExtractDependenciesRequest { provider_name, inputs } = request.into_inner();
        let (name, inputs) = match request::object("inputs", inputs) {
            Ok(inputs) => (ProviderName::new(provider_name), inputs),
            Err(refusal) => return Ok(refused(refusal)),
        };
        let dependencies = plugin.extract_dependencies(&call, &name, inputs).await;
        answered("ExtractDependencies", dependencies)
    }

    /// Stopping one provider disconnects the host for all of them, as in upstream's library.
    async fn stop_provider(
        &self,
        request: Request<proto::StopProviderRequest>,
    ) -> Responded<proto::StopProviderResponse> {
        let (plugin, call) = (self.plugin("")?, call::of(&request));
        let name = request.into_inner().provider_name;
        let name = (!name.is_empty()).then(|| ProviderName::new(name));
        let stopped = plugin.stop(&call, name.as_ref()).await;
        if stopped.is_ok() {
            self.host.forget();
        }
        answered("StopProvider", stopped)
    }
}

/// Returns the message for one item of a stream. A refusal is sent as the last item; any other error is a status.
fn sent(item: Result<Chunk, CallError>) -> Result<proto::ExecuteProviderStreamChunk, Status> {
    use proto::execute_provider_stream_chunk::Chunk as Payload;

    Ok(match item {
        Ok(Chunk::Stdout(bytes)) => StreamItem::Stdout(bytes).into(),
        Ok(Chunk::Stderr(bytes)) => StreamItem::Stderr(bytes).into(),
        Ok(Chunk::Result(output)) => {
            proto::ExecuteProviderStreamChunk { chunk: Some(Payload::Result(executed(output)?)) }
        }
        Err(CallError::Refused(refusal)) => StreamItem::Result(Answer(Err(refusal))).into(),
        Err(CallError::Unimplemented) => return Err(Status::unimplemented(NO_STREAMING)),
        Err(error) => return Err(status::of(&error, "")),
    })
}
