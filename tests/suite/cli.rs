//! What a person sees who types `portcullis`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use portcullis_tests::{TestResult, cli};
use serde_json::{Value, json};

use crate::person::{Person, answer, fails, stderr, stdout};

#[test]
fn a_component_runs_by_the_name_of_its_provider_and_by_its_file() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    for wanted in ["echo", "./plugins/echo.wasm"] {
        let output = match wanted {
            "echo" => person.types(&["run", wanted, "message=hello"])?,
            _ => person.types(&["run", wanted, "--provider", "echo", "message=hello"])?,
        };
        assert_eq!(answer(&output)["data"], json!({"message": "hello", "times": 1}));
    }
    Ok(())
}

#[cfg_attr(not(go_peers), expect(dead_code, reason = "there is nothing to compare with"))]
fn without_times(mut value: Value) -> Value {
    if let Some(execution) = value.get_mut("__execution").and_then(Value::as_object_mut) {
        execution.remove("duration");
    }
    value
}

#[test]
fn the_whole_output_is_one_json_object_on_stdout() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let output = answer(&person.types(&["run", "acrobat", "operation=warn"])?);
    assert_eq!(output["warnings"].as_array().map(Vec::len), Some(2));
    assert_eq!(output["metadata"], json!({"n": 1, "who": "acrobat"}));
    Ok(())
}

#[test]
fn inputs_are_coerced_validated_and_given_their_defaults() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let inputs = r#"{"times":"3","tags":"a, b","flag":"T"}"#;
    fs::write(person.path("inputs.json"), inputs)?;
    let output = answer(&person.types(&["run", "echo", "@inputs.json"])?);
    assert_eq!(output["data"], json!({"times": 3, "tags": ["a", "b"], "flag": true}));

    fails(&person.types(&["run", "echo", "times=many"])?, 1, "times");
    fails(
        &person.types(&["run", "echo", "surplus=1"])?,
        3,
        r#"provider "echo" does not accept input "surplus""#,
    );
    person.has_guest("keeper")?;
    let missing = person.types(&["run", "keeper"])?;
    fails(&missing, 1, r#"required property "operation" is missing"#);
    Ok(())
}

#[test]
fn an_unknown_provider_is_upstreams_sentence_and_exit_code() -> TestResult {
    let person = Person::new()?;
    fails(&person.types(&["run", "nobody"])?, 4, r#"provider "nobody" not found"#);
    Ok(())
}

#[test]
fn a_refusal_is_upstreams_sentence_and_never_the_plugins_exit_code() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    fs::write(person.path("in.json"), r#"{"operation":"fail","message":"no, thank you","exitCode":7}"#)?;
    let output = person.types(&["run", "acrobat", "@in.json"])?;
    fails(&output, 1, "provider execution failed: acrobat: provider execution failed: no, thank you");
    Ok(())
}

#[test]
fn a_write_operation_needs_the_action_capability() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let refused =
        person.types(&["run", "keeper", "--capability", "from", "operation=set", "name=a", "value=hush"])?;
    fails(
        &refused,
        1,
        r#"operation "set" is a write operation and cannot be used in read-only execution mode "from""#,
    );
    Ok(())
}

#[test]
fn an_output_directory_that_no_action_uses_is_not_left() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = |more: &[&str]| person.types(&[&["run", "--output-dir", "out/there"][..], more].concat());
    fails(&run(&["nobody"])?, 4, "not found");
    answer(&run(&["echo", "message=hi"])?);
    assert!(!person.path("out").exists());
    answer(&run(&["echo", "--capability", "action", "message=hi"])?);
    assert!(person.path("out/there").is_dir());
    Ok(())
}

#[test]
fn a_sensitive_value_is_in_no_error_and_no_log() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    person.has_guest("echo")?;
    for arguments in [
        &["run", "keeper", "--log-level", "trace", "operation=fly", "value=hush-hush"][..],
        &["run", "echo", "--log-level", "trace", "secret=hush-hush", "times=many"],
    ] {
        let output = person.types(arguments)?;
        assert!(!stderr(&output).contains("hush-hush"), "{}", stderr(&output));
    }
    let redacted = person.types(&["run", "echo", "--redact", "secret=hush-hush"])?;
    assert_eq!(answer(&redacted)["data"]["secret"], "[REDACTED]");
    Ok(())
}

