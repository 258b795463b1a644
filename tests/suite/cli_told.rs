//! What plugins are told before they are called.

use portcullis_tests::{TestResult, fixtures};
use serde_json::json;

use crate::person::{Person, answer};

#[test]
fn a_plugin_is_told_the_settings_that_its_policy_has_for_it() -> TestResult {
    let person = Person::new()?;
    person.has_guest("acrobat")?;
    let settings = "[plugin.it.settings]\nregistry = \"r.example\"\nhttpClient = { allowPrivateIPs = true }";
    let policy = person.has_policy(&fixtures::guest("acrobat"), settings)?;
    let told = answer(&person.types(&["run", "acrobat", "--policy", &policy, "operation=configured"])?);
    let expected = json!({ "registry": "r.example", "httpClient": { "allowPrivateIPs": true } });
    assert_eq!(told["data"]["settings"], expected);
    Ok(())
}
