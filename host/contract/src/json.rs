//! JSON as text.
//!
//! A plugin's JSON is its own business and its user's. Between the two it is text that nobody takes
//! apart: parsing it would lose what a parser cannot hold (2^53+1, 1e400, `-0`, key order, duplicate
//! keys). Only a room that has to look inside does so, and keeps what it does not change as it was.

use std::fmt;

/// Text that is meant to be JSON. That it is UTF-8 is all that was checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(String);

impl Json {
    /// The text of `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Takes text as it is.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Shows how long the text is, never what it says: it may hold a secret.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}
