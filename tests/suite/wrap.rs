//! What a person sees who makes a native plugin of a component, and who starts one by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_bundle::{Bundle, Durability, Existing, Parts, write};
use portcullis_tests::{TestResult, cli, fixtures};
use serde_json::json;
use test_case::test_case;

use crate::person::{Person, answer, fails, stderr, stdout};

impl Person {
    /// Starts a program of this scratch directory by hand.
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    fn starts(
        &self,
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> std::io::Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("TMPDIR", self.scratch()).envs(variables.iter().copied());
        command.output()
    }
}

#[test]
fn a_wrapped_component_runs_as_the_component_does() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    let wrap = person.types(&["wrap", "plugins/echo.wasm"])?;
    assert!(wrap.status.success(), "{}", stderr(&wrap));
    assert!(stderr(&wrap).starts_with("wrote scafctl-plugin-echo ("), "{}", stderr(&wrap));
    assert_eq!(stdout(&wrap), "");

    let run = |file: &str| person.types(&["run", file, "--provider", "echo", "message=hello", "times=2"]);
    let wrapped = answer(&run("./scafctl-plugin-echo")?);
    assert_eq!(wrapped["data"], json!({"message": "hello", "times": 2}));
    assert_eq!(wrapped, answer(&run("./plugins/echo.wasm")?));
    Ok(())
}

/// A shim that tells when it is started, and nothing else.
fn telltale(person: &Person) -> Result<PathBuf, std::io::Error> {
    let path = person.path("telltale");
    let ran = person.path("ran");
    let mark = [portcullis_bundle::MARK, portcullis::component::FINGERPRINT, portcullis_bundle::HTTP, ""];
    fs::write(&path, format!("#!/bin/sh\ntouch {}\nexit 1\n{}", ran.display(), mark.join("\0")))?;
    Ok(path)
}

#[test]
fn a_wrapped_component_is_listed_and_inspected_without_being_started() -> TestResult {
    let person = Person::new()?;
    let telltale = telltale(&person)?;
    let types = |arguments: &[&str]| person.command(arguments).env("PORTCULLIS_SHIM", &telltale).output();
    let (component, output) = (fixtures::guest("keeper"), person.path("plugins/any-name"));
    let policy = person.has_policy(&component, "secrets.read = [\"app.*\"]\nlimits.memory = \"16MiB\"")?;
    let [component, output] = [component, output].map(|path| path.display().to_string());
    let wrapped = types(&["wrap", &component, "--policy", &policy, "-o", &output])?;
    assert!(wrapped.status.success(), "{}", stderr(&wrapped));

    let listed = answer(&types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["name"], "keeper");
    assert_eq!(listed[0]["backend"], "process");
    assert_eq!(listed[0]["version"], "1.2.3");
    assert_eq!(listed[0]["mayTouch"], json!(["secrets"]));

    let page = types(&["inspect", "keeper"])?;
    let text = stdout(&page);
    for line in [
        "Provider keeper 1.2.3",
        "  run as  a sandboxed component, a fresh instance for every call, in a process of its own",
        "  policy  its own, which is part of the file",
        "  - may read secrets matching app.*",
        "  - may use 16MiB of memory in an instance",
        "  - may open no file",
        "What it could ask for\n  - secrets",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("rights of the user"), "{text}");

    assert!(!person.path("ran").exists(), "it was started");
    // Which would have been noticed:
    assert!(!types(&["run", "keeper", "operation=list"])?.status.success());
    assert!(person.path("ran").exists());
    Ok(())
}

/// Anybody can write a program and put the words of a harmless component behind it.
#[test]
fn what_stands_behind_a_program_that_is_no_known_shim_is_not_believed() -> TestResult {
    let person = Person::new()?;
    let genuine = person.has_wrapped("echo", "genuine", "")?;
    let whole = fs::read(&genuine)?;
    let bundle = Bundle::read(&fs::File::open(&genuine)?)?.ok_or("it is wrapped")?;
    let image = usize::try_from(bundle.image().start)?..usize::try_from(bundle.image().end)?;
    let program = fs::read(telltale(&person)?)?;
    let parts = Parts { program: &program, image: &whole[image], manifest: bundle.manifest() };
    write(&person.path("plugins/any-name"), &parts, Existing::Keep, Durability::Passing)?;

    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["note"], "not yet described; wrapped elsewhere");
    assert_eq!(listed[0]["mayTouch"], json!(["all that its user may"]));
    fails(&person.types(&["run", "echo"])?, 4, "nobody knows what these native plugins offer");
    assert!(!person.path("ran").exists(), "it was started because of what it says");
    Ok(())
}

