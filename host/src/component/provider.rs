//! A component that offers providers, as a caller holds it.
//!
//! Names and descriptors are read once, at launch. Every other call goes to an instance of its own.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use portcullis_contract::{
    Call, CallError, Chunk, Configuration, Descriptor, Execute, Json, LaunchError, LimitHit, LimitName,
    Output, Plugin, PluginInfo, Provider, ProviderName,
};

use crate::component::bindings::ProviderPlugin;
use crate::component::bindings::portcullis::plugin::types::{self, PluginError};
use crate::component::convert::{
    descriptor_size, execution_size, names_size, output_size, refusal_size, texts_size,
};
use crate::component::guest::{Function, Guest, Interface, Signature};
use crate::component::instances::{Ask, Inquiry, Instances};
use crate::component::message::Budget;
use crate::component::state::{Reader, State};
use crate::component::streaming::Streaming;
use crate::lock::lock;

/// A component that offers providers.
#[derive(Debug)]
pub(crate) struct ComponentProvider {
    info: PluginInfo,
    names: Vec<ProviderName>,
    descriptors: BTreeMap<ProviderName, Result<Descriptor, CallError>>,
    instances: Arc<Instances>,
}

/// What a provider's guest exports.
pub(crate) const EXPORT: Interface = Interface::new(
    "portcullis:plugin/provider@0.1.0",
    &[
        "list-providers",
        "describe",
        "configure",
        "execute",
        "execute-stream",
        "describe-what-if",
        "extract-dependencies",
        "stop",
    ],
);
const LIST_PROVIDERS: Function = EXPORT.function("list-providers");
const DESCRIBE: Function = EXPORT.function("describe");
pub(crate) const CONFIGURE: Function = EXPORT.function("configure");
const EXECUTE: Function = EXPORT.function("execute");
const EXECUTE_STREAM: Function = EXPORT.function("execute-stream");
const DESCRIBE_WHAT_IF: Function = EXPORT.function("describe-what-if");
const EXTRACT_DEPENDENCIES: Function = EXPORT.function("extract-dependencies");
const STOP: Function = EXPORT.function("stop");

impl ComponentProvider {
    /// Makes the first instance and asks what it offers.
    pub(crate) async fn launch(info: PluginInfo, instances: Arc<Instances>) -> Result<Self, LaunchError> {
        // Made first, so that everything ends with it when this future is dropped.
        let mut this = Self { info, names: Vec::new(), descriptors: BTreeMap::new(), instances };
        let (call, limit) = (Call::default(), this.instances.description_limit());
        let told = Arc::new(Mutex::new(Told::new(Budget::new(limit))));
        let mut live = Some(this.instances.first().await.map_err(LaunchError::failed)?);
        for tries_left in (0..TRIES).rev() {
            let question = tell_all(Arc::clone(&told), limit);
            let asked = this.instances.ask_in(live.take(), Inquiry::of(&call), question).await;
            let Err(error) = asked else { break };
            let mut told = lock(&told);
            if told.names.is_none() {
                return Err(LaunchError::Undescribed(error));
            }
            if told.broke_off(&error, tries_left) {
                break;
            }
        }
        let Told { names, repeated, mut descriptors, .. } = lock(&told).take();
        if repeated > 0 {
            tracing::warn!(plugin = %this.info.name, repeated, "the plugin names providers more than once");
        }
        for name in names.unwrap_or_default() {
            // Each has one by now, or why there is none.
            let Some(descriptor) = descriptors.remove(&name) else { continue };
            let name = ProviderName::new(name);
            this.descriptors.insert(name.clone(), descriptor);
            this.names.push(name);
        }
        Ok(this)
    }
}

/// In how many instances a plugin may tell what it offers. A guess: one that breaks off in each of them will not do
/// better, and each may take all the processor time of a call.
const TRIES: usize = 4;

/// What a plugin has told of itself so far. Kept outside of its instance, which may end early.
struct Told {
    budget: Budget,
    /// Each of its providers, once.
    names: Option<Vec<String>>,
    /// How many names there were besides.
    repeated: usize,
    /// Each descriptor, or why there is none.
    descriptors: BTreeMap<String, Result<Descriptor, CallError>>,
}

impl Told {
    fn new(budget: Budget) -> Self {
        Self { budget, names: None, repeated: 0, descriptors: BTreeMap::new() }
    }

