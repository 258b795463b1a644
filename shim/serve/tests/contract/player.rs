//! A provider that plays what it is told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::{
    Amount, BackendName, Call, CallError, Chunk, Configuration, Descriptor, Diagnostic, Digest, Execute,
    Json, Kind, LimitHit, LimitName, Output, Plugin, PluginInfo, PluginName, Provider, ProviderName, Refusal,
    Severity, StopReason,
};
use portcullis_serve::Surroundings;
use tokio::sync::{Barrier, mpsc};

/// What a plugin saw and did, for its test to look at.
pub(crate) struct Seen {
    pub(crate) requests: Mutex<Vec<Execute>>,
    pub(crate) configurations: Mutex<Vec<(ProviderName, Configuration)>>,
    pub(crate) deadlines: Mutex<Vec<bool>>,
    /// Gets a message when a call that hangs has begun, and another when it was dropped.
    pub(crate) hanging: mpsc::UnboundedSender<&'static str>,
    /// What two calls meet at.
    pub(crate) both: Barrier,
}

impl Seen {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<&'static str>) {
        let (hanging, hung) = mpsc::unbounded_channel();
        let seen = Self {
            requests: Mutex::default(),
            configurations: Mutex::default(),
            deadlines: Mutex::default(),
            hanging,
            both: Barrier::new(2),
        };
        (Arc::new(seen), hung)
    }
}

pub(crate) struct Player {
    around: Surroundings,
    info: PluginInfo,
    names: Vec<ProviderName>,
    descriptors: HashMap<ProviderName, Result<Descriptor, CallError>>,
    nobody: CallError,
    seen: Arc<Seen>,
}

pub(crate) fn info(kind: Kind) -> PluginInfo {
    PluginInfo {
        name: PluginName::new("player"),
        kind,
        backend: BackendName::Process,
        path: PathBuf::new(),
        digest: Digest::from_sha256([0; 32]),
    }
}

impl Player {
    pub(crate) fn new(around: Surroundings, seen: Arc<Seen>) -> Self {
        let schema = r#"{"properties":{"n":{"type":"integer","minimum":0,"exclusiveMaximum":0}}}"#;
        let good = Descriptor {
            name: "good".to_owned(),
            schema: Some(Json::from_text(schema)),
            has_extract_dependencies: true,
            ..Descriptor::default()
        };
        let names = ["good", "bad"].map(ProviderName::new);
        let descriptors = [Ok(good), Err(CallError::Refused(Refusal::new("no words for it")))];
        Self {
            around,
            info: info(Kind::Provider),
            descriptors: names.clone().into_iter().zip(descriptors).collect(),
            names: names.into(),
            nobody: CallError::Refused(Refusal::new("nobody")),
            seen,
        }
    }

    async fn secret(&self) -> Result<String, CallError> {
        match self.around.host().get_secret("s").await {
            Ok(secret) => Ok(secret.unwrap_or_default()),
            Err(error) => Err(CallError::Refused(Refusal::new(error.to_string()))),
        }
    }

    async fn play(&self, what: &str) -> Result<Output, CallError> {
        match what {
            "refuse" => Err(CallError::Refused(full())),
            "trap" => {
                let (reason, stderr) = ("unreachable".to_owned(), String::new());
                Err(CallError::Stopped(StopReason::Trapped { reason, stderr }))
            }
            "limit" => Err(CallError::Limit(LimitHit {
                which: LimitName::Cpu,
                asked: Amount::Unknown,
                allowed: Amount::Time(Duration::from_secs(1)),
            })),
            "panic" => panic!("out of tune"),
            "hang" => {
                let _left = Left(self.seen.hanging.clone());
                let _test_is_over = self.seen.hanging.send("begun");
                std::future::pending().await
            }
            "meet" => {
                self.seen.both.wait().await;
                Ok(Output::new(Json::null()))
            }
            "secret" => Ok(Output::new(Json::from_text(format!("{:?}", self.secret().await?)))),
            "no-json" => Ok(Output::new(Json::from_text("{oops"))),
            _ => Ok(Output::new(Json::from_text("1.0"))),
        }
    }
}

pub(crate) fn full() -> Refusal {
    let diagnostic =
        Diagnostic { severity: Severity::Warning, summary: "flat".to_owned(), ..Diagnostic::default() };
    Refusal::new("not this one").exit_code(7).diagnostic(diagnostic)
}

