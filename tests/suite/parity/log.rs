//! What a plugin logs, as the log of a command has it.

use std::fs;

use portcullis_tests::{Door, TestResult, fixtures};
use serde_json::{Value, json};
use test_case::test_case;

use crate::person::{Person, stderr};

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
fn what_a_plugin_logs_has_the_same_fields(door: Door) -> TestResult {
    let person = Person::new()?;
    let [program, component] = ["./acrobat", "./acrobat.wasm"];
    let plugin = fixtures::plugin(door, "acrobat");
    let file = match door {
        Door::Process | Door::Native => fixtures::copy(&plugin, &person.path(program)).map(|()| program)?,
        Door::Component => fs::copy(plugin, person.path(component)).map(|_| component)?,
        Door::Shim => {
            fs::copy(plugin, person.path(component))?;
            let wrapped = person.types(&["wrap", component, "-o", program])?;
            assert!(wrapped.status.success(), "{}", stderr(&wrapped));
            program
        }
    };
    let run = ["run", file, "--provider", "acrobat", "operation=log", "level=warn", "message=hi"];
    let logged = stderr(&person.types(&[&["--log-format", "json"][..], &run].concat())?);
    let line = logged.lines().find(|line| line.contains(r#""message":"hi""#)).ok_or(logged.as_str())?;
    let event: Value = serde_json::from_str(line)?;
    assert_eq!((&event["level"], &event["target"]), (&json!("WARN"), &json!("portcullis::plugin")));
    let mut fields = event["fields"].clone();
    // By the clock of a child, which others have none of.
    fields.as_object_mut().ok_or("fields are an object")?.remove("at");
    let said = json!({ "n": 1, "who": "acrobat" }).to_string();
    assert_eq!(fields, json!({ "message": "hi", "plugin": "acrobat", "fields": said }));
    Ok(())
}
