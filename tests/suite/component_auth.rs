//! What only an auth handler that is a component does: it has one instance, and calls wait for each other.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use portcullis::contract::{
    Account, Call, CallError, Claims, Configuration, DeviceCodePrompt, HandlerName, InstanceReuse, LimitHit,
    LimitName, Limits, LoginEvent, LoginResult, StopReason, Token,
};
use portcullis_tests::auth::{Household, login, whole_access, whole_login};
use portcullis_tests::{A_WHILE, Door, SOON, TestAuth, TestHost, TestResult, assert_matches, generous};
use serde_json::{Value, json};
use test_case::test_case;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Starts a doorman and tells it that there is a person to ask.
async fn doorman(
    host: &mut TestHost,
    household: &Arc<Household>,
) -> Result<TestAuth, Box<dyn std::error::Error>> {
    host.host = Some(Arc::clone(household) as _);
    let doorman = host.launch_auth("doorman").await?;
    let configuration = Configuration { prompts_for_response: true, ..Configuration::default() };
    doorman.configure("door", &configuration).await?;
    Ok(doorman)
}

/// A message has to be larger than this to get through another door at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_larger_than_a_message_may_be() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    host.limits = Limits { message: Some(20), ..Limits::default() };
    let doorman = host.launch_auth("doorman").await?;
    let answers = [
        ("login", doorman.login("door", login("", "")).await.1.err()),
        ("status", doorman.status("door").await.err()),
        ("flows", doorman.flows("door").await.err()),
        ("token", doorman.token("door", "a").await.err()),
        // The one that was issued.
        ("tokens", doorman.tokens("door").await.err()),
    ];
    for (call, error) in answers {
        assert_matches!(error, Some(CallError::Limit(LimitHit { which: LimitName::Message, .. })), "{call}");
    }
    Ok(())
}

/// Where the answer is always the same a plugin could ask without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_login_asks_is_limited_as_output_is() -> TestResult {
    for (output, may) in [(1_000, true), (10, false)] {
        let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
        host.limits = Limits { output: Some(output), ..Limits::default() };
        let doorman = doorman(&mut host, &household).await?;
        household.may_answer.add_permits(1);
        let (_, result) = doorman.login("door", login("interactive", "")).await;
        let reached = matches!(result, Err(CallError::Limit(LimitHit { which: LimitName::Output, .. })));
        assert_eq!((result.is_ok(), reached), (may, !may), "{result:?}");
    }
    Ok(())
}

/// Begins a login that goes on until the person has answered.
async fn begin(
    doorman: &TestAuth,
    household: &Household,
) -> JoinHandle<(Vec<DeviceCodePrompt>, Result<LoginResult, CallError>)> {
    let doorman = doorman.clone();
    let under_way = tokio::spawn(async move { doorman.login("door", login("interactive", "")).await });
    generous(household.bell.notified()).await;
    under_way
}

