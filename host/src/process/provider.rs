//! A child that offers providers.
//!
//! The eight calls of the contract, with the fallbacks for older plugins, which know nothing of configuring, stopping
//! and streaming (contract spec 4.7).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt};
use portcullis_contract::proto::{Answer, Configure, StreamItem};
use portcullis_contract::{
    Call, CallError, Chunk, Configuration, Descriptor, Execute, Json, LaunchError, LimitHit, LimitName,
    Output, PROTOCOL_VERSION, Plugin, PluginInfo, Provider, ProviderName,
};
use portcullis_proto as proto;
use tonic::Streaming;

use super::Started;
use super::channel::{Budget, Channel, Pending, ProviderClient, in_stream, or_nothing_to_do};
use super::host_service::HostDoor;
use super::state::Child;

/// A child process that offers providers.
#[derive(Debug)]
pub(super) struct ProcessProvider {
    info: PluginInfo,
    names: Vec<ProviderName>,
    descriptors: HashMap<ProviderName, Result<Descriptor, CallError>>,
    channel: Channel<ProviderClient>,
    host: HostDoor,
    child: Child,
}

impl ProcessProvider {
    /// Asks a child what it offers. Dropping the future, or an error, ends the child.
    pub(super) async fn describe(started: Started<ProviderClient>) -> Result<Self, LaunchError> {
        let Started { info, channel, host, child } = started;
        let (call, reader) = (Call::default(), channel.for_descriptions());
        let mut budget = reader.description_budget();
        let told = reader
            .unary(&call, proto::GetProvidersRequest {}, async |mut client, request| {
                client.get_providers(request).await
            })
            .await
            .map_err(LaunchError::Undescribed)?;
        budget.take(&told).map_err(|hit| LaunchError::Undescribed(hit.into()))?;
        let mut names: Vec<_> = told.provider_names.into_iter().map(ProviderName::new).collect();
        let (all, mut seen) = (names.len(), HashSet::new());
        // The same one may be there as often as the plugin likes.
        names.retain(|name| seen.insert(name.clone()));
        CallError::check_offered(names.len()).map_err(LaunchError::Undescribed)?;
        let repeated = all - names.len();
        if repeated > 0 {
            tracing::warn!(plugin = %info.name, repeated, "the plugin names providers more than once");
        }
        let mut descriptors = HashMap::new();
        for name in &names {
            match describe(&reader, &call, name, &mut budget).await {
                Err(stopped @ CallError::Stopped(_)) => return Err(LaunchError::Undescribed(stopped)),
                described => descriptors.insert(name.clone(), described),
            };
        }
        Ok(Self { info, names, descriptors, channel, host, child })
    }
}

/// How the plugin's library refuses a configuration when it cannot reach the host service (contract spec 3.7).
const NO_WAY: &str = "failed to dial host service";

async fn describe(
    channel: &Channel<ProviderClient>,
    call: &Call,
    name: &ProviderName,
    budget: &mut Budget,
) -> Result<Descriptor, CallError> {
    let request = proto::GetProviderDescriptorRequest { provider_name: name.as_str().to_owned() };
    let response = channel
        .unary(call, request, async |mut client, request| client.get_provider_descriptor(request).await)
        .await?;
    budget.take(&response)?;
    Descriptor::try_from(response).map_err(CallError::contract)
}

#[async_trait]
impl Plugin for ProcessProvider {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        self.channel.is_open()
    }

    async fn shutdown(&self, grace: Duration) {
        self.channel.close();
        // Stopping it closes the broker first, as upstream has it; this only tidies up.
        self.child.stop(grace).await;
        self.host.close();
    }
}

#[async_trait]
impl Provider for ProcessProvider {
    fn providers(&self) -> &[ProviderName] {
        &self.names
    }

    fn descriptor(&self, name: &ProviderName) -> Result<&Descriptor, &CallError> {
        self.descriptors.get(name).map_or_else(|| Err(CallError::no_such_provider()), Result::as_ref)
    }