/// Behind a genuine shim may stand other machine code than what became of the component: no look at the file tells.
#[test]
fn what_was_not_wrapped_here_is_not_believed_whatever_its_shim() -> TestResult {
    let person = Person::new()?;
    let genuine = person.has_wrapped("echo", "plugins/genuine", "")?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));

    let whole = fs::read(&genuine)?;
    let bundle = Bundle::read(&fs::File::open(&genuine)?)?.ok_or("it is wrapped")?;
    let image = usize::try_from(bundle.image().start)?..usize::try_from(bundle.image().end)?;
    let mut forged = whole[image].to_vec();
    *forged.last_mut().ok_or("it has an image")? ^= 1;
    let program = fs::read(fixtures::shim())?;
    let parts = Parts { program: &program, image: &forged, manifest: bundle.manifest() };
    write(&genuine, &parts, Existing::Replace, Durability::Passing)?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["note"], "not yet described; wrapped elsewhere");
    assert_eq!(listed[0]["mayTouch"], json!(["all that its user may"]));
    fails(&person.types(&["run", "echo", "message=hi"])?, 4, "nobody knows what these native plugins offer");

    // The very same file is known again, wherever it lies.
    fs::write(&genuine, whole)?;
    fs::rename(&genuine, person.path("plugins/elsewhere"))?;
    let listed = answer(&person.types(&["list", "-o", "json"])?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));
    Ok(())
}

/// After an update, for instance, or in a build that carries none.
#[test]
fn what_was_wrapped_here_is_known_whatever_shim_there_is_by_now() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("echo", "plugins/echo", "")?;
    let listed = answer(&person.command(&["list", "-o", "json"]).env_remove("PORTCULLIS_SHIM").output()?);
    assert_eq!(listed[0]["mayTouch"], json!(["nothing"]));
    Ok(())
}

#[test]
fn the_environment_narrows_a_wrapped_component_under_our_own_host() -> TestResult {
    let person = Person::new()?;
    person.has_wrapped("acrobat", "acrobat", "")?;
    let run = |variables: &[(&str, &str)]| {
        let mut run =
            person.command(&["run", "./acrobat", "--provider", "acrobat", "operation=hoard", "mib=30"]);
        run.envs(variables.iter().copied()).output()
    };
    assert!(run(&[])?.status.success());
    fails(&run(&[("PORTCULLIS_LIMIT_MEMORY", "4MiB")])?, 1, "memory");
    fails(&run(&[("PORTCULLIS_DENY", "everything")])?, 1, "is no grant");
    Ok(())
}

#[test]
fn the_same_component_makes_the_same_file_whatever_is_in_the_cache() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    for (output, cache) in [("one", None), ("other", Some("cache"))] {
        let mut wrap = person.command(&["wrap", &component, "-o", output, "--quiet"]);
        if let Some(cache) = cache {
            wrap.env("PORTCULLIS_CACHE_DIR", person.path(cache));
        }
        let wrap = wrap.output()?;
        assert!(wrap.status.success(), "{}", stderr(&wrap));
        assert_eq!(stderr(&wrap), "");
    }
    assert!(fs::read(person.path("one"))? == fs::read(person.path("other"))?);
    Ok(())
}

