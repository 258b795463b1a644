//! The fields of a JSON object, each still text.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_contract::quoted;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object under their keys. None occurs twice: a reader who looks at the first and one
/// who looks at the last would not agree.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Were a map asked for, the error about anything else would quote it, which may be a secret that was meant for
        // one input.
        deserializer.deserialize_any(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of inputs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {}", quoted(&key))));
            }
            fields.insert(key, map.next_value()?);
        }
        Ok(Fields(fields))
    }

    /// Upstream reads `null` as no inputs.
    fn visit_unit<E: Error>(self) -> Result<Fields, E> {
        Ok(Fields::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Fields, E> {
        Err(E::custom("it is a text, and no object of inputs; KEY=@FILE (or KEY=@-) gives it to one of them"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Fields, E> {
        Err(no_object())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Fields, E> {
        Err(no_object())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Fields, E> {
        Err(no_object())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Fields, E> {
        Err(no_object())
    }
}

fn no_object<E: Error>() -> E {
    E::custom("it is a single value, and no object of inputs; KEY=@FILE (or KEY=@-) gives it to one of them")
}