async fn username(doorman: &TestAuth) -> Result<Option<String>, CallError> {
    Ok(doorman.status("door").await?.claims.map(|claims| claims.username))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_handler_has_one_instance_whatever_is_said_of_instances() -> TestResult {
    for instances in [InstanceReuse::PerCall, InstanceReuse::Pooled(4)] {
        let mut host = TestHost::new(Door::Component);
        host.run_as.instances = instances;
        let doorman = doorman(&mut host, &Household::hesitant("lin")).await?;
        doorman.login("door", login("", "")).await.1?;
        let scopes: Vec<_> = (0..8).map(|n| n.to_string()).collect();
        let tokens = join_all(scopes.iter().map(|scope| doorman.token("door", scope))).await;
        let mut issued =
            tokens.into_iter().map(|token| Ok(token?.access_token)).collect::<Result<Vec<_>, CallError>>()?;
        issued.sort();
        // Each got a number of its own, in whatever order they came.
        for (n, token) in issued.iter().enumerate() {
            assert!(token.starts_with(&format!("token-{}-", n + 1)), "{issued:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_a_login_and_then_sees_what_came_of_it() -> TestResult {
    let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
    let doorman = doorman(&mut host, &household).await?;
    let under_way = begin(&doorman, &household).await;

    let mut waits = pin!(username(&doorman));
    assert_matches!(timeout(SOON, waits.as_mut()).await, Err(_elapsed));
    household.may_answer.add_permits(1);
    assert_eq!(waits.await?.as_deref(), Some("lin"));
    generous(under_way).await?.1?;
    Ok(())
}

/// The wall of the policy ends no login, since that waits for a person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_for_a_login_is_told_so_and_the_login_goes_on() -> TestResult {
    let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
    host.limits = Limits { wall: Some(A_WHILE), ..Limits::default() };
    let doorman = doorman(&mut host, &household).await?;
    let under_way = begin(&doorman, &household).await;

    let (hasty, name) = (Call { deadline: Some(Instant::now()) }, HandlerName::new("door"));
    // The first by its caller's deadline, the second by the wall.
    for call in [hasty.clone(), Call::default()] {
        let status = generous(doorman.plugin.status(&call, &name, &Account::default())).await;
        let error = status.expect_err("the login has the turn");
        assert_matches!(error, CallError::Busy { .. });
        assert_eq!(error.to_string(), "busy: login");
    }
    let mut second = doorman.plugin.login(&hasty, &name, login("", ""));
    assert_matches!(generous(second.next()).await, Some(Err(CallError::Busy { .. })));
    assert_matches!(generous(second.next()).await, None);

    household.may_answer.add_permits(1);
    generous(under_way).await?.1?;
    assert_eq!(username(&doorman).await?.as_deref(), Some("lin"));
    Ok(())
}

/// The configuration is what makes the second login possible: without it the guest asks nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_what_was_remembered_and_nothing_of_the_configuration() -> TestResult {
    let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
    let doorman = doorman(&mut host, &household).await?;
    doorman.login("door", login("", "")).await.1?;
    assert_eq!(doorman.token("door", "a").await?.access_token, "token-1-a");

    let crash = doorman.login("door", login("", "crash")).await.1;
    let Err(CallError::Stopped(StopReason::Exited { stderr, .. })) = crash else { panic!("{crash:?}") };
    assert_eq!(stderr, "the door fell on me");

    assert_eq!(doorman.status("door").await?.reason, "not logged in");
    household.may_answer.add_permits(1);
    doorman.login("door", login("interactive", "")).await.1?;
    assert_eq!(username(&doorman).await?.as_deref(), Some("lin"));
    assert_eq!(doorman.token("door", "b").await?.access_token, "token-1-b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_dropped_ends_its_instance_and_nobody_waits_for_it() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let doorman = doorman(&mut host, &Household::hesitant("lin")).await?;
    doorman.login("door", login("", "")).await.1?;

    let mut never = doorman.plugin.login(&Call::default(), &HandlerName::new("door"), login("", "never"));
    assert_matches!(generous(never.next()).await, Some(Ok(LoginEvent::Prompt(_))));
    drop(never);

    assert_eq!(doorman.status("door").await?.reason, "not logged in");
    doorman.login("door", login("", "")).await.1?;
    assert_eq!(username(&doorman).await?.as_deref(), Some("ada"));
    Ok(())
}

/// A call that is dropped while it waits has no instance to take with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_in_the_queue_costs_nobody_anything() -> TestResult {
    let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
    let doorman = doorman(&mut host, &household).await?;
    doorman.login("door", login("", "")).await.1?;
    doorman.token("door", "a").await?;
    let under_way = begin(&doorman, &household).await;
    assert_matches!(timeout(SOON, doorman.token("door", "a")).await, Err(_elapsed));
    household.may_answer.add_permits(1);
    generous(under_way).await?.1?;
    assert_eq!(doorman.token("door", "a").await?.access_token, "token-1-a");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_told_of_its_callers_deadline() -> TestResult {
    let mut host = TestHost::new(Door::Component);
    let doorman = doorman(&mut host, &Household::hesitant("lin")).await?;
    let call = Call { deadline: Some(Instant::now()) };
    let mut events = doorman.plugin.login(&call, &HandlerName::new("door"), login("", "never"));
    assert_matches!(generous(events.next()).await, Some(Ok(LoginEvent::Prompt(_))));
    assert_matches!(generous(events.next()).await, Some(Err(CallError::Refused(r))) if r.message == "login cancelled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_a_login_and_sends_away_who_waits_for_it() -> TestResult {
    let (mut host, household) = (TestHost::new(Door::Component), Household::hesitant("lin"));
    let doorman = doorman(&mut host, &household).await?;
    let under_way = begin(&doorman, &household).await;
    let mut waits = pin!(doorman.status("door"));
    assert_matches!(timeout(SOON, waits.as_mut()).await, Err(_elapsed));

    let (waited, ()) = tokio::join!(waits, generous(doorman.plugin.shutdown(SOON)));
    assert_matches!(waited, Err(CallError::Gone));
    assert_matches!(generous(under_way).await?.1, Err(CallError::Stopped(StopReason::Lost { .. })));
    assert_matches!(doorman.status("door").await, Err(CallError::Gone));
    Ok(())
}

/// Each of its forms is written out for each way that it goes.
#[test_case(Door::Component; "component")]
#[test_case(Door::Native; "native")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_what_a_handler_is_asked_and_answers_arrives(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    let LoginResult { claims, expires_at } = doorman.login("door", whole_login("echo")).await.1?;
    let (now, later) = (Some(1_700_000_000), Some(1_700_003_600));
    let Claims { name, .. } = claims.clone().ok_or("it knows who was asked for")?;
    let expected = Claims {
        issuer: "issuer".to_owned(),
        subject: "subject".to_owned(),
        tenant_id: "tenant".to_owned(),
        object_id: "object".to_owned(),
        client_id: "client".to_owned(),
        email: "email".to_owned(),
        name: name.clone(),
        username: "username".to_owned(),
        issued_at: now,
        expires_at: later,
    };
    assert_eq!((claims, expires_at), (Some(expected), now));
    let expected = json!({
        "tenant": "echo", "scopes": ["a", "b"], "flow": "pat", "seconds": 90, "profile": "work", "hostname": "host",
        "port": 8400,
    });
    assert_eq!(serde_json::from_str::<Value>(&name)?, expected);

    let token = doorman.access("door", whole_access("echo")).await?;
    let expected = json!({
        "scope": "echo", "seconds": 60, "force": true, "profile": "work", "context": "delegated", "caller": "user",
        "assertion": "bearer", "hostname": "host",
    });
    assert_eq!(serde_json::from_str::<Value>(&token.access_token)?, expected);
    let expected = Token {
        access_token: token.access_token.clone(),
        token_type: "type".to_owned(),
        expires_at: later,
        scope: "scope".to_owned(),
        cached_at: now,
        flow: "flow".to_owned(),
        session_id: "session".to_owned(),
    };
    assert!(token == expected, "{token:?}");
    Ok(())
}