/// Tells when a call is dropped.
pub(crate) struct Left(pub(crate) mpsc::UnboundedSender<&'static str>);

impl Drop for Left {
    fn drop(&mut self) {
        let _test_is_over = self.0.send("dropped");
    }
}

/// Returns what an input says to do.
fn what(request: &Execute) -> &str {
    let text = request.input.as_str();
    text.strip_prefix("{\"do\":\"").and_then(|rest| rest.strip_suffix("\"}")).unwrap_or_default()
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Player")
    }
}

#[async_trait]
impl Plugin for Player {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        true
    }

    async fn shutdown(&self, _: Duration) {}
}

#[async_trait]
impl Provider for Player {
    fn providers(&self) -> &[ProviderName] {
        &self.names
    }

    fn descriptor(&self, name: &ProviderName) -> Result<&Descriptor, &CallError> {
        self.descriptors.get(name).map_or(Err(&self.nobody), Result::as_ref)
    }

    async fn configure(&self, _: &Call, name: &ProviderName, told: &Configuration) -> Result<(), CallError> {
        self.seen.configurations.lock().expect("nobody panics over it").push((name.clone(), told.clone()));
        match name.as_str() {
            "bad" => Err(CallError::Refused(full())),
            "curious" => self.secret().await.and_then(|secret| Err(CallError::Refused(Refusal::new(secret)))),
            _ => Ok(()),
        }
    }

    async fn execute(&self, call: &Call, request: Execute) -> Result<Output, CallError> {
        self.seen.deadlines.lock().expect("nobody panics over it").push(call.deadline.is_some());
        self.seen.requests.lock().expect("nobody panics over it").push(request.clone());
        if request.provider.as_str() == "nobody" {
            return Err(CallError::Refused(Refusal::new("unknown provider: nobody")));
        }
        self.play(what(&request)).await
    }

    fn execute_stream(&self, _: &Call, request: Execute) -> BoxStream<'static, Result<Chunk, CallError>> {
        let chunk = |n: u8| Ok(Chunk::Stdout(vec![n; 3].into()));
        let result = || Ok(Chunk::Result(Output::new(Json::null())));
        match what(&request) {
            "unary" => stream::iter([Err(CallError::Unimplemented)]).boxed(),
            "fail" => stream::iter([chunk(1), Err(CallError::Refused(full()))]).boxed(),
            "trap" => stream::iter([chunk(1), Err(CallError::contract("no JSON"))]).boxed(),
            "no-result" => stream::iter([chunk(1)]).boxed(),
            "panic" => {
                stream::iter(0..2).map(move |n| if n == 0 { chunk(1) } else { panic!("out of tune") }).boxed()
            }
            "panic-at-once" => panic!("out of tune"),
            "secret" => {
                let around = self.around.clone();
                stream::once(async move {
                    let secret = around.host().get_secret("s").await;
                    Ok(Chunk::Stdout(secret.ok().flatten().unwrap_or_default().into()))
                })
                .boxed()
            }
            "endless" => {
                let left = Left(self.seen.hanging.clone());
                stream::repeat_with(move || (&left, Ok(Chunk::Stdout(vec![b'x'; 64 << 10].into()))).1).boxed()
            }
            _ => {
                let stderr = Ok(Chunk::Stderr(vec![0xff, b'\n'].into()));
                stream::iter([chunk(1), stderr, chunk(2), result()]).boxed()
            }
        }
    }

    async fn describe_what_if(&self, _: &Call, _: &ProviderName, input: Json) -> Result<String, CallError> {
        match input.as_str() {
            "{\"fail\":1}" => Err(CallError::Refused(full())),
            "{\"secret\":1}" => self.secret().await,
            "{\"unimplemented\":1}" => Err(CallError::Unimplemented),
            text => Ok(format!("would {text}")),
        }
    }

    async fn extract_dependencies(
        &self,
        _: &Call,
        _: &ProviderName,
        inputs: Json,
    ) -> Result<Vec<String>, CallError> {
        match inputs.as_str() {
            "{\"fail\":1}" => Err(CallError::Refused(full())),
            "{\"secret\":1}" => Ok(vec![self.secret().await?]),
            text => Ok(vec![text.to_owned()]),
        }
    }

    async fn stop(&self, _: &Call, name: Option<&ProviderName>) -> Result<(), CallError> {
        match name.map(ProviderName::as_str) {
            Some("bad") => Err(CallError::Refused(full())),
            _ => Ok(()),
        }
    }
}
