//! JSON from a stranger as a tree, for the few who have to look inside.
//!
//! Two crates that may not know each other hold this file: one has a link to it.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

/// Reads a tree. What nests deeper than 128 levels is refused, so that whoever walks the tree may recurse.
///
/// `serde_json` alone does not hold to that: it takes an object with a certain key for a text with JSON in it
/// (`RawValue`), and counts the levels of that anew.
///
/// # Errors
///
/// What is wrong with the text.
pub fn tree(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).map(|Tree(value)| value)
}

struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Planter).map(Self)
    }
}

struct Planter;

impl<'de> Visitor<'de> for Planter {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Tree(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Tree(value))) = members.next_entry::<String, _>()? {
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_what_the_text_says() {
        for text in [
            "null",
            "true",
            "[-1,1.5,18446744073709551615]",
            r#"{"a":{"b":["\u0041"]},"c":""}"#,
            r#"{"$serde_json::private::RawValue":"[1]"}"#,
        ] {
            assert_eq!(tree(text).unwrap().to_string(), text.replace(r"\u0041", "A"));
        }
        assert_eq!(tree(r#"{"a":1,"a":2}"#).unwrap().to_string(), r#"{"a":2}"#);
        assert!(tree("1e400").is_err());
        assert!(tree("[1] 2").is_err());
    }

    #[test]
    fn no_text_nests_deeper_than_what_is_read() {
        let nested =
            |levels: usize, inner: &str| format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(tree(&nested(127, "")).is_ok());
        assert!(tree(&nested(128, "")).is_err());
        let hidden = serde_json::json!({"$serde_json::private::RawValue": nested(127, "")}).to_string();
        let outer = nested(100, &hidden);
        assert!(serde_json::from_str::<Value>(&outer).unwrap().to_string().starts_with(&"[".repeat(200)));
        assert_eq!(tree(&outer).unwrap().to_string(), outer);
    }
}
