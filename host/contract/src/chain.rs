//! An error in one line.

use std::error::Error;
use std::fmt::Write as _;

/// Returns an error and the causes behind it in one line: `cannot read the policy: no such file`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        // Writing to a text does not fail.
        _ = write!(said, ": {source}");
        next = source.source();
    }
    said
}
