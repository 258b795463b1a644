//! What a plugin asks of a Go host.

use std::collections::BTreeMap;

use portcullis_tests::TestResult;
use portcullis_tests::go_host::{GoHost, Made, Mode, about, execute};
use serde_json::{Value, json};
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

/// Starts the keeper under a host that has these.
fn keeper(made: Made, version: &str, mode: Mode, has: Value) -> Result<GoHost, Box<dyn std::error::Error>> {
    let mut host = GoHost::provider(version, mode, &made.plugin("keeper"))?;
    host.ask(json!({"do": "serve", "serve": has}))?;
    host.ask(about("configure", "keeper"))?;
    Ok(host)
}

fn everything() -> Value {
    let secrets = json!({"app.one": "1", "app.two": "zwei 𝄞", "other": "hidden"});
    json!({"secrets": secrets, "prefix": "app.", "accounts": true, "allowed": ["github"]})
}

fn ask(host: &mut GoHost, input: Value) -> Result<Value, Box<dyn std::error::Error>> {
    Ok(host.ask(execute("keeper", input))?["data"].take())
}

/// Returns the plugin's own words for why it was refused.
fn refused(host: &mut GoHost, input: Value) -> String {
    let failure = host.ask(execute("keeper", input)).expect_err("it is refused");
    let words = failure.message.strip_prefix("keeper: provider execution failed: ");
    words.expect("the plugin refused it").to_owned()
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6"], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.4"], [Mode::Plain, Mode::Tls])]
fn a_go_host_is_asked_for_secrets_and_for_who_somebody_is(
    made: Made,
    version: &str,
    mode: Mode,
) -> TestResult {
    let mut host = keeper(made, version, mode, everything())?;
    let get = |host: &mut GoHost, name: &str| ask(host, json!({"operation": "get", "name": name}));
    assert_eq!(get(&mut host, "app.two")?, json!({"found": true, "value": "zwei 𝄞"}));
    assert_eq!(get(&mut host, "app.none")?, json!({"found": false, "value": ""}));
    let names = ask(&mut host, json!({"operation": "list", "pattern": "o"}))?;
    assert_eq!(names, json!({"names": ["app.one", "app.two"]}));
    let empty = json!({"operation": "set", "name": "app.new", "value": ""});
    assert_eq!(ask(&mut host, empty)?, json!({"success": true}));
    assert_eq!(get(&mut host, "app.new")?, json!({"found": true, "value": ""}));
    for _ in 0..2 {
        ask(&mut host, json!({"operation": "delete", "name": "app.one"}))?;
    }
    let served = host.ask(json!({"do": "served"}))?;
    let kept: BTreeMap<String, String> = serde_json::from_value(served["secrets"].clone())?;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["app.new", "app.two", "other"]);

    let claims = ask(&mut host, json!({"operation": "identity", "handler": "github", "scope": "me"}))?;
    assert_eq!(claims["claims"]["issuer"], "https://github.example");
    assert_eq!(
        (&claims["claims"]["subject"], &claims["claims"]["issuedAt"]),
        (&json!("me"), &json!(1_700_000_000))
    );
    let token = json!({"operation": "token", "handler": "github", "scope": "repo", "minValidFor": 90});
    let token = ask(&mut host, token)?;
    assert_eq!(
        (&token["accessToken"], &token["expiresAt"]),
        (&json!("github-repo-90"), &json!(1_800_000_000))
    );
    let groups = ask(&mut host, json!({"operation": "groups", "handler": "github"}))?;
    assert_eq!(groups, json!({"groups": ["hikers", "bakers"]}));
    let handlers = ask(&mut host, json!({"operation": "handlers"}))?;
    assert_eq!(handlers, json!({"names": ["github"], "default": ""}));
    assert!(host.kill().graceful);
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_go_host_is_told_how_long_a_question_may_take(made: Made) -> TestResult {
    let mut host = keeper(made, "1.8", Mode::Plain, everything())?;
    let mut left = |command: Value| {
        host.ask(command)?;
        Ok::<_, Box<dyn std::error::Error>>(host.ask(json!({"do": "served"}))?["left"].take())
    };
    let mut get = execute("keeper", json!({"operation": "get", "name": "app.one"}));
    assert_eq!(left(get.clone())?, Value::Null);
    // As long as the call that it is asked for.
    get["millis"] = json!(60_000);
    let limited = left(get)?;
    assert!(limited.as_i64().is_some_and(|left| (1..=60_000).contains(&left)), "{limited}");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn what_a_go_host_refuses_is_told_in_its_words(made: Made) -> TestResult {
    let mut host = keeper(made, "1.8", Mode::Plain, everything())?;
    for (operation, name, sentence) in [
        ("get", "", "host GetSecret: secret name must not be empty"),
        ("get", "a b", "host GetSecret: secret name contains invalid characters"),
        ("get", "a..b", "host GetSecret: secret name must not contain path traversal sequences"),
        ("get", "other", "host GetSecret: access denied: secret name outside allowed scope"),
        ("set", "other", "host SetSecret: access denied: secret name outside allowed scope"),
        ("delete", "other", "host DeleteSecret: access denied: secret name outside allowed scope"),
    ] {
        let input = json!({"operation": operation, "name": name, "value": "x"});
        assert_eq!(refused(&mut host, input), sentence, "{operation} {name:?}");
    }
    let pattern = refused(&mut host, json!({"operation": "list", "pattern": "("}));
    assert!(pattern.starts_with("host ListSecrets: invalid pattern: "), "{pattern}");
    let denied = "host GetAuthToken: access denied: auth handler \"entra\" is not in the allowed set";
    assert_eq!(refused(&mut host, json!({"operation": "token", "handler": "entra"})), denied);
    let dry = json!({"operation": "token", "handler": "github", "forceRefresh": true});
    assert_eq!(refused(&mut host, dry), "host GetAuthToken: get auth token: the well is dry");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_go_host_that_has_nothing_says_so(made: Made) -> TestResult {
    let mut host = keeper(made, "1.8", Mode::Plain, json!({}))?;
    for (operation, sentence) in [
        ("get", "host GetSecret: secret store not available"),
        ("list", "host ListSecrets: secret store not available"),
        ("identity", "host GetAuthIdentity: auth identity not available"),
        ("token", "host GetAuthToken: auth token service not available"),
        ("groups", "host GetAuthGroups: auth groups not available"),
    ] {
        assert_eq!(refused(&mut host, json!({"operation": operation, "handler": "github"})), sentence);
    }
    assert_eq!(ask(&mut host, json!({"operation": "handlers"}))?["default"], "");
    Ok(())
}

/// As with the stock command, which offers no plugin anything.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn without_a_host_service_a_plugin_says_that_there_is_none(made: Made) -> TestResult {
    let plugin = made.plugin("keeper");
    let mut host = GoHost::start("1.8", Mode::Plain, "provider", &plugin, &["-no-service"])?;
    host.ask(about("configure", "keeper"))?;
    let words = refused(&mut host, json!({"operation": "get", "name": "app.one"}));
    assert_eq!(words, made.without_a_host());
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Mux, Mode::Both])]
fn many_callbacks_at_once_get_their_own_answers(made: Made, mode: Mode) -> TestResult {
    let mut host = keeper(made, "1.8", mode, everything())?;
    let asked: Vec<_> = (0..50)
        .map(|n| {
            let input = json!({"operation": "identity", "handler": "github", "scope": format!("scope-{n}")});
            host.send(execute("keeper", input))
        })
        .collect();
    for (n, id) in asked.into_iter().enumerate() {
        assert_eq!(host.answer(id)?["data"]["claims"]["subject"], format!("scope-{n}"));
    }
    Ok(())
}

/// Contract spec 3.7: the way to the host is one for the whole process.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_second_configuration_keeps_the_way_to_the_host(made: Made) -> TestResult {
    let mut host = keeper(made, "1.8", Mode::Plain, everything())?;
    host.ask(about("configure", "keeper"))?;
    assert_eq!(ask(&mut host, json!({"operation": "get", "name": "app.one"}))?["value"], "1");
    host.ask(about("stop", "keeper"))?;
    let words = refused(&mut host, json!({"operation": "get", "name": "app.one"}));
    assert_eq!(words, made.without_a_host());
    Ok(())
}