#[test]
fn a_wrapped_component_explains_itself() -> TestResult {
    let person = Person::new()?;
    let policy = "http = [\"https://api.example\"]\nlimits.cpu = \"250ms\"";
    let path = person.has_wrapped("echo", "scafctl-plugin-echo", policy)?;

    let by_hand = person.starts(&path, &[], &[])?;
    let page = stderr(&by_hand);
    assert_eq!((by_hand.status.code(), stdout(&by_hand).as_str()), (Some(1), ""));
    for line in [
        "This program is a plugin: another program, its host, starts it and talks to it.",
        "offers the providers echo 1.2.3, noop 1.2.3, raw 1.2.3.",
        "  - may reach https://api.example, and nothing else on the network",
        "  - may compute for 250ms a call",
        "  - has a fresh instance for every call",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    let help = person.starts(&path, &["--help"], &[])?;
    assert!(help.status.success() && page.ends_with(&stdout(&help)), "{}", stdout(&help));

    let version = person.starts(&path, &["--version"], &[])?;
    assert!(
        stdout(&version).contains("wrapped by portcullis 0.1.0\ncomponent sha256:"),
        "{}",
        stdout(&version)
    );
    let policy = person.starts(&path, &["--policy"], &[])?;
    assert!(stdout(&policy).contains("\nmay open no file\n"), "{}", stdout(&policy));
    let verify = person.starts(&path, &["--verify"], &[])?;
    assert!(verify.status.success() && stdout(&verify).starts_with("whole: "), "{}", stdout(&verify));
    Ok(())
}

/// Everybody may wrap a component with a policy of their own, and call the program what they like.
#[test]
fn what_others_wrote_begins_no_line_of_a_page() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("echo", "echo", r#"env = ["LANG\n  - may do all", "\u001B[2J"]"#)?;
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    let mut by_hand = Command::new(&path);
    by_hand.arg0("echo\n  - may do all\u{1b}[2J").env_clear().env("TMPDIR", person.scratch());
    by_hand.env("PORTCULLIS_DENY", "fs,\nhttp");
    let notice = stderr(&by_hand.output()?);
    assert!(notice.contains("ask it something: echo\\n  - may do all\\u{1b}[2J --version"), "{notice}");
    assert!(notice.contains("was narrowed by PORTCULLIS_DENY=fs,\\nhttp\n"), "{notice}");

    let policy = stdout(&person.starts(&path, &["--policy"], &[])?);
    let page = stdout(&person.types(&["inspect", "./echo"])?);
    for text in [notice, policy, page] {
        assert!(text.contains("sees of the environment LANG\\n  - may do all and \\u{1b}[2J\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("- may do all")), "{text}");
    }
    Ok(())
}

#[test]
fn a_wrapped_auth_handler_says_what_it_may_in_any_case() -> TestResult {
    let person = Person::new()?;
    let path = person.has_wrapped("doorman", "doorman", "")?;
    let policy = stdout(&person.starts(&path, &["--policy"], &[])?);
    let notice = stderr(&person.starts(&path, &[], &[])?);
    for sentence in [
        "may show codes, and ask whoever is at the terminal for an answer, while somebody logs in\n",
        "may take as long over a login as its caller allows\n",
    ] {
        assert!(policy.contains(sentence) && notice.contains(sentence), "{sentence}{policy}{notice}");
    }
    Ok(())
}

#[test]
fn the_environment_narrows_the_policy_and_does_not_widen_it() -> TestResult {
    let person = Person::new()?;
    let policy = "http = [\"https://api.example\"]\nenv = [\"LANG\"]\nlimits.wall = \"5s\"";
    let path = person.has_wrapped("acrobat", "acrobat", policy)?;
    let says = |variables: &[(&str, &str)]| -> Result<String, std::io::Error> {
        let said = person.starts(&path, &["--policy"], variables)?;
        assert!(said.status.success(), "{}", stderr(&said));
        Ok(stdout(&said))
    };
    let narrowed = says(&[("PORTCULLIS_DENY", "http"), ("PORTCULLIS_LIMIT_WALL", "1s")])?;
    for line in ["may reach nothing on the network", "sees of the environment LANG", "may take 1s a call"] {
        assert!(narrowed.contains(line), "{line}\n{narrowed}");
    }
    assert!(narrowed.contains("was narrowed by PORTCULLIS_DENY=http"), "{narrowed}");
    let same = says(&[("PORTCULLIS_LIMIT_WALL", "1h"), ("PORTCULLIS_LIMIT_MEMORY", "1TiB")])?;
    assert!(same.contains("may take 5s a call") && same.contains("may use 64MiB of memory"), "{same}");

    let refused = person.starts(&path, &["--policy"], &[("PORTCULLIS_DENY", "network")])?;
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("\"network\" is no grant; there are all, env"), "{}", stderr(&refused));

    // And what is said holds, under a host that hands all of its environment on.
    let sees = |deny: &str| -> Result<bool, std::io::Error> {
        let mut run =
            person.command(&["run", "./acrobat", "--provider", "acrobat", "--env", "inherit", "@env.json"]);
        let seen = answer(&run.env("PORTCULLIS_DENY", deny).env("LANG", "C").output()?);
        Ok(seen["data"]["set"] == true)
    };
    fs::write(person.path("env.json"), r#"{"operation":"env","name":"LANG"}"#)?;
    assert!(sees("")?);
    assert!(!sees("env")?);
    Ok(())
}

/// Returns what the file has to say to a person, and what a host shows of it.
fn refusals(person: &Person, path: &Path) -> Result<[String; 2], std::io::Error> {
    let by_hand = person.starts(path, &["--version"], &[])?;
    assert_eq!((by_hand.status.code(), stdout(&by_hand).as_str()), (Some(1), ""));
    let program = format!("./{}", path.file_name().unwrap_or_default().display());
    let hosted = person.types(&["run", &program, "--provider", "echo", "message=x"])?;
    assert_eq!(hosted.status.code(), Some(1));
    Ok([stderr(&by_hand), stderr(&hosted)])
}

#[test]
fn a_damaged_file_refuses_to_start_and_says_why() -> TestResult {
    let person = Person::new()?;
    let good = person.has_wrapped("echo", "good", "")?;
    let whole = fs::read(&good)?;
    let image = {
        let bundle = portcullis_bundle::Bundle::read(&fs::File::open(&good)?)?.ok_or("it is wrapped")?;
        usize::try_from(bundle.image().start)?
    };
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        bytes
    };
    let damages = [
        (
            "code",
            changed(image + 5000),
            "the component, or what is said of it, has changed since it was wrapped",
        ),
        ("manifest", changed(whole.len() - 300), "has changed since it was wrapped"),
        ("length", changed(whole.len() - 93), "its parts have other lengths than its end says"),
        ("cut", whole[..whole.len() - 1].to_vec(), "this program carries no plugin"),
        ("stripped", whole[..image].to_vec(), "this program carries no plugin"),
    ];
    for (name, bytes, reason) in damages {
        let path = person.path(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        for said in refusals(&person, &path)? {
            assert!(said.contains(reason) && said.contains("portcullis wrap"), "{name}: {said}");
        }
    }
    // A program that is damaged may well run. Whoever asks is told.
    let near_its_end = image - 70_000;
    let path = person.path("program");
    fs::write(&path, changed(near_its_end))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let verify = person.starts(&path, &["--verify"], &[])?;
    assert!(!verify.status.success(), "{}", stdout(&verify));
    Ok(())
}

/// Types `wrap` with more arguments, and expects to find nothing written.
#[track_caller]
fn refused(person: &Person, arguments: &[&str], code: i32, sentence: &str) {
    let all: Vec<_> = ["wrap"].into_iter().chain(arguments.iter().copied()).collect();
    let output = person.types(&all).expect("the command starts");
    fails(&output, code, sentence);
    let left: Vec<_> = cli::files_below(person.scratch())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("wrap")))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn what_cannot_be_wrapped_is_refused_with_a_reason() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    fs::write(person.path("text"), "hello")?;
    fs::write(person.path("module.wasm"), b"\0asm\x01\0\0\0")?;
    fs::write(person.path("empty.wasm"), wat::parse_str("(component)")?)?;
    let greedy = r#"(component (import "evil:corp/backdoor@6.6.6" (instance))
        (instance $provider) (export "portcullis:plugin/provider@0.1.0" (instance $provider)))"#;
    fs::write(person.path("greedy.wasm"), wat::parse_str(greedy)?)?;
    let whole = fs::read(fixtures::guest("echo"))?;
    fs::write(person.path("cut.wasm"), &whole[..whole.len() / 2])?;
    let mute = fixtures::trapping_provider(|module| module);
    fs::write(person.path("mute.wasm"), mute)?;

    refused(&person, &["nothing.wasm"], 4, "No such file");
    refused(&person, &["text"], 4, "neither a component nor a program");
    refused(&person, &["module.wasm"], 4, "build it for wasm32-wasip2");
    refused(&person, &["empty.wasm"], 1, "exports no interface of portcullis:plugin");
    refused(&person, &["greedy.wasm"], 1, "evil:corp/backdoor@6.6.6");
    refused(&person, &["cut.wasm"], 1, "cut");
    refused(&person, &["mute.wasm"], 1, "does not say what it offers");

    fs::write(person.path("mine"), "mine")?;
    refused(&person, &["plugins/echo.wasm", "-o", "mine"], 3, "mine exists; --force replaces it");
    assert_eq!(fs::read(person.path("mine"))?, b"mine");
    let itself = ["plugins/echo.wasm", "-o", "plugins/echo.wasm", "--force"];
    refused(&person, &itself, 3, "is the component itself");
    refused(&person, &["plugins/echo.wasm", "-o", "plugins", "--force"], 3, "is not a regular file");
    let no_where = "cannot write no/where: the directory no: No such file";
    refused(&person, &["plugins/echo.wasm", "-o", "no/where"], 1, no_where);
    refused(&person, &["plugins/echo.wasm", "-o", "text/x"], 1, "cannot write text/x: text is no directory");
    let takes_none = "cannot write /proc/x: the directory /proc: ";
    refused(&person, &["plugins/echo.wasm", "-o", "/proc/x"], 1, takes_none);
    let native = fixtures::shim().display().to_string();
    refused(&person, &[&native], 3, "a native program");

    fs::write(person.path("bad.toml"), "[plugin.x]\ngrants = 1\n")?;
    refused(&person, &["plugins/echo.wasm", "--policy", "bad.toml"], 7, "bad.toml:2:1: unknown key");
    fs::write(person.path("other.toml"), "")?;
    refused(&person, &["plugins/echo.wasm", "--policy", "other.toml"], 7, "other.toml says nothing of");
    Ok(())
}

