//! Names of accounts, of which an auth handler may keep several, with upstream's rules of later releases.

use anyhow::bail;

/// Reads a name.
pub(crate) fn parse(text: &str) -> anyhow::Result<String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let begins = text.bytes().next().is_none_or(|first| first.is_ascii_alphanumeric());
    if !(begins && text.bytes().all(is_good) && text.len() <= 64) {
        bail!("an account has a name of up to 64 letters, digits, - and _, of which the first is no mark");
    }
    Ok(text.to_owned())
}

/// Returns the account that is meant; `None` is the usual one, which has no name of its own.
pub(crate) fn meant(name: Option<&str>) -> Option<String> {
    let is_usual =
        |name: &str| ["", "default", "built-in"].iter().any(|usual| name.eq_ignore_ascii_case(usual));
    name.filter(|name| !is_usual(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_account_has_no_name_and_others_a_plain_one() {
        for usual in ["", "default", "Built-In"] {
            assert_eq!(meant(Some(&parse(usual).unwrap())), None, "{usual}");
        }
        assert_eq!(meant(Some(&parse("w-0_k").unwrap())).as_deref(), Some("w-0_k"));
        for bad in ["-work", "_a", "a b", "a/../b", "\u{e9}", &"a".repeat(65)] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
