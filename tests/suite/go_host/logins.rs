//! How a login goes under a Go host: prompts, answers, and how it may fail.

use portcullis_tests::TestResult;
use portcullis_tests::go_host::{GoHost, Made, Mode, about};
use serde_json::{Value, json};
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

/// Starts the doorman under a host that has these.
fn doorman(made: Made, mode: Mode, has: Value) -> Result<GoHost, Box<dyn std::error::Error>> {
    let mut host = GoHost::auth("1.8", mode, &made.plugin("doorman"))?;
    host.ask(json!({"do": "serve", "serve": has}))?;
    host.ask(about("configure", "door"))?;
    Ok(host)
}

fn login(request: Value) -> Value {
    json!({"do": "login", "name": "door", "request": request})
}

/// Returns the plugin's own words for why nobody gets in.
fn refused(host: &mut GoHost, request: Value) -> String {
    let failure = host.ask(login(request)).expect_err("nobody gets in");
    let words = failure.message.strip_prefix("plugin auth handler door login: plugin login error: ");
    words.unwrap_or_else(|| panic!("{failure}")).to_owned()
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn prompts_come_while_the_login_waits(made: Made, mode: Mode) -> TestResult {
    let mut host = doorman(made, mode, json!({}))?;
    let id = host.send(login(json!({"tenant_id": "two-prompts"})));
    for code in ["ABCD-1234", "EFGH-5678"] {
        assert_eq!(host.event(id)["prompt"]["user_code"], code);
    }
    host.answer(id)?;

    let id = host.send(login(json!({"tenant_id": "never"})));
    assert_eq!(host.event(id)["prompt"]["user_code"], "ABCD-1234");
    assert_eq!(host.ask(json!({"do": "cancel", "of": id}))?, true);
    let failure = host.answer(id).expect_err("it was given up");
    assert_eq!(failure.code.as_deref(), Some("Canceled"), "{failure}");

    let mut command = login(json!({"tenant_id": "never"}));
    command["millis"] = json!(200);
    let failure = host.ask(command).expect_err("a host waits no longer than it likes");
    // Go's plugin notices its deadline itself, and its own words may come first.
    let says = |words| failure.message.ends_with(words);
    let late =
        failure.code.as_deref() == Some("DeadlineExceeded") || says("login error: context deadline exceeded");
    assert!(late, "{failure}");
    // Whoever gave up is not in the way of others.
    host.ask(login(json!({"tenant_id": "t-1"})))?;
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_flood_of_prompts_is_taken_at_the_hosts_pace(made: Made) -> TestResult {
    let mut host = doorman(made, Mode::Plain, json!({}))?;
    let mut command = login(json!({"tenant_id": "flood"}));
    command["hold"] = json!(5);
    let id = host.send(command);
    for n in 0..5 {
        assert_eq!(host.event(id)["prompt"]["user_code"], format!("F-{n:05}"));
    }
    assert_eq!(host.event(id), "held");
    assert_eq!(host.ask(json!({"do": "proceed", "of": id}))?, true);
    host.answer(id)?;
    assert_eq!(host.events(id).len(), 9_995);
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_login_that_is_refused_is_refused_in_the_plugins_words(made: Made) -> TestResult {
    let mut host = doorman(made, Mode::Plain, json!({}))?;
    assert_eq!(refused(&mut host, json!({"tenant_id": "refuse"})), "login refused");
    assert_eq!(refused(&mut host, json!({"flow": "teleport"})), "flow not supported: teleport");
    assert_eq!(refused(&mut host, json!({"flow": "interactive"})), "the host asks nobody");
    assert_eq!(host.ask(about("status", "door"))?["authenticated"], false);
    let result = host.ask(login(json!({"tenant_id": "no-claims"})))?;
    assert_eq!((&result["claims"], &result["expires_at_unix"]), (&Value::Null, &json!("1700003600")));
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_person_is_asked_by_the_host(made: Made, mode: Mode) -> TestResult {
    let mut host = doorman(made, mode, json!({"prompt": "http://127.0.0.1:8400/?code=lin"}))?;
    let result = host.ask(login(json!({"flow": "interactive", "callback_port": 8400})))?;
    assert_eq!(result["claims"]["username"], "http://127.0.0.1:8400/?code=lin");
    let asked = json!([{
        "handler": "door", "url": "https://door.example/authorize", "redirect": "http://127.0.0.1:8400/"
    }]);
    assert_eq!(host.ask(json!({"do": "served"}))?["asked"], asked);
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [("unavailable", "nobody is at home"), ("cancelled", "not today")])]
fn a_person_who_does_not_answer_fails_the_login(made: Made, (how, words): (&str, &str)) -> TestResult {
    let mut host = doorman(made, Mode::Plain, json!({"unwilling": how}))?;
    let refused = refused(&mut host, json!({"flow": "interactive"}));
    assert!(refused.starts_with("host PromptAuthResponse: ") && refused.contains(words), "{refused}");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_handler_reads_the_hosts_secrets(made: Made) -> TestResult {
    let mut host = doorman(made, Mode::Plain, json!({"secrets": {"app.pat": "lin"}}))?;
    assert_eq!(host.ask(login(json!({"flow": "pat"})))?["claims"]["username"], "lin");
    host.ask(json!({"do": "serve", "serve": {"secrets": {}}}))?;
    assert_eq!(refused(&mut host, json!({"flow": "pat"})), "no pat");
    host.ask(json!({"do": "serve", "serve": {}}))?;
    assert_eq!(refused(&mut host, json!({"flow": "pat"})), "host GetSecret: secret store not available");
    Ok(())
}

/// In the words that upstream's plugins have for a host that offers nothing.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_handler_that_has_no_host_service_says_so(made: Made) -> TestResult {
    let plugin = made.plugin("doorman");
    let mut host = GoHost::start("1.8", Mode::Plain, "auth", &plugin, &["-no-service"])?;
    host.ask(about("configure", "door"))?;
    assert_eq!(refused(&mut host, json!({"flow": "pat"})), "host GetSecret: secret store not available");
    assert_eq!(refused(&mut host, json!({"flow": "interactive"})), "the host asks nobody");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_crash_in_a_login_ends_it(made: Made, mode: Mode) -> TestResult {
    let mut host = doorman(made, mode, json!({}))?;
    let failure = host.ask(login(json!({"tenant_id": "crash"}))).expect_err("nobody answers");
    assert_eq!(failure.code.as_deref(), Some("Unavailable"), "{failure}");
    assert!(failure.message.starts_with("plugin auth handler door login: login stream error: "), "{failure}");
    assert_eq!(host.kill().exit, made.exit_after_a_crash());
    Ok(())
}
