//! Policies as people write them, and as they get them wrong.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use portcullis_contract::{
    Access, BackendName, Environment, FsGrant, IdentityGrant, InstanceReuse, Isolation, Kind, Stdin,
};

use super::*;

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, Path::new("/etc/p/policy.toml"))
}

/// Reads one plugin's table with these lines in it, after its digests on line 2.
fn plugin(lines: &str) -> PluginPolicy {
    let policy = parse(&format!("[plugin.x]\ndigests = [\"{A}\"]\n{lines}\n")).unwrap();
    policy.for_digest(&A.parse().unwrap()).unwrap().clone()
}

/// Refuses a policy with exactly these problems, each without the file's name.
fn check(text: &str, expected: &[&str]) {
    let error = parse(text).expect_err(text).to_string();
    let found: Vec<_> = error.lines().map(|line| line.strip_prefix("/etc/p/policy.toml:").unwrap()).collect();
    assert_eq!(found, expected, "{text}");
}

/// Refuses one plugin's table, whose lines start at line 3, with one problem of that beginning.
fn check_plugin(lines: &str, expected: &str) {
    let error = parse(&format!("[plugin.x]\ndigests = [\"{A}\"]\n{lines}\n")).expect_err(lines).to_string();
    let rest = error.strip_prefix("/etc/p/policy.toml:").unwrap();
    assert!(rest.starts_with(expected) && rest.lines().count() == 1, "{lines}\n{rest}\nexpected {expected}");
}

#[test]
fn the_policy_of_the_design_means_what_it_says() {
    let policy = parse(&format!(
        r#"
        trusted-dirs = ["plugins", "/opt/plugins/"]
        [plugin.github]
        digests = ["{A}", "{B}"]
        secrets = {{ read = ["github.*"], write = [] }}
        identity = {{ handlers = ["github"], token = true }}
        http = ["https://api.github.com"]
        fs = [{{ host = "./out", guest = "/out", access = "write" }}]
        env = ["LANG"]
        instances = "per-call"
        [plugin.github.limits]
        memory = "64MiB"
        cpu = "1s"
        wall = "30s"
        message = "64MiB"
        output = "1MiB"
        handles = 1000
        concurrency = 8
        "#
    ))
    .unwrap();
    let expected = PluginPolicy {
        label: "github".to_owned(),
        digests: vec![A.parse().unwrap(), B.parse().unwrap()],
        grants: Grants {
            secrets: SecretGrant { read: vec!["github.*".parse().unwrap()], write: vec![] },
            identity: Some(IdentityGrant { handlers: vec!["github".to_owned()], token: true }),
            http: vec!["https://api.github.com".parse().unwrap()],
            fs: vec![FsGrant {
                host: PathBuf::from("/etc/p/out"),
                guest: "/out".to_owned(),
                access: Access::Write,
            }],
            env: vec!["LANG".to_owned()],
        },
        limits: Limits {
            memory: Some(64 << 20),
            cpu: Some(Duration::from_secs(1)),
            wall: Some(Duration::from_secs(30)),
            message: Some(64 << 20),
            output: Some(1 << 20),
            handles: Some(1_000),
            concurrency: Some(8),
        },
        run_as: RunAs::default(),
        settings: Settings::default(),
    };
    assert_eq!(policy.plugins(), std::slice::from_ref(&expected));
    for digest in [A, B] {
        assert_eq!(policy.for_digest(&digest.parse().unwrap()), Some(&expected));
    }
    assert_eq!(policy.for_digest(&Digest::from_sha256([0; 32])), None);
    assert_eq!(policy.trusted_dirs(), [Path::new("/etc/p/plugins"), Path::new("/opt/plugins")]);
}

#[test]
fn an_empty_policy_says_nothing_of_anybody() {
    for text in ["", "# nothing\n", "[plugin]\n", "trusted-dirs = []\n"] {
        let policy = parse(text).unwrap();
        assert!(policy.plugins().is_empty() && policy.trusted_dirs().is_empty(), "{text:?}");
    }
    let bare = plugin("");
    assert_eq!((bare.grants, bare.limits, bare.run_as), Default::default());
}

#[test]
fn each_table_keeps_to_its_own_digests() {
    let text = format!(
        "[plugin.b]\ndigests = [\"{A}\"]\nenv = [\"OF_B\"]\n[plugin.a]\ndigests = [\"{B}\"]\nenv = [\"OF_A\"]\n"
    );
    let policy = parse(&text).unwrap();
    let env = |digest: &str| policy.for_digest(&digest.parse().unwrap()).unwrap().grants.env.clone();
    assert_eq!((env(A), env(B)), (vec!["OF_B".to_owned()], vec!["OF_A".to_owned()]));
    let labels: Vec<_> = policy.plugins().iter().map(|plugin| plugin.label.as_str()).collect();
    assert_eq!(labels, ["a", "b"]);
}

