//! What a person sees who types `portcullis auth`.
//!
//! The doormen remember in memory alone, so that each command meets one who knows nobody.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};

use portcullis_tests::{Door, TestResult, cli, fixtures};
use serde_json::{Value, json};
use test_case::test_case;

use crate::person::{Person, answer, fails, stderr, stdout};

/// A person in whose directory a doorman lies, which is known already.
pub(crate) fn with_doorman(door: Door) -> Result<Person, Box<dyn std::error::Error>> {
    let person = Person::new()?;
    match door {
        Door::Component => person.has_guest("doorman")?,
        Door::Native => person.has_native("doorman")?,
        // What a host grants is tested here; a policy inside would hide it.
        Door::Shim => {
            let grants = "secrets = { read = [\"*\"], write = [\"*\"] }";
            person.has_wrapped("doorman", "plugins/doorman", grants).map(drop)?;
        }
        #[cfg(go_peers)]
        Door::Process => person.has_peer("doorman")?,
        #[cfg(not(go_peers))]
        Door::Process => unreachable!("there is no such case"),
    }
    // Of the native one nobody would know otherwise what it offers.
    let listing = person.types(&["list", "--describe"])?;
    assert!(listing.status.success(), "{}", stderr(&listing));
    Ok(person)
}

impl Person {
    fn auth(&self, arguments: &[&str]) -> Result<Output, std::io::Error> {
        self.types(&[&["auth"], arguments].concat())
    }
}

