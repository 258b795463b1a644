//! What plugins are told before they are called: what a policy has for them, and what the person who types means.

use std::fs;
use std::io::{self, Write as _};

use portcullis_tests::{Door, TestResult, fixtures};
use serde_json::{Value, json};
use test_case::test_case;

use crate::cli_auth::with_doorman;
use crate::person::{Person, answer, fails, stderr};

#[test]
fn a_plugin_is_told_the_settings_that_its_policy_has_for_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let settings = "[plugin.it.settings]\nregistry = \"r.example\"\nhttpClient = { allowPrivateIPs = true }";
    for isolation in ["sandbox", "process"] {
        let lines = format!("isolation = \"{isolation}\"\n{settings}");
        let policy = person.has_policy(&fixtures::guest("acrobat"), &lines)?;
        let told = answer(&person.types(&["run", "acrobat", "--policy", &policy, "operation=configured"])?);
        let expected = json!({ "registry": "r.example", "httpClient": { "allowPrivateIPs": true } });
        assert_eq!(told["data"]["settings"], expected, "{isolation}");
        let inspected = answer(&person.types(&["inspect", "acrobat", "--policy", &policy, "-o", "json"])?);
        assert_eq!(inspected["settings"], json!(["httpClient", "registry"]));
    }
    Ok(())
}

/// Grants, limits and settings are for one file.
#[test]
fn that_a_policy_is_for_another_file_of_the_name_is_told() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let component = person.path("plugins/acrobat.wasm");
    let policy = person.has_policy(&component, "settings.a = 1")?;
    fs::write(&policy, fs::read_to_string(&policy)?.replace("[plugin.it]", "[plugin.acrobat]"))?;
    let run = ["run", "acrobat", "--policy", &policy, "operation=ok", "-o", "json"];
    let commands = [
        &run[..],
        &["list", "--policy", &policy, "-o", "json"],
        &["inspect", "acrobat", "--policy", &policy, "-o", "json"],
    ];
    for command in commands {
        let told = person.types(command)?;
        answer(&told);
        assert_eq!(stderr(&told), "", "{command:?}");
    }

    // A section that nobody reads, as an update may have one.
    fs::write(&component, [&fs::read(&component)?[..], b"\0\x05\x04new!"].concat())?;
    let sentence =
        "the policy's table of this name is for another file, and nothing in it holds for this one";
    for command in commands {
        let told = person.types(command)?;
        answer(&told);
        assert_eq!(stderr(&told).matches(sentence).count(), 1, "{command:?}: {}", stderr(&told));
    }
    Ok(())
}

#[test]
fn settings_that_have_no_effect_on_a_component_are_told() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let sentence = "`environment` and `stdin` in the policy are for native plugins";
    for (line, is_told) in
        [("environment = \"inherit\"", true), ("stdin = \"inherit\"", true), ("stdin = \"null\"", false)]
    {
        let policy = person.has_policy(&person.path("plugins/acrobat.wasm"), line)?;
        let run = ["run", "acrobat", "--policy", &policy, "operation=ok"];
        for command in
            [&run[..], &["list", "--policy", &policy], &["inspect", "acrobat", "--policy", &policy]]
        {
            let told = person.types(command)?;
            assert!(told.status.success(), "{}", stderr(&told));
            let times = stderr(&told).matches(sentence).count();
            assert_eq!(times, usize::from(is_told), "{line}: {command:?}: {}", stderr(&told));
        }
    }
    Ok(())
}