#[test]
fn how_a_plugin_is_run_stands_in_the_same_table() {
    let found = plugin(
        "instances = \"pooled:16\"\nisolation = \"sandbox\"\nenvironment = \"inherit\"\nstdin = \"inherit\"",
    );
    let expected = RunAs {
        instances: InstanceReuse::Pooled(16),
        isolation: Isolation::Sandbox,
        environment: Environment::Inherit,
        stdin: Stdin::Inherit,
    };
    assert_eq!(found.run_as, expected);
    assert_eq!(plugin("instances = \"single\"").run_as.instances, InstanceReuse::Single);
    assert_eq!(plugin("environment = \"usual\"\nstdin = \"null\"").run_as, RunAs::default());

    for bad in ["pooled", "pooled:", "pooled:0", "pooled:65536", "pooled:+1", "pooled: 1", "Single", ""] {
        check_plugin(
            &format!("instances = {bad:?}"),
            &format!("3:13: {bad:?} is not understood; write \"per-call\""),
        );
    }
    check_plugin("isolation = \"vm\"", "3:13: \"vm\" is not understood; write \"sandbox\" or \"process\"");
    assert_eq!(plugin("isolation = \"process\"").run_as.isolation, Isolation::Process);
    check_plugin("stdin = \"tty\"", "3:9: \"tty\" is not understood; write \"null\" or \"inherit\"");
    check_plugin("environment = true", "3:15: expected a text in quotes, found boolean");
}

