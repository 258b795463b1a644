//! Inputs that a provider does not declare, told with the names that may have been meant.

use std::collections::BTreeSet;

use super::super::schema::InputSchema;
use super::super::sentences::quote;
use super::super::text::Members;
use crate::names::nearest;

/// How many edits away a name may be to be the one that was meant.
const NEAR: usize = 3;

/// How many pairs of names are compared. A guess: beyond it nobody reads which name is near which other.
const MOST_COMPARED: usize = 1 << 20;

/// Checks that every input is one that the provider declares, if it declares any.
///
/// # Errors
///
/// Upstream's sentence, which knows the nearest name.
pub(in super::super) fn check_keys(
    provider: &str,
    schema: Option<&InputSchema>,
    given: &Members<'_>,
) -> Result<(), String> {
    let Some(declared) = schema.and_then(|s| s.properties.as_ref()).filter(|p| !p.is_empty()) else {
        return Ok(());
    };
    let unknown: BTreeSet<_> =
        given.members.iter().map(|m| m.key.as_str()).filter(|k| !declared.contains_key(*k)).collect();
    let provider = format!("provider {}", quote(provider));
    let compares = unknown.len().saturating_mul(declared.len()) <= MOST_COMPARED;
    let complaint = |key: &&str| {
        let near = nearest(key, declared.keys().filter(|_| compares).map(String::as_str), NEAR);
        let said = format!("{provider} does not accept input {}", quote(key));
        near.map_or(said.clone(), |(_, near)| format!("{said} — did you mean {}?", quote(near)))
    };
    let complaints: Vec<_> = unknown.iter().map(complaint).collect();
    let valid = declared.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match complaints.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("{one} (valid inputs: {valid})")),
        many => {
            let list = many.join("\n  - ");
            Err(format!("unknown inputs for {provider}:\n  - {list}\nvalid inputs: {valid}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Json;

    use super::super::super::text;
    use super::*;

    #[test]
    fn an_unknown_input_is_told_with_the_nearest_name() {
        let schema = InputSchema::read(&Json::from_text(r#"{"properties":{"url":{},"method":{}}}"#)).unwrap();
        let check = |input: &str, expected: &str| {
            let said = check_keys("http", Some(&schema), &text::members(input).unwrap());
            assert_eq!(said.err().unwrap_or_default(), expected);
        };
        check(r#"{"url":1}"#, "");
        check(
            r#"{"ulr":1}"#,
            "provider \"http\" does not accept input \"ulr\" — did you mean \"url\"? (valid inputs: method, url)",
        );
        check(
            r#"{"zzzzzzzz":1,"metod":2}"#,
            "unknown inputs for provider \"http\":\n  - provider \"http\" does not accept input \"metod\" — did you \
             mean \"method\"?\n  - provider \"http\" does not accept input \"zzzzzzzz\"\nvalid inputs: method, url",
        );
    }

    /// It would not end, were each compared with each.
    #[test]
    fn very_many_unknown_inputs_are_told_without_the_names_that_are_near() {
        let list = |of: fn(usize) -> String| (0..20_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, given) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"q{n}\":{n}")));
        let schema =
            InputSchema::read(&Json::from_text(format!("{{\"properties\":{{{properties}}}}}"))).unwrap();
        let given = format!("{{{given}}}");
        let said = check_keys("http", Some(&schema), &text::members(&given).unwrap()).unwrap_err();
        let line = "\n  - provider \"http\" does not accept input \"q7\"\n";
        assert!(said.contains(line) && said.lines().count() == 20_002);
    }
}
