//! What holds of a component behind the shim, and only there: it has two hosts, the one that started it and the policy in
//! its file. What it has in common with every plugin is tested in `parity`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use portcullis::contract::{CallError, Limits};
use portcullis_tests::{Door, SOON, TestHost, TestResult, cli, expect_no_process};
use serde_json::json;

use crate::person::{Person, answer, fails, stderr, stdout};

#[test]
fn the_policy_in_the_file_is_what_a_component_may() -> TestResult {
    let person = Person::new()?;
    fs::create_dir(person.path("data"))?;
    fs::write(person.path("data/open"), "hello")?;
    let policy = "fs = [{ host = \"data\", guest = \"/data\", access = \"read\" }]\nenv = [\"LANG\"]";
    person.has_wrapped("acrobat", "plugins/acrobat", policy)?;
    let run = |input: serde_json::Value| {
        fs::write(person.path("in.json"), input.to_string())?;
        person.command(&["run", "acrobat", "@in.json", "--env", "inherit"]).env("LANG", "C").output()
    };
    assert_eq!(answer(&run(json!({"operation": "read", "path": "/data/open"}))?)["data"]["text"], "hello");
    let other = json!({"operation": "write", "path": "/data/open", "text": "x"});
    assert!(!run(other)?.status.success());
    assert!(!run(json!({"operation": "read", "path": "/etc/passwd"}))?.status.success());
    assert_eq!(answer(&run(json!({"operation": "env", "name": "LANG"}))?)["data"]["value"], "C");
    assert_eq!(answer(&run(json!({"operation": "env", "name": "HOME"}))?)["data"]["set"], false);
    Ok(())
}

#[test]
fn a_host_that_grants_everything_grants_nothing_that_the_file_does_not() -> TestResult {
    let person = Person::new()?;
    person.has_secrets(r#"{"app.one":"1","other":"2"}"#)?;
    person.has_wrapped("keeper", "plugins/keeper", "secrets.read = [\"app.*\"]")?;
    let get = |name: &str| {
        let name = format!("name={name}");
        person.types(&["run", "keeper", "operation=get", &name, "--secrets-file", "secrets.json"])
    };
    assert_eq!(answer(&get("app.one")?)["data"], json!({"found": true, "value": "1"}));
    fails(&get("other")?, 1, "access denied: secret name outside allowed scope");
    // Nor does the file grant what this host does not.
    let ungranted = person.types(&["run", "keeper", "operation=get", "name=app.one"])?;
    fails(&ungranted, 1, "secret store not available");
    Ok(())
}

#[test]
fn whoever_wants_to_know_is_told_of_each_call() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "plugins/acrobat", "")?;
    let run = ["run", "acrobat", "operation=ok", "--env", "inherit", "--log-level", "debug"];
    for (level, is_told) in [("debug", true), ("1", true), ("warn", false)] {
        let output = person.command(&run).env("PORTCULLIS_LOG_LEVEL", level).output()?;
        answer(&output);
        let told =
            "DEBUG portcullis::plugin: call ended plugin=acrobat module=\"portcullis::supervise::call_log\"";
        assert_eq!(stderr(&output).contains(told), is_told, "{level}: {}", stderr(&output));
    }
    Ok(())
}

#[test]
fn limits_bind_as_in_the_sandbox_of_the_host_itself() -> TestResult {
    let person = Person::new()?;
    let policy = "[plugin.it.limits]\ncpu = \"200ms\"\nmemory = \"8MiB\"\nwall = \"5s\"";
    person.has_wrapped("acrobat", "plugins/acrobat", policy)?;
    let run = |input: serde_json::Value| {
        fs::write(person.path("in.json"), input.to_string())?;
        person.types(&["run", "acrobat", "@in.json"])
    };
    fails(&run(json!({"operation": "spin"}))?, 1, "limit cpu reached");
    fails(&run(json!({"operation": "hoard", "mib": 32}))?, 1, "limit memory reached");
    fails(&run(json!({"operation": "slow", "millis": 600_000}))?, 1, "limit wall reached");
    answer(&run(json!({"operation": "ok"}))?);
    Ok(())
}

