//! The calls of an auth handler.

use portcullis_tests::TestResult;
use portcullis_tests::go_host::{GoHost, Made, Mode, about};
use serde_json::json;
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6"], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.4"], [Mode::Plain, Mode::Tls])]
fn every_call_of_an_auth_handler_is_answered(made: Made, version: &str, mode: Mode) -> TestResult {
    let mut host = GoHost::auth(version, mode, &made.plugin("doorman"))?;
    // It speaks both versions, and so does the host.
    assert_eq!(host.started()["version"], 2);
    let handlers = host.ask(json!({"do": "handlers"}))?;
    assert_eq!(
        (&handlers["handlers"][0]["name"], &handlers["handlers"][0]["display_name"]),
        (&json!("door"), &json!("Door"))
    );
    assert_eq!(handlers["handlers"][0]["flows"], json!(["device_code", "interactive", "pat"]));
    assert_eq!(
        (&handlers["handlers"][1]["name"], &handlers["handlers"][1]["capabilities"]),
        (&json!("side"), &json!([]))
    );
    host.ask(about("configure", "door"))?;

    let status = host.ask(about("status", "door"))?;
    assert_eq!((&status["authenticated"], &status["reason"]), (&json!(false), &json!("not logged in")));
    let failure = host.ask(about("token", "door")).expect_err("nobody is in");
    assert_eq!(
        failure.message,
        "plugin auth handler door get-token: rpc error: code = Unknown desc = GetToken \"door\": not authenticated"
    );

    let request = json!({"tenant_id": "t-1", "scopes": ["a", "b"], "hostname": "h.example"});
    let id = host.send(json!({"do": "login", "name": "door", "request": request}));
    let page = "https://door.example/device";
    let prompt = json!({"user_code": "ABCD-1234", "verification_uri": page, "message": "Enter ABCD-1234"});
    assert_eq!(host.event(id), json!({"prompt": prompt}));
    let result = host.answer(id)?;
    // 64 bits are text in the JSON of protobuf.
    assert_eq!(result["expires_at_unix"], "1700003600");
    assert_eq!(
        (&result["claims"]["username"], &result["claims"]["tenant_id"]),
        (&json!("ada"), &json!("t-1"))
    );

    let status = host.ask(about("status", "door"))?;
    for (field, value) in [
        ("authenticated", json!(true)),
        ("tenant_id", json!("t-1")),
        ("identity_type", json!("user")),
        ("client_id", json!("c-1")),
        ("scopes", json!(["a", "b"])),
        ("flow", json!("device_code")),
        ("hostname", json!("h.example")),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    let token = |scope: &str| json!({"do": "token", "name": "door", "request": {"scope": scope}});
    assert_eq!(host.ask(token("old"))?["access_token"], "token-1-old");
    let forever = host.ask(token("forever"))?;
    assert_eq!(
        (&forever["access_token"], &forever["expires_at_unix"]),
        (&json!("token-2-forever"), &json!("0"))
    );
    assert_eq!(host.ask(token("old"))?["access_token"], "token-1-old");
    let tokens = host.ask(about("tokens", "door"))?;
    let kept = |field: &str| {
        tokens["tokens"].as_array().map(|all| all.iter().map(|t| t[field].clone()).collect::<Vec<_>>())
    };
    assert_eq!(kept("scope"), Some(vec![json!("old"), json!("forever")]));
    assert_eq!(kept("is_expired"), Some(vec![json!(true), json!(false)]));
    assert_eq!(host.ask(about("purge", "door"))?, 1);
    let forced =
        json!({"do": "token", "name": "door", "request": {"scope": "forever", "force_refresh": true}});
    assert_eq!(host.ask(forced)?["access_token"], "token-3-forever");

    let flows = host.ask(about("flows", "door"))?;
    assert_eq!(flows["flows"][1], json!({"flow": "interactive", "available": false, "reason": "no browser"}));
    host.ask(json!({"do": "server-mode", "input": {"port": 1}}))?;
    host.ask(about("logout", "door"))?;
    assert_eq!(host.ask(about("status", "door"))?["authenticated"], false);
    host.ask(about("stop", "door"))?;
    let ended = host.kill();
    assert!(ended.graceful && ended.exit == "exit status 0", "{ended:?}");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1", "2", "1,2"])]
fn each_version_of_the_handshake_is_spoken(made: Made, versions: &str) -> TestResult {
    let plugin = made.plugin("doorman");
    let mut host = GoHost::start("1.8", Mode::Plain, "auth", &plugin, &["-versions", versions])?;
    assert_eq!(host.started()["version"], if versions == "1" { 1 } else { 2 });
    host.ask(about("configure", "door"))?;
    let id = host.send(about("login", "door"));
    assert_eq!(host.event(id)["prompt"]["user_code"], "ABCD-1234");
    host.answer(id)?;
    assert_eq!(host.ask(about("status", "door"))?["authenticated"], true);
    host.ask(about("stop", ""))?;
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_host_of_a_version_that_nobody_speaks_is_told_so(made: Made) {
    let plugin = made.plugin("doorman");
    let started = GoHost::start("1.8", Mode::Plain, "auth", &plugin, &["-versions", "3"]);
    let failure = started.expect_err("nobody speaks it");
    assert!(failure.message.contains("incompatible API version with plugin"), "{failure}");
}

/// Contract spec 3.1.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn what_a_handler_refuses_is_told_in_the_words_of_its_call(made: Made) -> TestResult {
    let mut host = GoHost::auth("1.8", Mode::Plain, &made.plugin("doorman"))?;
    let unknown =
        |call: &str| format!("rpc error: code = Unknown desc = {call} \"nobody\": unknown handler: nobody");
    for (command, sentence) in [
        ("status", unknown("GetStatus")),
        ("logout", unknown("Logout")),
        ("tokens", unknown("ListCachedTokens")),
        ("purge", unknown("PurgeExpiredTokens")),
        ("token", format!("plugin auth handler nobody get-token: {}", unknown("GetToken"))),
        ("login", "plugin auth handler nobody login: plugin login error: unknown handler: nobody".to_owned()),
        ("configure", "configure auth handler failed: unknown handler: nobody".to_owned()),
        ("flows", "detect available flows failed: unknown handler: nobody".to_owned()),
    ] {
        assert_eq!(host.ask(about(command, "nobody")).expect_err(command).message, sentence, "{command}");
    }
    let failure = host.ask(about("logout", "side")).expect_err("it cannot");
    assert_eq!(failure.message, "rpc error: code = Unknown desc = Logout \"side\": side cannot log out");
    let failure = host.ask(json!({"do": "server-mode", "input": {}})).expect_err("there is no port");
    assert_eq!(failure.message, "activate server mode failed: no port");

    // Whoever refuses a configuration loses the way to the host, so that it is the first one here.
    let mut host = GoHost::auth("1.8", Mode::Plain, &made.plugin("doorman"))?;
    let refused = json!({"do": "configure", "name": "door", "settings": {"fail": true}});
    let failure = host.ask(refused).expect_err("it refuses");
    assert_eq!(failure.message, "configure auth handler failed: configure refused");
    Ok(())
}