#[test]
fn what_may_be_a_secret_is_not_told() -> TestResult {
    let person = Person::new()?;
    person.has_guest("echo")?;
    // One that was meant for an input, and stands where all of them should.
    for (file, text) in
        [("f.yaml", "hush-hush"), ("f.json", "\"hush-hush\""), ("f", "hush-hush"), ("n.yaml", "8675309")]
    {
        fs::write(person.path(file), text)?;
        let output = person.types(&["run", "echo", &format!("@{file}")])?;
        fails(&output, 3, "no object of inputs; KEY=@FILE");
        assert!(!stderr(&output).contains(text), "{file}: {}", stderr(&output));
    }
    fs::write(person.path("twice.json"), r#"{"secret":{"hush-hush":1,"hush-hush":2}}"#)?;
    let twice = person.types(&["run", "echo", "@twice.json"])?;
    assert!(!twice.status.success() && stderr(&twice).contains("more than once"), "{}", stderr(&twice));
    assert!(!stderr(&twice).contains("hush-hush"), "{}", stderr(&twice));
    Ok(())
}

#[test]
fn who_wraps_a_plugin_is_told_that_its_settings_stay_outside() -> TestResult {
    let person = Person::new()?;
    let component = fixtures::guest("echo");
    let policy = person.has_policy(&component, "settings.mode = 1")?;
    let component = component.display().to_string();
    let wrapped = person.types(&["wrap", &component, "--policy", &policy, "-o", "plugin"])?;
    assert!(wrapped.status.success());
    assert!(stderr(&wrapped).contains("the settings are not part of the file"), "{}", stderr(&wrapped));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn an_auth_handler_is_told_of_its_settings_and_of_the_account_that_is_meant(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let listing = answer(&person.types(&["list", "-o", "json"])?);
    let digest = listing[0]["digest"].as_str().expect("a digest");
    let policy = format!("[plugin.door]\ndigests = [\"{digest}\"]\nsettings.fail = \"work\"\n");
    fs::write(person.path("policy.toml"), policy)?;
    let refuses = |account: &str| -> Result<bool, std::io::Error> {
        let status = ["auth", "status", "door", "--policy", "policy.toml", "--profile", account];
        Ok(stderr(&person.types(&status)?).contains("configure refused"))
    };
    assert!(refuses("work")?);
    assert!(!refuses("home")?);
    Ok(())
}

/// As a script has it whose variable is not set: `side` knows neither.
#[test]
fn an_empty_name_of_a_server_and_the_port_zero_ask_for_nothing_that_a_handler_lacks() -> TestResult {
    let person = with_doorman(Door::Component)?;
    for options in
        [&["login", "side", "--hostname=", "--callback-port", "0"][..], &["status", "side", "--hostname="]]
    {
        let output = person.types(&[&["auth"], options, &["--profile="]].concat())?;
        assert!(output.status.success(), "{options:?}: {}", stderr(&output));
    }
    Ok(())
}

/// The others see what their policy names, and no more.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
fn a_native_auth_handler_sees_the_whole_environment_of_whoever_says_so(door: Door) -> TestResult {
    let person = with_doorman(door)?;
    let token_file = |options: &[&str]| -> Result<Value, Box<dyn std::error::Error>> {
        let arguments = [&["auth", "status", "door", "-o", "json"], options].concat();
        let status = person.command(&arguments).env("DOOR_TOKEN_FILE", "/run/token").output()?;
        let rows: Value = serde_json::from_slice(&status.stdout)?;
        Ok(rows[0]["tokenFile"].clone())
    };

    assert_eq!(token_file(&["--env", "inherit"])?, "/run/token");
    assert_eq!(token_file(&["--env", "usual"])?, "");
    assert_eq!(token_file(&[])?, "");
    Ok(())
}

#[test]
fn a_native_plugin_reads_from_stdin_only_where_that_was_wanted() -> TestResult {
    let person = Person::new()?;
    person.has_native("acrobat")?;
    for (options, text) in [(&[][..], ""), (&["--stdin", "null"], ""), (&["--stdin", "inherit"], "typed")] {
        let (stdin, mut typing) = io::pipe()?;
        typing.write_all(b"typed")?;
        drop(typing);
        let run = ["run", "acrobat", "operation=read", "path=/dev/stdin"];
        let read = person.command(&[&run[..], options].concat()).stdin(stdin).output()?;
        assert_eq!(answer(&read)["data"]["text"], text, "{options:?}");
    }
    Ok(())
}
