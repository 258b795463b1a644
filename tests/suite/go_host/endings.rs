//! How a plugin fails, what it leaves in a Go host's log, and how the two part.

use std::time::Instant;

use portcullis_tests::go_host::{GoHost, Made, Mode, about, execute, logged};
use portcullis_tests::{LONG, TestResult, expect_no_process};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use test_case::test_matrix;

use super::{MADE_OF_GO, MADE_OF_RUST, WRAPPED};

fn acrobat(input: Value) -> Value {
    execute("acrobat", input)
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED])]
fn a_failure_has_its_exit_code_and_its_diagnostics(made: Made) -> TestResult {
    let mut host = GoHost::provider("1.8", Mode::Plain, &made.plugin("acrobat"))?;
    let failure = host.ask(acrobat(json!({"operation": "fail", "message": "no luck", "exitCode": 7})));
    let failure = failure.expect_err("it fails");
    assert_eq!(failure.message, "acrobat: provider execution failed: no luck");
    assert_eq!((failure.exit_code, failure.code), (Some(7), None));

    let diagnostics = json!([
        {"severity": "error", "summary": "bad name", "detail": "it has a space", "attribute": "name"},
        {"severity": "warning", "summary": "not shown"},
    ]);
    let input = json!({"operation": "fail", "message": "no luck", "diagnostics": diagnostics});
    let failure = host.ask(acrobat(input)).expect_err("it fails");
    assert_eq!(failure.message, "acrobat: bad name: it has a space (attribute: name)");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6"], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.4"], [Mode::Plain, Mode::Tls])]
fn a_log_reaches_the_hosts_log_at_its_level(made: Made, version: &str, mode: Mode) -> TestResult {
    let mut host = GoHost::provider(version, mode, &made.plugin("acrobat"))?;
    let levels = ["trace", "debug", "info", "warn", "error"];
    for level in levels {
        host.ask(acrobat(json!({"operation": "log", "level": level, "message": format!("it is {level}")})))?;
    }
    // Its lines are read beside the calls, and until its end.
    host.kill();
    let log = host.ask(json!({"do": "log"}))?;
    for level in levels {
        assert!(logged(&log, level, &format!("it is {level}")), "{level}: {log:#}");
    }
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn what_a_plugin_prints_reaches_the_host(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    for stream in ["stdout", "stderr"] {
        host.ask(acrobat(json!({"operation": "print", "stream": stream, "text": format!("to {stream}.")})))?;
    }
    // What a native program of ours prints to standard error is its log.
    let (stderr, line) = match made {
        Made::Go | Made::Wrapped => ("to stderr.", false),
        Made::Rust => ("", true),
    };
    // It comes on a stream of its own, some time.
    let until = std::time::Instant::now() + portcullis_tests::LONG;
    loop {
        let printed = host.ask(json!({"do": "printed"}))?;
        if printed == json!({"stdout": "to stdout.", "stderr": stderr}) {
            break;
        }
        assert!(std::time::Instant::now() < until, "{printed}");
    }
    // The last line of a log has come once its plugin has gone.
    host.kill();
    let log = host.ask(json!({"do": "log"}))?;
    assert_eq!(logged(&log, "debug", "to stderr."), line, "{log:#}");
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST], [Mode::Plain, Mode::Both])]
fn a_plugin_that_crashes_fails_its_calls_and_is_gone(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    let failure = host.ask(acrobat(json!({"operation": "exit", "code": 3}))).expect_err("nobody answers");
    assert_eq!(failure.code.as_deref(), Some("Unavailable"), "{failure}");
    let failure = host.ask(acrobat(json!({"operation": "ok"}))).expect_err("nobody answers");
    assert_eq!(failure.code.as_deref(), Some("Unavailable"), "{failure}");
    assert_eq!(host.kill().exit, made.exit_after_a_crash());
    Ok(())
}

#[test_matrix([WRAPPED], [Mode::Plain, Mode::Both])]
fn a_component_that_crashes_fails_one_call(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    let failure = host.ask(acrobat(json!({"operation": "exit", "code": 3}))).expect_err("nobody answers");
    assert_eq!(failure.code.as_deref(), Some("Unavailable"), "{failure}");
    assert_eq!(host.ask(acrobat(json!({"operation": "ok"})))?["data"]["success"], true);
    assert_eq!(host.kill().exit, made.exit_after_a_crash());
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], ["1.8", "1.6", "1.4"])]
fn the_other_kind_of_plugin_does_not_start(made: Made, version: &str) {
    for (kind, name) in [("auth", "echo"), ("provider", "doorman")] {
        let started = GoHost::start(version, Mode::Plain, kind, &made.plugin(name), &[]);
        let failure = started.expect_err("its cookie is another");
        assert!(failure.message.starts_with("failed to connect to plugin: "), "{failure}");
    }
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Mux])]
fn a_plugin_that_is_busy_ends_within_the_hosts_patience(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    let busy: Vec<_> =
        (0..4).map(|_| host.send(acrobat(json!({"operation": "slow", "millis": 60_000})))).collect();
    host.ask(acrobat(json!({"operation": "ok"})))?;
    let ended = host.kill();
    assert!(ended.graceful && ended.milliseconds < 2000.0, "{ended:?}");
    for id in busy {
        assert!(host.answer(id).is_err());
    }
    Ok(())
}

#[test_matrix([MADE_OF_GO, MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Tls, Mode::Mux, Mode::Both])]
fn an_orderly_end_leaves_no_socket(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("keeper"))?;
    host.ask(about("configure", "keeper"))?;
    host.kill();
    // With multiplexing nobody in Go removes the one there is (protocol spec 18.6).
    let left = usize::from(made == Made::Go && matches!(mode, Mode::Mux | Mode::Both));
    assert_eq!(std::fs::read_dir(host.scratch())?.count(), left);
    Ok(())
}

/// Hosts give no sign when they die. Go's own plugins live on.
#[test_matrix([MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_plugin_whose_host_dies_ends_and_leaves_no_socket(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("acrobat"))?;
    // It is not idle then.
    host.send(acrobat(json!({"operation": "slow", "millis": 600_000})));
    host.ask(acrobat(json!({"operation": "ok"})))?;
    host.die();
    expect_no_process(host.scratch());
    assert_eq!(std::fs::read_dir(host.scratch())?.count(), 0);
    Ok(())
}

/// Its own, which nobody else knows how to remove.
#[test_matrix([MADE_OF_RUST, WRAPPED], [Mode::Plain, Mode::Both])]
fn a_plugin_that_is_killed_leaves_one_socket_at_most(made: Made, mode: Mode) -> TestResult {
    let mut host = GoHost::provider("1.8", mode, &made.plugin("keeper"))?;
    host.ask(about("configure", "keeper"))?;
    let pid = host.started()["pid"].as_i64().and_then(|pid| pid.try_into().ok());
    let pid = pid.and_then(Pid::from_raw).ok_or("the number of a process")?;
    kill_process(pid, Signal::KILL)?;
    let failure = host.ask(execute("keeper", json!({"operation": "get", "name": "a"})));
    assert_eq!(failure.expect_err("nobody answers").code.as_deref(), Some("Unavailable"));
    host.kill();
    // The host does not wait for its own servers, each of which removes its socket when it has ended.
    let until = Instant::now() + LONG;
    while std::fs::read_dir(host.scratch())?.count() > 1 {
        assert!(Instant::now() < until, "more than one is left");
        std::thread::yield_now();
    }
    Ok(())
}
