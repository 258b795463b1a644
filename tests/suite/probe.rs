//! What `portcullis probe` finds out about plugins: good ones, and ones that get go-plugin wrong.

use std::path::Path;
use std::process::Output;

use portcullis_tests::{TestResult, fixtures};
use serde_json::Value;
use test_case::test_case;

use crate::person::Person;

impl Person {
    fn probe(&self, binary: &Path, arguments: &[&str]) -> Result<Output, std::io::Error> {
        let binary = binary.display().to_string();
        // The umask decides the mode of a socket that Go makes, and the report shows that mode: 0755.
        let mut probe = self.after("umask 022", &[&["probe", binary.as_str()][..], arguments].concat());
        probe.env("MISFIT_HIDES", "hush").output()
    }

    fn probe_rogue(&self, way: &str, arguments: &[&str]) -> Result<Output, std::io::Error> {
        let rogue = fixtures::rogue(way, self.scratch());
        self.probe(&rogue, &[&["--cookie", "ROGUE=yes"], arguments].concat())
    }
}

#[track_caller]
fn report(output: &Output, code: i32) -> Value {
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaints} {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaints}"))
}

/// Returns what was found that matters that much.
fn items(report: &Value, weight: &str) -> Vec<String> {
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.iter().filter(|finding| finding["weight"] == weight);
    found.filter_map(|finding| finding["item"].as_str()).map(str::to_owned).collect()
}

#[test_case("garbage", &["P-01", "P-08"], "is not a handshake"; "what is no handshake")]
#[test_case("netrpc", &["P-01", "P-09"], "speaks \"netrpc\""; "the other flavour")]
#[test_case("bad-core", &["P-01", "P-09"], "speaks version 2 of the handshake"; "another core")]
#[test_case("bad-network", &["P-01", "P-07"], "carrier-pigeon"; "an address of no network")]
#[test_case("bad-address", &["P-01", "P-07"], "cannot connect to it"; "an address where nobody listens")]
#[test_case("cert", &["P-01", "P-11"], "wants a TLS connection"; "a certificate that nobody asked for")]
#[test_case("bad-version", &["P-01"], "speaks protocol version 99, and this host 1"; "another version")]
#[test_case("nothing-exit3-stderr", &["P-01"], "stderr of the universe"; "an end with words")]
fn who_cannot_be_spoken_with_is_reported_on(way: &str, wrong: &[&str], problem: &str) -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue(way, &["-o", "json"])?, 1);
    let said = seen["problem"].as_str().unwrap_or_default();
    assert!(said.contains(problem), "{said}");
    assert_eq!(items(&seen, "must"), wrong, "{seen:#}");
    assert_eq!(seen["connection"], Value::Null);
    Ok(())
}

#[test]
fn a_plugin_that_speaks_net_rpc_is_told_how_to_be_asked_for_more() -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue("netrpc", &["-o", "json", "--no-cookie-check"])?, 1);
    assert_eq!(seen["findings"][0]["found"], "it speaks net/rpc in version 1, as only some hosts in Go do");
    Ok(())
}

#[test]
fn a_plugin_that_stays_silent_with_its_cookie_and_without_is_told_so() -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue("hang", &["-o", "json", "--timeout", "500ms"])?, 1);
    assert_eq!(seen["problem"], "did not serve within 500ms");
    assert_eq!(items(&seen, "must"), ["P-01", "P-08"], "{seen:#}");
    assert_eq!(seen["withoutCookie"]["ended"], "it had not ended after 500ms");
    Ok(())
}

#[test]
fn who_listens_and_does_not_answer_cannot_be_spoken_with_either() -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue("hangup", &["-o", "json", "--no-cookie-check"])?, 1);
    let problem = seen["problem"].as_str().unwrap_or_default();
    assert!(problem.starts_with("connected to, it does not answer: "), "{problem}");
    assert!(!problem.contains("Status {"), "{problem}");
    // It could not be asked to end, so that it had to be killed is no fault of its own.
    assert_eq!(items(&seen, "must"), ["P-32"], "{seen:#}");
    assert!(seen["findings"].to_string().contains("\"it answers no question\""), "{seen:#}");
    assert_eq!(seen["shutdown"]["answer"], "could not be asked");
    assert_eq!((&seen["services"], &seen["streams"]), (&Value::Null, &Value::Null));
    Ok(())
}