/// The engine in the file reserves more address space than any policy would give a native program.
#[test]
fn a_policy_of_the_host_lowers_the_limits_of_the_file() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "plugins/acrobat", "limits.memory = \"48MiB\"")?;
    let policy = |lines: &str| {
        let digest =
            answer(&person.types(&["inspect", "./plugins/acrobat", "-o", "json"])?)["digest"].clone();
        fs::write(person.path("host.toml"), format!("[plugin.it]\ndigests = [{digest}]\n{lines}\n"))
    };
    let run = |operation: &str, mib: &str| {
        let input = [format!("operation={operation}"), format!("mib={mib}")];
        person.command(&["run", "acrobat", &input[0], &input[1], "--policy", "host.toml"]).output()
    };
    policy("limits.memory = \"16MiB\"\nlimits.cpu = \"200ms\"")?;
    answer(&run("hoard", "4")?);
    fails(&run("hoard", "32")?, 1, "allowed 16MiB; a policy can allow more: memory, in [plugin.NAME.limits]");
    fails(&run("spin", "1")?, 1, "limit cpu reached");
    policy("limits.handles = 100")?;
    let keep = ["run", "acrobat", "operation=http-headers", "chunks=200", "size=1", "--policy", "host.toml"];
    fails(
        &person.types(&keep)?,
        1,
        "limit handles reached: asked more, allowed 100; a policy can allow more",
    );
    policy("limits.memory = \"16MiB\"")?;
    let page = person.types(&["inspect", "acrobat", "--policy", "host.toml"])?;
    assert!(stdout(&page).contains("may use 16MiB of memory in an instance"), "{}", stdout(&page));

    policy("limits.memory = \"512MiB\"")?;
    answer(&run("hoard", "32")?);
    let hint =
        "allowed 48MiB; the limit is part of its file; wrap it again, and a policy can allow more: memory";
    fails(&run("hoard", "64")?, 1, hint);
    let mut narrowed =
        person.command(&["run", "acrobat", "operation=hoard", "mib=32", "--policy", "host.toml"]);
    let hint = "[plugin.NAME.limits], unless the limit is that of PORTCULLIS_LIMIT_MEMORY\n";
    fails(&narrowed.env("PORTCULLIS_LIMIT_MEMORY", "8MiB").output()?, 1, hint);
    Ok(())
}

#[test]
fn a_denial_says_plainly_what_was_asked() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("keeper", "plugins/keeper", "")?;
    person.has_secrets(r#"{"app.one":"1"}"#)?;
    let ask = ["run", "keeper", "operation=get", "name=app.one", "--secrets-file", "secrets.json"];
    let denied = stderr(&person.types(&ask)?);
    assert!(denied.contains(r#""asked":"app.one""#), "{denied}");
    // Nobody wrapped what a policy has run in a process of its own.
    assert!(denied.contains("denied by the policy that the plugin runs with"), "{denied}");
    Ok(())
}

/// Hosts give no sign when they die.
#[test]
fn nothing_is_left_when_the_host_is_killed() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "plugins/acrobat", "limits.wall = \"1h\"")?;
    let input = r#"{"operation":"stream","chunks":2,"size":10,"pauseMillis":3600000}"#;
    fs::write(person.path("in.json"), input)?;
    let mut host =
        person.command(&["run", "acrobat", "@in.json", "-o", "table"]).stdout(Stdio::piped()).spawn()?;
    // The first chunk shows that the call is under way.
    let mut first = [0; 10];
    host.stdout.as_mut().ok_or("it has a stdout")?.read_exact(&mut first)?;
    cli::signal(&host, cli::Signal::KILL)?;
    host.wait()?;
    expect_no_process(person.scratch());
    // The sockets of who was killed are swept by the next one.
    fs::write(person.path("in.json"), r#"{"operation":"ok"}"#)?;
    answer(&person.types(&["run", "acrobat", "@in.json"])?);
    Ok(())
}

#[test]
fn an_isolated_component_is_not_started_as_what_it_is_not() -> TestResult {
    let person = Person::new()?;
    person.has_guest("doorman")?;
    let policy = person.has_policy(&person.path("plugins/doorman.wasm"), "isolation = \"process\"")?;
    let run = person.types(&["run", "./plugins/doorman.wasm", "--policy", &policy])?;
    let other = "plugin doorman is no provider; if it is an auth handler, log in with it by 'portcullis auth login'\n";
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(1), other));
    Ok(())
}

