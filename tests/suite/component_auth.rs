//! What only an auth handler that is a component does: it has one instance, and calls wait for each other.

use std::fs;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use portcullis::contract::{
    AccessRequest, Account, AuthHandler, AuthHandlers, AuthStatus, Call, CallError, Claims, Configuration,
    Flow, HandlerName, HostError, HostService, Kind, LaunchError, Limits, LoginEvent, LoginRequest,
    LoginResult, PluginName, PluginSpec, PromptError, ResponseRequest, StopReason, Token, TokenRequest,
};
use portcullis_tests::{Door, LONG, SOON, TestHost, TestResult, assert_matches, fixtures, generous};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// A person who is asked, and answers when the test lets them.
#[derive(Debug)]
struct Person {
    asked: Notify,
    may_answer: Semaphore,
}

impl Person {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: Notify::new(), may_answer: Semaphore::new(0) })
    }
}

const NOTHING: HostError = HostError::Unavailable("secret store");

#[async_trait]
impl HostService for Person {
    async fn get_secret(&self, _: &str) -> Result<Option<String>, HostError> {
        Err(NOTHING)
    }

    async fn set_secret(&self, _: &str, _: &str) -> Result<(), HostError> {
        Err(NOTHING)
    }

    async fn delete_secret(&self, _: &str) -> Result<(), HostError> {
        Err(NOTHING)
    }

    async fn list_secrets(&self, _: &str) -> Result<Vec<String>, HostError> {
        Err(NOTHING)
    }

    async fn auth_identity(&self, _: &str, _: &str) -> Result<Option<Claims>, HostError> {
        Ok(None)
    }

    async fn auth_handlers(&self) -> AuthHandlers {
        AuthHandlers::default()
    }

    async fn auth_token(&self, _: &TokenRequest) -> Result<Token, HostError> {
        Err(HostError::Unavailable("auth token service"))
    }

    async fn auth_groups(&self, _: &str) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }

    async fn prompt_auth_response(&self, _: &ResponseRequest) -> Result<String, PromptError> {
        self.asked.notify_one();
        match self.may_answer.acquire().await {
            Ok(answer) => answer.forget(),
            Err(_closed) => return Err(PromptError::Cancelled("nobody answers".to_owned())),
        }
        Ok("lin".to_owned())
    }
}

/// A doorman, and the host that it needs to be tidied up after.
struct Doorman {
    // Before the host, which looks for what is left.
    handler: Arc<dyn AuthHandler>,
    _host: TestHost,
}

impl Doorman {
    async fn launch(limits: Limits, person: Arc<Person>) -> Result<Self, Box<dyn std::error::Error>> {
        let host = TestHost::new(Door::Component);
        let backend = fixtures::backend(Door::Component, host.scratch(), LONG);
        let spec = PluginSpec {
            limits,
            host: Some(person),
            ..PluginSpec::new(PluginName::new("doorman"), fixtures::guest("doorman"))
        };
        let handler = generous(backend.launch_auth_handler(spec)).await?;
        let configuration = Configuration { prompts_for_response: true, ..Configuration::default() };
        generous(handler.configure(&Call::default(), &door(), &configuration)).await?;
        Ok(Self { handler, _host: host })
    }

    fn login(&self, flow: &str, tenant_id: &str) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        let flow = (!flow.is_empty()).then(|| Flow::new(flow));
        let request = LoginRequest { flow, tenant_id: tenant_id.to_owned(), ..LoginRequest::default() };
        self.handler.login(&Call::default(), &door(), request)
    }

    async fn status_within(&self, call: &Call) -> Result<AuthStatus, CallError> {
        generous(self.handler.status(call, &door(), &Account::default())).await
    }

    async fn status(&self) -> Result<AuthStatus, CallError> {
        self.status_within(&Call::default()).await
    }

    async fn token(&self) -> Result<String, CallError> {
        let request =
            AccessRequest { scope: "a".to_owned(), force_refresh: true, ..AccessRequest::default() };
        let token = generous(self.handler.token(&Call::default(), &door(), request)).await?;
        Ok(token.access_token)
    }
}

fn door() -> HandlerName {
    HandlerName::new("door")
}

