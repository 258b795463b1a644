//! The contract's `Provider`, over an author's provider.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use portcullis_contract as contract;
use portcullis_contract::{Call, CallError, Chunk, Kind, LaunchError, PluginInfo};
use portcullis_serve::Surroundings;

use super::call::{Calls, info};
use super::make_json;
use crate::{Channel, Configuration, Descriptor, Execute, Host, Json, Output, Provider, ProviderName, Sink};

/// A provider of an author's.
pub(super) struct NativeProvider<P> {
    plugin: Arc<P>,
    info: PluginInfo,
    names: Vec<ProviderName>,
    descriptors: HashMap<ProviderName, Result<Descriptor, CallError>>,
    calls: Calls,
    around: Surroundings,
}

impl<P: Provider> NativeProvider<P> {
    /// Asks it what it offers.
    pub(super) async fn describe(plugin: Arc<P>, around: Surroundings) -> Result<Self, LaunchError> {
        let (calls, asked) = (Calls::new(around.clone()), Arc::clone(&plugin));
        let ask = move |_: &Host<'_>| {
            let names = asked.providers()?;
            let described: HashMap<_, _> =
                names.iter().map(|name| (name.clone(), asked.describe(name))).collect();
            Ok((names, described))
        };
        let told = calls.make(&Call::default(), ask).await;
        let (names, described) = told.map_err(LaunchError::Undescribed)?;
        let descriptors = described.into_iter().map(|(name, described)| {
            let described = described.map_err(CallError::from).and_then(checked);
            (ProviderName::new(name), described)
        });
        Ok(Self {
            plugin,
            info: info(Kind::Provider),
            names: names.into_iter().map(ProviderName::new).collect(),
            descriptors: descriptors.collect(),
            calls,
            around,
        })
    }
}

/// Refuses a schema that is not JSON, as the component backend does: the wire would leave it out, and the provider then
/// accept anything.
fn checked(told: Descriptor) -> Result<Descriptor, CallError> {
    let input = told.schema.iter().map(|schema| ("the schema of the input", schema));
    let outputs = told.output_schemas.values().map(|schema| ("an output schema", schema));
    let operations = told.operations.iter().flat_map(|of| [&of.input_schema, &of.output_schema]).flatten();
    let operations = operations.map(|schema| ("the schema of an operation", schema));
    for (what, schema) in input.chain(outputs).chain(operations) {
        if let Err(error) = schema.check() {
            return Err(CallError::contract(format!("{what} is not JSON: {error}")));
        }
    }
    Ok(told)
}

impl<P> fmt::Debug for NativeProvider<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeProvider").field("names", &self.names).finish_non_exhaustive()
    }
}

#[async_trait]
impl<P: Provider> contract::Plugin for NativeProvider<P> {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        true
    }

    /// Ends the process, as its host could. It has its own grace for calls.
    async fn shutdown(&self, _grace: Duration) {
        self.around.stop();
    }
}

#[async_trait]
impl<P: Provider> contract::Provider for NativeProvider<P> {
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
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        let mut configuration = configuration.clone();
        make_json(&mut configuration.settings);
        self.calls.make(call, move |host| plugin.configure(host, &name, configuration)).await
    }

    async fn execute(&self, call: &Call, mut request: Execute) -> Result<Output, CallError> {
        make_json(&mut request.context.settings);
        let plugin = Arc::clone(&self.plugin);
        self.calls.make(call, move |host| plugin.execute(host, request)).await
    }

    fn execute_stream(
        &self,
        call: &Call,
        mut request: Execute,
    ) -> BoxStream<'static, Result<Chunk, CallError>> {
        make_json(&mut request.context.settings);
        let plugin = Arc::clone(&self.plugin);
        self.calls.stream(
            call,
            move |host, chunks| {
                let mut write = |channel, bytes: &[u8]| {
                    // An empty chunk is not sent, as in a component.
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    let bytes = bytes.to_vec().into();
                    let chunk = match channel {
                        Channel::Stdout => Chunk::Stdout(bytes),
                        Channel::Stderr => Chunk::Stderr(bytes),
                    };
                    host.hand_over(chunks, chunk)
                };
                plugin.execute_stream(&Host::from_service(host), request, &mut Sink::from_fn(&mut write))
            },
            Chunk::Result,
        )
    }

    async fn describe_what_if(
        &self,
        call: &Call,
        name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        self.calls.make(call, move |host| plugin.describe_what_if(host, &name, &input)).await
    }

    async fn extract_dependencies(
        &self,
        call: &Call,
        name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.as_str().to_owned());
        self.calls.make(call, move |host| plugin.extract_dependencies(host, &name, &inputs)).await
    }

    async fn stop(&self, call: &Call, name: Option<&ProviderName>) -> Result<(), CallError> {
        let (plugin, name) = (Arc::clone(&self.plugin), name.map(|name| name.as_str().to_owned()));
        self.calls.make(call, move |host| plugin.stop(host, name.as_deref())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capability, Operation};

    fn check(told: Descriptor, what: &str) {
        let error = checked(told).expect_err("it is refused");
        let text = contract::chain(&error);
        assert!(text.starts_with(&format!("the plugin broke the contract: {what} is not JSON: ")), "{text}");
    }

    #[test]
    fn a_schema_that_is_no_json_is_refused_wherever_it_stands() {
        let (good, bad) = (|| Json::from_text(r#"{"type":"object"}"#), || Some(Json::from_text("{oops")));
        let told = || Descriptor {
            schema: Some(good()),
            output_schemas: [(Capability::FROM, good())].into(),
            operations: vec![Operation { input_schema: Some(good()), ..Operation::default() }],
            ..Descriptor::default()
        };
        assert!(checked(told()).is_ok());
        check(Descriptor { schema: bad(), ..told() }, "the schema of the input");
        let output_schemas = bad().map(|schema| (Capability::FROM, schema)).into_iter().collect();
        check(Descriptor { output_schemas, ..told() }, "an output schema");
        let operations = vec![Operation { output_schema: bad(), ..Operation::default() }];
        check(Descriptor { operations, ..told() }, "the schema of an operation");
    }
}
