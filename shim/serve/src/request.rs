//! What a request has to be, before the plugin sees it (contract spec 3.3).
//!
//! A plugin gets JSON as the text that came, so what upstream's library finds by parsing is found here without. That an
//! input is an object shows in its first letter; whether it is valid to its end is for the plugin, whose own parser
//! says so in the same sentence. What surrounds an input is checked to its end, because most plugins never look at it.

use portcullis_contract::proto::ConvertError;
use portcullis_contract::{Context, Execute, Json, Refusal, chain};
use portcullis_proto as proto;
use serde::de::IgnoredAny;

/// Reads a request to execute. The first fault is reported, in this order: input, context, item, parameters, settings.
pub(crate) fn execute(request: proto::ExecuteProviderRequest) -> Result<Execute, Refusal> {
    let input = request.input.clone();
    let read = Execute::try_from(request).map_err(|error| undecodable(&error)).and_then(|execute| {
        surroundings(&execute.context)?;
        Ok(execute)
    });
    match read {
        Ok(execute) => {
            shape("input", execute.input.as_str())?;
            Ok(execute)
        }
        Err(later) => {
            // A fault of the input goes before all others, even one at its end.
            let input = std::str::from_utf8(&input).map_err(|error| refuse("input", error))?;
            shape("input", input)?;
            if !input.trim_ascii().is_empty() {
                json("input", input)?;
            }
            Err(later)
        }
    }
}

/// Reads an object that is the whole request. No bytes at all count as `null`.
pub(crate) fn object(field: &'static str, bytes: impl Into<Vec<u8>>) -> Result<Json, Refusal> {
    let json = any(field, bytes)?;
    shape(field, json.as_str())?;
    Ok(if json.as_str().is_empty() { Json::null() } else { json })
}

/// Reads any text, JSON or not.
pub(crate) fn any(field: &'static str, bytes: impl Into<Vec<u8>>) -> Result<Json, Refusal> {
    match String::from_utf8(bytes.into()) {
        Ok(text) => Ok(Json::from_text(text)),
        Err(error) => Err(refuse(field, error.utf8_error())),
    }
}

/// Returns upstream's sentence for a message that cannot be decoded.
pub(crate) fn undecodable(error: &ConvertError) -> Refusal {
    match error {
        ConvertError::NotText { field, source } => refuse(field, source),
        other => Refusal::new(chain(other)),
    }
}

fn surroundings(context: &Context) -> Result<(), Refusal> {
    if let Some(context) = &context.context {
        json("context", context.as_str())?;
        shape("context", context.as_str())?;
    }
    if let Some(item) = context.iteration.as_ref().and_then(|iteration| iteration.item.as_ref()) {
        json("iteration item", item.as_str())?;
    }
    if let Some(parameters) = &context.parameters {
        json("parameters", parameters.as_str())?;
        shape("parameters", parameters.as_str())?;
    }
    Ok(())
}

/// Refuses a text that is not empty and does not begin like an object or `null`.
fn shape(field: &str, text: &str) -> Result<(), Refusal> {
    match text.trim_ascii_start() {
        "" => Ok(()),
        text if text.starts_with('{') || text.trim_ascii_end() == "null" => Ok(()),
        _ => Err(refuse(field, "not an object")),
    }
}

/// Refuses a text that is not JSON.
fn json(field: &str, text: &str) -> Result<(), Refusal> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(refuse(field, error)),
    }
}

fn refuse(field: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(format!("failed to decode {field}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        input: &'static [u8],
        context: &'static [u8],
        item: &'static [u8],
        parameters: &'static [u8],
        expected: Result<&str, &str>,
    ) {
        let request = proto::ExecuteProviderRequest {
            input: input.into(),
            context: context.into(),
            iteration_context: Some(proto::IterationContext { item: item.into(), ..Default::default() }),
            parameters: parameters.into(),
            ..Default::default()
        };
        match (execute(request), expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read.input.as_str(), expected),
            (Err(refusal), Err(start)) => {
                assert!(refusal.message.starts_with(start), "{}", refusal.message);
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    /// Contract items 29, 30 and 31.
    #[test]
    fn an_input_is_an_object_or_nothing() {
        check(b"", b"", b"", b"", Ok("null"));
        check(b"null", b"", b"", b"", Ok("null"));
        check(b" {\"a\": 1} ", b"", b"", b"", Ok(" {\"a\": 1} "));
        check(b"[1]", b"", b"", b"", Err("failed to decode input: "));
        check(b"1", b"", b"", b"", Err("failed to decode input: "));
        check(b"nul", b"", b"", b"", Err("failed to decode input: "));
        check(b"{\"\xff\"}", b"", b"", b"", Err("failed to decode input: "));
    }

    /// Contract items 32 and 33.
    #[test]
    fn what_surrounds_an_input_is_json_and_the_first_fault_counts() {
        check(b"{}", b"{", b"", b"", Err("failed to decode context: "));
        check(b"{}", b"[]", b"", b"", Err("failed to decode context: "));
        check(b"{}", b"\xff", b"", b"", Err("failed to decode context: "));
        check(b"{}", b"{}", b"{", b"", Err("failed to decode iteration item: "));
        check(b"{}", b"{}", b"1", b"{", Err("failed to decode parameters: "));
        check(b"{}", b"null", b"[1]", b"3", Err("failed to decode parameters: "));
        check(b"{}", b"{\"resolverContext\":1}", b"[1]", b"{}", Ok("{}"));

        check(b"{", b"{", b"{", b"{", Err("failed to decode input: "));
        check(b"[", b"\xff", b"{", b"{", Err("failed to decode input: "));
        check(b"{}", b"{", b"{", b"{", Err("failed to decode context: "));
        check(b"", b"{}", b"{", b"{", Err("failed to decode iteration item: "));
    }

    /// Contract item 54.
    #[test]
    fn the_smaller_calls_name_their_own_field() {
        let message = |field, bytes: &[u8]| object(field, bytes).map_err(|refusal| refusal.message);
        assert_eq!(message("input", b""), Ok(Json::null()));
        assert_eq!(message("input", b"{}"), Ok(Json::from_text("{}")));
        let not_one = |field: &str| Err(format!("failed to decode {field}: not an object"));
        assert_eq!(message("input", b"[]"), not_one("input"));
        assert_eq!(message("inputs", b"[]"), not_one("inputs"));
        assert!(message("inputs", b"\xff").is_err_and(|text| text.starts_with("failed to decode inputs: ")));
    }
}