#[test]
fn settings_have_any_name_and_are_the_json_that_says_the_same() {
    let found =
        plugin("settings.github = { hostname = \"g.example\", ids = [0x10, 1.5] }\nsettings.on = true");
    let said = |name: &str| found.settings[name].as_str();
    assert_eq!(said("github"), r#"{"hostname":"g.example","ids":[16,1.5]}"#);
    assert_eq!((said("on"), found.settings.len()), ("true", 2));
    check_plugin("settings.a.b = [2026-01-01]", "3:17: expected what JSON has");
    check_plugin("settings.a = -inf", "3:14: expected a number that JSON has, of 64 bits, found float");
    check_plugin("settings = 1", "3:12: expected a table, found integer");
}

#[test]
fn an_unknown_key_is_refused_where_it_stands() {
    let head = format!("[plugin.github]\ndigests = [\"{A}\"]\n");
    check(
        &format!("{head}\n  secret = {{ read = [] }}\n"),
        &["4:3: unknown key \"secret\" in [plugin.github]; did you mean \"secrets\"?"],
    );
    check(
        &format!("{head}secrets = {{ reed = [] }}\n"),
        &["3:13: unknown key \"reed\" in secrets of [plugin.github]; did you mean \"read\"?"],
    );
    check(
        &format!("{head}limits.memroy = \"1MiB\"\n"),
        &["3:8: unknown key \"memroy\" in [plugin.github.limits]; did you mean \"memory\"?"],
    );
    let known = "known are memory, cpu, wall, message, output, handles, concurrency";
    let colour = format!("3:8: unknown key \"colour\" in [plugin.github.limits]; {known}");
    check(&format!("{head}limits.colour = \"red\"\n"), &[&colour]);
    check("plugins = 1\n", &["1:1: unknown key \"plugins\" in a policy; did you mean \"plugin\"?"]);
    // A column counts characters, not bytes.
    check("trusted-dirs = [\"\u{e9}\", 1]\n", &["1:22: expected a text in quotes, found integer"]);
}

#[test]
fn everything_that_is_wrong_is_said_in_the_order_of_the_text() {
    check(
        &format!(
            "[plugin.z]\ndigests = [\"{A}\", \"{A}0\"]\nhttp = [\"ftp://a\", \"https://a\", 3]\n\n[plugin.a]\nenv = [\"A=b\"]\n"
        ),
        &[
            &format!(
                "2:87: \"{A}0\" is not understood: a digest is \"sha256:\" and 64 lower-case hexadecimal digits"
            ),
            "3:9: \"ftp://a\" is not understood: an authority starts with \"https://\" or \"http://\"",
            "3:33: expected a text in quotes, found integer",
            "5:9: [plugin.a] applies to no file, because its name is only a label; add digests = [\"sha256:...\"], which \
             `portcullis inspect FILE` prints",
            "6:8: \"A\" has a value here, but only names are granted; write \"A\" alone",
        ],
    );
}

#[test]
fn a_table_that_applies_to_no_file_or_to_one_that_has_a_table_is_a_mistake() {
    let no_file = "[plugin.x] applies to no file, because its name is only a label; add digests = [\"sha256:...\"], \
                   which `portcullis inspect FILE` prints";
    check("[plugin.x]\nenv = []\n", &[&format!("1:9: {no_file}")]);
    check("[plugin.x]\ndigests = []\n", &[&format!("2:11: {no_file}")]);
    let twice = |label: &str| {
        format!(
            "{A} stands in [plugin.{label}] already; a file has one entry, so put both together or delete one"
        )
    };
    check(
        &format!("[plugin.b]\ndigests = [\"{A}\"]\n[plugin.a]\ndigests = [\n  \"{B}\",\n  \"{A}\",\n]\n"),
        &[&format!("6:3: {}", twice("b"))],
    );
    check(&format!("[plugin.a]\ndigests = [\"{A}\", \"{A}\"]\n"), &[&format!("2:87: {}", twice("a"))]);
}

#[test]
fn what_is_no_policy_at_all_is_refused_with_its_place() {
    check("[plugin.x\n", &["1:10: unclosed table, expected `]`"]);
    check("plugin = 1\n", &["1:10: expected a table, found integer"]);
    check("plugin.x = []\n", &["1:12: expected a table, found array"]);
    check("trusted-dirs = \"/opt\"\n", &["1:16: expected a list, found string"]);
    check("trusted-dirs = []\ntrusted-dirs = []\n", &["2:1: duplicate key"]);
    let deep = format!("plugin = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(parse(&deep), Err(PolicyError::Invalid(_))));
    let tables = format!("[{}a]\n", "a.".repeat(50_000));
    assert!(matches!(parse(&tables), Err(PolicyError::Invalid(_))));
}

#[test]
fn a_file_full_of_mistakes_is_told_its_first_ones() {
    let text: String = (0..50_000).map(|n| format!("k{n} = 1\n")).collect();
    let error = parse(&text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 21);
    assert!(error.ends_with("policy.toml: and 49980 more"), "{error}");
}

#[test]
fn a_label_may_be_any_text() {
    let text = format!("[plugin.\"a b\\n\"]\ndigests = [\"{A}\"]\n");
    assert_eq!(parse(&text).unwrap().plugins()[0].label, "a b\n");
    check(
        &format!("{text}envy = []\n"),
        &["3:1: unknown key \"envy\" in [plugin.\"a b\\n\"]; did you mean \"env\"?"],
    );
}

#[test]
fn amounts_have_units_and_are_something() {
    check_plugin("limits.memory = 64", "3:17: expected a size in quotes, like \"64MiB\", found integer");
    check_plugin(
        "limits.memory = \"64MB\"",
        "3:17: \"64MB\" is not understood; a size is a whole number with",
    );
    check_plugin("limits.message = \"0B\"", "3:18: \"0B\" would allow nothing at all");
    check_plugin(
        "limits.output = \"99999999999TiB\"",
        "3:17: \"99999999999TiB\" is more than can be counted",
    );
    check_plugin("limits.wall = 1.5", "3:15: expected a duration in quotes, like \"30s\", found float");
    check_plugin(
        "limits.cpu = \"1.5s\"",
        "3:14: \"1.5s\" is not understood; a duration is a whole number with",
    );
    for bad in ["0", "-1", "4294967296", "\"8\"", "1.0"] {
        check_plugin(
            &format!("limits.concurrency = {bad}"),
            "3:22: expected a whole number from 1 to 4294967295",
        );
    }
    assert_eq!(plugin("limits.concurrency = 0x10").limits.concurrency, Some(16));
    assert_eq!(plugin("limits.concurrency = 1_000").limits.concurrency, Some(1000));
}

#[test]
fn a_directory_has_three_keys_and_takes_no_detours() {
    let fs = |host: &str, guest: &str| {
        format!("fs = [{{ host = {host:?}, guest = {guest:?}, access = \"read\" }}]")
    };
    let host = |host: &str| plugin(&fs(host, "/x")).grants.fs[0].host.clone();
    assert_eq!(host("."), Path::new("/etc/p"));
    assert_eq!(host("./a//b/./c/"), Path::new("/etc/p/a/b/c"));
    assert_eq!(host("/srv/x"), Path::new("/srv/x"));
    assert_eq!(host("../x"), Path::new("/etc/p/../x"));
    check_plugin(&fs("", "/x"), "3:16: a path is not empty");
    check_plugin(&fs("~/x", "/x"), "3:16: \"~\" is not replaced here");
    check_plugin(
        "fs = [{ host = \"a\\u0000\", guest = \"/x\", access = \"read\" }]",
        "3:16: a path has no NUL",
    );

    for good in ["/", "/x", "/x/y.z", "/..."] {
        assert_eq!(plugin(&fs("a", good)).grants.fs[0].guest, good);
    }
    for bad in ["", "x", "./x"] {
        check_plugin(&fs("a", bad), &format!("3:29: {bad:?} is not absolute"));
    }
    for bad in ["/x/", "//x", "/x/../y", "/./x", "/.."] {
        check_plugin(&fs("a", bad), &format!("3:29: {bad:?} takes detours"));
    }
    check_plugin("fs = [{ host = \"a\", guest = \"/x\" }]", "3:7: fs of [plugin.x] lacks \"access\"");
    check_plugin("fs = [{}]", "3:7: fs of [plugin.x] lacks \"host\"");
    check_plugin(
        "fs = [{ hots = \"a\" }]",
        "3:9: unknown key \"hots\" in fs of [plugin.x]; did you mean \"host\"?",
    );
    check_plugin("fs = { host = \"a\" }", "3:6: expected a list, found table");
    let one = "{ host = \"a\", guest = \"/x\", access = \"write\" }";
    check_plugin(
        &format!("fs = [{one}, {one}]"),
        "3:55: \"/x\" is given to the guest twice in fs of [plugin.x]",
    );
    check_plugin(
        "fs = [{ host = \"a\", guest = \"/x\", access = \"rw\" }]",
        "3:44: \"rw\" is not understood; write \"read\" or \"write\"",
    );
}

/// It would take very long, were each compared with all others.
#[test]
fn very_many_directories_may_be_granted() {
    let grant = |n: usize| format!("{{host=\"h\",guest=\"/{n}\",access=\"read\"}}");
    let grants: Vec<_> = (0..60_000).map(grant).collect();
    assert_eq!(plugin(&format!("fs = [{}]", grants.join(","))).grants.fs.len(), 60_000);
}

#[test]
fn names_and_patterns_mean_something() {
    check_plugin("secrets.read = [\"\"]", "3:17: \"\" is not understood: an empty pattern matches nothing");
    check_plugin("secrets.read = \"a\"", "3:16: expected a list, found string");
    check_plugin(
        "secrets.write = [\"a b\"]",
        "3:18: \"a b\" matches no secret: secret name contains invalid",
    );
    check_plugin("env = [\"\"]", "3:8: \"\" names no variable");
    check_plugin("env = [\"LC_*\"]", "3:8: \"LC_*\" names no variable; write each name out");
    check_plugin("identity = { token = true }", "3:12: identity of [plugin.x] names no handlers");
    check_plugin("identity.handlers = [\"\"]", "3:22: an auth handler has a name");
    check_plugin("identity.handlers = [\"*\"]", "3:22: \"*\" names no auth handler; write each name out");
    check_plugin(
        "identity = { handlers = [\"a\"], token = 1 }",
        "3:40: expected true or false, found integer",
    );
    let identity = plugin("identity.handlers = [\"a\"]").grants.identity.unwrap();
    assert!(!identity.token);
}

#[test]
fn a_file_is_loaded_with_paths_from_where_it_is_unless_everybody_may_write_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("policy.toml");
    assert!(matches!(Policy::load(&path), Err(PolicyError::Unreadable { .. })));
    assert!(matches!(Policy::load(dir.path()), Err(PolicyError::Unreadable { .. })));

    std::fs::write(&path, "trusted-dirs = [\"x\"]\n").unwrap();
    let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o664);
    assert_eq!(Policy::load(&path).unwrap().trusted_dirs(), [dir.path().join("x")]);
    mode(0o666);
    let error = Policy::load(&path).unwrap_err();
    assert!(matches!(error, PolicyError::Exposed { mode: 0o666, .. }));
    assert!(error.to_string().contains("run: chmod o-w "), "{error}");

    mode(0o600);
    std::fs::write(&path, b"# \xc3\xa4\n# \xc3\xa4 \xe4").unwrap();
    let error = Policy::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("policy.toml:2:5: a policy is text in UTF-8, and this is none"), "{error}");
    std::fs::write(&path, vec![b'#'; LARGEST_FILE as usize + 1]).unwrap();
    assert!(matches!(Policy::load(&path), Err(PolicyError::Unreadable { .. })));
}