    async fn configure(
        &self,
        call: &Call,
        name: &ProviderName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.channel.open()?;
        let host = self.host.announce().await?;
        let configure = Configure {
            provider: name.clone(),
            configuration: configuration.clone(),
            host_service: host.id(),
            protocol_version: PROTOCOL_VERSION,
        };
        let request = proto::ConfigureProviderRequest::from(configure);
        let answer = self
            .channel
            .optional(call)
            .ask(request, async |mut client, request| client.configure_provider(request).await)
            .await;
        match &answer {
            Err(CallError::Refused(refusal)) if refusal.message.starts_with(NO_WAY) => self.host.forget(),
            Ok(()) | Err(CallError::Refused(_) | CallError::Unimplemented) => host.taken(),
            Err(_) => {}
        }
        or_nothing_to_do(answer)
    }

    async fn execute(&self, call: &Call, request: Execute) -> Result<Output, CallError> {
        let request = proto::ExecuteProviderRequest::from(request);
        self.channel
            .pending(call)
            .ask(request, async |mut client, request| client.execute_provider(request).await)
            .await
    }

    fn execute_stream(&self, call: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>> {
        let request = proto::ExecuteProviderRequest::from(request);
        let pending = self.channel.optional(call);
        let start = Running::Asked { pending, request: Box::new(request) };
        stream::unfold(start, |running| running.next()).fuse().boxed()
    }

    async fn describe_what_if(
        &self,
        call: &Call,
        name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError> {
        let request = proto::DescribeWhatIfRequest {
            provider_name: name.as_str().to_owned(),
            input: input.into_string().into(),
        };
        self.channel
            .optional(call)
            .ask(request, async |mut client, request| client.describe_what_if(request).await)
            .await
    }

    async fn extract_dependencies(
        &self,
        call: &Call,
        name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        let request = proto::ExtractDependenciesRequest {
            provider_name: name.as_str().to_owned(),
            inputs: inputs.into_string().into(),
        };
        self.channel
            .optional(call)
            .ask(request, async |mut client, request| client.extract_dependencies(request).await)
            .await
    }

    async fn stop(&self, call: &Call, name: Option<&ProviderName>) -> Result<(), CallError> {
        let request = proto::StopProviderRequest {
            provider_name: name.map(|name| name.as_str().to_owned()).unwrap_or_default(),
        };
        let answer = self
            .channel
            .optional(call)
            .ask(request, async |mut client, request| client.stop_provider(request).await)
            .await;
        or_nothing_to_do(answer)?;
        // The plugin's library has now forgotten us for all of its providers (contract spec 3.7).
        self.host.forget();
        Ok(())
    }
}

/// What upstream puts before a status that ends a stream, even if nothing came before it.
const BROKEN: &str = "stream receive error";

/// Where a streaming execution stands.
enum Running {
    /// Nothing was sent.
    Asked { pending: Pending<ProviderClient>, request: Box<proto::ExecuteProviderRequest> },
    /// The plugin is answering.
    Answering {
        pending: Pending<ProviderClient>,
        items: Box<Streaming<proto::ExecuteProviderStreamChunk>>,
        progress: Progress,
    },
    /// There is nothing more to say.
    Over,
}

impl Running {
    /// Returns the next chunk that the reader is to see.
    async fn next(mut self) -> Option<(Result<Chunk, CallError>, Self)> {
        loop {
            self = match self {
                Self::Asked { pending, request } => {
                    let provider = request.provider_name.clone();
                    let items = pending
                        .send(*request, async |mut client, request| {
                            client.execute_provider_stream(request).await
                        })
                        .await;
                    match items {
                        Ok(items) => {
                            let progress = Progress::new(provider, pending.output_limit());
                            Self::Answering { pending, items: Box::new(items), progress }
                        }
                        Err(error) => return Some((Err(in_stream(BROKEN, error)), Self::Over)),
                    }
                }
                Self::Answering { pending, mut items, mut progress } => match items.message().await {
                    Ok(Some(message)) => match progress.take(message) {
                        Ok(None) => Self::Answering { pending, items, progress },
                        Ok(Some(chunk)) => {
                            return Some((Ok(chunk), Self::Answering { pending, items, progress }));
                        }
                        Err(error) => return Some((Err(pending.settle(error).await), Self::Over)),
                    },
                    Ok(None) => return Some((Ok(Chunk::Result(progress.end())), Self::Over)),
                    Err(status) => {
                        let error = pending.failed_stream(BROKEN, status).await;
                        return Some((Err(error), Self::Over));
                    }
                },
                Self::Over => return None,
            };
        }
    }
}

/// What a stream has brought so far.
#[derive(Debug)]
struct Progress {
    provider: String,
    result: Option<Output>,
    printed: u64,
    allowed: u64,
}

impl Progress {
    fn new(provider: String, allowed: u64) -> Self {
        Self { provider, result: None, printed: 0, allowed }
    }

    /// Takes one message in, and returns what of it the reader sees at once.
    fn take(&mut self, message: proto::ExecuteProviderStreamChunk) -> Result<Option<Chunk>, CallError> {
        match StreamItem::try_from(message).map_err(CallError::contract)? {
            StreamItem::Stdout(bytes) => {
                self.count(bytes.len())?;
                Ok(Some(Chunk::Stdout(bytes)))
            }
            StreamItem::Stderr(bytes) => {
                self.count(bytes.len())?;
                Ok(Some(Chunk::Stderr(bytes)))
            }
            StreamItem::Result(Answer(Ok(output))) => {
                // The last of several counts (contract spec 4.6), and only the end shows which that is.
                self.result = Some(output);
                Ok(None)
            }
            StreamItem::Result(Answer(Err(refusal))) => Err(CallError::Refused(refusal)),
            StreamItem::Unknown => Ok(None),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), LimitHit> {
        self.printed = self.printed.saturating_add(bytes as u64);
        LimitHit::check(LimitName::Output, self.printed, self.allowed)
    }

    /// Returns the result of a stream that ended cleanly. Without one it is empty, with a warning in the log, as
    /// upstream has it.
    fn end(self) -> Output {
        self.result.unwrap_or_else(|| {
            tracing::warn!(provider = self.provider, "the plugin ended its stream without a result");
            Output::new(Json::null())
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use portcullis_contract::Refusal;

    use super::*;

    fn stdout(text: &'static str) -> StreamItem {
        StreamItem::Stdout(Bytes::from_static(text.as_bytes()))
    }

    fn result(text: &str) -> StreamItem {
        StreamItem::Result(Answer(Ok(Output::new(Json::from_text(text)))))
    }

    fn progress(allowed: Option<u64>) -> Progress {
        Progress::new("echo".to_owned(), allowed.unwrap_or(u64::MAX))
    }

    /// Plays a stream that ends cleanly, unless an item ends it.
    fn play<const N: usize>(allowed: Option<u64>, items: [StreamItem; N]) -> (usize, Result<Output, String>) {
        let (mut progress, mut seen) = (progress(allowed), 0);
        for item in items {
            match progress.take(item.into()) {
                Ok(chunk) => seen += usize::from(chunk.is_some()),
                Err(error) => return (seen, Err(error.to_string())),
            }
        }
        (seen, Ok(progress.end()))
    }

    /// Contract items 100 and 101.
    #[test]
    fn the_last_result_of_a_stream_counts_and_none_is_an_empty_one() {
        let (seen, output) =
            play(None, [stdout("a"), result("1"), StreamItem::Unknown, stdout("b"), result("2")]);
        assert_eq!((seen, output), (2, Ok(Output::new(Json::from_text("2")))));

        let (seen, output) = play(None, [stdout("a")]);
        assert_eq!((seen, output), (1, Ok(Output::new(Json::null()))));
    }

    #[test]
    fn a_refusal_ends_a_stream_whatever_came_before() {
        let refused = StreamItem::Result(Answer(Err(Refusal::new("no"))));
        let (seen, output) = play(None, [stdout("a"), result("1"), refused, stdout("b")]);
        assert_eq!((seen, output), (1, Err("no".to_owned())));
    }

    #[test]
    fn a_result_that_cannot_be_read_ends_a_stream() {
        let broken = proto::ExecuteProviderResponse { output: "{".into(), ..Default::default() };
        let chunk = proto::execute_provider_stream_chunk::Chunk::Result(broken);
        let message = proto::ExecuteProviderStreamChunk { chunk: Some(chunk) };
        assert!(matches!(progress(None).take(message), Err(CallError::Contract(_))));
    }

    #[test]
    fn what_a_stream_prints_is_counted_on_both_outputs_together() {
        let items = || [stdout("12345"), StreamItem::Stderr(Bytes::from_static(b"67890")), result("1")];
        assert_eq!(play(Some(10), items()).0, 2);
        let (seen, output) = play(Some(9), items());
        assert_eq!((seen, output), (1, Err("limit output reached: asked 10B, allowed 9B".to_owned())));
    }
}
