//! The calls of a provider.

use portcullis_tests::TestResult;
use portcullis_tests::go_host::{GoHost, Made, Mode, about, execute};
use serde_json::{Value, json};
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6"], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.4"], [Mode::Plain, Mode::Tls])]
fn every_call_of_a_provider_is_answered(made: Made, version: &str, mode: Mode) -> TestResult {
    let mut host = GoHost::provider(version, mode, &made.plugin("echo"))?;
    assert_eq!(host.started()["version"], 1);
    host.ask(json!({"do": "ping"}))?;
    assert_eq!(host.ask(json!({"do": "providers"}))?, json!(["echo", "noop", "raw"]));

    host.ask(about("configure", "echo"))?;
    let input = json!({"z": [1, {"b": null}], "a": "<&> 𝄞", "flag": true});
    let echoed = host.ask(execute("echo", input.clone()))?;
    assert_eq!(echoed["data"], input);
    let nothing = host.ask(execute("noop", json!({"not": "read"})))?;
    assert_eq!(nothing["data"], json!({}));

    // None of these can stream, and the host itself says what a dry run would do.
    let streamed = host.ask(json!({"do": "stream", "name": "echo", "input": input}))?;
    assert_eq!((&streamed["fellBack"], &streamed["output"]["data"]), (&json!(true), &input));
    assert_eq!(host.ask(about("what-if", "echo"))?, "Would execute echo provider");
    assert_eq!(host.ask(about("dependencies", "echo"))?, Value::Null);
    host.ask(about("stop", "echo"))?;
    host.ask(about("stop", ""))?;

    let ended = host.kill();
    assert!(ended.graceful && ended.milliseconds < 2000.0, "{ended:?}");
    assert_eq!(ended.exit, "exit status 0");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_descriptor_arrives_whole(made: Made) -> TestResult {
    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("echo"))?;
    let descriptor = host.ask(about("descriptor", "echo"))?;
    let message = &descriptor["message"];
    for (field, value) in [
        ("name", json!("echo")),
        ("description", json!("Gives back its input, parsed and written again.")),
        ("version", json!("1.2.3")),
        ("category", json!("test")),
        ("capabilities", json!(["from", "transform", "action"])),
        ("sensitive_fields", json!(["secret"])),
        ("write_operations", json!([])),
        ("has_extract_dependencies", json!(false)),
        ("deprecated", json!(false)),
    ] {
        assert_eq!(message[field], value, "{field}");
    }
    assert_eq!(descriptor["schema"]["properties"]["times"], json!({"default": 1, "type": "integer"}));
    assert_eq!(descriptor["output_schemas"]["from"], json!({"type": "object"}));
    // What hosts read that are too old for schemas as they are.
    assert_eq!(message["schema"]["parameters"]["message"]["type"], "string");

    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("keeper"))?;
    let descriptor = host.ask(about("descriptor", "keeper"))?;
    assert_eq!(descriptor["message"]["write_operations"], json!(["set", "delete"]));
    assert_eq!(descriptor["schema"]["required"], json!(["operation"]));
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_name_that_nobody_knows_is_refused_by_the_plugin(made: Made) -> TestResult {
    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("echo"))?;
    let failure = host.ask(about("execute", "nobody")).expect_err("nobody knows it");
    assert_eq!(failure.message, "nobody: provider execution failed: unknown provider: nobody");
    assert_eq!((failure.code, failure.exit_code), (None, None));
    let failure = host.ask(about("descriptor", "nobody")).expect_err("nobody knows it");
    assert_eq!(
        failure.message,
        "failed to get provider descriptor: rpc error: code = Unknown desc = \
         GetProviderDescriptor \"nobody\": unknown provider: nobody"
    );
    Ok(())
}

/// Contract spec 3.3.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn input_is_an_object_or_nothing(made: Made) -> TestResult {
    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("echo"))?;
    let mut raw = |text: &str| host.ask(json!({"do": "execute", "name": "echo", "raw": text}));
    for nothing in ["", "null"] {
        assert_eq!(raw(nothing)?["data"], Value::Null, "{nothing:?}");
    }
    for (wrong, sort) in [("[1]", "a list"), ("\"x\"", "a text"), ("{", "cut off"), ("7", "a number")] {
        let failure = raw(wrong).expect_err(sort);
        // The rest is the parser's own.
        let words = "echo: provider execution failed: failed to decode input: ";
        assert!(failure.message.starts_with(words), "{failure}");
        assert_eq!(failure.code, None);
    }
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn calls_overlap_and_get_their_own_answers(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("echo"))?;
    let echo = |n: usize| execute("echo", json!({"n": n, "x": "x".repeat(100 * n)}));
    let sent: Vec<_> = (0..64).map(|n| (n, host.send(echo(n)))).collect();
    for (n, id) in sent {
        assert_eq!(host.answer(id)?["data"]["n"], n);
    }
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn an_answer_may_be_larger_than_a_request(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("echo"))?;
    let mut echo = |length: usize| host.ask(execute("echo", json!({"text": "x".repeat(length)})));
    let answer = echo(3 << 20)?;
    assert_eq!(answer["data"]["text"].as_str().map(str::len), Some(3 << 20));
    let failure = echo(made.request_limit()).expect_err("it is too large");
    assert_eq!(failure.code.as_deref(), Some("ResourceExhausted"), "{failure}");
    // And nothing is broken by it.
    assert_eq!(echo(1)?["data"]["text"], "x");
    Ok(())
}