#[test]
fn what_is_wrapped_is_not_wrapped_again() -> TestResult {
    let person = Person::new()?;
    let wrapped = person.has_wrapped("echo", "plugin", "")?.display().to_string();
    let again = person.types(&["wrap", &wrapped, "-o", "again"])?;
    fails(&again, 3, "wrapped already; name the component that it was made of");
    // Nor is it a shim, for all that it has one in it.
    let component = fixtures::guest("echo").display().to_string();
    let output =
        person.command(&["wrap", &component, "-o", "again"]).env("PORTCULLIS_SHIM", &wrapped).output()?;
    fails(&output, 1, "it is a wrapped component, and no bare shim");
    Ok(())
}

#[test_case(None, "this build of portcullis carries no shim"; "there is none")]
#[test_case(Some("/no/where"), "PORTCULLIS_SHIM: /no/where"; "it is not there")]
#[test_case(Some("/bin/sh"), "/bin/sh is no shim of portcullis"; "it is another program")]
fn without_a_shim_nothing_is_wrapped(shim: Option<&str>, reason: &str) -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    let mut wrap = person.command(&["wrap", &component]);
    match shim {
        Some(shim) => wrap.env("PORTCULLIS_SHIM", shim),
        None => wrap.env_remove("PORTCULLIS_SHIM"),
    };
    fails(&wrap.output()?, 1, reason);
    Ok(())
}

