//! What a guest answers: an output, or a refusal.

use portcullis_contract::{CallError, Diagnostic, Json, Output, Refusal, Severity};

use crate::component::bindings::portcullis::plugin::types;
use crate::component::convert::{ConvertError, each, json, object};

impl From<types::PluginError> for CallError {
    fn from(from: types::PluginError) -> Self {
        match from {
            types::PluginError::Unimplemented => Self::Unimplemented,
            types::PluginError::Failed(failure) => Self::Refused(failure.into()),
        }
    }
}

impl From<types::Failure> for Refusal {
    fn from(from: types::Failure) -> Self {
        let types::Failure { message, exit_code, diagnostics } = from;
        // A refusal that names success names nothing; on the wire, too, 0 is "not said".
        let exit_code = exit_code.filter(|code| *code != 0);
        let mut refusal = Self { message, exit_code, diagnostics: each(diagnostics), by_library: false };
        if refusal.message.is_empty() {
            // On the wire an empty message would mean success, so there it becomes these words; here, too.
            refusal.message = refusal.error_diagnostics().unwrap_or_else(|| "no reason given".to_owned());
        }
        refusal
    }
}

impl From<types::Diagnostic> for Diagnostic {
    fn from(from: types::Diagnostic) -> Self {
        let types::Diagnostic { severity, summary, detail, attribute } = from;
        let severity = match severity {
            types::Severity::Invalid => Severity::Invalid,
            types::Severity::Error => Severity::Error,
            types::Severity::Warning => Severity::Warning,
        };
        Self { severity, summary, detail, attribute }
    }
}

impl TryFrom<types::Output> for Output {
    type Error = ConvertError;

    fn try_from(from: types::Output) -> Result<Self, ConvertError> {
        let types::Output { data, warnings, metadata, streamed, diagnostics } = from;
        Ok(Self {
            data: json("the data of the output", data)?,
            warnings,
            metadata: metadata
                .map(|text| object("the metadata of the output", text))
                .transpose()?
                .filter(|metadata| !is_empty(metadata)),
            streamed,
            diagnostics: each(diagnostics),
        })
    }
}

/// Tells an object with nothing in it, which the wire leaves out.
fn is_empty(object: &Json) -> bool {
    object.as_str().split_ascii_whitespace().flat_map(str::chars).eq("{}".chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_of_a_refusal_is_never_0() {
        let failure = |exit_code| types::Failure { message: "no".to_owned(), exit_code, diagnostics: vec![] };
        assert_eq!(Refusal::from(failure(Some(0))).exit_code, None);
        assert_eq!(Refusal::from(failure(Some(7))).exit_code, Some(7));
    }

    #[test]
    fn metadata_without_anything_in_it_is_none() {
        let metadata = |text: &str| {
            let output = types::Output {
                data: "null".to_owned(),
                warnings: vec![],
                metadata: Some(text.to_owned()),
                streamed: false,
                diagnostics: vec![],
            };
            Output::try_from(output).unwrap().metadata
        };
        assert_eq!((metadata("{}"), metadata(" { \n} ")), (None, None));
        assert_eq!(metadata(r#"{"":1}"#), Some(Json::from_text(r#"{"":1}"#)));
    }
}