#[test]
fn a_plugin_that_ends_well_without_having_started_is_told_so() -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue("nothing-exit0", &["-o", "json", "--no-cookie-check"])?, 1);
    assert_eq!(seen["problem"], "ended before it served: exit status: 0");
    assert_eq!((items(&seen, "must"), items(&seen, "should")), (vec![], vec!["P-15".to_owned()]));
    assert_eq!(seen["withoutCookie"], Value::Null);
    Ok(())
}

#[test]
fn what_was_printed_before_a_start_failed_is_shown() -> TestResult {
    let person = Person::new()?;
    let seen = report(&person.probe_rogue("two-lines", &["-o", "json", "--no-cookie-check"])?, 1);
    assert_eq!(seen["handshake"]["line"], "1|1|unix|/nowhere/at/all|grpc|");
    assert_eq!(seen["printed"]["rawStdout"], "1|1|unix|/nowhere/else|grpc|\n");
    assert_eq!(items(&seen, "must"), ["P-07", "P-08"]);
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_not_found() -> TestResult {
    let person = Person::new()?;
    let output = person.probe(Path::new("/nowhere/at/all"), &["--cookie", "A=b"])?;
    assert_eq!(output.status.code(), Some(4));
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("problem        cannot run /nowhere/at/all"), "{page}");
    assert!(!page.contains("Without the cookie"), "{page}");
    Ok(())
}

#[test]
fn a_cookie_has_to_be_named() -> TestResult {
    let person = Person::new()?;
    for arguments in [&[][..], &["--cookie", "A"]] {
        let output = person.probe(Path::new("/nowhere/at/all"), arguments)?;
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--cookie <KEY=VALUE>"));
    }
    Ok(())
}

#[cfg(go_peers)]
mod native {
    use portcullis_tests::{TestResult, fixtures};
    use serde_json::{Value, json};

    use super::{items, report};
    use crate::person::Person;

    /// The cookie of a scafctl plugin.
    const SCAFCTL: [&str; 2] = ["--cookie", COOKIE];
    const COOKIE: &str = "SCAFCTL_PLUGIN=scafctl_provider_plugin";
    const CRUMBS: [&str; 2] = ["--cookie", "MISFIT_COOKIE=crumbs"];

