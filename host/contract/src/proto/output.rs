//! The output record (contract spec 2.6): the one JSON text that is taken apart here.
//!
//! Only its outermost object is read. The values of `data` and `metadata` stay the text that they
//! are, however deep, large or odd; nothing here recurses. What upstream's decoder accepts is accepted:
//! keys in any case, unknown keys, a null for a value, anything after the first value.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use portcullis_proto as proto;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Answer, ConvertError, answer, error_text, to_messages};
use crate::decode::expectation;
use crate::{Diagnostic, Json, Output};

impl TryFrom<proto::ExecuteProviderResponse> for Answer<Output> {
    type Error = ConvertError;

    fn try_from(response: proto::ExecuteProviderResponse) -> Result<Self, ConvertError> {
        let proto::ExecuteProviderResponse { output, error, exit_code, diagnostics } = response;
        answer(error, exit_code, diagnostics, |diagnostics| {
            decode(&output, diagnostics)
                .map_err(|source| ConvertError::Undecodable { field: "output", source })
        })
    }
}

impl From<Answer<Output>> for proto::ExecuteProviderResponse {
    fn from(answer: Answer<Output>) -> Self {
        match answer.0 {
            // Upstream's sentence for a result that cannot be sent (contract spec 3.3). Unchecked, a
            // text that is not JSON could add other fields to the record.
            Ok(output) => match encode(&output) {
                Ok(text) => Self {
                    output: Bytes::from(text),
                    diagnostics: to_messages(output.diagnostics),
                    ..Self::default()
                },
                Err(error) => Self {
                    error: format!("failed to encode output: {error}"),
                    diagnostics: to_messages(output.diagnostics),
                    ..Self::default()
                },
            },
            Err(refusal) => Self {
                error: error_text(&refusal),
                exit_code: refusal.exit_code.unwrap_or_default(),
                diagnostics: to_messages(refusal.diagnostics),
                ..Self::default()
            },
        }
    }
}

/// There is no JSON at all. The text is that of upstream's decoder.
#[derive(Debug, Error)]
#[error("EOF")]
struct EndOfInput;

fn decode(bytes: &[u8], diagnostics: Vec<Diagnostic>) -> Result<Output, Box<dyn Error + Send + Sync>> {
    if bytes.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        return Err(EndOfInput.into());
    }
    // Without `end()`, trailing bytes are accepted.
    let record = Record::deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    let record = record.map_err(|error| expectation(&error))?;
    Ok(Output {
        data: record.data.map_or_else(Json::null, json),
        warnings: record.warnings,
        metadata: record.metadata.map(json),
        streamed: record.streamed,
        diagnostics,
    })
}

fn json(raw: &RawValue) -> Json {
    Json::from_text(raw.get())
}

#[derive(Default)]
struct Record<'a> {
    data: Option<&'a RawValue>,
    warnings: Vec<String>,
    metadata: Option<&'a RawValue>,
    streamed: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Record<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an output record")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Record::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut record = Record::default();
                // Keys are raw, too: one that no string can hold is just an unknown key.
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let key: String = serde_json::from_str(key.get()).unwrap_or_default();
                    record.set(&key, value).map_err(de::Error::custom)?;
                }
                Ok(record)
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

impl<'a> Record<'a> {
    /// Takes one field in; of several with the same name the last one counts.
    fn set(&mut self, key: &str, value: &'a RawValue) -> Result<(), String> {
        let wrong = |error: serde_json::Error| format!("{key}: {}", expectation(&error));
        if key.eq_ignore_ascii_case("data") {
            self.data = Some(value);
        } else if key.eq_ignore_ascii_case("warnings") {
            let warnings: Option<Vec<Option<String>>> = serde_json::from_str(value.get()).map_err(wrong)?;
            self.warnings = warnings.unwrap_or_default().into_iter().map(Option::unwrap_or_default).collect();
        } else if key.eq_ignore_ascii_case("metadata") {
            self.metadata = match value.get() {
                "null" => None,
                text if text.starts_with('{') => Some(value),
                _ => return Err(format!("{key}: not an object")),
            };
        } else if key.eq_ignore_ascii_case("streamed") {
            let streamed: Option<bool> = serde_json::from_str(value.get()).map_err(wrong)?;
            self.streamed = streamed.unwrap_or(self.streamed);
        }
        Ok(())
    }
}