/// Nobody writes to the pipe, and of the others there is no end.
#[test]
fn a_shim_that_never_ends_is_not_read() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo").display().to_string();
    cli::make_pipe(&person.path("pipe"))?;
    fs::File::create(person.path("sparse"))?.set_len(1 << 40)?;
    for (shim, reason) in [
        (person.path("pipe"), "pipe: it is not a regular file"),
        ("/dev/zero".into(), "/dev/zero: it is not a regular file"),
        (person.path("sparse"), "sparse: it is larger than 256 MiB"),
    ] {
        let output = person.command(&["wrap", &component]).env("PORTCULLIS_SHIM", &shim).output()?;
        fails(&output, 1, "PORTCULLIS_SHIM: ");
        fails(&output, 1, reason);
    }
    Ok(())
}

/// Wraps echo where no file may be larger than its wrapped one is. Who writes more is sent SIGXFSZ.
fn wrap_short_of_room(person: &Person, trap: &str) -> Result<Output, Box<dyn std::error::Error>> {
    let component = fixtures::guest("echo").display().to_string();
    // Compiled beforehand, so that it is the wrapped file for which there is no room.
    assert!(person.types(&["inspect", &component])?.status.success());
    let wrap = person.command(&["wrap", &component, "-o", "plugin"]);
    #[expect(clippy::disallowed_methods, reason = "a test waits for what it starts")]
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{trap} ulimit -c 0; ulimit -f 4096; exec \"$@\""), "sh"]);
    shell.arg(wrap.get_program()).args(wrap.get_args()).current_dir(person.scratch()).env_clear();
    shell.envs(wrap.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(shell.output()?)
}

fn half_written(person: &Person) -> Vec<PathBuf> {
    let all = cli::files_below(person.scratch()).into_iter();
    all.filter(|path| path.to_string_lossy().contains("wrap-")).collect()
}

#[test]
fn a_disk_without_room_leaves_nothing_behind() -> TestResult {
    let person = Person::new()?;
    fails(&wrap_short_of_room(&person, "trap '' XFSZ;")?, 1, "cannot write plugin");
    assert_eq!(half_written(&person), Vec::<PathBuf>::new());
    assert!(!person.path("plugin").exists());
    Ok(())
}

#[test]
fn what_a_killed_wrap_leaves_is_no_program() -> TestResult {
    let person = Person::new()?;
    let killed = wrap_short_of_room(&person, "")?;
    assert_eq!(killed.status.signal(), Some(rustix::process::Signal::XFSZ.as_raw()));
    assert!(!person.path("plugin").exists());
    let left = half_written(&person);
    assert_eq!(left.len(), 1, "{left:?}");
    for path in left {
        let meta = fs::metadata(&path)?;
        assert!(meta.len() > 0);
        assert_eq!(meta.permissions().mode() & 0o111, 0, "{}", path.display());
    }
    Ok(())
}