    /// What differs from run to run is replaced by what it is.
    fn steady(page: &str, seen: &Value) -> String {
        let mut page = page.to_owned();
        let address = seen["connection"]["address"].as_str().unwrap_or_default();
        let pieces = [(address, "ADDRESS"), (seen["binary"].as_str().unwrap_or_default(), "BINARY")];
        for (found, name) in pieces {
            page = page.replace(found, name);
        }
        let words = page.split(' ').collect::<Vec<_>>();
        let counted = words.windows(2).map(|pair| match pair {
            // Milliseconds.
            [number, unit] if unit.starts_with("ms") && number.parse::<u64>().is_ok() => "N",
            [word, _] => word,
            _ => "",
        });
        let last = words.last().copied().unwrap_or_default();
        counted.chain([last]).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_good_plugin_is_described_in_words() -> TestResult {
        let person = Person::new()?;
        let echo = fixtures::peer("echo");
        let output = person.probe(&echo, &SCAFCTL)?;
        let page = String::from_utf8(output.stdout)?;
        assert_eq!(output.status.code(), Some(0), "{page}");
        let address =
            page.lines().find_map(|line| line.strip_prefix("  address        ")).unwrap_or_default();
        let names = json!({"connection": {"address": address}, "binary": echo});
        assert_eq!(steady(&page, &names), include_str!("probe/good.txt"));
        Ok(())
    }

    #[test]
    fn a_good_plugin_is_described_in_data() -> TestResult {
        let person = Person::new()?;
        let arguments =
            [&SCAFCTL[..], &["--mtls", "--mux", "--protocol", "1", "--protocol", "7", "-o", "json"]];
        let seen = report(&person.probe(&fixtures::peer("echo"), &arguments.concat())?, 0);

        assert_eq!(seen["asked"], json!({"versions": [1, 7], "mtls": true, "mux": true}));
        let handshake = &seen["handshake"];
        assert_eq!((&handshake["coreVersion"], &handshake["version"]), (&json!("1"), &json!("1")));
        assert_eq!((&handshake["protocol"], &handshake["multiplexing"]), (&json!("grpc"), &json!("true")));
        assert_eq!(handshake["fields"], 7);
        let connection = &seen["connection"];
        assert_eq!(connection["network"], "unix");
        assert_eq!(connection["address"], handshake["address"]);
        assert_eq!((&connection["negotiatedVersion"], &connection["multiplexed"]), (&json!(1), &json!(true)));
        assert_eq!(connection["tls"]["version"], "TLS 1.3");
        assert_eq!(connection["tls"]["alpn"], "h2");
        assert_eq!(connection["socketInPlace"], true);
        let certificate = &seen["certificate"];
        assert_eq!(certificate["subject"], "O=HashiCorp, CN=localhost");
        assert_eq!(certificate["issuer"], certificate["subject"]);
        assert_eq!(
            (&certificate["names"], &certificate["key"]),
            (&json!(["localhost"]), &json!("ECDSA P-521"))
        );
        assert_eq!(certificate["sha256"].as_str().map(str::len), Some(64));
        for yes in ["validNow", "authority", "serverAuth", "clientAuth"] {
            assert_eq!(certificate[yes], true, "{yes}");
        }
        let health = json!({"plugin": "serving", "server": "serving", "unknown": "no such service"});
        assert_eq!(seen["health"], health);
        assert_eq!(seen["streams"], json!({"broker": "open", "stdio": "open"}));
        assert_eq!(seen["services"]["reflection"], "v1");
        let services = seen["services"]["names"].as_array().cloned().unwrap_or_default();
        for name in
            ["grpc.health.v1.Health", "plugin.GRPCBroker", "plugin.GRPCController", "plugin.GRPCStdio"]
        {
            assert!(services.contains(&json!(name)), "{name}: {services:?}");
        }
        let line = seen["log"]
            .as_array()
            .and_then(|log| log.iter().find(|line| line["message"] == "plugin address"));
        assert_eq!(line.map(|line| &line["level"]), Some(&json!("debug")), "{}", seen["log"]);
        let shutdown = &seen["shutdown"];
        assert_eq!((&shutdown["code"], &shutdown["killed"]), (&json!(0), &json!(false)));
        let without = &seen["withoutCookie"];
        assert_eq!((&without["code"], &without["printed"]), (&json!(1), &json!("")));
        assert_eq!(without["gaveNotice"], true);
        // go-plugin itself leaves the socket of a multiplexed plugin: advice, and no fault.
        assert_eq!((items(&seen, "must"), items(&seen, "should")), (vec![], vec!["P-21".to_owned()]));
        Ok(())
    }

    #[test]
    fn a_wrong_cookie_is_what_the_plugin_says_it_is() -> TestResult {
        let person = Person::new()?;
        let arguments = ["--cookie", "SCAFCTL_PLUGIN=nonsense", "-o", "json"];
        let seen = report(&person.probe(&fixtures::peer("echo"), &arguments)?, 1);
        let problem = seen["problem"].as_str().unwrap_or_default();
        assert!(
            problem.starts_with("ended before it served: exit status: 1; its last words: This binary"),
            "{problem}"
        );
        assert_eq!(seen["findings"], json!([]));
        Ok(())
    }

    #[test]
    fn a_plugin_without_most_of_go_plugin_is_told_what_is_missing() -> TestResult {
        let person = Person::new()?;
        let arguments = [&CRUMBS[..], &["-o", "json", "--", "loner"]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 2);
        let wrong = ["P-01", "P-32", "P-35", "P-44", "P-45", "P-33"];
        let mut found = items(&seen, "must");
        found.sort();
        let mut expected = wrong.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(found, expected, "{seen:#}");
        // What hosts do without, and lines that they make something of all the same, are no fault.
        assert_eq!(items(&seen, "should"), ["P-10", "P-34", "P-43", "P-43", "P-45"], "{seen:#}");
        assert_eq!(seen["services"], json!({"reflection": null, "names": []}));
        assert_eq!(seen["health"]["plugin"], "not serving");
        assert_eq!(seen["shutdown"]["killed"], true);
        Ok(())
    }

    #[test]
    fn a_plugin_that_ends_late_and_untidily_is_told_so() -> TestResult {
        let person = Person::new()?;
        let named = ["--env", "MISFIT_SAYS=bye", "--env", "MISFIT_SAYS=hello"];
        let arguments = [&CRUMBS[..], &named, &["-o", "json", "--", "loiterer"]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 2);
        assert_eq!(items(&seen, "must"), ["P-12", "P-08", "P-63", "P-65", "P-70"], "{seen:#}");
        assert_eq!(items(&seen, "should"), Vec::<String>::new());
        assert_eq!(seen["services"]["reflection"], "v1alpha");
        let shutdown = &seen["shutdown"];
        assert_eq!((&shutdown["answer"], &shutdown["code"]), (&json!("answered"), &json!(3)));
        assert_eq!(shutdown["socketsLeft"], json!([seen["connection"]["address"]]));
        // Of the environment it gets what is usual and what was named, unless somebody says otherwise.
        assert_eq!(seen["log"][0]["message"], r#"[INFO] says "hello" hides """#);
        Ok(())
    }

    #[test]
    fn a_plugin_gets_the_whole_environment_when_somebody_says_so() -> TestResult {
        let person = Person::new()?;
        let arguments = [&CRUMBS[..], &["--env", "inherit", "-o", "json", "--", "loiterer"]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 2);
        assert_eq!(seen["log"][0]["message"], r#"[INFO] says "" hides "hush""#);

        // What was named takes the place of what is there.
        let arguments = [&["--env", "MISFIT_HIDES=nothing"], &arguments[..]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 2);
        assert_eq!(seen["log"][0]["message"], r#"[INFO] says "" hides "nothing""#);
        Ok(())
    }

    #[test]
    fn a_plugin_that_does_not_answer_to_encryption_is_told_so() -> TestResult {
        let person = Person::new()?;
        let ask = |option: &str| {
            let arguments =
                [&CRUMBS[..], &[option, "--no-cookie-check", "-o", "json", "--", "loiterer"]].concat();
            person.probe(&fixtures::peer("misfit"), &arguments)
        };
        assert_eq!(items(&report(&ask("--mtls")?, 1), "must"), ["P-23", "P-12", "P-08"]);
        // It says that it could, and then does not.
        let seen = report(&ask("--mux")?, 1);
        assert!(seen["problem"].is_string(), "{seen:#}");
        Ok(())
    }

    #[test]
    fn what_serves_and_shows_a_certificate_that_is_none_is_told_so() -> TestResult {
        let person = Person::new()?;
        let arguments =
            [&CRUMBS[..], &["--mtls", "--no-cookie-check", "-o", "json", "--", "stranger"]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 1);
        assert_eq!(items(&seen, "must"), ["P-11"], "{seen:#}");
        assert_eq!(seen["certificate"]["problem"], "it is not an X.509 certificate");
        Ok(())
    }

    #[test]
    fn what_shows_a_certificate_and_serves_without_tls_is_told_so() -> TestResult {
        let person = Person::new()?;
        let arguments =
            [&CRUMBS[..], &["--mtls", "--no-cookie-check", "-o", "json", "--", "boaster"]].concat();
        let seen = report(&person.probe(&fixtures::peer("misfit"), &arguments)?, 1);
        assert_eq!(items(&seen, "must"), ["P-23"], "{seen:#}");
        Ok(())
    }
}