/// The size of a record without its values and warnings, in bytes.
const REST: usize = 64;

/// Leaves out empty fields, as upstream does (contract spec 2.6).
fn encode(output: &Output) -> Result<String, serde_json::Error> {
    let data = known(&output.data)?;
    let metadata = output.metadata.as_ref().map(known).transpose()?.filter(|m| !is_empty_object(m));
    if metadata.is_some_and(|m| !m.starts_with('{')) {
        return Err(de::Error::custom("metadata: not an object"));
    }
    let mut text = String::with_capacity(data.len() + metadata.map_or(0, str::len) + REST);
    text.push_str("{\"data\":");
    text.push_str(data);
    if !output.warnings.is_empty() {
        text.push_str(",\"warnings\":");
        text.push_str(&serde_json::to_string(&output.warnings)?);
    }
    if let Some(metadata) = metadata {
        text.push_str(",\"metadata\":");
        text.push_str(metadata);
    }
    if output.streamed {
        text.push_str(",\"streamed\":true");
    }
    text.push('}');
    Ok(text)
}

/// Returns a text that is JSON, without the white space around it.
fn known(json: &Json) -> Result<&str, serde_json::Error> {
    json.check()?;
    Ok(json.as_str().trim_matches([' ', '\t', '\r', '\n']))
}