#[test]
fn a_run_ends_when_its_time_is_over() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let late = person.types(&["run", "acrobat", "--timeout", "200ms", "operation=slow", "millis=600000"])?;
    fails(&late, 9, "no answer within 200ms");
    Ok(())
}

/// Nobody writes to these pipes, and nobody could read the whole of that file.
#[test]
fn what_never_ends_is_not_waited_for() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    cli::make_pipe(&person.path("pipe"))?;
    fails(&person.types(&["run", "echo", "--policy", "pipe"])?, 7, "it is a pipe");

    cli::make_pipe(&person.path("plugins").join("pipe.wasm"))?;
    let sparse = fs::File::create(person.path("plugins").join("sparse.wasm"))?;
    std::io::Write::write_all(&mut &sparse, b"\0asm\x0d\0\x01\0")?;
    sparse.set_len(1 << 40)?;
    let listing = person.types(&["list"])?;
    assert!(stdout(&listing).contains("echo"), "{}", stderr(&listing));
    assert!(stderr(&listing).contains("sparse.wasm") || stdout(&listing).contains("sparse.wasm"));
    answer(&person.types(&["run", "echo", "message=hello"])?);
    Ok(())
}

/// Looking is not running (DESIGN 16): the script would leave a trace if it were started.
#[test]
fn listing_executes_no_native_program() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let trace = person.path("trace");
    let script = person.path("plugins").join("script");
    fs::write(&script, format!("#!/bin/sh\necho was here > {}\n", trace.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::write(person.path("plugins").join("module.wasm"), b"\0asm\x01\0\0\0")?;

    let listing = person.types(&["list"])?;
    assert!(listing.status.success(), "{}", stderr(&listing));
    let text = stdout(&listing);
    assert!(text.contains("echo") && text.contains("component"), "{text}");
    assert!(text.contains("script") && text.contains("not yet described"), "{text}");
    assert!(!trace.exists());

    // Nor does a run of another name.
    fails(&person.types(&["run", "nobody"])?, 4, "script");
    assert!(!trace.exists());
    Ok(())
}

#[test]
fn every_output_format_says_the_same() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let json = person.types(&["list", "-o", "json"])?;
    assert!(answer(&json).to_string().contains("sha256:"));
    let yaml = person.types(&["run", "echo", "message=hello", "-o", "yaml"])?;
    assert!(stdout(&yaml).contains("message: hello"), "{}", stdout(&yaml));
    let quiet = person.types(&["run", "echo", "message=hello", "-o", "quiet"])?;
    assert!(quiet.status.success());
    assert_eq!(stdout(&quiet), "");
    Ok(())
}

#[test]
fn inspect_prints_the_digest_as_a_policy_wants_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let output = person.types(&["inspect", "keeper"])?;
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("sha256:"), "{text}");
    assert!(text.contains("secrets"), "{text}");
    Ok(())
}

#[test]
fn a_policy_that_does_not_parse_is_refused_with_line_and_column() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("policy.toml"), "[plugin.echo]\ndigests = []\nsecret = 1\n")?;
    fails(&person.types(&["run", "echo", "--policy", "policy.toml"])?, 7, "policy.toml:3:1");
    Ok(())
}

#[test]
fn a_policy_grants_by_digest_and_nothing_else_does() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    fs::create_dir(person.path("data"))?;
    fs::write(person.path("data/note"), "hello")?;
    let listing = answer(&person.types(&["list", "-o", "json"])?);
    let text = listing.to_string();
    let at = text.find("sha256:").expect("a listing has digests");
    let digest = &text[at..at + 71];
    let read = ["run", "acrobat", "operation=read", "path=/data/note"];
    let policy = |digest: &str| {
        format!(
            "[plugin.x]\ndigests = [\"{digest}\"]\nfs = [{{ host = \"./data\", guest = \"/data\", access = \"read\" }}]\n"
        )
    };

    assert_eq!(person.types(&read)?.status.code(), Some(1));
    fs::write(person.path("policy.toml"), policy(digest))?;
    let granted = person.types(&[&read[..], &["--policy", "policy.toml"]].concat())?;
    assert!(answer(&granted)["data"].to_string().contains("hello"));
    fs::write(person.path("policy.toml"), policy(&format!("sha256:{}", "0".repeat(64))))?;
    assert_eq!(person.types(&[&read[..], &["--policy", "policy.toml"]].concat())?.status.code(), Some(1));
    Ok(())
}

