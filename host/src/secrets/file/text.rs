//! What a secrets file says: an object of texts, taken apart without ever quoting one.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

/// The secrets under their names.
pub(super) type Entries = BTreeMap<String, String>;

/// What is wrong with the text of a secrets file. Quotes names, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Nothing is in it, or nothing but spaces.
    #[error("it is empty; write {{}} into it")]
    Empty,
    /// It is no JSON.
    #[error("it is not JSON from line {line}, column {column} on")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The byte in that line.
        column: usize,
    },
    /// It is JSON of another kind.
    #[error("it is other JSON; write {{}} for an empty one")]
    NotAnObject,
    /// A secret has the empty name.
    #[error("a name in it is empty")]
    NoName,
    /// A value is not a text.
    #[error("the value of {name:?} is not a text; put it in quotes")]
    NotText {
        /// Its name.
        name: String,
    },
    /// A name occurs twice.
    #[error("{name:?} occurs twice; delete one")]
    Twice {
        /// The name.
        name: String,
    },
}

/// Takes the text of a file apart. The error never quotes a value.
pub(super) fn entries(text: &[u8]) -> Result<Entries, Malformed> {
    // What `serde_json` says of a value of the wrong kind contains the value; only its place is used.
    let place = |error: &serde_json::Error| (error.line(), error.column());
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => return Err(Malformed::Empty),
        Some(b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n') => return Err(Malformed::NotAnObject),
        Some(_) => {}
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let members = reader.deserialize_map(Members).and_then(|members| reader.end().map(|()| members));
    let members = members.map_err(|error| {
        let (line, column) = place(&error);
        Malformed::NotJson { line, column }
    })?;
    let mut entries = Entries::new();
    for (name, value) in members {
        if name.is_empty() {
            return Err(Malformed::NoName);
        }
        let Ok(value) = serde_json::from_str::<String>(value.get()) else {
            return Err(Malformed::NotText { name });
        };
        if entries.contains_key(&name) {
            return Err(Malformed::Twice { name });
        }
        entries.insert(name, value);
    }
    Ok(entries)
}

/// Collects the members of an object as they stand, each as often as it stands there.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
