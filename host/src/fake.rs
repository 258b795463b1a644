//! A backend that runs no plugin: what it launches reads the names of what it offers from its file and
//! answers by a script. A file whose names begin with `auth:` holds auth handlers. For the tests of the rooms.

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::{
    AuthHandler, Backend, BackendName, Call, CallError, Capability, Chunk, Configuration, Descriptor, Digest,
    Execute, Isolation, Json, Kind, LaunchError, Output, Plugin, PluginInfo, PluginName, PluginSpec,
    Provider, ProviderName, Refusal, StopReason,
};
use sha2::{Digest as _, Sha256};

mod auth;
mod log;

pub(crate) use auth::{Event, FakeAuthHandler, fake_auth_handler};
pub(crate) use log::Log;

/// How a fake answers one execution.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// With its input.
    Echo,
    /// With its input, after a while.
    EchoAfter(Duration),
    /// By dying.
    Die,
    /// With its input, and then it dies with nobody asking anything.
    EchoAndDie,
    /// By ending the call as if it had died, and living on.
    Trap,
    /// Never.
    Hang,
    /// With a refusal.
    Refuse(Refusal),
    /// With a refusal, after a while.
    RefuseAfter(Duration),
    /// It does not know the call.
    Unimplemented,
    /// With these pieces, if it is asked to stream.
    Pieces(Vec<Chunk>),
    /// With these pieces, if it is asked to stream, and then it does not know the call.
    PiecesAndUnimplemented(Vec<Chunk>),
}

/// What fakes do and what was done to them.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The next answers; then echoes.
    pub(crate) answers: Mutex<VecDeque<Answer>>,
    /// What comes of the next launches; then they succeed.
    pub(crate) launches: Mutex<VecDeque<Option<Duration>>>,
    /// How long a provider takes to be configured.
    pub(crate) configuring: Mutex<Duration>,
    /// Everything that happened, in words.
    pub(crate) log: Mutex<Vec<String>>,
    /// The requests that arrived.
    pub(crate) requests: Mutex<Vec<Execute>>,
    /// The specifications that were launched.
    pub(crate) specs: Mutex<Vec<PluginSpec>>,
    /// How descriptors are changed.
    pub(crate) descriptor: Mutex<Option<fn(&mut Descriptor)>>,
    /// What the next logins do; then they end well.
    pub(crate) logins: Mutex<VecDeque<Vec<Event>>>,
    /// Whether whatever is configured refuses to be.
    pub(crate) refuses_configuration: AtomicBool,
    /// Whether the next provider that is configured dies of it.
    pub(crate) dies_configured: AtomicBool,
}

impl World {
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn note_configuration(&self, name: &impl std::fmt::Display, told: &Configuration) {
        let mut line = format!("configure {name} as {}", told.binary_name);
        if !told.settings.is_empty() {
            line += &format!(" with {}", Json::object(&told.settings).as_str());
        }
        self.note(line);
    }

    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

/// Returns the digest of what runs apart.
pub(crate) fn apart() -> Digest {
    Digest::from_sha256([0; 32])
}

#[derive(Clone, Debug)]
pub(crate) struct FakeBackend(pub(crate) BackendName, pub(crate) Arc<World>);

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> BackendName {
        self.0
    }

