//! What a login asks of its host: a secret, or a person.

use std::sync::Arc;

use portcullis::contract::{CallError, Configuration, LoginRequest, PromptError, ResponseRequest};
use portcullis_tests::auth::{Household, login, refusal};
use portcullis_tests::{Door, TestAuth, TestHost, TestResult};
use test_case::test_case;

/// Starts the doorman, and tells it whether there is somebody to ask.
async fn doorman(
    host: &mut TestHost,
    household: &Arc<Household>,
    prompts_for_response: bool,
) -> Result<TestAuth, Box<dyn std::error::Error>> {
    host.host = Some(Arc::clone(household) as _);
    let doorman = host.launch_auth("doorman").await?;
    let configuration = Configuration { prompts_for_response, ..Configuration::default() };
    doorman.configure("door", &configuration).await?;
    Ok(doorman)
}

async fn username(doorman: &TestAuth, request: LoginRequest) -> Result<String, CallError> {
    let (prompts, result) = doorman.login("door", request).await;
    assert_eq!(prompts, []);
    Ok(result?.claims.expect("a doorman knows whom it let in").username)
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_and_their_answer_reaches_the_plugin(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let household = Household::new(&[], Ok("http://127.0.0.1:8400/?code=lin"));
    let doorman = doorman(&mut host, &household, true).await?;
    let request = LoginRequest { callback_port: Some(8400), ..login("interactive", "") };
    assert_eq!(username(&doorman, request).await?, "http://127.0.0.1:8400/?code=lin");
    assert_eq!(username(&doorman, login("interactive", "")).await?, "http://127.0.0.1:8400/?code=lin");
    let asked = |port| ResponseRequest {
        handler: "door".to_owned(),
        authorization_url: "https://door.example/authorize".to_owned(),
        redirect_uri: format!("http://127.0.0.1:{port}/"),
    };
    assert_eq!(household.asked(), [asked(8400), asked(0)]);
    assert_eq!(doorman.status("door").await?.flow, "interactive");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_or_will_not_answer_fails_the_login(door: Door) -> TestResult {
    for (error, words) in [
        // For a host that does not know this call the doors have different words.
        (PromptError::Unimplemented, ""),
        (PromptError::Unavailable("nobody is at home".to_owned()), "nobody is at home"),
        (PromptError::Cancelled("not today".to_owned()), "not today"),
    ] {
        let mut host = TestHost::new(door);
        let household = Household::new(&[], Err(error));
        let doorman = doorman(&mut host, &household, true).await?;
        let refused = refusal(username(&doorman, login("interactive", "")).await);
        assert!(refused.contains(words), "{refused}");
        assert_eq!(household.asked().len(), 1);
        assert!(!doorman.status("door").await?.authenticated);
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_was_promised_nobody_asks_nobody(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let household = Household::new(&[], Ok("lin"));
    let doorman = doorman(&mut host, &household, false).await?;
    let refused = refusal(username(&doorman, login("interactive", "")).await);
    assert_eq!((refused.as_str(), household.asked().len()), ("the host asks nobody", 0));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_reads_the_secret_that_it_is_given(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = doorman(&mut host, &Household::new(&[("app.pat", "grace")], Ok("")), false).await?;
    assert_eq!(username(&doorman, login("pat", "")).await?, "grace");
    assert_eq!(doorman.status("door").await?.flow, "pat");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_its_secret_is_refused(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = doorman(&mut host, &Household::new(&[], Ok("")), false).await?;
    assert_eq!(refusal(username(&doorman, login("pat", "")).await), "no pat");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_offers_nothing_is_said_to_offer_nothing(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let doorman = host.launch_auth("doorman").await?;
    doorman.configure("door", &Configuration::default()).await?;
    let refused = refusal(username(&doorman, login("pat", "")).await);
    assert_eq!(refused, "host GetSecret: secret store not available");
    Ok(())
}