    /// Takes the names in, each once, for a plugin may repeat one as often as it likes.
    fn take_names(&mut self, mut names: Vec<String>) -> wasmtime::Result<()> {
        self.budget.take(names_size(&names))?;
        let (all, mut seen) = (names.len(), HashSet::new());
        names.retain(|name| seen.insert(name.clone()));
        CallError::check_offered(names.len())?;
        self.repeated = all - names.len();
        self.names = Some(names);
        Ok(())
    }

    /// Notes why an instance broke off: at the first provider that is left. Returns whether no more is to be asked, because
    /// all have been, the budget is spent, or no tries are left.
    fn broke_off(&mut self, error: &CallError, tries_left: usize) -> bool {
        let left = self.left();
        let Some((broken, others)) = left.split_first() else { return true };
        self.descriptors.insert(broken.clone(), Err(error.clone()));
        let is_spent = matches!(error, CallError::Limit(LimitHit { which: LimitName::Message, .. }));
        if tries_left > 0 && !is_spent {
            return others.is_empty();
        }
        for other in others {
            let reason =
                || CallError::contract(format!("it was not asked: the plugin broke off at {TRIES} others"));
            let why = if is_spent { error.clone() } else { reason() };
            self.descriptors.insert(other.clone(), Err(why));
        }
        true
    }

    /// Returns the providers of which nothing has been told.
    fn left(&self) -> Vec<String> {
        let names = self.names.iter().flatten();
        names.filter(|name| !self.descriptors.contains_key(*name)).cloned().collect()
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Budget::new(0)))
    }
}

/// Asks for the names and all descriptors, or for those that are left, in one instance: making one for each costs more
/// than they do.
fn tell_all(told: Arc<Mutex<Told>>, limit: u64) -> impl Ask<()> {
    move |guest: &mut Guest| {
        Box::pin(async move {
            State::let_say(&mut guest.store, limit);
            guest.check(|store, instance| ProviderPlugin::new(store, instance))?;
            if lock(&told).names.is_none() {
                match guest.call(LIST_PROVIDERS, ()).await? {
                    Ok(names) => lock(&told).take_names(names)?,
                    Err(error) => return Ok(Err(error)),
                }
            }
            let left = lock(&told).left();
            for name in left {
                let described: Result<types::Descriptor, PluginError> =
                    guest.call(DESCRIBE, (name.as_str(),)).await?;
                let mut told = lock(&told);
                told.budget.take(described.as_ref().map_or_else(refusal_size, descriptor_size))?;
                let descriptor =
                    described.map_err(CallError::from).and_then(|told| Ok(Descriptor::try_from(told)?));
                told.descriptors.insert(name, descriptor);
            }
            Ok(Ok(()))
        })
    }
}

impl Drop for ComponentProvider {
    fn drop(&mut self) {
        self.instances.end();
    }
}

#[async_trait]
impl Plugin for ComponentProvider {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        !self.instances.ground.ending.asked()
    }

    async fn shutdown(&self, grace: Duration) {
        self.instances.shut_down(grace).await;
    }
}

