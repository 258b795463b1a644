//! Names that plugins and people ask for: which are valid, how they are shown, and which one may have been meant.

use std::borrow::Cow;

use portcullis_contract::HostError;

/// The longest name of a secret, in bytes (contract spec 5.3).
const LONGEST_NAME: usize = 256;

/// Applies upstream's rules of names, in upstream's order (contract spec 5.3).
pub(crate) fn check_name(name: &str) -> Result<(), HostError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let problem = if name.is_empty() {
        "secret name must not be empty".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("secret name exceeds maximum length of {LONGEST_NAME}")
    } else if !name.bytes().all(plain) {
        "secret name contains invalid characters".to_owned()
    } else if name.contains("..") {
        "secret name must not contain path traversal sequences".to_owned()
    } else {
        return Ok(());
    };
    Err(HostError::Invalid(problem))
}

/// Cuts what a plugin said to a length that fits in a log or an error.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_NAME) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default())),
    }
}

/// Puts a name in quotes the way Go does; [cut](shown), for a plugin may ask for one of any length.
pub(crate) fn quoted(name: &str) -> String {
    portcullis_contract::quoted(&shown(name))
}

/// Returns the name nearest to one that is not among them, at most `most` edits away, and how many edits it takes.
pub(crate) fn nearest<'n>(
    name: &str,
    names: impl Iterator<Item = &'n str>,
    most: usize,
) -> Option<(usize, &'n str)> {
    let length = name.chars().count();
    // Lengths that differ by more than `most` rule a name out, however long it is.
    let close = |other: &&str| other.chars().count().abs_diff(length) <= most;
    let near = names.filter(close).map(|other| (distance(name, other), other)).min();
    near.filter(|(far, _)| *far <= most)
}

/// Counts the edits between two names (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(quoted(text), expected, "{text:?}");
    }

    #[test]
    fn a_name_is_quoted_as_go_quotes_it() {
        check("", "\"\"");
        check("github", "\"github\"");
        check("it's \"a\\b\"", "\"it's \\\"a\\\\b\\\"\"");
        check("\u{0}\u{1b}\u{7f}\u{7}\n", "\"\\x00\\x1b\\x7f\\a\\n\"");
        check("caf\u{e9} \u{4e16}", "\"caf\u{e9} \u{4e16}\"");
        check("\u{200b}\u{a0}\u{10ffff}", "\"\\u200b\\u00a0\\U0010ffff\"");
        check("cafe\u{301}\u{85}\u{e0001}", "\"cafe\u{301}\\u0085\\U000e0001\"");
        check(&"\u{1}".repeat(1_000), &format!("\"{}...\"", "\\x01".repeat(256)));
    }
}
