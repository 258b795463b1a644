//! The sentences of contract spec 4.8, against a handler that answers by a script.

use std::sync::Arc;

use portcullis_contract::{Flow, HandlerInfo, chain};

use super::*;
use crate::fake::{Event, FakeAuthHandler, fake_auth_handler};

fn handler() -> (Arc<crate::fake::World>, Arc<FakeAuthHandler>, RegisteredHandler) {
    let (world, plugin) = fake_auth_handler(&["door"]);
    let info = HandlerInfo::clone(&portcullis_contract::AuthHandler::handlers(plugin.as_ref())[0]);
    let handler = RegisteredHandler::new(Arc::clone(&plugin) as _, info).unwrap();
    (world, plugin, handler)
}

/// Writes down what a person sees.
#[derive(Default)]
struct Seen(Vec<String>);

#[async_trait]
impl Prompts for Seen {
    async fn show(&mut self, prompt: DeviceCodePrompt) {
        self.0.push(prompt.user_code);
    }
}

async fn check_login(script: Vec<Event>, expected: Result<&[&str], &str>) {
    let (world, _plugin, handler) = handler();
    world.logins.lock().unwrap().push_back(script.clone());
    let mut seen = Seen::default();
    let result = handler.login(&Call::default(), LoginRequest::default(), Some(&mut seen)).await;
    match expected {
        Ok(codes) => {
            result.unwrap();
            assert_eq!(seen.0, codes, "{script:?}");
        }
        Err(text) => assert_eq!(chain(&result.unwrap_err()), text, "{script:?}"),
    }
}

#[tokio::test]
async fn a_login_shows_its_prompts_in_order_and_the_first_end_counts() {
    let done = || Event::Result;
    check_login(vec![done()], Ok(&[])).await;
    // item 125
    let script = vec![Event::Prompt("A"), Event::Prompt("B"), done(), Event::Prompt("C"), Event::Refuse("x")];
    check_login(script, Ok(&["A", "B"])).await;
    // item 127
    let refused = "plugin auth handler door login: plugin login error: no entry";
    check_login(vec![Event::Prompt("A"), Event::Refuse("no entry"), done()], Err(refused)).await;
    // item 126
    let without = "plugin auth handler door login: login stream ended without result";
    check_login(vec![Event::Prompt("A")], Err(without)).await;
    check_login(vec![], Err(without)).await;
}

#[tokio::test]
async fn a_login_that_breaks_off_says_so() {
    let died = "plugin auth handler door login: login stream error: the plugin stopped before it answered: exit status 3";
    check_login(vec![Event::Die], Err(died)).await;
    let unknown =
        "plugin auth handler door login: login stream error: the plugin does not implement this call";
    check_login(vec![Event::Unimplemented], Err(unknown)).await;
    // What the process backend says of a status is not said twice, nor taken for the author's.
    let status = "plugin auth handler door login: login stream error: rpc error: code = Internal desc = x";
    check_login(vec![Event::Refuse("login stream error: rpc error: code = Internal desc = x")], Err(status))
        .await;
}

#[test]
fn how_a_login_fails_depends_on_how_far_it_came() {
    let check = |error: CallError, expected: &str| {
        assert_eq!(chain(&LoginError::from(error)), expected);
    };
    check(CallError::Gone, "login RPC failed: the plugin is shut down");
    check(CallError::contract(NoLoginResult), "login stream ended without result");
    check(CallError::contract("x"), "login stream error: the plugin broke the contract: x");
    check(CallError::TimedOut { limit: Duration::from_secs(1) }, "login stream error: no answer within 1s");
}

#[tokio::test]
async fn a_prompt_that_nobody_listens_to_is_passed_over() {
    // item 128
    let (world, _plugin, handler) = handler();
    let script = vec![Event::Prompt("A"), Event::Result];
    world.logins.lock().unwrap().push_back(script);
    let result = handler.login(&Call::default(), LoginRequest::default(), None).await.unwrap();
    // item 138: without claims it is a login all the same.
    assert_eq!(result.claims, None);
}

#[tokio::test]
async fn durations_are_told_in_whole_seconds() {
    let (_world, plugin, handler) = handler();
    let timeout = Some(Duration::from_millis(90_900));
    let flow = Some(Flow::new("secret_knock"));
    let login = LoginRequest { timeout, flow, ..LoginRequest::default() };
    handler.login(&Call::default(), login, None).await.unwrap();
    let access = AccessRequest { min_valid_for: Duration::from_millis(1999), ..AccessRequest::default() };
    handler.token(&Call::default(), access).await.unwrap();
    let asked = plugin.asked.lock().unwrap();
    // items 129 and 142
    assert!(asked[0].contains("timeout: Some(90s)") && asked[0].contains("secret_knock"), "{asked:?}");
    // item 133
    assert!(asked[1].contains("min_valid_for: 1s"), "{asked:?}");
}

#[tokio::test]
async fn a_request_is_given_the_token_as_its_server_wants_it() {
    let (_world, _plugin, handler) = handler();
    let access = |scope: &str| AccessRequest { scope: scope.to_owned(), ..AccessRequest::default() };
    // item 131
    let header = handler.inject_auth(&Call::default(), access("")).await.unwrap();
    assert_eq!(header, "Bearer token of door");
    let header = handler.inject_auth(&Call::default(), access("bound")).await.unwrap();
    assert_eq!(header, "DPoP token of door");
    // item 132
    let said = handler.inject_auth(&Call::default(), access("refuse")).await.unwrap_err();
    let get_token = "plugin auth handler door get-token: not authenticated";
    assert_eq!(chain(&said), format!("plugin auth handler door inject-auth: {get_token}"));
    let said = handler.token(&Call::default(), access("refuse")).await.unwrap_err();
    assert_eq!(chain(&said), get_token);
    assert!(matches!(said.call_error(), Some(CallError::Refused(_))));
}

#[tokio::test]
async fn every_handler_lists_and_purges() {
    // item 134
    let (_world, _plugin, handler) = handler();
    assert_eq!(handler.list_cached_tokens(&Call::default(), None).await.unwrap().len(), 1);
    assert_eq!(handler.purge_expired_tokens(&Call::default(), None).await.unwrap(), 2);
    assert_eq!(handler.detect_available_flows(&Call::default()).await.unwrap(), None);
}

#[test]
fn somebody_is_called_by_the_first_name_that_is_known() {
    let text = |t: &str| t.to_owned();
    let mut claims = Claims { subject: text("s"), name: text("n"), ..Claims::default() };
    assert_eq!(display_identity(&claims), Some("n"));
    claims.username = text("u");
    assert_eq!(display_identity(&claims), Some("u"));
    claims.email = text("e");
    assert_eq!(display_identity(&claims), Some("e"));
    assert_eq!(display_identity(&Claims::default()), None);
}