#[test]
fn why_a_component_does_not_start_is_told_once() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    for (lines, reason, advice) in [
        (
            "limits.memory = \"64KiB\"",
            "limit memory reached: asked ",
            "a policy can allow more: memory, in [plugin.NAME.limits]\n",
        ),
        (
            "fs = [{ host = \"/no/where\", guest = \"/in\", access = \"read\" }]",
            "the plugin stopped before it answered: cannot give access to /no/where: No such file or directory",
            "(os error 2)\n",
        ),
    ] {
        person.has_wrapped("acrobat", "wrapped", lines)?;
        let lines = format!("isolation = \"process\"\n{lines}");
        let policy = person.has_policy(&person.path("plugins/acrobat.wasm"), &lines)?;
        for (file, name) in [("./wrapped", "wrapped"), ("acrobat", "acrobat")] {
            let run = person.types(&["run", file, "operation=ok", "--policy", &policy])?;
            let told = format!("plugin {name}: does not say what it offers: {reason}");
            fails(&run, 1, &told);
            assert!(stderr(&run).starts_with(&told) && stderr(&run).ends_with(advice), "{}", stderr(&run));
            assert_eq!(stderr(&run).lines().count(), 1, "{}", stderr(&run));
            let of_the_file = name == "wrapped" && reason.starts_with("limit");
            assert_eq!(stderr(&run).contains("wrap it again, and "), of_the_file, "{}", stderr(&run));
        }
    }
    Ok(())
}

/// In the working directory nothing can be made.
#[test]
fn an_isolated_component_is_not_started_from_the_working_directory() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let policy = person.has_policy(&person.path("plugins/acrobat.wasm"), "isolation = \"process\"")?;
    let mut run = person.command(&["run", "acrobat", "operation=ok", "--policy", &policy]);
    answer(&run.env("TMPDIR", "").current_dir("/proc").output()?);
    fails(&run.env("TMPDIR", "/proc/1").output()?, 1, "`TMPDIR`, or the `runtime_dir`");
    Ok(())
}

#[test]
fn what_narrows_a_wrapped_file_does_not_narrow_what_is_isolated() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    for isolation in ["sandbox", "process"] {
        let lines = format!("isolation = {isolation:?}\nenv = [\"LANG\"]");
        let policy = person.has_policy(&person.path("plugins/acrobat.wasm"), &lines)?;
        let mut run = person.command(&["run", "acrobat", "operation=env", "name=LANG", "--policy", &policy]);
        run.envs([("LANG", "C"), ("PORTCULLIS_DENY", "all"), ("PORTCULLIS_LIMIT_MEMORY", "64KiB")]);
        assert_eq!(answer(&run.output()?)["data"]["value"], "C", "{isolation}");
    }
    Ok(())
}

#[test]
fn what_an_isolated_component_is_denied_is_told_with_what_would_allow_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("keeper")?;
    let policy = person.has_policy(&person.path("plugins/keeper.wasm"), "isolation = \"process\"")?;
    for (operation, call, token) in [("identity", "auth_identity", false), ("token", "auth_token", true)] {
        let operation = format!("operation={operation}");
        let run = person.types(&["run", "keeper", &operation, "handler=door", "--policy", &policy])?;
        fails(&run, 1, "access denied: auth handler \"door\" is not in the allowed set");
        let allow = format!("identity = {{ handlers = [\"door\"], token = {token} }}");
        let denied = format!("plugin=keeper call={call:?} asked=\"door\" allow={allow:?}\n");
        assert!(stderr(&run).contains(&denied), "{}", stderr(&run));
    }
    Ok(())
}

/// Returns where `/proc` tells of the programs that a process has started and that still run.
fn children(of: u32) -> Vec<PathBuf> {
    // Each thread has its own list, and children are started from one that does nothing else.
    let threads = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.collect::<String>().split_whitespace().map(|pid| Path::new("/proc").join(pid)).collect()
}

