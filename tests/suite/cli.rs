//! What a person sees who types `portcullis`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use portcullis_tests::{TestResult, cli, fixtures};
use serde_json::json;

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
    let other = person.types(&["run", "./plugins/echo.wasm", "--provider", "nobody"])?;
    fails(&other, 4, r#"echo offers no provider "nobody" that can be used, but echo, noop, raw"#);
    Ok(())
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

/// As upstream's command line has it.
#[test]
fn the_last_word_on_an_option_counts_and_a_flag_may_have_a_value() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    for (flags, is_dry) in [
        (&["--dry-run", "--dry-run"][..], json!(true)),
        (&["--dry-run=true"][..], json!(true)),
        (&["--dry-run", "--dry-run=false"][..], json!(null)),
    ] {
        let run = ["run", "acrobat", "operation=context", "-o", "yaml", "-o", "json"];
        let output = person.types(&[&run[..], flags].concat())?;
        assert_eq!(answer(&output)["dryRun"], is_dry, "{flags:?}");
    }
    Ok(())
}

/// As a script has it whose variable is not set.
#[test]
fn an_option_whose_value_is_empty_is_as_good_as_none() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let run = |options: &[&str]| person.types(&[&["run", "acrobat", "operation=context"], options].concat());
    let none = answer(&run(&[])?);
    let empty = ["--cwd=", "--output-dir", "", "--on-conflict=", "--capability=", "--plugin-dir="];
    assert_eq!(answer(&run(&empty)?)["data"], none["data"]);
    // Upstream's `auto`, and not what holds without the option.
    assert_eq!(stdout(&run(&["--output="])?), stdout(&run(&["-o", "auto"])?));
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
    // A value may look like an option.
    fails(&person.types(&["run", "echo", "--input", "-x=1"])?, 3, r#"does not accept input "-x""#);
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

/// They count as inputs that cannot be read. What is no option has another code (README, "Your own plugin directory").
#[test]
fn words_that_stand_for_nothing_have_an_exit_code_of_their_own() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fails(&person.types(&["run", "echo", "--capability", "fly"])?, 3, "invalid capability \"fly\"");
    fails(&person.types(&["auth", "status", "nobody"])?, 3, "unknown auth handler: nobody");
    fails(&person.types(&["list", "--log-level", "loud"])?, 3, "invalid log level \"loud\"");
    fails(&person.types(&["run", "echo", "--fly"])?, 1, "unexpected argument '--fly'");
    Ok(())
}

/// In what is told before the command line is read, too.
#[test]
fn who_wants_no_colours_sees_none() -> TestResult {
    let person = Person::new()?;
    let shown = |arguments: &[&str]| -> Result<Vec<u8>, std::io::Error> {
        let mut command = person.command(arguments);
        command.env("TERM", "xterm");
        cli::on_a_terminal(command)
    };
    for arguments in [&["run", "--help"][..], &["run", "--fly"], &["run", "nobody"]] {
        assert!(shown(arguments)?.contains(&b'\x1b'), "{arguments:?}");
        let plain = shown(&[arguments, &["--no-color"]].concat())?;
        assert!(!plain.is_empty() && !plain.contains(&b'\x1b'), "{arguments:?}");
    }
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
fn what_a_failed_call_took_is_told_after_why_it_failed_and_only_of_a_call() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let run = ["run", "./plugins/acrobat.wasm", "--provider", "acrobat", "--show-metrics"];
    let output = person.types(&[&run[..], &["operation=fail", "message=no"]].concat())?;
    fails(&output, 1, "provider execution failed: no\n\nProvider Execution Metrics:\n");
    assert!(stderr(&output).contains("\nacrobat "), "{}", stderr(&output));
    let output = person.types(&[&run[..], &["chunks=many"]].concat())?;
    assert!(!stderr(&output).contains("Metrics"), "{}", stderr(&output));
    fails(&output, 1, "chunks");
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
fn a_sensitive_value_is_in_no_error_and_no_log() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    person.has_guest("echo")?;
    for (arguments, sentence) in [
        (&["run", "keeper", "operation=fly", "value=hush-hush"][..], "unknown operation: fly"),
        (&["run", "echo", "secret=hush-hush", "times=many"], "times"),
    ] {
        let output = person.types(&[arguments, &["--log-level", "trace"]].concat())?;
        fails(&output, 1, sentence);
        assert!(!stderr(&output).contains("hush-hush"), "{}", stderr(&output));
    }
    let redacted = person.types(&["run", "echo", "--redact", "secret=hush-hush"])?;
    assert_eq!(answer(&redacted)["data"]["secret"], "[REDACTED]");
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

/// To open one is to wait for its other end, for as long as the call may take.
#[test]
fn a_component_opens_no_pipe_in_its_directory() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    fs::create_dir(person.path("data"))?;
    cli::make_pipe(&person.path("data/pipe"))?;
    symlink("pipe", person.path("data/link"))?;
    fs::write(person.path("data/file"), "")?;
    let grant = "fs = [{ host = \"./data\", guest = \"/data\", access = \"write\" }]";
    let policy = person.has_policy(&fixtures::guest("acrobat"), grant)?;
    for operation in ["operation=read", "operation=touch"] {
        let run = |path| person.types(&["run", "acrobat", "--policy", &policy, operation, path]);
        for path in ["path=/data/pipe", "path=/data/link"] {
            // In its own words.
            fails(&run(path)?, 1, "acrobat: provider execution failed: ");
        }
        answer(&run("path=/data/file")?);
    }
    Ok(())
}

