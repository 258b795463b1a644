//! What a Go host sees of a streaming call, and how it gives one up.

use portcullis_tests::TestResult;
use portcullis_tests::go_host::{GoHost, Made, Mode, execute};
use serde_json::{Value, json};
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

fn stream(input: Value) -> Value {
    json!({"do": "stream", "name": "acrobat", "input": input})
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6"], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.4"], [Mode::Plain, Mode::Tls])]
fn chunks_arrive_in_order_before_the_result(made: Made, version: &str, mode: Mode) -> TestResult {
    let mut host = GoHost::provider(version, mode, &made.plugin("acrobat"))?;
    let id = host.send(stream(json!({"operation": "stream", "chunks": 50, "size": 100, "stderrEvery": 10})));
    let result = host.answer(id)?;
    let text = |events: &[Value], where_: &str| -> String {
        events.iter().filter_map(|event| event[where_].as_str()).collect()
    };
    let events = host.events(id);
    let letters: String = (0..50_u8).flat_map(|n| [char::from(b'a' + n % 26); 100]).collect();
    assert_eq!(text(&events, "stdout"), letters);
    assert_eq!(text(&events, "stderr"), "chunk 10\nchunk 20\nchunk 30\nchunk 40\nchunk 50\n");
    assert_eq!(result["output"], json!({"data": {"chunks": 50, "bytes": 5000}, "streamed": true}));
    assert_eq!(result["fellBack"], false);
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_stream_that_fails_fails_after_its_chunks(made: Made) -> TestResult {
    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("acrobat"))?;
    let id = host.send(stream(json!({"operation": "stream-fail"})));
    let failure = host.answer(id).expect_err("it fails");
    assert_eq!(failure.message, "acrobat: provider execution failed: failed after a chunk");
    assert_eq!(host.events(id), [json!({"stdout": "before the end"})]);
    Ok(())
}

/// 64 MiB, of which a host that does not read takes none; a plugin must not lose any of it.
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_host_that_reads_late_gets_everything(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    let mut command = stream(json!({"operation": "stream", "chunks": 1024, "size": 65536}));
    command["hold"] = json!(3);
    command["sizes"] = json!(true);
    let id = host.send(command);
    assert_eq!(host.event(id), "held");
    // Others are served meanwhile.
    let ok = execute("acrobat", json!({"operation": "ok"}));
    assert_eq!(host.ask(ok)?["data"], json!({"success": true}));
    assert_eq!(host.ask(json!({"do": "proceed", "of": id}))?, true);
    let result = host.answer(id)?;
    assert_eq!((&result["stdout"], &result["chunks"]), (&json!(1024 * 65536), &json!(1025)));
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_host_that_gives_up_is_let_go(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    let mut command = stream(json!({"operation": "stream", "chunks": 1_000_000, "size": 65536}));
    command["hold"] = json!(3);
    command["sizes"] = json!(true);
    let id = host.send(command);
    assert_eq!(host.event(id), "held");
    assert_eq!(host.ask(json!({"do": "cancel", "of": id}))?, true);
    assert!(host.answer(id).is_err());

    // It does not heed its deadline: a Go plugin that does may answer that it was late before its host gives up.
    let mut spin = execute("acrobat", json!({"operation": "spin"}));
    spin["millis"] = json!(200);
    let failure = host.ask(spin).expect_err("a host waits no longer than it likes");
    assert_eq!(failure.code.as_deref(), Some("DeadlineExceeded"), "{failure}");

    let ok = execute("acrobat", json!({"operation": "ok"}));
    assert_eq!(host.ask(ok)?["data"], json!({"success": true}));
    Ok(())
}