#[test]
fn a_component_runs_in_a_process_of_its_own_where_its_policy_says_so() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let file = person.path("plugins/acrobat.wasm");
    let policy =
        person.has_policy(&file, "isolation = \"process\"\nlimits.cpu = \"200ms\"\nlimits.wall = \"1h\"")?;
    let page = person.types(&["inspect", "acrobat", "--policy", &policy])?;
    let run_as = "  run as  a sandboxed component, a fresh instance for every call, in a process of its own";
    assert!(stdout(&page).contains(run_as), "{}{}", stdout(&page), stderr(&page));
    // Its sentences and its table say the same of a limit, as the policy does.
    assert!(stdout(&page).contains("may take 1h a call"), "{}", stdout(&page));
    assert!(stdout(&page).contains("\n  wall        1h\n"), "{}", stdout(&page));

    let run = |input: &str| {
        fs::write(person.path("in.json"), input)?;
        person.types(&["run", "acrobat", "@in.json", "--policy", &policy])
    };
    answer(&run(r#"{"operation":"ok"}"#)?);
    let spun = run(r#"{"operation":"spin"}"#)?;
    fails(&spun, 1, "limit cpu reached");
    fails(&spun, 1, "; a policy can allow more: cpu, in [plugin.NAME.limits]\n");

    let input = r#"{"operation":"stream","chunks":2,"size":10,"pauseMillis":3600000}"#;
    fs::write(person.path("in.json"), input)?;
    // What is said of native plugins is not said of it.
    let native = ["--env", "inherit", "--stdin", "inherit"];
    let arguments =
        [&["run", "acrobat", "@in.json", "--policy", &policy, "-o", "table"][..], &native].concat();
    let mut host = person.command(&arguments);
    let mut host = host.env("OUR_OWN", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut first = [0; 10];
    host.stdout.as_mut().ok_or("it has a stdout")?.read_exact(&mut first)?;
    let program =
        |child: &PathBuf| fs::read_link(child.join("exe")).unwrap_or_default().display().to_string();
    let is_apart = |program: &str| program.contains("/portcullis-apart-") && program.ends_with(" (deleted)");
    let all = children(host.id());
    let apart = all.iter().find(|child| is_apart(&program(child))).ok_or_else(|| {
        format!("no child runs from a file that is gone: {:?}", all.iter().map(program).collect::<Vec<_>>())
    })?;
    assert_eq!(fs::read_link(apart.join("fd/0"))?, Path::new("/dev/null"));
    let environment = fs::read(apart.join("environ"))?;
    assert!(!String::from_utf8_lossy(&environment).contains("OUR_OWN"));
    cli::signal(&host, cli::Signal::TERM)?;
    host.wait()?;

    // What was to be isolated is never run without.
    let mut run = person.command(&["run", "acrobat", "@in.json", "--policy", &policy]);
    fails(&run.env("PORTCULLIS_SHIM", "/no/where").output()?, 1, "PORTCULLIS_SHIM: /no/where");
    Ok(())
}

/// Its calls begin on the thread that also carries the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_spin_hold_up_no_other_call() -> TestResult {
    let mut host = TestHost::new(Door::Shim);
    host.limits = Limits { cpu: Some(Duration::from_secs(2)), ..Limits::default() };
    let plugin = host.launch("acrobat").await?;
    let spins = (0..4).map(|_| {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.execute("acrobat", r#"{"operation":"spin"}"#).await })
    });
    let first = select_all(spins);
    let others = async {
        let (begun, mut quick) = (Instant::now(), false);
        while !quick {
            let asked = Instant::now();
            plugin.execute("acrobat", r#"{"operation":"ok"}"#).await?;
            // From when the guests are under way. On their thread it would wait for a turn of each, of 10 ms.
            quick = begun.elapsed() > SOON && asked.elapsed() < Duration::from_millis(5);
        }
        Ok::<_, CallError>(())
    };
    tokio::select! {
        answered = others => answered?,
        (spun, ..) = first => panic!("two seconds were over first: {spun:?}"),
    }
    Ok(())
}

/// The engine traces the texts that guests pass.
#[test]
fn what_is_in_an_address_is_in_no_log() -> TestResult {
    let person = Person::new()?;
    let wrapped = person.has_wrapped("acrobat", "wrapped", "http = [\"http://127.0.0.1:9\"]")?;
    let request = r#"{"operation":"http","url":"http://127.0.0.1:9/x?token=hush-hush"}"#;
    fs::write(person.path("request.json"), request)?;
    let (file, options) = (wrapped.display().to_string(), ["--provider", "acrobat", "@request.json"]);
    let mut run = person
        .command(&[&["run", &file][..], &options, &["--env", "inherit", "--log-level", "trace"]].concat());
    let output = run.env("PORTCULLIS_LOG_LEVEL", "trace").output()?;
    assert!(stderr(&output).contains("portcullis::plugin"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("hush-hush"), "{}", stderr(&output));
    Ok(())
}