/// Looking is not running (DESIGN 16): the script would leave a trace if it were started.
#[test]
fn listing_executes_no_native_program() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let trace = person.path("trace");
    person.has_program("plugins/script", format!("#!/bin/sh\necho was here > '{}'\n", trace.display()))?;
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
    let shown = |format: &str| -> Result<String, std::io::Error> {
        let output = person.types(&["run", "echo", "message=hello", "times=7", "-o", format])?;
        assert!(output.status.success(), "{}", stderr(&output));
        Ok(stdout(&output))
    };
    for format in ["json", "yaml", "table"] {
        let text = shown(format)?;
        for word in ["message", "hello", "times", "7"] {
            assert!(text.contains(word), "{format}: {text}");
        }
    }
    assert_eq!(shown("quiet")?, "");
    Ok(())
}

#[test]
fn a_directory_that_is_not_there_is_said_to_be_none() -> TestResult {
    let person = Person::new()?;
    let listed = person.types(&["list", "--plugin-dir", "no", "--plugin-dir", "plugins"])?;
    assert_eq!(stderr(&listed), "no plugins in no (there is no such directory), plugins\n");
    fs::write(person.path("file"), "")?;
    let listed = person.types(&["list", "--plugin-dir", "file"])?;
    assert_eq!(stderr(&listed), "no plugins in file (it is no directory)\n");
    Ok(())
}

#[test]
fn columns_line_up_whatever_script_a_name_is_in() -> TestResult {
    let person = Person::new()?;
    person.has_program("plugins/\u{65e5}\u{672c}", "#!/bin/sh\n")?;
    let table = stdout(&person.types(&["list"])?);
    assert!(table.starts_with("NAME  KIND  BACKEND"), "{table}");
    assert!(table.contains("\n\u{65e5}\u{672c}  -     process"), "{table}");
    Ok(())
}

#[test]
fn what_the_environment_says_and_nobody_understands_is_named() -> TestResult {
    let person = Person::new()?;
    for (variable, sentence) in [
        ("PORTCULLIS_LOG_LEVEL", "PORTCULLIS_LOG_LEVEL: invalid log level \"loud\""),
        ("PORTCULLIS_LOG_FORMAT", "PORTCULLIS_LOG_FORMAT: invalid log format \"loud\""),
    ] {
        fails(&person.command(&["list"]).env(variable, "loud").output()?, 3, sentence);
    }
    Ok(())
}

#[test]
fn help_tells_of_the_environment_of_exit_codes_and_of_what_is_given_away() -> TestResult {
    let person = Person::new()?;
    let help = stdout(&person.types(&["--help"])?);
    for word in ["PLUGIN_DIR", "CACHE_DIR", "DATA_DIR", "SHIM", "LOG_LEVEL", "DEBUG", "LOG_FORMAT"] {
        assert!(help.contains(&format!("PORTCULLIS_{word}")), "{word}\n{help}");
    }
    for code in ["0", "1", "2", "3", "4", "7", "9", "129, 130, 143"] {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}\n{help}");
    }
    let help = stdout(&person.types(&["run", "-h"])?).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("all of which the plugin may read and change in this run"), "{help}");
    Ok(())
}

/// A capability that may change nothing is refused them.
#[test]
fn inspect_names_the_operations_that_write() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let text = stdout(&person.types(&["inspect", "keeper"])?);
    assert!(text.contains("\nWrite operations: delete, set\n"), "{text}");
    Ok(())
}

