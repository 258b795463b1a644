//! Why a plugin did not do what it was asked, as its author says it.

use std::error::Error as StdError;
use std::fmt::{self, Display};

use crate::{CallError, Refusal, chain};

/// Why a plugin did not do what it was asked: what its author returns. The SDK calls it `Error`.
///
/// Any error converts into this with `?`; the message is then the error's own, followed by those of its
/// sources. For that to compile, this type does not implement [`std::error::Error`] itself.
///
/// A boxed error, or one of `anyhow`'s, does not implement it either, so `?` does not take it. What is in it converts, and
/// a text does by `.map_err(Error::new)`:
///
/// ```
/// # use portcullis_contract::PluginError as Error;
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
pub enum PluginError {
    /// The plugin does not implement this call. The host falls back on another one or does without.
    Unimplemented,
    /// The plugin understood the request and declines it.
    Refused(Refusal),
}

impl PluginError {
    /// Makes a refusal of nothing but a message for the user.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(message))
    }

    /// Makes the usual refusal of a provider that this plugin does not offer.
    #[must_use]
    pub fn unknown_provider(name: &(impl Display + ?Sized)) -> Self {
        Self::new(format!("unknown provider: {name}"))
    }

    /// Makes the usual refusal of an auth handler that this plugin does not offer.
    #[must_use]
    pub fn unknown_handler(name: &(impl Display + ?Sized)) -> Self {
        Self::new(format!("unknown handler: {name}"))
    }
}

impl Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unimplemented => Display::fmt(&CallError::Unimplemented, f),
            Self::Refused(refusal) => Display::fmt(refusal, f),
        }
    }
}

impl From<Refusal> for PluginError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: StdError> From<E> for PluginError {
    fn from(error: E) -> Self {
        Self::new(chain(&error))
    }
}

impl From<PluginError> for CallError {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Unimplemented => Self::Unimplemented,
            PluginError::Refused(refusal) => Self::Refused(refusal),
        }
    }
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
        assert_eq!(PluginError::from(Outer(fmt::Error)), PluginError::new(format!("outer: {inner}")));
    }
}
