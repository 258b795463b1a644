//! The mark by which a shim is recognized.

use memchr::memmem;

/// Begins the text in a shim's data, and ends with the form of the files that it reads. The fingerprint of its
/// component backend follows, and [`HTTP`] or [`NO_HTTP`], with a zero after each.
pub const MARK: &str = "portcullis shim, by this mark, for PCSHIM02";
/// The word of a shim that runs components which import wasi:http.
pub const HTTP: &str = "http";
/// The word of one that does not.
pub const NO_HTTP: &str = "no-http";

/// What the mark of a shim says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The fingerprint that a component has to be compiled for.
    pub engine: String,
    /// Whether components that import wasi:http run in it.
    pub http: bool,
}

impl Mark {
    /// Finds the mark in a program. `None` when it is not a shim.
    #[must_use]
    pub fn find(program: &[u8]) -> Option<Self> {
        memmem::find_iter(program, MARK).find_map(|at| {
            let mut words = program.get(at + MARK.len()..)?.strip_prefix(b"\0")?.splitn(3, |byte| *byte == 0);
            let engine = str::from_utf8(words.next()?).ok()?.to_owned();
            let http = match words.next()? {
                word if word == HTTP.as_bytes() => true,
                word if word == NO_HTTP.as_bytes() => false,
                _ => return None,
            };
            Some(Self { engine, http })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, expected: Option<(&str, bool)>) {
        let expected = expected.map(|(engine, http)| Mark { engine: engine.to_owned(), http });
        assert_eq!(Mark::find(program.as_bytes()), expected, "{program:?}");
    }

    #[test]
    fn the_mark_of_a_shim_names_the_form_of_files() {
        assert!(MARK.as_bytes().ends_with(&crate::layout::MAGIC));
    }

    #[test]
    fn a_shim_is_told_by_its_mark() {
        check("", None);
        check(MARK, None);
        check(&format!("x{MARK}an engine\0http\0"), None);
        check(&format!("x{MARK}\0an engine\0"), None);
        check(&format!("x{MARK}\0an engine\0https\0"), None);
        check(&format!("x{MARK}\0an engine\0http\0y"), Some(("an engine", true)));
        // A program that looks for marks has the text of one in its own data.
        check(&format!("{MARK}httpno-http\0{MARK}\0an engine\0no-http\0"), Some(("an engine", false)));
    }
}
