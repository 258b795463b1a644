//! Fuzz target: the variable that says which plugins run already.

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

#[test]
fn any_text_is_a_map_that_can_be_written_again_or_refused_by_what_is_wrong() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/reattach"), |input| {
        let text = String::from_utf8_lossy(input);
        let read = Reattach::all_from_json(&text);
        match &read {
            Ok(all) => {
                let written: Value = all.iter().map(|(name, one)| (name.clone(), one.to_json())).collect();
                assert_eq!(&Reattach::all_from_json(&written.to_string()).unwrap(), all);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        // An empty map says nothing.
        if read.is_ok_and(|all| !all.is_empty()) { Outcome::Taken } else { Outcome::Refused }
    });
}
