//! Fuzz target: JSON text that is taken apart.

use std::collections::HashSet;

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

/// Puts an object together again, of its properties as they are written.
fn joined(members: &Members<'_>) -> String {
    let member = |member: &Member<'_>| format!("{}:{}", member.key_text, member.value);
    format!("{{{}}}", members.members.iter().map(member).collect::<Vec<_>>().join(","))
}

#[test]
fn any_text_is_what_every_other_reader_takes_it_for() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/text"), |input| {
        let text = String::from_utf8_lossy(input);
        let (value, others) = (to_value(&text), serde_json::from_str::<Value>(&text));
        match &value {
            Ok(_) => {}
            Err(TextError::Syntax { at, .. }) => {
                assert!(*at <= text.len());
                assert!(others.is_err(), "another reader takes {text:?} for {others:?}");
            }
            // These are ours to refuse, and no other reader does.
            Err(TextError::Duplicate(key)) => assert!(key.len() <= 3 * text.len()),
            Err(TextError::TooDeep) => assert!(text.len() > MAX_DEPTH),
            Err(TextError::NotObject(_)) => panic!("any value will do"),
        }
        let found = match (members(&text), &value) {
            (Ok(found), Ok(Value::Object(object))) => {
                assert_eq!(found.members.len(), object.len());
                found
            }
            (Ok(_), other) => panic!("an object is {other:?}"),
            (Err(TextError::NotObject(_)), _) => return Outcome::Refused,
            (Err(error), value) => {
                assert_eq!(Err(&error), value.as_ref().map(|_| ()), "{text:?}");
                return Outcome::Refused;
            }
        };
        let keys: HashSet<_> = found.members.iter().map(|member| member.key.as_str()).collect();
        assert_eq!(keys.len(), found.members.len(), "a key stands twice");
        for Member { key_text, value, .. } in &found.members {
            assert!(text.contains(key_text) && text.contains(value), "it is not as it was written");
            to_value(value).expect("a property holds a value");
        }
        assert_eq!(members(&joined(&found)), Ok(found));
        Outcome::Taken
    });
}