#[test]
fn a_secrets_file_is_a_grant_for_one_run_and_has_to_be_private() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let get = ["run", "keeper", "operation=get", "name=one"];
    let file = person.path("secrets.json");
    fs::write(&file, r#"{"one":"1"}"#)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let with_file = [&get[..], &["--secrets-file", "secrets.json"]].concat();

    fails(&person.types(&with_file)?, 7, "chmod");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    assert_eq!(answer(&person.types(&with_file)?)["data"], json!({"found": true, "value": "1"}));
    fails(&person.types(&get)?, 1, "secret store not available");
    Ok(())
}

/// The cache is never trusted and never in the way.
#[test]
fn a_corrupt_a_foreign_and_an_unwritable_cache_cost_time_and_nothing_else() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let run = |cache: &Path| {
        let mut command = person.command(&["run", "echo", "message=hello"]);
        command.env("PORTCULLIS_CACHE_DIR", cache).env("PORTCULLIS_DATA_DIR", person.path("data"));
        command.output()
    };
    let cache = person.path("cache");
    let expected = answer(&run(&cache)?)["data"].clone();

    let compiled: Vec<_> = cli::files_below(&cache).into_iter().filter(|f| cli::len(f) > 10_000).collect();
    assert!(!compiled.is_empty(), "something was compiled and kept");
    for (change, what) in [
        (Box::new(|bytes: &mut Vec<u8>| bytes.truncate(100)) as Box<dyn Fn(&mut Vec<u8>)>, "truncated"),
        (
            Box::new(|bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1
            }),
            "changed in one bit",
        ),
        (Box::new(|bytes| bytes.clear()), "empty"),
    ] {
        for file in &compiled {
            let mut bytes = fs::read(file)?;
            change(&mut bytes);
            fs::remove_file(file)?;
            fs::write(file, bytes)?;
        }
        assert_eq!(answer(&run(&cache)?)["data"], expected, "{what}");
    }
    // A cache under somebody else's key.
    fs::remove_dir_all(person.path("data"))?;
    assert_eq!(answer(&run(&cache)?)["data"], expected);
    // No cache at all: what is in its place is a file.
    let blocked = person.path("blocked");
    fs::write(&blocked, "")?;
    assert_eq!(answer(&run(&blocked)?)["data"], expected);
    Ok(())
}

#[test]
fn two_that_compile_the_same_component_at_once_both_succeed() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let start = || {
        let mut command = person.command(&["run", "echo", "message=hello"]);
        command
            .env("PORTCULLIS_CACHE_DIR", person.path("cache"))
            .env("PORTCULLIS_DATA_DIR", person.path("data"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let both = [start()?, start()?];
    for child in both {
        assert_eq!(answer(&child.wait_with_output()?)["data"]["message"], "hello");
    }
    Ok(())
}

#[test]
fn a_reader_who_has_gone_ends_the_command_quietly() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let mut child = person
        .command(&["run", "acrobat", "operation=big", "bytes=1000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let mut complaints = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut complaints)?;
    child.wait()?;
    assert_eq!(complaints, "");
    Ok(())
}

#[test]
fn what_is_shown_and_cannot_be_written_is_no_success() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let stream =
        ["run", "acrobat", "-o", "table", "operation=stream", "chunks=2", "size=4", "pauseMillis=600000"];
    let full = fs::File::options().write(true).open("/dev/full")?;
    let output = person.command(&stream).stdout(full).output()?;
    fails(&output, 1, "cannot write to stdout: No space left on device");
    Ok(())
}

/// Starts a run that prints a chunk and never ends, and returns it once the chunk is there.
fn endless(person: &Person) -> Result<std::process::Child, Box<dyn std::error::Error>> {
    let mut child = person
        .command(&[
            "run",
            "acrobat",
            "operation=stream",
            "chunks=2",
            "size=4",
            "stderrEvery=1",
            "pauseMillis=600000",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line)?;
    assert!(!line.is_empty(), "the run shows that it has begun");
    Ok(child)
}

#[test]
fn ctrl_c_ends_a_run_and_everything_it_started() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let child = endless(&person)?;
    cli::signal(&child, cli::Signal::INT)?;
    assert_eq!(cli::ended(child)?.code(), Some(130));
    Ok(())
}

/// A byte of it is read, so that the rest is being written when the signal comes.
#[test]
fn ctrl_c_ends_a_run_whose_output_nobody_reads() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let stream = ["run", "acrobat", "-o", "table", "operation=stream", "chunks=2", "size=200000"];
    let mut child = person.command(&stream).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut unread = child.stdout.take().expect("a pipe");
    unread.read_exact(&mut [0])?;
    cli::signal(&child, cli::Signal::INT)?;
    assert_eq!(cli::ended(child)?.code(), Some(130));
    Ok(())
}

/// What is no plugin is told when everything has been looked at, and only the table is left to write.
#[test]
fn ctrl_c_ends_a_list_that_nobody_reads() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("plugins/module.wasm"), b"\0asm\x01\0\0\0")?;
    let (_unread, full) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&full, true)?;
    while rustix::io::write(&full, &[0; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&full, false)?;

    let mut child = person.command(&["list"]).stdout(full).stderr(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut line)?;
    assert!(line.contains("module.wasm"), "{line}");
    cli::signal(&child, cli::Signal::INT)?;
    assert_eq!(cli::ended(child)?.code(), Some(130));
    Ok(())
}

