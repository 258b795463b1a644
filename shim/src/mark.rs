//! The text in a shim's own data by which it is recognized.
//!
//! `portcullis wrap` looks for it, so that a component never ends up behind a program that does not read it, or behind
//! a shim of another version.

use portcullis::component::FINGERPRINT;
use portcullis_bundle::{HTTP, MARK, NO_HTTP};

/// Whether components that import wasi:http run here.
const WORD: &str = if cfg!(feature = "http") { HTTP } else { NO_HTTP };

const LENGTH: usize = MARK.len() + FINGERPRINT.len() + WORD.len() + 3;

/// The mark, the fingerprint and the word, with a zero behind each.
static TEXT: [u8; LENGTH] = {
    let mut text = [0; LENGTH];
    let mut at = 0;
    let parts = [MARK.as_bytes(), FINGERPRINT.as_bytes(), WORD.as_bytes()];
    let mut part = 0;
    while part < parts.len() {
        let mut byte = 0;
        while byte < parts[part].len() {
            text[at] = parts[part][byte];
            at += 1;
            byte += 1;
        }
        at += 1;
        part += 1;
    }
    text
};

/// Returns the fingerprint. It is read from the text, so that the linker keeps that.
pub(crate) fn fingerprint() -> &'static str {
    let mut parts = std::hint::black_box(&TEXT).split(|byte| *byte == 0);
    parts.nth(1).and_then(|part| str::from_utf8(part).ok()).unwrap_or(FINGERPRINT)
}

#[cfg(test)]
mod tests {
    use portcullis_bundle::Mark;

    use super::*;

    #[test]
    fn the_mark_is_what_is_looked_for() {
        let expected = Mark { engine: FINGERPRINT.to_owned(), http: cfg!(feature = "http") };
        assert_eq!(Mark::find(&TEXT), Some(expected));
        assert_eq!(fingerprint(), FINGERPRINT);
    }
}