/// Lists what is said of a plugin; what is not held starts with `!`.
fn said(lines: &str, backend: BackendName) -> Vec<String> {
    let PluginPolicy { grants, limits, run_as, .. } = plugin(lines);
    let lines = sentences(Kind::Provider, &grants, &limits, &run_as, backend);
    lines.into_iter().map(|line| format!("{}{}", if line.held { "" } else { "!" }, line.text)).collect()
}

const SOME: &str = r#"
secrets = { read = ["github.*", "shared"], write = ["*"] }
identity = { handlers = ["github"], token = true }
http = ["https://api.github.com"]
fs = [{ host = "/srv/in", guest = "/in", access = "read" }, { host = "out", guest = "/out", access = "write" }]
env = ["LANG"]
limits = { memory = "1GiB", cpu = "250ms", wall = "2m", output = "3KiB", handles = 32, concurrency = 1 }
"#;

#[test]
fn grants_and_limits_are_said_in_sentences() {
    assert_eq!(
        said("", BackendName::Component),
        [
            "may ask for no secret",
            "may ask for no identity and no token",
            "may reach nothing on the network",
            "may open no file",
            "sees no environment variable",
            "may use 64MiB of memory in an instance",
            "may compute for 1s a call",
            "may take 30s a call",
            "may print 1MiB a call",
            "may have files, streams and requests open, at most 1000",
            "may send and be sent 64MiB at once",
            "may serve 8 calls at a time",
        ]
    );
    assert_eq!(
        said(SOME, BackendName::Component),
        [
            "may read secrets matching github.* and shared",
            "may set and delete every secret",
            "may ask who is logged in with github",
            "may have access tokens of github",
            "may reach https://api.github.com, and nothing else on the network",
            "may read what is in /srv/in, which it sees as /in",
            "may read and change what is in /etc/p/out, which it sees as /out",
            "sees of the environment LANG",
            "may use 1GiB of memory in an instance",
            "may compute for 250ms a call",
            "may take 2m a call",
            "may print 3KiB a call",
            "may have files, streams and requests open, at most 32",
            "may send and be sent 64MiB at once",
            "may serve 1 call at a time",
        ]
    );
}

