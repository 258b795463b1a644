//! A refusal: a plugin's own error, in its own words.

use std::error::Error;
use std::fmt;

/// Why a plugin declined a request, in its own words, for the user. Retrying changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What the plugin said.
    pub message: String,
    /// The exit code that it named; never 0.
    pub exit_code: Option<i32>,
    /// Its remarks.
    pub diagnostics: Vec<Diagnostic>,
}

impl Refusal {
    /// Makes a refusal of nothing but a message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Returns the diagnostics of severity *error*, one to a line; `None` when there are none.
    ///
    /// Upstream shows them in place of the message (contract spec 4.6).
    #[must_use]
    pub fn error_diagnostics(&self) -> Option<String> {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        let lines: Vec<_> = errors.map(Diagnostic::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// Writes the diagnostics that are errors, or else the message.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error_diagnostics().as_deref().unwrap_or(&self.message))
    }
}

impl Error for Refusal {}

/// One remark of a plugin on what it was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a line.
    pub summary: String,
    /// More about it; may be empty.
    pub detail: String,
    /// The input that it is about; may be empty.
    pub attribute: String,
}

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// The plugin did not say.
    #[default]
    Invalid,
    /// The request failed because of it.
    Error,
    /// The user should know.
    Warning,
}

/// Writes upstream's form: `summary: detail (attribute: a)`, without what is empty (contract spec 4.6).
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = match self.summary.as_str() {
            "" => "unknown error (empty diagnostic summary)",
            summary => summary,
        };
        f.write_str(summary)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if !self.attribute.is_empty() {
            write!(f, " (attribute: {})", self.attribute)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(summary: &str, detail: &str, attribute: &str, expected: &str) {
        let [summary, detail, attribute] = [summary, detail, attribute].map(str::to_owned);
        let diagnostic = Diagnostic { severity: Severity::Error, summary, detail, attribute };
        assert_eq!(diagnostic.to_string(), expected);
    }

    /// Contract items 104 and 105.
    #[test]
    fn a_diagnostic_reads_as_it_does_upstream() {
        check("s", "d", "a", "s: d (attribute: a)");
        check("s", "", "a", "s (attribute: a)");
        check("s", "d", "", "s: d");
        check("s", "", "", "s");
        check("", "d", "a", "unknown error (empty diagnostic summary): d (attribute: a)");
        check("", "", "", "unknown error (empty diagnostic summary)");
    }

    /// Contract items 102, 103 and 106.
    #[test]
    fn only_diagnostics_that_are_errors_take_the_place_of_the_message() {
        let remark = |severity, summary: &str| Diagnostic {
            severity,
            summary: summary.to_owned(),
            ..Diagnostic::default()
        };
        let mut refusal = Refusal::new("no");
        refusal.diagnostics = vec![remark(Severity::Warning, "w"), remark(Severity::Invalid, "i")];
        assert_eq!(refusal.to_string(), "no");

        refusal.diagnostics.extend([remark(Severity::Error, "one"), remark(Severity::Error, "two")]);
        assert_eq!(refusal.to_string(), "one\ntwo");
    }
}