fn is_empty_object(text: &str) -> bool {
    text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).is_some_and(|t| t.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Refusal, Severity};

    fn read(output: impl Into<Bytes>) -> Result<Answer<Output>, String> {
        let response = proto::ExecuteProviderResponse { output: output.into(), ..Default::default() };
        Answer::try_from(response).map_err(|error| {
            let source = error.source().expect("the output is at fault");
            format!("{error}: {source}")
        })
    }

    fn check(text: &str, expected: &Output) {
        assert_eq!(read(text.to_owned()), Ok(Answer(Ok(expected.clone()))), "{text}");
    }

    fn check_refused(text: &'static [u8], expected: &str) {
        let error = read(text).expect_err("the output is broken");
        assert!(error.starts_with(expected), "{error}");
    }

    fn data(text: &str) -> Output {
        Output::new(Json::from_text(text))
    }

    #[test]
    fn every_field_of_a_record_survives_both_ways() {
        let output = Output {
            data: Json::from_text(r#"{"a":1}"#),
            warnings: vec!["one".to_owned(), "two".to_owned()],
            metadata: Some(Json::from_text(r#"{"m":2}"#)),
            streamed: true,
            diagnostics: vec![Diagnostic {
                severity: Severity::Warning,
                summary: "s".to_owned(),
                detail: "d".to_owned(),
                attribute: "a".to_owned(),
            }],
        };
        let message = proto::ExecuteProviderResponse::from(Answer(Ok(output.clone())));
        assert_eq!(
            message.output,
            r#"{"data":{"a":1},"warnings":["one","two"],"metadata":{"m":2},"streamed":true}"#
        );
        let back = Answer::<Output>::try_from(message.clone()).expect("what leaves us can be read");
        assert_eq!(back, Answer(Ok(output)));
        assert_eq!(proto::ExecuteProviderResponse::from(back), message);
    }

    #[test]
    fn every_field_of_a_refusal_survives_both_ways() {
        let refusal = Refusal {
            message: "no".to_owned(),
            exit_code: Some(-7),
            diagnostics: vec![Diagnostic { severity: Severity::Error, ..Diagnostic::default() }],
            by_library: false,
        };
        let message = proto::ExecuteProviderResponse::from(Answer(Err(refusal.clone())));
        let back = Answer::<Output>::try_from(message.clone()).expect("what leaves us can be read");
        assert_eq!(back, Answer(Err(refusal)));
        assert_eq!(proto::ExecuteProviderResponse::from(back), message);
    }

    #[test]
    fn a_refusal_without_words_stays_a_refusal() {
        let message = proto::ExecuteProviderResponse::from(Answer::<Output>(Err(Refusal::default())));
        assert_eq!(message.error, "no reason given");
    }

    /// Contract item 39.
    #[test]
    fn what_says_nothing_is_left_out() {
        let mut output = data("null");
        output.metadata = Some(Json::from_text("{ }"));
        let message = proto::ExecuteProviderResponse::from(Answer(Ok(output)));
        assert_eq!(message.output, r#"{"data":null}"#);
    }

    #[test]
    fn a_value_is_never_touched() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let values = [
            "9007199254740993",
            "1e400",
            "-1e-400",
            "1.0",
            "-0",
            "123456789012345678901234567890",
            r#"{"b":1,"a":2,"b":3}"#,
            r#"{ "spaced" : [ 1 ,2 ] }"#,
            r#""\ud800 \u003c \/ 🦀 \ud83e\udd80""#,
            r#""""#,
            "null",
            &deep,
        ];
        for value in values {
            check(&format!(r#"{{"data":{value}}}"#), &data(value));
            let mut output = data(value);
            output.metadata = Some(Json::from_text(format!(r#"{{"m":{value}}}"#)));
            let message = proto::ExecuteProviderResponse::from(Answer(Ok(output.clone())));
            let back = Answer::<Output>::try_from(message).expect("what leaves us can be read");
            assert!(back == Answer(Ok(output)), "{}", value.get(..40).unwrap_or(value));
        }
    }

    #[test]
    fn what_upstream_accepts_is_accepted() {
        check("null", &data("null"));
        check("{}", &data("null"));
        check(r#"{"DATA":1,"data":2}"#, &data("2"));
        check(r#"{"data":1,"other":[{}],"\ud800":0}"#, &data("1"));
        check(r#"{"data":1} and then some"#, &data("1"));
        check(" \n{\"data\":1}", &data("1"));
        check(r#"{"data":1,"warnings":null,"metadata":null,"streamed":null}"#, &data("1"));
        let mut odd = data("null");
        odd.warnings = vec![String::new(), "w".to_owned()];
        odd.streamed = true;
        check(r#"{"Warnings":[null,"w"],"STREAMED":true}"#, &odd);
        let deep_and_unknown = format!(r#"{{"x":{}{},"data":7}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep_and_unknown, &data("7"));
        assert!(matches!(read(&b"{\"data\":1}\xff\xfe"[..]), Ok(Answer(Ok(output))) if output == data("1")));
    }

    /// Contract item 110.
    #[test]
    fn what_cannot_be_decoded_is_said_in_upstreams_sentence() {
        check_refused(b"", "failed to decode output: EOF");
        check_refused(b" \n", "failed to decode output: EOF");
        check_refused(b"{", "failed to decode output: EOF while parsing");
        check_refused(b"{\"data\":1", "failed to decode output: EOF while parsing");
        check_refused(b"no", "failed to decode output: expected ident");
        check_refused(b"[1]", "failed to decode output: expected an output record");
        check_refused(b"\"hush\"", "failed to decode output: expected an output record");
        check_refused(b"{\"data\":\"\xff\"}", "failed to decode output: invalid unicode code point");
        check_refused(br#"{"warnings":"hush"}"#, "failed to decode output: warnings: expected a sequence");
        check_refused(br#"{"metadata":[]}"#, "failed to decode output: metadata: not an object");
        check_refused(br#"{"streamed":1}"#, "failed to decode output: streamed: expected a boolean");
        check_refused(&[b'['; 100_000], "failed to decode output: expected an output record");
    }

    #[test]
    fn a_text_that_is_no_json_cannot_pretend_to_be_other_fields() {
        for bad in [r#"1,"streamed":true"#, "", "{", "nul"] {
            let message = proto::ExecuteProviderResponse::from(Answer(Ok(data(bad))));
            assert!(message.error.starts_with("failed to encode output: "), "{bad}: {}", message.error);
            assert!(message.output.is_empty());
        }
        let mut output = data("1");
        output.metadata = Some(Json::from_text("[]"));
        let message = proto::ExecuteProviderResponse::from(Answer(Ok(output)));
        assert_eq!(message.error, "failed to encode output: metadata: not an object");
    }
}