/// Reads a login to its end, and returns the result and how many prompts came before it.
async fn finish(
    mut login: BoxStream<'static, Result<LoginEvent, CallError>>,
) -> (usize, Result<LoginResult, CallError>) {
    let mut prompts = 0;
    loop {
        match generous(login.next()).await.expect("a login ends with a result or an error") {
            Ok(LoginEvent::Prompt(_)) => prompts += 1,
            Ok(LoginEvent::Result(result)) => return (prompts, Ok(result)),
            Err(error) => return (prompts, Err(error)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_handler_remembers_from_one_call_to_the_next() -> TestResult {
    let doorman = Doorman::launch(Limits::default(), Person::new()).await?;
    assert_eq!(doorman.status().await?.reason, "not logged in");
    let (prompts, result) = finish(doorman.login("", "")).await;
    assert_eq!((prompts, result?.claims.map(|claims| claims.username)), (1, Some("ada".to_owned())));
    assert!(doorman.status().await?.authenticated);
    assert_eq!([doorman.token().await?, doorman.token().await?], ["token-1-a", "token-2-a"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_a_login_and_then_sees_what_came_of_it() -> TestResult {
    let person = Person::new();
    let doorman = Doorman::launch(Limits::default(), Arc::clone(&person)).await?;
    let login = tokio::spawn(finish(doorman.login("interactive", "")));
    generous(person.asked.notified()).await;

    let mut status = pin!(doorman.status());
    assert_matches!(timeout(SOON, status.as_mut()).await, Err(_elapsed));
    person.may_answer.add_permits(1);
    assert_eq!(status.await?.claims.map(|claims| claims.username), Some("lin".to_owned()));
    assert_matches!(generous(login).await?, (0, Ok(_)));
    Ok(())
}

/// The wall of the policy ends no login, since that waits for a person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_for_a_login_is_told_so_and_the_login_goes_on() -> TestResult {
    let person = Person::new();
    let limits = Limits { wall: Some(Duration::from_millis(150)), ..Limits::default() };
    let doorman = Doorman::launch(limits, Arc::clone(&person)).await?;
    let login = tokio::spawn(finish(doorman.login("interactive", "")));
    generous(person.asked.notified()).await;

    let hasty = Call { deadline: Some(Instant::now()) };
    // The first by its caller's deadline, the second by the wall.
    for call in [hasty.clone(), Call::default()] {
        let error = doorman.status_within(&call).await.expect_err("the login has the turn");
        assert_matches!(error, CallError::Busy { .. });
        assert_eq!(error.to_string(), "busy: login");
    }
    let request = LoginRequest::default();
    let (_, second) = finish(doorman.handler.login(&hasty, &door(), request)).await;
    assert_matches!(second, Err(CallError::Busy { .. }));

    person.may_answer.add_permits(1);
    assert_matches!(generous(login).await?, (0, Ok(_)));
    assert!(doorman.status().await?.authenticated);
    Ok(())
}

/// The configuration is what makes the second login possible: without it the host asks nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_what_was_remembered_and_nothing_of_the_configuration() -> TestResult {
    let person = Person::new();
    let doorman = Doorman::launch(Limits::default(), Arc::clone(&person)).await?;
    finish(doorman.login("", "")).await.1?;
    assert_eq!(doorman.token().await?, "token-1-a");

    let (_, crash) = finish(doorman.login("", "crash")).await;
    assert_matches!(crash, Err(CallError::Stopped(StopReason::Exited { .. })));

    assert_eq!(doorman.status().await?.reason, "not logged in");
    person.may_answer.add_permits(1);
    let (_, result) = finish(doorman.login("interactive", "")).await;
    assert_eq!(result?.claims.map(|claims| claims.username), Some("lin".to_owned()));
    assert_eq!(doorman.token().await?, "token-1-a");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_dropped_ends_its_instance_and_nobody_waits_for_it() -> TestResult {
    let doorman = Doorman::launch(Limits::default(), Person::new()).await?;
    finish(doorman.login("", "")).await.1?;

    let mut never = doorman.login("", "never");
    assert_matches!(generous(never.next()).await, Some(Ok(LoginEvent::Prompt(_))));
    drop(never);

    assert_eq!(doorman.status().await?.reason, "not logged in");
    finish(doorman.login("", "")).await.1?;
    assert!(doorman.status().await?.authenticated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_told_of_its_callers_deadline() -> TestResult {
    let doorman = Doorman::launch(Limits::default(), Person::new()).await?;
    let (tenant_id, call) = ("never".to_owned(), Call { deadline: Some(Instant::now()) });
    let request = LoginRequest { tenant_id, ..LoginRequest::default() };
    let (prompts, result) = finish(doorman.handler.login(&call, &door(), request)).await;
    let Err(CallError::Refused(refusal)) = result else { panic!("a refusal, not {result:?}") };
    assert_eq!((prompts, refusal.message.as_str()), (1, "login cancelled"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_shows_counts_as_output() -> TestResult {
    let limits = Limits { output: Some(1_000), ..Limits::default() };
    let doorman = Doorman::launch(limits, Person::new()).await?;
    let (prompts, result) = finish(doorman.login("", "flood")).await;
    assert_matches!(result, Err(CallError::Limit { .. }));
    assert!(prompts < 1_000, "{prompts}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_a_login_and_sends_away_who_waits_for_it() -> TestResult {
    let person = Person::new();
    let doorman = Doorman::launch(Limits::default(), Arc::clone(&person)).await?;
    let login = tokio::spawn(finish(doorman.login("interactive", "")));
    generous(person.asked.notified()).await;
    let mut status = pin!(doorman.status());
    assert_matches!(timeout(SOON, status.as_mut()).await, Err(_elapsed));

    let (waited, ()) = tokio::join!(status, generous(doorman.handler.shutdown(SOON)));
    assert_matches!(waited, Err(CallError::Gone));
    assert_matches!(generous(login).await?, (0, Err(CallError::Stopped(StopReason::Lost { .. }))));
    assert_matches!(doorman.status().await, Err(CallError::Gone));
    assert!(!doorman.handler.is_running());
    Ok(())
}

/// Writes a component and returns the whole chain of why it is refused as a plugin of a kind.
async fn refusal(kind: Kind, text: &str) -> Result<String, Box<dyn std::error::Error>> {
    let host = TestHost::new(Door::Component);
    let path = host.scratch().join("plugin.wasm");
    fs::write(&path, wat::parse_str(text)?)?;
    let backend = fixtures::backend(Door::Component, host.scratch(), LONG);
    let spec = PluginSpec::new(PluginName::new("plugin"), path);
    let refused = match kind {
        Kind::Provider => backend.launch_provider(spec).await.map(drop),
        Kind::AuthHandler => backend.launch_auth_handler(spec).await.map(drop),
    };
    let error = refused.expect_err("it is not fit to run");
    let mut said = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    Ok(said)
}

const PROVIDER: &str = r#"(instance $p) (export "portcullis:plugin/provider@0.1.0" (instance $p))"#;
const HANDLER: &str = r#"(instance $h) (export "portcullis:plugin/auth-handler@0.1.0" (instance $h))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_is_both_a_provider_and_an_auth_handler_is_refused_by_name() -> TestResult {
    let both = format!("(component {PROVIDER} {HANDLER})");
    for kind in [Kind::Provider, Kind::AuthHandler] {
        let refusal = refusal(kind, &both).await?;
        for name in ["portcullis:plugin/provider@0.1.0", "portcullis:plugin/auth-handler@0.1.0"] {
            assert!(refusal.contains(name), "{refusal}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_world_has_its_own_imports() -> TestResult {
    for (kind, import, export) in
        [(Kind::Provider, "prompts", PROVIDER), (Kind::AuthHandler, "output", HANDLER)]
    {
        let import = format!("portcullis:plugin/{import}@0.1.0");
        let refusal =
            refusal(kind, &format!(r#"(component (import "{import}" (instance)) {export})"#)).await?;
        assert!(refusal.contains(&import), "{refusal}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_the_other_kind_is_told_apart() -> TestResult {
    let host = TestHost::new(Door::Component);
    let backend = fixtures::backend(Door::Component, host.scratch(), LONG);
    let spec = |name: &str| PluginSpec::new(PluginName::new(name), fixtures::guest(name));
    assert_matches!(
        generous(backend.launch_provider(spec("doorman"))).await,
        Err(LaunchError::OtherKind { wanted: Kind::Provider })
    );
    assert_matches!(
        generous(backend.launch_auth_handler(spec("echo"))).await,
        Err(LaunchError::OtherKind { wanted: Kind::AuthHandler })
    );
    Ok(())
}
