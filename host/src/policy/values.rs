//! The values of a policy, each read by itself: what is written, or what is wrong with it and where.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use portcullis_contract::{InstanceReuse, NamePattern};
use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::amounts::{duration, size};
use crate::names::check_name;

/// A value, and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A problem, and the byte at which it was found.
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) text: String,
}

impl Found {
    pub(super) fn new(span: Range<usize>, text: impl Into<String>) -> Self {
        Self { at: span.start, text: text.into() }
    }

    pub(super) fn place(self, text: &str) -> Problem {
        let before = text.get(..self.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            text: self.text,
        }
    }
}

pub(super) fn instances(value: &Value<'_>) -> Result<InstanceReuse, Found> {
    let written = text(value)?;
    let number = written.strip_prefix("pooled:");
    let pooled = number.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok());
    match (written, pooled) {
        ("per-call", _) => Ok(InstanceReuse::PerCall),
        ("single", _) => Ok(InstanceReuse::Single),
        (_, Some(number)) if number > 0 => Ok(InstanceReuse::Pooled(number)),
        _ => Err(Found::new(
            value.span(),
            format!(
                "{written:?} is not understood; write \"per-call\", \"single\" or \"pooled:N\", N from 1 to {}",
                u16::MAX
            ),
        )),
    }
}

/// Reads a pattern of names of secrets. One that can match no name is refused as a misspelled grant.
pub(super) fn secret(value: &Value<'_>) -> Result<NamePattern, Found> {
    let pattern: NamePattern = parsed(value)?;
    // If the rest of the pattern is not a valid name, no text for the star makes it one.
    match check_name(&pattern.as_str().replace('*', "x")) {
        Ok(()) => Ok(pattern),
        Err(error) => {
            Err(Found::new(value.span(), format!("{:?} matches no secret: {error}", pattern.as_str())))
        }
    }
}

pub(super) fn variable(value: &Value<'_>) -> Result<String, Found> {
    let name = text(value)?;
    let wrong = |text: String| Err(Found::new(value.span(), text));
    if let Some((before, _)) = name.split_once('=') {
        return wrong(format!(
            "{before:?} has a value here, but only names are granted; write {before:?} alone"
        ));
    }
    if name.is_empty() || name.contains(['\0', '*']) {
        return wrong(format!("{name:?} names no variable; write each name out, without *"));
    }
    Ok(name.to_owned())
}

pub(super) fn guest_path(value: &Value<'_>) -> Result<String, Found> {
    let path = text(value)?;
    let Some(relative) = path.strip_prefix('/') else {
        let text = format!("{path:?} is not absolute; the guest finds the directory at a path like \"/out\"");
        return Err(Found::new(value.span(), text));
    };
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if relative.is_empty() || relative.split('/').all(plain) {
        return Ok(path.to_owned());
    }
    let text =
        format!("{path:?} takes detours; write it without \".\", \"..\", \"//\" and a slash at the end");
    Err(Found::new(value.span(), text))
}

pub(super) fn bytes(value: &Value<'_>) -> Result<u64, Found> {
    size(amount(value, "a size in quotes, like \"64MiB\"")?).map_err(|text| Found::new(value.span(), text))
}

pub(super) fn time(value: &Value<'_>) -> Result<Duration, Found> {
    duration(amount(value, "a duration in quotes, like \"30s\"")?)
        .map_err(|text| Found::new(value.span(), text))
}

fn amount<'v>(value: &'v Value<'_>, form: &str) -> Result<&'v str, Found> {
    value.get_ref().as_str().ok_or_else(|| wrong(value, form))
}

pub(super) fn count(value: &Value<'_>) -> Result<u32, Found> {
    let number = value.get_ref().as_integer();
    let number = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()).filter(|n| *n > 0);
    number.ok_or_else(|| {
        Found::new(value.span(), format!("expected a whole number from 1 to {}, without quotes", u32::MAX))
    })
}

/// Reads any value as JSON. Dates, infinities and NaN have no JSON, and are refused.
pub(super) fn json(value: &Value<'_>) -> Result<serde_json::Value, Found> {
    let number = |n: Option<Number>| {
        n.map(serde_json::Value::Number).ok_or_else(|| wrong(value, "a number that JSON has, of 64 bits"))
    };
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into()),
        DeValue::Boolean(flag) => Ok((*flag).into()),
        DeValue::Integer(n) => number(i64::from_str_radix(n.as_str(), n.radix()).ok().map(Number::from)),
        DeValue::Float(n) => number(n.as_str().parse().ok().and_then(Number::from_f64)),
        DeValue::Datetime(_) => Err(wrong(value, "what JSON has (a date is a text in quotes)")),
        DeValue::Array(values) => values.iter().map(json).collect(),
        DeValue::Table(fields) => {
            fields.iter().map(|(key, value)| Ok((key.get_ref().clone().into_owned(), json(value)?))).collect()
        }
    }
}

pub(super) fn word<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, Found> {
    let written = text(value)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == written) {
        return Ok(*meaning);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    Err(Found::new(value.span(), format!("{written:?} is not understood; write {}", known.join(" or "))))
}

pub(super) fn parsed<T: FromStr<Err: ToString>>(value: &Value<'_>) -> Result<T, Found> {
    let written = text(value)?;
    written.parse().map_err(|error: T::Err| {
        Found::new(value.span(), format!("{written:?} is not understood: {}", error.to_string()))
    })
}

pub(super) fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, Found> {
    value.get_ref().as_str().ok_or_else(|| wrong(value, "a text in quotes"))
}

pub(super) fn table<'v, 't>(value: &'v Value<'t>) -> Result<&'v DeTable<'t>, Found> {
    value.get_ref().as_table().ok_or_else(|| wrong(value, "a table"))
}

pub(super) fn wrong(value: &Value<'_>, expected: &str) -> Found {
    Found::new(value.span(), format!("expected {expected}, found {}", value.get_ref().type_str()))
}
