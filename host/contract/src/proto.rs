//! Conversions between the vocabulary and the messages of the wire.
//!
//! What leaves us converts with `From`; what comes in with `TryFrom`, or with `From` if it cannot be wrong. Every
//! message of providers, auth handlers and the host service converts both ways, because a server of the contract
//! needs the reverse of what a host needs.
//!
//! JSON crosses as text. Of an output record the outermost object is taken apart, and no value inside
//! it is parsed.

mod auth;
mod descriptor;
mod execute;
mod failure;
#[cfg(test)]
mod fuzz;
mod host_service;
mod output;
mod schema;

use std::error::Error;
use std::fmt::Display;

use bytes::Bytes;
use portcullis_proto as proto;
use thiserror::Error;

use crate::{Diagnostic, Json, Refusal, Severity};

pub use auth::{ConfigureAuth, For, LoginItem, Purged};
pub use execute::{Configure, StreamItem};
pub use failure::{FAILURE, failure_line, read_failure};
pub use host_service::HostAnswer;

/// Why a message is not one of the contract.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A required field is missing.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field that holds JSON text is not even text.
    #[error("{field} is not UTF-8")]
    NotText {
        /// The field.
        field: &'static str,
        /// Where it stops being UTF-8.
        #[source]
        source: std::str::Utf8Error,
    },
    /// A field cannot be decoded. The text is upstream's (contract spec 3.5).
    #[error("failed to decode {field}")]
    Undecodable {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a plugin answered, or its refusal. A type of its own for the sake of `From`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T>(pub Result<T, Refusal>);

/// Makes an answer of the fields of a response: it is a refusal if `error` is not empty (contract spec 4.6).
fn answer<T>(
    error: String,
    exit_code: i32,
    diagnostics: Vec<proto::Diagnostic>,
    value: impl FnOnce(Vec<Diagnostic>) -> Result<T, ConvertError>,
) -> Result<Answer<T>, ConvertError> {
    let diagnostics = diagnostics.into_iter().map(Diagnostic::from).collect();
    if error.is_empty() {
        return Ok(Answer(Ok(value(diagnostics)?)));
    }
    let exit_code = (exit_code != 0).then_some(exit_code);
    Ok(Answer(Err(Refusal { message: error, exit_code, diagnostics, by_library: false })))
}

impl<T: Default> Answer<T> {
    /// Returns the fields of a message that has diagnostics: the value or an empty one, the text of `error`, and the
    /// diagnostics.
    fn split(self) -> (T, String, Vec<proto::Diagnostic>) {
        match self.0 {
            Ok(value) => (value, String::new(), Vec::new()),
            Err(refusal) => (T::default(), error_text(&refusal), to_messages(refusal.diagnostics)),
        }
    }

    /// Does the same for a message without diagnostics: `error` holds what is shown of a refusal.
    fn split_words(self) -> (T, String) {
        match self.0 {
            Ok(value) => (value, String::new()),
            Err(refusal) => (T::default(), words(&refusal)),
        }
    }
}

/// Returns the message of a refusal, or what is shown of it where it has none.
fn error_text(refusal: &Refusal) -> String {
    non_empty(refusal.message.clone()).unwrap_or_else(|| words(refusal))
}

/// Returns what is shown of it, which is never empty: an empty text would mean success.
fn words(error: &impl Display) -> String {
    non_empty(error.to_string()).unwrap_or_else(|| "no reason given".to_owned())
}

/// Takes the text of a field of JSON.
fn text(field: &'static str, bytes: Bytes) -> Result<Json, ConvertError> {
    match String::from_utf8(bytes.into()) {
        Ok(text) => Ok(Json::from_text(text)),
        Err(error) => Err(ConvertError::NotText { field, source: error.utf8_error() }),
    }
}

/// Takes the text of a field of JSON that may be empty.
fn optional_text(field: &'static str, bytes: Bytes) -> Result<Option<Json>, ConvertError> {
    if bytes.is_empty() { Ok(None) } else { text(field, bytes).map(Some) }
}

fn to_bytes(json: Json) -> Bytes {
    Bytes::from(json.into_string())
}

fn to_optional_bytes(json: Option<Json>) -> Bytes {
    json.map(to_bytes).unwrap_or_default()
}

/// Reads an empty text as none.
fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl From<proto::Diagnostic> for Diagnostic {
    fn from(diagnostic: proto::Diagnostic) -> Self {
        // A number of a later contract counts as unspecified.
        let severity = match diagnostic.severity() {
            proto::diagnostic::Severity::Invalid => Severity::Invalid,
            proto::diagnostic::Severity::Error => Severity::Error,
            proto::diagnostic::Severity::Warning => Severity::Warning,
        };
        let proto::Diagnostic { severity: _, summary, detail, attribute } = diagnostic;
        Self { severity, summary, detail, attribute }
    }
}

impl From<Diagnostic> for proto::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic { severity, summary, detail, attribute } = diagnostic;
        let severity = match severity {
            Severity::Invalid => proto::diagnostic::Severity::Invalid,
            Severity::Error => proto::diagnostic::Severity::Error,
            Severity::Warning => proto::diagnostic::Severity::Warning,
        };
        Self { severity: severity.into(), summary, detail, attribute }
    }
}

fn to_messages(diagnostics: Vec<Diagnostic>) -> Vec<proto::Diagnostic> {
    diagnostics.into_iter().map(proto::Diagnostic::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract item 19.
    #[test]
    fn a_severity_survives_and_an_unknown_one_is_one_that_was_not_said() {
        for (severity, number) in [(Severity::Invalid, 0), (Severity::Error, 1), (Severity::Warning, 2)] {
            let diagnostic = Diagnostic {
                severity,
                summary: "s".to_owned(),
                detail: "d".to_owned(),
                attribute: "a".to_owned(),
            };
            let message = proto::Diagnostic::from(diagnostic.clone());
            assert_eq!(message.severity, number);
            assert_eq!(Diagnostic::from(message), diagnostic);
        }
        let unknown = proto::Diagnostic { severity: 77, ..proto::Diagnostic::default() };
        assert_eq!(Diagnostic::from(unknown).severity, Severity::Invalid);
    }
}
