//! A refusal: a plugin's own error, in its own words.

use std::fmt;

/// Why a plugin declined a request, in its own words, for the user. Retrying changes nothing.
///
/// ```
/// # use portcullis_contract::{Diagnostic, Refusal};
/// let missing = Diagnostic::error("no such file").detail("/etc/a").attribute("path");
/// let refusal = Refusal::new("cannot read /etc/a").exit_code(4).diagnostic(missing);
/// assert_eq!(refusal.to_string(), "no such file: /etc/a (attribute: path)");
/// ```
///
/// It is no [`std::error::Error`], so that the error of a plugin's author can be made of it and of every such error alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What the plugin said.
    pub message: String,
    /// The exit code to end with, for hosts that pass it on (the command `portcullis` ends with 1, as upstream does); never 0.
    pub exit_code: Option<i32>,
    /// Its remarks. Those that are errors are shown in place of the message.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether the plugin's library refused the call in place of the plugin, as libraries in other languages do when the
    /// plugin's code breaks. No plugin says this itself. Upstream has other words around it.
    pub by_library: bool,
}

impl Refusal {
    /// Makes a refusal of nothing but a message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Sets the exit code to end with. 0 sets none.
    #[must_use]
    pub fn exit_code(mut self, code: i32) -> Self {
        self.exit_code = (code != 0).then_some(code);
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn diagnostic(mut self, diagnostic: Diagnostic) -> Self {
        self.diagnostics.push(diagnostic);
        self
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

impl Diagnostic {
    /// Makes a remark that says why the request fails.
    #[must_use]
    pub fn error(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Error, summary: summary.into(), ..Self::default() }
    }

    /// Makes a remark that warns the user.
    #[must_use]
    pub fn warning(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, summary: summary.into(), ..Self::default() }
    }

    /// Adds details.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names the input that it is about.
    #[must_use]
    pub fn attribute(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = attribute.into();
        self
    }
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
        let unsaid = Diagnostic { summary: "i".to_owned(), ..Diagnostic::default() };
        let refusal = Refusal::new("no").diagnostic(Diagnostic::warning("w")).diagnostic(unsaid);
        assert_eq!(refusal.to_string(), "no");

        let refusal = refusal.diagnostic(Diagnostic::error("one")).diagnostic(Diagnostic::error("two"));
        assert_eq!(refusal.to_string(), "one\ntwo");
    }

    #[test]
    fn exit_code_0_is_none() {
        assert_eq!(Refusal::new("no").exit_code(3).exit_code, Some(3));
        assert_eq!(Refusal::new("no").exit_code(3).exit_code(0).exit_code, None);
    }
}