/// A byte of it is read, so that the rest is being written when the signal comes.
#[test]
fn ctrl_c_ends_a_command_whose_complaints_nobody_reads() -> TestResult {
    let person = Person::new()?;
    for n in 0..1_000 {
        fs::write(person.path(&format!("plugins/module{n}.wasm")), b"\0asm\x01\0\0\0")?;
    }
    let nobody = "x".repeat(100_000);
    for arguments in [&["list"][..], &["run", &nobody]] {
        let mut child = person.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut unread = child.stderr.take().expect("a pipe");
        unread.read_exact(&mut [0])?;
        cli::signal(&child, cli::Signal::INT)?;
        assert_eq!(cli::ended(child)?.code(), Some(130), "{}", arguments[0]);
    }
    Ok(())
}

#[cfg(go_peers)]
mod native {
    use std::process::Stdio;

    use portcullis_tests::{TestResult, cli};
    use serde_json::Value;

    use super::{endless, without_times};
    use crate::person::{Person, answer, stderr};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn both_backends_print_the_same() -> TestResult {
        for arguments in [
            &["run", "acrobat", "operation=warn"][..],
            &["run", "acrobat", "operation=ok"],
            &["run", "acrobat", "operation=stream", "chunks=3", "size=10"],
            &["run", "acrobat", "--dry-run", "operation=context"],
        ] {
            let run = |native: bool| -> Result<(Value, String), Box<dyn std::error::Error>> {
                let person = Person::new()?;
                if native {
                    person.has_peer("acrobat")?
                } else {
                    person.has_guest("acrobat")?
                }
                let output = person.types(arguments)?;
                Ok((without_times(answer(&output)), stderr(&output)))
            };
            assert_eq!(run(true)?, run(false)?, "{arguments:?}");
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn both_backends_fail_in_the_same_words() -> TestResult {
        for arguments in [
            &["run", "acrobat", "operation=fail", "message=no"][..],
            &["run", "acrobat", "operation=fly"],
            &["run", "acrobat", "operation=invalid-json"],
            &["run", "acrobat"],
        ] {
            let run = |native: bool| -> Result<_, Box<dyn std::error::Error>> {
                let person = Person::new()?;
                if native {
                    person.has_peer("acrobat")?
                } else {
                    person.has_guest("acrobat")?
                }
                let output = person.types(arguments)?;
                // What exactly is wrong with it is said by who reads it.
                let text = stderr(&output);
                let sentence = text.split_once("broke the contract").map_or(&*text, |(before, _)| before);
                Ok((output.status.code(), sentence.to_owned()))
            };
            assert_eq!(run(true)?, run(false)?, "{arguments:?}");
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ctrl_c_ends_a_native_plugin_too() -> TestResult {
        let person = Person::new()?;
        person.has_peer("acrobat")?;
        let child = endless(&person)?;
        cli::signal(&child, cli::Signal::INT)?;
        assert_eq!(cli::ended(child)?.code(), Some(130));
        Ok(())
    }

    /// The drop of the person looks for what is left; the next start sweeps the sockets.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_host_that_is_killed_takes_its_plugins_along() -> TestResult {
        let person = Person::new()?;
        person.has_peer("acrobat")?;
        let mut child = endless(&person)?;
        cli::signal(&child, cli::Signal::KILL)?;
        child.wait()?;
        portcullis_tests::expect_no_process(person.scratch());
        let next = person.command(&["run", "acrobat", "operation=ok"]).stdout(Stdio::null()).status()?;
        assert!(next.success());
        Ok(())
    }
}
