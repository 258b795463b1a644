//! WIT to contract and back.
//!
//! What leaves us converts with `From` and cannot fail. What comes from a guest converts with
//! `TryFrom` and is checked: text that has to be JSON is read through once, in linear time and without
//! recursion, and kept as it was written.

use portcullis_contract::{CallError, Json};
use thiserror::Error;

mod answer;
mod auth;
mod descriptor;
mod identity;
mod request;
mod size;

pub(crate) use auth::count;
pub(crate) use size::{
    access_size, account_size, cached_tokens_size, descriptor_size, execution_size, flows_size,
    handlers_size, login_result_size, login_size, names_size, output_size, refusal_size, status_size,
    texts_size, token_size,
};

/// What a guest said does not fit the contract.
#[derive(Debug, Error)]
pub enum ConvertError {
    #[error("{what} is not JSON")]
    NotJson {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0} is not a JSON object")]
    NotAnObject(&'static str),
    #[error("{0} is negative")]
    Negative(&'static str),
}

impl From<ConvertError> for CallError {
    fn from(error: ConvertError) -> Self {
        Self::contract(error)
    }
}

/// Reads an empty value as none, as the wire does, so that a component gets the same in process and behind the shim.
pub(crate) fn said<T: Default + PartialEq>(what: Option<T>) -> Option<T> {
    what.filter(|what| *what != T::default())
}

fn json(what: &'static str, text: String) -> Result<Json, ConvertError> {
    Json::read(text).map_err(|source| ConvertError::NotJson { what, source })
}

fn object(what: &'static str, text: String) -> Result<Json, ConvertError> {
    let json = json(what, text)?;
    let starts = json.as_str().trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    if starts { Ok(json) } else { Err(ConvertError::NotAnObject(what)) }
}

fn all<A, B: TryFrom<A, Error = ConvertError>>(list: Vec<A>) -> Result<Vec<B>, ConvertError> {
    list.into_iter().map(B::try_from).collect()
}

pub(crate) fn each<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(B::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, good: bool) {
        assert_eq!(json("it", text.to_owned()).is_ok(), good, "{:?}", text.get(..20).unwrap_or(text));
    }

    #[test]
    fn text_has_to_be_json_and_stays_as_it_is() {
        for good in ["null", " {\"a\":1e400,\"a\":-0} ", "9007199254740993", "\"\\ud83d\\ude00\"", "[]"] {
            check(good, true);
            assert_eq!(json("it", good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["", "{oops", "nul", "1 2", "[1,]", "\"\n\"", "{\"a\"}", "01", "\u{feff}1"] {
            check(bad, false);
        }
    }

    #[test]
    fn no_depth_of_nesting_overflows_the_stack() {
        let depth = 1_000_000;
        check(&("[".repeat(depth) + &"]".repeat(depth)), true);
        check(&"[".repeat(depth), false);
        check(&"{\"a\":".repeat(depth), false);
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        assert!(object("it", " \n{}".to_owned()).is_ok());
        assert!(matches!(object("it", "[]".to_owned()), Err(ConvertError::NotAnObject("it"))));
    }
}