#[test]
fn what_auth_handlers_may_in_any_case_is_said_of_them_alone() {
    let (grants, limits, run_as) = (Grants::default(), Limits::default(), RunAs::default());
    let of = |kind| sentences(kind, &grants, &limits, &run_as, BackendName::Component);
    let texts: Vec<_> = of(Kind::AuthHandler).into_iter().skip(of(Kind::Provider).len()).collect();
    assert!(texts.iter().all(|line| line.held));
    let texts: Vec<_> = texts.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "may show codes, and ask whoever is at the terminal for an answer, while somebody logs in",
            "may take as long over a login as its caller allows",
        ]
    );
}

#[test]
fn a_name_in_a_sentence_begins_no_line() {
    let forged = said(r#"env = ["LANG\n  - may do all", "\u001B[2J"]"#, BackendName::Component);
    assert!(
        forged.contains(&"sees of the environment LANG\\n  - may do all and \\u{1b}[2J".to_owned()),
        "{forged:?}"
    );
}

#[test]
fn what_a_native_plugin_cannot_be_held_to_is_said() {
    let rights = "!is a native program and has the rights of the user who runs it: it may open every file that the \
                  user may, reach every network, start programs that outlive it";
    assert_eq!(
        said("", BackendName::Process),
        [
            "may ask for no secret",
            "may ask for no identity and no token",
            rights,
            "is handed the usual part of the environment",
            "may send and be sent 64MiB at once",
            "may serve 64 calls at a time",
            "!has no limit on memory, processor time, the time of a call and what it prints",
        ]
    );
    assert_eq!(
        said(SOME, BackendName::Process),
        [
            "may read secrets matching github.* and shared",
            "may set and delete every secret",
            "may ask who is logged in with github",
            "may have access tokens of github",
            rights,
            "!cannot be held to https://api.github.com on the network",
            "!cannot be held to /srv/in and /etc/p/out on the disk",
            "is handed the usual part of the environment and LANG",
            "may use 1GiB of address space in each process",
            "may take 2m a call",
            "may print 3KiB a streamed call",
            "may have files open, at most 32 in each process",
            "may send and be sent 64MiB at once",
            "may serve 1 call at a time",
            "!cannot be held to 250ms of processor time a call",
        ]
    );
    let inherits = said("environment = \"inherit\"", BackendName::Process);
    assert!(inherits.contains(&"is handed all of the environment".to_owned()), "{inherits:?}");
}

#[test]
fn the_grant_of_every_secret_is_just_that() {
    let all = every_secret();
    assert!(all.may_read("") && all.may_read("a.b/c") && all.may_write("x"));
}