const PROMPT: &str = "To log in, open https://door.example/device\nand enter the code ABCD-1234\n";

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_listing_tells_auth_handlers_from_providers(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    person.has_guest("echo")?;
    let listing = answer(&person.types(&["list", "-o", "json"])?);
    let kinds: Vec<_> =
        listing.as_array().expect("a list").iter().map(|row| (&row["name"], &row["kind"])).collect();
    for expected in [("door", "auth-handler"), ("side", "auth-handler"), ("echo", "provider")] {
        let expected = (&json!(expected.0), &json!(expected.1));
        assert!(kinds.contains(&expected), "{kinds:?}");
    }
    let page = person.types(&["inspect", "door"])?;
    let text = stdout(&page);
    assert!(text.contains("Auth handler door, Door\n  flows: device_code, interactive, pat\n"), "{text}");
    assert!(text.contains("  offers  side as well\n"), "{text}");
    assert!(text.contains("may take as long over a login as its caller allows"), "{text}");
    fails(&person.types(&["run", "door"])?, 4, "provider \"door\" not found");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_login_shows_its_prompts_on_stderr_and_ends_well(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let login = |arguments: &[&str]| person.auth(&[&["login"], arguments].concat());

    let plain = login(&["door"])?;
    assert_eq!((plain.status.code(), stdout(&plain).as_str()), (Some(0), ""), "{}", stderr(&plain));
    let who = "logged in with Door as ada@door.example (Ada)";
    assert_eq!(stderr(&plain), format!("{PROMPT}{who}, until 2023-11-14T23:13:20Z\n"));

    let quiet = login(&["door", "--quiet", "--tenant", "two-prompts"])?;
    assert_eq!(stderr(&quiet), format!("{PROMPT}{}", PROMPT.replace("ABCD-1234", "EFGH-5678")));
    // item 138
    let no_claims = login(&["door", "--tenant", "no-claims"])?;
    assert!(stderr(&no_claims).ends_with("logged in with Door, until 2023-11-14T23:13:20Z\n"));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_login_that_fails_reads_as_upstreams(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let login = |arguments: &[&str]| person.auth(&[&["login", "-q"], arguments].concat());
    let failed = "authentication failed: plugin auth handler door login:";
    // item 127
    let refused = format!("{failed} plugin login error: login refused");
    fails(&login(&["door", "--tenant", "refuse"])?, 1, &refused);
    let astray = login(&["door", "--tenant", "astray"])?;
    fails(
        &astray,
        1,
        r#"it wanted a code to be entered at "http://door.example/device", and that is not https"#,
    );
    assert!(!stderr(&astray).contains("To log in"), "{}", stderr(&astray));
    fails(&login(&["door", "--callback-port", "80"])?, 3, "--callback-port is a number from 1024");
    let side = "authentication failed: plugin auth handler side login: plugin login error: flow not supported: \
        secret_knock";
    fails(&login(&["side", "--flow", "secret_knock"])?, 1, side);
    fails(&login(&["door", "--flow", "interactive"])?, 1, "plugin login error: the host asks nobody");
    // Long enough for its start. The guest sees that its time is over, and may say so before we do.
    let late = login(&["door", "--tenant", "never", "--timeout", "5s"])?;
    fails(&late, 9, failed);
    assert!(!stderr(&late).contains("no answer within 4"), "{}", stderr(&late));
    let crashed = login(&["door", "--tenant", "crash"])?;
    fails(&crashed, 1, &format!("{failed} login stream error: the plugin stopped before it answered"));
    Ok(())
}

/// As with `run`: a plugin that never serves is given up a minute later, and nobody wants to wait for that.
#[test_case("login"; "login")]
#[test_case("logout"; "logout")]
#[test_case("status"; "status")]
#[test_case("token"; "token")]
#[test_case("list"; "list")]
fn the_time_of_a_command_runs_while_its_plugin_starts(command: &str) -> TestResult {
    let person = Person::new()?;
    let _file = fixtures::rogue("hang", &person.path("plugins"));
    let auth = |arguments: &[&str]| person.auth(&[&[command, "--timeout", "300ms"], arguments].concat());
    fails(&auth(&["./plugins/rogue-hang"])?, 9, "no answer within 300ms");
    match command {
        "status" | "list" => fails(&auth(&["--describe"])?, 9, "no answer within 300ms"),
        "logout" => fails(&auth(&["--all", "--yes", "--describe"])?, 9, "no answer within 300ms"),
        _ => {}
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_handler_that_fails_is_told_of_and_fails_what_has_to_be_sure(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let lost = "side lost that account";
    let both: [&[&str]; 2] = [&[], &["--quiet"]];
    for quiet in both {
        let with = |arguments: &[&str]| person.auth(&[arguments, &["--profile", "lost"], quiet].concat());
        let told = |arguments: &[&str], code: i32| -> TestResult {
            let output = with(arguments)?;
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            assert!(stderr(&output).contains(lost), "{arguments:?}: {}", stderr(&output));
            Ok(())
        };
        told(&["status"], 0)?;
        told(&["status", "--exit-code"], 1)?;
        told(&["status", "--warn-within", "1h"], 1)?;
        told(&["list"], 0)?;
        told(&["list", "--purge-expired"], 1)?;
        let shown = stdout(&with(&["status", "--warn-within", "1h"])?);
        assert!(shown.contains("door") && !shown.contains("side"), "{shown}");
    }
    Ok(())
}

/// It could be one with which nobody is logged in.
#[test]
fn a_file_that_does_not_start_fails_what_has_to_be_sure() -> TestResult {
    let person = with_doorman(Door::Component)?;
    let _file = fixtures::rogue("nothing-exit0", &person.path("plugins"));
    let cases: [(&[&str], i32); 4] = [
        (&["status"], 0),
        (&["status", "--warn-within", "1h"], 1),
        (&["list"], 0),
        (&["list", "--purge-expired"], 1),
    ];
    for (arguments, code) in cases {
        let output = person.auth(&[arguments, &["--describe", "--quiet"]].concat())?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("rogue-nothing-exit0"), "{arguments:?}: {}", stderr(&output));
    }
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn what_a_handler_does_not_heed_is_refused_before_it_is_asked(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let refused = |arguments: &[&str], sentence: &str| -> TestResult {
        fails(&person.auth(arguments)?, 3, sentence);
        Ok(())
    };
    let by_side = "is not supported by the \"side\" auth handler";
    refused(&["login", "side", "--tenant", "t"], &format!("--tenant {by_side}"))?;
    refused(&["login", "side", "--hostname", "h"], &format!("--hostname {by_side}"))?;
    refused(&["login", "side", "--callback-port", "8400"], &format!("--callback-port {by_side}"))?;
    let at_login = "--scope is not supported at login time by the \"side\" auth handler";
    refused(&["login", "side", "--scope", "s"], at_login)?;
    refused(&["login", "door", "--flow", "fly"], "unknown flow: fly (valid: device_code, interactive, pat)")?;
    refused(&["token", "door"], "--scope is required for the \"door\" auth handler")?;
    refused(&["token", "door", "--scope="], "--scope is required for the \"door\" auth handler")?;
    refused(
        &["token", "side", "--scope", "s"],
        "does not support per-request scopes; scopes are fixed at login time",
    )?;
    refused(
        &["status", "door", "--hostname", "h"],
        "--hostname is not supported by the \"door\" auth handler",
    )?;
    refused(&["status", "nobody"], "unknown auth handler: nobody (registered: [door side])")?;
    refused(&["logout", "--all"], "--all logs out of door, side; add --yes to mean it")?;
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_status_has_all_of_upstreams_keys(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let status = answer(&person.auth(&["status", "-o", "json"])?);
    let door = &status[0];
    let keys = [
        "handler",
        "displayName",
        "type",
        "status",
        "authenticated",
        "flow",
        "user",
        "email",
        "username",
        "name",
        "tenantId",
        "clientId",
        "identityType",
        "tokenFile",
        "expiresAt",
        "expiresIn",
        "lastRefresh",
        "scopes",
        "cachedTokens",
        "hint",
    ];
    for key in keys {
        assert!(door.get(key).is_some(), "{key} is missing in {door}");
    }
    assert_eq!(door["status"], "not logged in");
    assert_eq!(door["hint"], "run 'portcullis auth login door' to authenticate");
    assert_eq!(status.as_array().map(Vec::len), Some(2));

    let table = person.auth(&["status"])?;
    let expected = "HANDLER  TYPE     STATUS         NAME       USER  FLOW  EXPIRES IN\n\
                    door     handler  not logged in  Door       -     -     -\n\
                    side     handler  not logged in  Side door  -     -     -\n";
    assert_eq!(stdout(&table), expected);

    let judged = person.auth(&["status", "door", "--exit-code"])?;
    assert_eq!(judged.status.code(), Some(1));
    assert!(stdout(&judged).contains("door") && !stdout(&judged).contains("side"));
    assert!(stderr(&judged).contains("one or more auth handlers are not authenticated"));
    assert!(person.auth(&["status", "--warn-within", "1h"])?.status.success());
    // As good as none, and the older name of the command.
    let named_so = person.types(&["authenticate", "status", "--warn-within", "0"])?;
    assert_eq!((named_so.status.code(), stdout(&named_so)), (Some(0), stdout(&table)));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn tokens_are_listed_purged_and_refused_and_logins_forgotten(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let nobody = "failed to get token: plugin auth handler door get-token: not authenticated";
    fails(&person.auth(&["token", "door", "--scope", "b", "--scope", "a", "--raw"])?, 1, nobody);

    assert_eq!(answer(&person.auth(&["list", "door", "-o", "json"])?), json!([]));
    let purged = person.auth(&["list", "door", "--purge-expired"])?;
    assert_eq!(
        (stdout(&purged), stderr(&purged)),
        (String::new(), "No expired access tokens found in door.\n".to_owned())
    );

    let out = person.auth(&["logout", "door"])?;
    assert_eq!(
        (out.status.code(), stderr(&out).as_str()),
        (Some(0), "Not currently authenticated with Door.\n")
    );
    let forced = person.auth(&["logout", "door", "--force"])?;
    assert_eq!(stderr(&forced), "Successfully logged out from Door.\n");
    let dry = person.auth(&["logout", "--all", "--force", "--dry-run"])?;
    let would = |name: &str| {
        format!("[dry-run] Would log out from {name} (cached tokens and refresh token would be removed).\n")
    };
    assert_eq!(stderr(&dry), would("Door") + &would("Side door"));
    let kept = "Logout failed for side: side cannot log out";
    fails(&person.auth(&["logout", "side", "--force"])?, 1, kept);
    // Nobody is in, and a token is kept all the same.
    fails(&person.auth(&["logout", "side", "--profile", "kept"])?, 1, kept);
    let all = person.auth(&["logout", "--all", "--force", "-q"])?;
    fails(&all, 1, kept);
    let nothing = person.auth(&["list", "--purge-expired"])?;
    assert!(
        stderr(&nothing).ends_with("No expired access tokens found in any handler.\n"),
        "{}",
        stderr(&nothing)
    );
    assert_eq!(stderr(&person.auth(&["list", "side"])?), "No cached tokens found.\n");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_secrets_file_is_granted_to_the_auth_handlers_of_that_command(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    person.has_secrets(r#"{"app.pat":"grace"}"#)?;
    let login = ["auth", "login", "door", "--flow", "pat"];

    fails(&person.types(&login)?, 1, "secret store not available");
    let given = person.types(&[&login[..], &["--secrets-file", "secrets.json"]].concat())?;
    assert!(given.status.success(), "{}", stderr(&given));
    assert!(stderr(&given).contains("logged in with Door as"), "{}", stderr(&given));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_file_with_several_handlers_wants_one_of_them_named(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let file = match door {
        Door::Component => "./plugins/doorman.wasm",
        Door::Process | Door::Native | Door::Shim => "./plugins/doorman",
    };
    let several = "doorman offers several auth handlers: door, side; choose one with --handler";
    fails(&person.auth(&["login", file])?, 3, several);
    let other = person.auth(&["login", file, "--handler", "nope"])?;
    fails(&other, 3, "unknown auth handler: nope (registered: [door side])");
    assert!(person.auth(&["login", file, "--handler", "door"])?.status.success());
    fails(&person.types(&["run", file])?, 1, "plugin doorman is no provider");
    person.has_guest("echo")?;
    let provider = person.auth(&["status", "./plugins/echo.wasm"])?;
    fails(&provider, 1, "plugin echo is no auth handler; if it is a provider, execute it by");
    Ok(())
}

/// `--scope "$SCOPE"`, and there is none.
#[test]
fn a_limit_that_a_handler_reached_is_told_with_where_to_raise_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("doorman")?;
    let policy = person.has_policy(&person.path("plugins/doorman.wasm"), "limits.output = \"1KiB\"")?;
    let login = person.auth(&["login", "door", "--tenant", "flood", "--policy", &policy])?;
    let more = "allowed 1KiB; a policy can allow more: output, in [plugin.NAME.limits]\n";
    fails(&login, 1, more);
    // One that does not start is told of among others.
    let policy = person.has_policy(&person.path("plugins/doorman.wasm"), "limits.memory = \"64KiB\"")?;
    let status = person.auth(&["status", "--policy", &policy])?;
    fails(&status, 1, "allowed 64KiB; a policy can allow more: memory, in [plugin.NAME.limits]\n");
    Ok(())
}

#[test]
fn a_scope_that_says_nothing_is_none() -> TestResult {
    let person = with_doorman(Door::Component)?;
    // Neither takes a scope, and both are asked.
    fails(
        &person.auth(&["login", "side", "-q", "--flow", "secret_knock", "--scope="])?,
        1,
        "flow not supported: secret_knock",
    );
    fails(&person.auth(&["token", "side", "--scope="])?, 1, "not authenticated");
    Ok(())
}

#[test]
fn a_handler_is_chosen_among_what_a_file_offers_and_not_without_one() -> TestResult {
    let person = Person::new()?;
    let commands: [&[&str]; 3] = [&["status"], &["list"], &["logout", "--all", "--yes"]];
    for command in commands {
        let chosen = person.auth(&[command, &["--handler", "door"]].concat())?;
        fails(&chosen, 1, "--handler chooses among what a file offers, and no file is given");
    }
    Ok(())
}

#[test]
fn arguments_that_do_not_go_together_have_upstreams_codes() -> TestResult {
    let person = with_doorman(Door::Component)?;
    let both = "--expired-only and --valid-only are mutually exclusive";
    fails(&person.auth(&["list", "--expired-only", "--valid-only"])?, 3, both);
    let purge = "--purge-expired cannot be combined with --expired-only or --valid-only";
    fails(&person.auth(&["list", "--purge-expired", "--valid-only"])?, 3, purge);
    fails(
        &person.auth(&["list", "--sort", "age"])?,
        3,
        "unknown sort field \"age\": valid values are handler, kind, scope",
    );
    fails(&person.auth(&["status", "-o", "xml"])?, 1, "invalid output type: 'xml'");
    for sort in ["Scope", "expiresAt", ""] {
        assert!(person.auth(&["list", "--sort", sort])?.status.success(), "{sort:?}");
    }
    let lasting = ["token", "side", "--raw", "-o", "json", "--min-valid-for", "0s"];
    fails(&person.auth(&lasting)?, 1, "not authenticated");
    let anew = person.auth(&["login", "door", "--force", "--skip-if-authenticated", "--timeout", "0"])?;
    assert!(anew.status.success() && stderr(&anew).contains("logged in with Door"), "{}", stderr(&anew));
    Ok(())
}

#[test]
fn what_a_purge_does_not_heed_is_refused() -> TestResult {
    let person = Person::new()?;
    for option in [["-o", "json"], ["--sort", "kind"]] {
        let purge = person.auth(&[&["list", "--purge-expired"], &option[..]].concat())?;
        fails(&purge, 1, "the argument '--purge-expired' cannot be used with");
    }
    Ok(())
}

#[test]
fn where_no_handler_was_found_is_told() -> TestResult {
    let person = Person::new()?;
    let status = ["auth", "status", "--plugin-dir", "plugins"];
    fails(&person.types(&status)?, 1, "no auth handlers in plugins");
    person.has_program("plugins/script", "#!/bin/sh\n")?;
    let unknown = "no auth handlers in plugins; nobody knows what these native plugins offer, and --describe would \
                   start them to ask: plugins/script";
    fails(&person.types(&status)?, 1, unknown);
    let nowhere = person.command(&status[..2]).env_remove("PORTCULLIS_PLUGIN_DIR").output()?;
    fails(&nowhere, 1, "no directory to look in; name one with --plugin-dir");
    Ok(())
}

/// A provider of one backend is told of an auth handler of the other, or its own, and only what was granted.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn a_provider_is_told_of_identities_that_its_policy_grants(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    person.has_guest("keeper")?;
    let listing = answer(&person.types(&["list", "-o", "json"])?);
    let rows = listing.as_array().expect("a list");
    let keeper: &Value = rows.iter().find(|row| row["name"] == "keeper").expect("the keeper is listed");
    let digest = keeper["digest"].as_str().expect("a digest");
    let policy = |grant: &str| format!("[plugin.k]\ndigests = [\"{digest}\"]\n{grant}\n");
    let run = |operation: &str| {
        let operation = format!("operation={operation}");
        person.types(&["run", "keeper", "--policy", "policy.toml", &operation, "handler=door", "scope=s"])
    };

    fs::write(person.path("policy.toml"), policy(""))?;
    let denied = "access denied: auth handler \"door\" is not in the allowed set";
    fails(&run("identity")?, 1, denied);
    assert_eq!(answer(&run("handlers")?)["data"]["names"], json!([]));

    fs::write(person.path("policy.toml"), policy("identity = { handlers = [\"door\"], token = true }"))?;
    assert_eq!(answer(&run("handlers")?)["data"]["names"], json!(["door"]));
    assert_eq!(answer(&run("identity")?)["data"], json!({"claims": null}));
    // item 168
    let nobody = "host GetAuthToken: get auth token: plugin auth handler door get-token: not authenticated";
    fails(&run("token")?, 1, nobody);
    // item 165
    fails(&run("groups")?, 1, "auth groups not available");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn ctrl_c_ends_a_login_and_its_plugin(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let mut child = person
        .command(&["auth", "login", "door", "--tenant", "never"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut shown = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    shown.read_line(&mut line)?;
    assert!(line.starts_with("To log in"), "{line}");
    assert_eq!(cli::interrupt(child)?, Some(130));
    Ok(())
}