    async fn launch_provider(&self, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError> {
        self.1.note(format!("launch {}", spec.name));
        let (info, names) = self.launch(spec, Kind::Provider).await?;
        let providers: Vec<_> = names.iter().map(ProviderName::new).collect();
        let descriptors = providers.iter().map(|n| descriptor(n.as_str(), &self.1)).collect();
        let (world, dead) = (Arc::clone(&self.1), AtomicBool::new(false));
        Ok(Arc::new(FakeProvider { info, providers, descriptors, world, dead }))
    }

    async fn launch_auth_handler(&self, spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError> {
        self.1.note(format!("launch {} as an auth handler", spec.name));
        let host = spec.host.clone();
        let (info, names) = self.launch(spec, Kind::AuthHandler).await?;
        Ok(auth::FakeAuthHandler::new(info, &names, Arc::clone(&self.1), host))
    }
}

impl FakeBackend {
    async fn launch(&self, spec: PluginSpec, kind: Kind) -> Result<(PluginInfo, Vec<String>), LaunchError> {
        self.1.specs.lock().unwrap().push(spec.clone());
        let delay = self.1.launches.lock().unwrap().pop_front();
        match delay {
            Some(Some(delay)) => tokio::time::sleep(delay).await,
            Some(None) => return Err(LaunchError::failed("the fake does not start")),
            None => {}
        }
        let content = fs::read(&spec.path).unwrap_or_default();
        let found = Digest::from_sha256(Sha256::digest(&content).into());
        LaunchError::check_digest(&spec.path, spec.digest, found)?;
        let text = String::from_utf8_lossy(content.get(8..).unwrap_or_default()).into_owned();
        let (is, names) = match text.strip_prefix("auth:") {
            Some(names) => (Kind::AuthHandler, names),
            None => (Kind::Provider, text.as_str()),
        };
        let is_elsewhere = text == "for another host";
        // A file that is not there is whatever somebody wants of it.
        if is_elsewhere || is != kind && spec.path.exists() {
            return Err(LaunchError::OtherKind { wanted: kind });
        }
        // A name may be empty, written as two quotes.
        let names = names.split_whitespace().map(|name| name.trim_matches('"').to_owned()).collect();
        // What runs apart is started from a file of its own.
        let is_apart = spec.run_as.isolation == Isolation::Process;
        let (path, digest) = if is_apart { ("/apart".into(), apart()) } else { (spec.path, found) };
        let info = PluginInfo { name: spec.name, kind, backend: self.0, path, digest };
        Ok((info, names))
    }
}

/// A good descriptor.
pub(crate) fn descriptor(name: &str, world: &World) -> Descriptor {
    let mut descriptor = Descriptor {
        name: name.to_owned(),
        description: "A fake.".to_owned(),
        version: "1.0.0".to_owned(),
        api_version: "v1".to_owned(),
        capabilities: vec![Capability::FROM],
        output_schemas: [(Capability::FROM, Json::from_text("{}"))].into(),
        ..Descriptor::default()
    };
    if let Some(change) = *world.descriptor.lock().unwrap() {
        change(&mut descriptor);
    }
    descriptor
}

/// A specification that needs no file.
pub(crate) fn spec(name: &str) -> PluginSpec {
    PluginSpec::new(PluginName::new(name), "/nowhere")
}

#[derive(Debug)]
pub(crate) struct FakeProvider {
    pub(crate) info: PluginInfo,
    pub(crate) providers: Vec<ProviderName>,
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) world: Arc<World>,
    pub(crate) dead: AtomicBool,
}

impl FakeProvider {
    fn next(&self) -> Answer {
        let answer = self.world.answers.lock().unwrap().pop_front().unwrap_or(Answer::Echo);
        if let Answer::Die | Answer::EchoAndDie = answer {
            self.dead.store(true, Ordering::SeqCst);
        }
        answer
    }
}

async fn unary(answer: Answer, input: Json) -> Result<Output, CallError> {
    match answer {
        Answer::Echo | Answer::EchoAndDie | Answer::Pieces(_) => Ok(Output::new(input)),
        Answer::EchoAfter(delay) => {
            tokio::time::sleep(delay).await;
            Ok(Output::new(input))
        }
        Answer::Die | Answer::Trap => Err(died()),
        Answer::Hang => std::future::pending().await,
        Answer::Refuse(refusal) => Err(CallError::Refused(refusal)),
        Answer::RefuseAfter(delay) => {
            tokio::time::sleep(delay).await;
            Err(CallError::Refused(Refusal::new("cancelled")))
        }
        Answer::Unimplemented | Answer::PiecesAndUnimplemented(_) => Err(CallError::Unimplemented),
    }
}

pub(crate) fn died() -> CallError {
    CallError::Stopped(StopReason::Exited { status: "exit status 3".to_owned(), stderr: String::new() })
}

#[async_trait]
impl Plugin for FakeProvider {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }

    async fn shutdown(&self, grace: Duration) {
        self.world.note(format!("shutdown {} {grace:?}", self.info.name));
        tokio::time::sleep(grace).await;
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.world.note(format!("drop {}", self.info.name));
    }
}

#[async_trait]
impl Provider for FakeProvider {
    fn providers(&self) -> &[ProviderName] {
        &self.providers
    }

    fn descriptor(&self, name: &ProviderName) -> Result<&Descriptor, &CallError> {
        let at = self.providers.iter().position(|n| n == name).expect("tests name what there is");
        Ok(&self.descriptors[at])
    }

    async fn configure(
        &self,
        _call: &Call,
        name: &ProviderName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.world.note_configuration(name, configuration);
        let takes = *self.world.configuring.lock().unwrap();
        tokio::time::sleep(takes).await;
        if self.world.dies_configured.swap(false, Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
            return Err(died());
        }
        if self.world.refuses_configuration.load(Ordering::SeqCst) {
            return Err(CallError::Refused(Refusal::new("configure refused")));
        }
        Ok(())
    }

    async fn execute(&self, _call: &Call, request: Execute) -> Result<Output, CallError> {
        self.world.requests.lock().unwrap().push(request.clone());
        unary(self.next(), request.input).await
    }

    fn execute_stream(&self, _call: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>> {
        self.world.note("stream");
        match self.next() {
            Answer::Pieces(pieces) => stream::iter(pieces.into_iter().map(Ok)).boxed(),
            Answer::PiecesAndUnimplemented(pieces) => {
                let end = stream::once(async { Err(CallError::Unimplemented) });
                stream::iter(pieces.into_iter().map(Ok)).chain(end).boxed()
            }
            answer => {
                stream::once(async move { unary(answer, request.input).await.map(Chunk::Result) }).boxed()
            }
        }
    }

    async fn describe_what_if(
        &self,
        _call: &Call,
        _name: &ProviderName,
        input: Json,
    ) -> Result<String, CallError> {
        match self.next() {
            Answer::Echo => Ok(String::new()),
            answer => unary(answer, input).await.map(|o| o.data.into_string()),
        }
    }

    async fn extract_dependencies(
        &self,
        _call: &Call,
        _name: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        match self.next() {
            Answer::Echo => Ok(Vec::new()),
            answer => unary(answer, inputs).await.map(|_| vec!["a".to_owned()]),
        }
    }

    async fn stop(&self, _call: &Call, _name: Option<&ProviderName>) -> Result<(), CallError> {
        Err(CallError::Unimplemented)
    }
}
