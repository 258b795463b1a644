//! Fuzz target: the variables that a host sets.

use std::os::unix::ffi::OsStringExt as _;

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

/// Cuts an input into variables: one a line, name and value around the first `=`.
fn variables(input: &[u8]) -> Vec<(OsString, OsString)> {
    let lines = input.split(|byte| *byte == b'\n');
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_owned());
    lines
        .filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b'=')?;
            Some((text(line.get(..at)?), text(line.get(at + 1..)?)))
        })
        .collect()
}

#[test]
fn any_variables_are_an_invitation_only_with_the_cookie_and_count_as_they_stand() {
    let cookie = Cookie::new("KEY", "value");
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/invitation"), |input| {
        let variables = variables(input);
        let first = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let Ok(invitation) = Invitation::read(&variables, &cookie) else {
            assert!(first("KEY").is_none_or(|value| value != "value"));
            return Outcome::Refused;
        };
        assert!(first("KEY").is_some_and(|value| value == "value"));

        let list = first("PLUGIN_PROTOCOL_VERSIONS").filter(|list| !list.is_empty());
        let elements = list.map_or(0, |list| list.to_string_lossy().split(',').count());
        assert_eq!(invitation.versions.len() + invitation.no_versions.len(), elements);
        if let Err(error) = invitation.ports() {
            assert!(!error.to_string().is_empty());
        }
        Outcome::Taken
    });
}