#[async_trait]
impl Provider for ComponentProvider {
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
        // Providers have no login during which to ask a person; the wire does not tell them either.
        let configuration =
            types::Configuration { prompts_for_response: false, ..types::Configuration::from(configuration) };
        self.instances.texts_fit(&[&configuration.settings])?;
        // Without a name, so that the old configuration is not replayed first.
        let configuration = Arc::new(configuration);
        let (provider, told) = (name.clone(), Arc::clone(&configuration));
        let answer = self.instances.ask(Inquiry::of(call), move |guest| {
            Box::pin(async move { guest.configure_anew(CONFIGURE, provider.as_str(), told).await })
        });
        match answer.await {
            Ok(()) => self.instances.remember(name.as_str(), Some(configuration)),
            Err(CallError::Unimplemented) => self.instances.remember(name.as_str(), None),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn execute(&self, call: &Call, request: Execute) -> Result<Output, CallError> {
        execute(&self.instances, call, request, None).await
    }

    fn execute_stream(&self, call: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>> {
        let (instances, call) = (Arc::clone(&self.instances), call.clone());
        Box::pin(Streaming::new(move |reader| async move {
            execute(&instances, &call, request, Some(Reader::Output(reader))).await.map(Chunk::Result)
        }))
    }

    async fn describe_what_if(
        &self,
        call: &Call,
        name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError> {
        self.instances.texts_fit(&[input.as_str()])?;
        let (provider, input) = (name.as_str().to_owned(), input.into_string());
        let answer = self.instances.ask(Inquiry::of(call).named(name.as_str()), move |guest| {
            Box::pin(async move { guest.call(DESCRIBE_WHAT_IF, (provider.as_str(), input.as_str())).await })
        });
        let description: String = answer.await?;
        self.instances.texts_fit(&[&description])?;
        Ok(description)
    }

    async fn extract_dependencies(
        &self,
        call: &Call,
        name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        self.instances.texts_fit(&[inputs.as_str()])?;
        let (provider, inputs) = (name.as_str().to_owned(), inputs.into_string());
        let answer = self.instances.ask(Inquiry::of(call).named(name.as_str()), move |guest| {
            Box::pin(
                async move { guest.call(EXTRACT_DEPENDENCIES, (provider.as_str(), inputs.as_str())).await },
            )
        });
        let dependencies: Vec<String> = answer.await?;
        self.instances.fits(texts_size(&dependencies))?;
        Ok(dependencies)
    }

    async fn stop(&self, call: &Call, name: Option<&ProviderName>) -> Result<(), CallError> {
        let provider = name.map(|name| name.as_str().to_owned());
        let answer =
            self.instances.ask(Inquiry::of(call).named(name.map(ProviderName::as_str)), move |guest| {
                Box::pin(async move { guest.call(STOP, (provider.as_deref(),)).await })
            });
        match answer.await {
            Err(CallError::Unimplemented) => Ok(()),
            answer => answer,
        }
    }
}

/// What executes a request, streaming or not.
enum Executes {}

impl Signature for Executes {
    type Arguments<'a> = (&'a str, &'a str, &'a types::ExecutionContext);
    type Answer = Result<types::Output, PluginError>;
}

async fn execute(
    instances: &Arc<Instances>,
    call: &Call,
    request: Execute,
    reader: Option<Reader>,
) -> Result<Output, CallError> {
    let Execute { provider, input, context } = request;
    // On the heap: it is large, and would be moved through half a dozen futures.
    let asked = Box::new((input.into_string(), types::ExecutionContext::from(context)));
    let (input, context) = &*asked;
    instances.fits(execution_size(input, context))?;
    let name = provider.as_str().to_owned();
    let execute = if reader.is_some() { EXECUTE_STREAM } else { EXECUTE };
    let inquiry = Inquiry::of(call).named(provider.as_str()).read_by(reader);
    let answer = instances.ask(inquiry, move |guest| {
        Box::pin(async move {
            let (input, context) = &*asked;
            guest.call_as::<Executes>(execute, (name.as_str(), input.as_str(), context)).await
        })
    });
    let output: types::Output = answer.await?;
    instances.fits(output_size(&output))?;
    Ok(Output::try_from(output)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_for_once_however_often_it_is_named() {
        let mut told = Told::new(Budget::new(1000));
        let names = ["a", "b", "a", "a"].map(str::to_owned).into();
        told.take_names(names).unwrap();
        assert_eq!((told.left(), told.repeated), (vec!["a".to_owned(), "b".to_owned()], 2));
    }

    #[test]
    fn who_was_not_asked_is_not_blamed_for_who_broke_off() {
        let told = || {
            let mut told = Told::new(Budget::new(1000));
            told.take_names(["a", "b", "c"].map(str::to_owned).into()).unwrap();
            told
        };
        let why = |told: &Told, name: &str| told.descriptors[name].as_ref().unwrap_err().clone();

        let mut tries = told();
        assert!(!tries.broke_off(&CallError::Gone, 1));
        assert_eq!(tries.left(), ["b", "c"]);
        assert!(tries.broke_off(&CallError::Gone, 0));
        assert!(matches!(why(&tries, "b"), CallError::Gone));
        assert!(matches!(why(&tries, "c"), CallError::Contract(_)));

        let mut all = told();
        assert!(!all.broke_off(&CallError::Gone, 3) && !all.broke_off(&CallError::Gone, 2));
        assert!(all.broke_off(&CallError::Gone, 1));

        let mut spent = told();
        let hit = LimitHit::check(LimitName::Message, 2, 1).unwrap_err().into();
        assert!(spent.broke_off(&hit, 3));
        assert!(matches!(why(&spent, "c"), CallError::Limit(LimitHit { which: LimitName::Message, .. })));
    }
}