#[test]
fn a_policy_that_does_not_parse_is_refused_with_line_and_column() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("policy.toml"), "[plugin.echo]\ndigests = []\nsecret = 1\n")?;
    fails(&person.types(&["run", "echo", "--policy", "policy.toml"])?, 7, "policy.toml:3:1");
    // A grant that gives nothing away is a mistake as well.
    for (lines, mistake) in [
        ("secrets.read = [\"a..b\"]", "policy.toml:3:17: \"a..b\" matches no secret: "),
        ("identity.handlers = [\"*\"]", "policy.toml:3:22: \"*\" names no auth handler"),
    ] {
        let policy = person.has_policy(&person.path("plugins/echo.wasm"), lines)?;
        fails(&person.types(&["run", "echo", "--policy", &policy])?, 7, mistake);
    }
    Ok(())
}

/// By the one that `inspect` prints.
#[test]
fn a_policy_grants_by_digest_and_nothing_else_does() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    fs::create_dir(person.path("data"))?;
    fs::write(person.path("data/note"), "hello")?;
    let page = stdout(&person.types(&["inspect", "acrobat"])?);
    let digest = page.lines().find_map(|line| line.strip_prefix("  digest  ")).ok_or("it has a digest")?;
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
    // A second table for the same file would be refused.
    let page = stdout(&person.types(&["inspect", "acrobat", "--policy", "policy.toml"])?);
    assert!(page.ends_with("\nTo grant it more or less, change [plugin.x] in the policy.\n"), "{page}");
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
    person.has_secrets("")?;
    fails(&person.types(&with_file)?, 7, "it is empty; write {} into it");
    person.has_secrets(r#"{"one":"1"}"#)?;
    let policy = person.has_policy(&fixtures::guest("keeper"), "isolation = \"process\"")?;
    let apart = [&with_file[..], &["--policy", policy.as_str()]].concat();
    for typed in [with_file, apart] {
        assert_eq!(answer(&person.types(&typed)?)["data"], json!({"found": true, "value": "1"}), "{typed:?}");
    }
    fails(&person.types(&get)?, 1, "secret store not available");
    Ok(())
}

#[cfg(go_peers)]
mod native {
    use portcullis_tests::TestResult;
    use serde_json::Value;

    use crate::person::{Person, answer, stderr};

    /// A person whose acrobat is a native plugin, and one whose acrobat is a component.
    fn both() -> Result<[Person; 2], std::io::Error> {
        let both = [Person::new()?, Person::new()?];
        both[0].has_peer("acrobat")?;
        both[1].has_guest("acrobat")?;
        Ok(both)
    }

    fn without_times(mut value: Value) -> Value {
        if let Some(execution) = value.get_mut("__execution").and_then(Value::as_object_mut) {
            execution.remove("duration");
        }
        value
    }

    #[test]
    fn both_backends_print_the_same() -> TestResult {
        for arguments in [
            &["run", "acrobat", "operation=warn"][..],
            &["run", "acrobat", "operation=ok"],
            &["run", "acrobat", "operation=stream", "chunks=3", "size=10"],
            &["run", "acrobat", "--dry-run", "operation=context"],
        ] {
            let run = |person: Person| -> Result<_, std::io::Error> {
                let output = person.types(arguments)?;
                Ok((without_times(answer(&output)), stderr(&output)))
            };
            let [native, component] = both()?;
            assert_eq!(run(native)?, run(component)?, "{arguments:?}");
        }
        Ok(())
    }

    #[test]
    fn both_backends_fail_in_the_same_words() -> TestResult {
        for arguments in [
            &["run", "acrobat", "operation=fail", "message=no"][..],
            &["run", "acrobat", "operation=fly"],
            &["run", "acrobat", "operation=invalid-json"],
            &["run", "acrobat"],
        ] {
            let run = |person: Person| -> Result<_, std::io::Error> {
                let output = person.types(arguments)?;
                // What exactly is wrong with it is said by who reads it.
                let text = stderr(&output);
                let sentence = text.split_once("broke the contract").map_or(&*text, |(before, _)| before);
                Ok((output.status.code(), sentence.to_owned()))
            };
            let [native, component] = both()?;
            assert_eq!(run(native)?, run(component)?, "{arguments:?}");
        }
        Ok(())
    }

    /// Contract item 100. A component's type rules it out.
    #[test]
    fn that_there_is_no_result_is_told_in_the_log_and_is_no_part_of_the_output() -> TestResult {
        let person = Person::new()?;
        person.has_peer("acrobat")?;
        let output = person.types(&["run", "acrobat", "operation=stream-no-result"])?;
        assert_eq!(answer(&output), serde_json::json!({ "data": null }));
        let told = stderr(&output);
        assert!(told.contains("WARN") && told.contains("without a result provider=\"acrobat\""), "{told}");
        Ok(())
    }
}
