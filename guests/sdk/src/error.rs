//! Why a call to a plugin failed.

use std::error::Error as StdError;

/// Why a call failed.
///
/// Any error converts into this with `?`; the message is then the error's own, followed by those of its
/// sources. For that to compile, this type does not implement [`std::error::Error`] itself.
///
/// A boxed error, or one of `anyhow`'s, does not implement it either, so `?` does not take it. What is in it converts:
///
/// ```
/// use portcullis_sdk::Error;
///
/// fn read() -> Result<u16, Box<dyn std::error::Error>> {
///     Ok("port".parse()?)
/// }
///
/// fn execute() -> Result<u16, Error> {
///     read().map_err(|e| Error::from(&*e))
/// }
/// # assert_eq!(execute(), Err(Error::new("invalid digit found in string")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The plugin does not implement this call. The host falls back on another one or does without.
    Unimplemented,
    /// The plugin understood the request and declines it.
    Refused(Refusal),
}

impl Error {
    /// Makes a refusal of nothing but a message for the user.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(message))
    }

    /// Makes the usual refusal of a provider that this plugin does not offer.
    #[must_use]
    pub fn unknown_provider(name: &str) -> Self {
        Self::new(format!("unknown provider: {name}"))
    }

    /// Makes the usual refusal of an auth handler that this plugin does not offer.
    #[must_use]
    pub fn unknown_handler(name: &str) -> Self {
        Self::new(format!("unknown handler: {name}"))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: StdError> From<E> for Error {
    fn from(error: E) -> Self {
        Self::new(with_sources(&error))
    }
}

/// Writes an error and what caused it, each once.
fn with_sources(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Why a plugin declines a request, in its own words.
///
/// ```
/// use portcullis_sdk::{Diagnostic, Error, Refusal};
///
/// fn find(path: &str) -> Result<String, Error> {
///     let missing = Diagnostic::error("no such file").detail(path).attribute("path");
///     Err(Refusal::new(format!("cannot read {path}")).exit_code(4).diagnostic(missing).into())
/// }
/// # assert!(matches!(find("a"), Err(Error::Refused(r)) if r.exit_code == Some(4)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The message for the user.
    pub message: String,
    /// The exit code to end with; never 0.
    pub exit_code: Option<i32>,
    /// Remarks on the request. Those that are errors are shown in place of the message.
    pub diagnostics: Vec<Diagnostic>,
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
}

/// One remark on a request.
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
    /// Unspecified.
    #[default]
    Invalid,
    /// The request fails because of it.
    Error,
    /// The user should know.
    Warning,
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Outer(fmt::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_tells_its_sources_once() {
        let inner = fmt::Error.to_string();
        assert_eq!(Error::from(Outer(fmt::Error)), Error::new(format!("outer: {inner}")));
    }

    #[test]
    fn exit_code_0_is_none() {
        assert_eq!(Refusal::new("no").exit_code(3).exit_code, Some(3));
        assert_eq!(Refusal::new("no").exit_code(3).exit_code(0).exit_code, None);
    }
}
