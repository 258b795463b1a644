//! The regular expression with which a plugin narrows a list of names.
//!
//! A plugin wrote it, so its length, its compiled size and the error of a bad one are bounded; matching is linear.

use portcullis_contract::HostError;
use regex::bytes::{Regex, RegexBuilder};

/// The longest pattern, in bytes (contract spec 5.4).
const LONGEST: usize = 256;

/// The largest compiled pattern, in bytes. A guess: what a person writes takes a tenth of it, and larger ones would
/// hold up every other call.
const LARGEST_COMPILED: usize = 1 << 20;

/// How many names are looked at in one go.
pub(super) const TURN: usize = 256;

/// A pattern that is found anywhere in a name.
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Reads a pattern that is not empty.
    pub(super) fn parse(text: &str) -> Result<Self, HostError> {
        if text.len() > LONGEST {
            return Err(HostError::Invalid(format!("pattern too long: max {LONGEST} characters")));
        }
        // As in upstream's language `\w` and its like mean ASCII, which also compiles to little; a
        // pattern with letters beyond it is read in the second try.
        let compile = |unicode| RegexBuilder::new(text).unicode(unicode).size_limit(LARGEST_COMPILED).build();
        compile(false)
            .or_else(|_| compile(true))
            .map(Self)
            .map_err(|error| HostError::Invalid(format!("invalid pattern: {}", reason(&error))))
    }

    /// Returns whether it is found in a name.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

/// Returns what is wrong in one line, without the drawing that comes before it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: Result<bool, &str>) {
        let found = Pattern::parse(pattern).map(|pattern| pattern.matches(name));
        match (found, expected) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{pattern:?} in {name:?}"),
            (Err(error), Err(wanted)) => {
                let text = error.to_string();
                assert!(text.starts_with(wanted), "{pattern:?}: {text}");
                assert!(text.lines().count() == 1 && text.len() < 200, "{pattern:?}: {text}");
            }
            (found, wanted) => panic!("{pattern:?} in {name:?}: {found:?}, expected {wanted:?}"),
        }
    }

    #[test]
    fn a_pattern_is_found_anywhere_in_the_name() {
        // Item 159.
        check("hub", "github.token", Ok(true));
        check("^hub", "github.token", Ok(false));
        check("^github\\.(token|key)$", "github.token", Ok(true));
        check("(?i)TOKEN", "github.token", Ok(true));
        check("\\d{2,}", "key.42", Ok(true));
        check("^[\\w.-]{1,64}$", "github.token-1", Ok(true));
        check("\\w", "\u{e9}", Ok(false));
        check("\u{e9}", "caf\u{e9}", Ok(true));
        check("[\u{e9}]", "caf\u{e9}", Ok(true));
        check("\\pL", "caf\u{e9}", Ok(true));
    }

    #[test]
    fn a_pattern_is_at_most_256_bytes_long() {
        // Item 160.
        check(&"a".repeat(256), "a", Ok(false));
        check(&"a".repeat(257), "a", Err("pattern too long: max 256 characters"));
        check(&"\u{e9}".repeat(129), "a", Err("pattern too long: max 256 characters"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_refused_in_one_line() {
        // Item 161.
        for bad in ["(", "[a", "a**?b{", "(?=a)", "\\1", "*", "\u{0}(", "x{2,1}"] {
            check(bad, "a", Err("invalid pattern: "));
        }
    }

    #[test]
    fn a_pattern_that_explodes_is_refused() {
        check("(((a{100}){100}){100}){100}", "a", Err("invalid pattern: "));
        check("(\\pL{500}){500}", "a", Err("invalid pattern: "));
        check(&"(".repeat(256), "a", Err("invalid pattern: "));
        // Linear: a backtracking engine would not come back.
        check("^(a+)+$", &format!("{}b", "a".repeat(10_000)), Ok(false));
    }
}
