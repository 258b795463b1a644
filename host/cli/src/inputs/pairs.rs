//! `key=value,value,key=value`, with quotes and with values that hold commas of their own.
//!
//! Pure. The rules are upstream's, oddities included: a quote may open anywhere in a value, and a value
//! that starts like `json://` or `https://` goes on until something looks like the next key.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use portcullis_contract::quoted;

/// After these a comma and a quote stand for themselves.
const SCHEMES: [&str; 6] = ["json://", "yaml://", "base64://", "http://", "https://", "file://"];

/// Returns the keys of one argument, each with its values in their order.
pub(super) fn parse(text: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let entries = split(text).with_context(|| format!("failed to parse CSV in {}", quoted(text)))?;
    let mut pairs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut last_key = String::new();
    let mut expanded = Vec::new();
    for entry in entries {
        if let Some((key, _)) = entry.split_once('=') {
            key.trim().clone_into(&mut last_key);
            expanded.push(entry);
        } else if last_key.is_empty() {
            bail!("value {} has no key (no previous key=value pair in this flag)", quoted(&entry));
        } else {
            expanded.push(format!("{last_key}={entry}"));
        }
    }
    for (at, entry) in expanded.iter().enumerate() {
        let (key, value) =
            key_and_value(entry).with_context(|| format!("invalid key-value pair at index {at}"))?;
        pairs.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(pairs)
}

fn key_and_value(entry: &str) -> anyhow::Result<(&str, &str)> {
    let Some((key, value)) = entry.split_once('=') else {
        bail!("missing '=' separator in {}", quoted(entry))
    };
    let key = key.trim();
    if key.is_empty() {
        bail!("empty key in {}", quoted(entry));
    }
    if key.contains([' ', '\t', '\n', '\r']) {
        bail!("key cannot contain whitespace or newlines: {}", quoted(key));
    }
    Ok((key, value))
}

/// Splits at commas, but for those in quotes and in values with a scheme. Quotes are taken off.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    let text = text.trim();
    let mut entries = Vec::new();
    let mut current = String::new();
    let mut quote = None;
    let mut escaped = false;
    let mut in_scheme = false;
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        match (quote, c) {
            (Some(_), _) if escaped => {
                escaped = false;
                current.push(c);
            }
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => current.push(c),
            (None, '"' | '\'') if !in_scheme => quote = Some(c),
            (None, ',') if !in_scheme || looks_like_pair(rest.trim()) => {
                in_scheme = false;
                finish(&mut current, &mut entries);
            }
            (None, _) => {
                in_scheme |= c == '=' && SCHEMES.iter().any(|scheme| rest.starts_with(scheme));
                current.push(c);
            }
        }
    }
    if quote.is_some() {
        bail!("unterminated quote in {}", quoted(text));
    }
    finish(&mut current, &mut entries);
    Ok(entries)
}

fn finish(current: &mut String, entries: &mut Vec<String>) {
    let entry = current.trim();
    if !entry.is_empty() {
        entries.push(entry.to_owned());
    }
    current.clear();
}

fn looks_like_pair(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &[&str])]) {
        let found = parse(text).unwrap();
        let found: Vec<(&str, Vec<&str>)> =
            found.iter().map(|(k, v)| (k.as_str(), v.iter().map(String::as_str).collect())).collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(k, v)| (*k, v.to_vec())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn a_comma_separates_values_and_pairs() {
        check("a=1", &[("a", &["1"])]);
        check("a=1,2,b=3", &[("a", &["1", "2"]), ("b", &["3"])]);
        check(" a = 1 , a=2", &[("a", &[" 1", "2"])]);
        check("a=1,,2,", &[("a", &["1", "2"])]);
        check("a=", &[("a", &[""])]);
        check("a=b=c", &[("a", &["b=c"])]);
    }

    #[test]
    fn quotes_hold_commas_and_escapes() {
        check(r#"a="x, y",z"#, &[("a", &["x, y", "z"])]);
        check(r#"a="say \"hi\"""#, &[("a", &["say \"hi\""])]);
        check(r"a=back\slash", &[("a", &[r"back\slash"])]);
        check("a='it''s'", &[("a", &["its"])]);
    }

    #[test]
    fn a_value_with_a_scheme_ends_where_a_key_begins() {
        check(r#"a=json://{"x":1,"y":[2,3]},b=4"#, &[("a", &[r#"json://{"x":1,"y":[2,3]}"#]), ("b", &["4"])]);
        check("u=https://h/p?q=1,2", &[("u", &["https://h/p?q=1,2"])]);
        check("u=ftp://h/1,2", &[("u", &["ftp://h/1", "2"])]);
    }

    #[test]
    fn what_has_no_key_is_refused() {
        for (bad, reason) in [
            ("a,b=1", "value \"a\" has no key (no previous key=value pair in this flag)"),
            ("=1", "invalid key-value pair at index 0: empty key in \"=1\""),
            (
                "a b=1",
                "invalid key-value pair at index 0: key cannot contain whitespace or newlines: \"a b\"",
            ),
            ("a=\"x", "failed to parse CSV in \"a=\\\"x\": unterminated quote in \"a=\\\"x\""),
        ] {
            assert_eq!(format!("{:#}", parse(bad).unwrap_err()), reason);
        }
    }
}
