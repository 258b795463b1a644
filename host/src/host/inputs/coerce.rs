//! A value, made into another of the type that a schema names, by upstream's rules.
//!
//! Upstream reads and converts with the functions of its language; so do these, and their complaints are
//! in that language's words. Numbers keep their digits wherever upstream does not change the value.

use std::borrow::Cow;

use portcullis_contract::json_string;

use super::super::schema::on_stack;
use super::super::sentences::{self, quote};
use super::super::text;

/// Coerces the text of a value to a type; `None` when it stays as it is.
pub(super) fn coerce(value: &str, kind: &str) -> Result<Option<String>, String> {
    let wrong = || Err(format!("cannot convert {} to {kind}", text::go_type(value)));
    let said = value.starts_with('"').then(|| text::unquote(value));
    let is_number = value.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if value == "null" {
        return Ok(None);
    }
    match (kind, said) {
        ("string", Some(_)) => Ok(None),
        ("string", None) => {
            let shown = if value.starts_with(['{', '[']) { printed(value)? } else { value.to_owned() };
            Ok(Some(json_string(&shown)))
        }
        ("integer", Some(said)) => integer(&said).map(Some).map_err(|why| {
            let said = quote(&said);
            format!("cannot convert {said} to integer: strconv.ParseInt: parsing {said}: {why}")
        }),
        ("integer", None) if is_number => truncated(value),
        ("number", Some(said)) => number(&said).map(Some).map_err(|why| {
            let said = quote(&said);
            format!("cannot convert {said} to number: strconv.ParseFloat: parsing {said}: {why}")
        }),
        ("number", None) if is_number => Ok(None),
        ("boolean", Some(said)) => match said.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Some("true".to_owned())),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Some("false".to_owned())),
            _ => {
                let said = quote(&said);
                Err(format!("cannot convert {said} to boolean: strconv.ParseBool: parsing {said}: {SYNTAX}"))
            }
        },
        ("boolean", None) if matches!(value, "true" | "false") => Ok(None),
        ("array", Some(said)) if said.is_empty() => Ok(Some("[]".to_owned())),
        ("array", Some(said)) => {
            let items: Vec<_> = said.split(',').map(|item| json_string(item.trim())).collect();
            Ok(Some(format!("[{}]", items.join(","))))
        }
        ("array", None) if value.starts_with('[') => Ok(None),
        ("integer" | "number" | "boolean" | "array", _) => wrong(),
        _ => Ok(None),
    }
}

/// Prints a list or an object as upstream does, with the stack that its depth takes.
fn printed(value: &str) -> Result<String, String> {
    let print = || text::to_value(value).map(|value| sentences::plain(&value));
    let depth = text::depth(value).map_err(|e| e.to_string())?;
    on_stack(depth, print)?.map_err(|e| e.to_string())
}

const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// Reads an integer as upstream does: a sign, digits, 64 bits.
fn integer(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SYNTAX);
    }
    text.parse::<i64>().map(|i| i.to_string()).map_err(|_| RANGE)
}

/// Drops what follows the point of a number. A number that is whole already stays as it is.
fn truncated(text: &str) -> Result<Option<String>, String> {
    if !text.contains(['.', 'e', 'E']) {
        return Ok(None);
    }
    let float = text.parse::<f64>().unwrap_or(f64::INFINITY).trunc();
    // 2^63 is the first that does not fit; what lies between is exact.
    if float.abs() >= 9_223_372_036_854_775_808.0 {
        return Err(format!("cannot convert {text} to integer: {RANGE}"));
    }
    Ok(Some(format!("{:.0}", if float == 0.0 { 0.0 } else { float })))
}

/// Reads a number as upstream does. A whole one keeps its digits, however many.
fn number(text: &str) -> Result<String, &'static str> {
    let text = ungrouped(text).ok_or(SYNTAX)?;
    let text: &str = &text;
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let float = match hexadecimal(text) {
        Some(float) => float,
        // What is no digit, sign, point or exponent would be "inf" or "nan", which JSON cannot say.
        None if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            text.parse::<f64>().map_err(|_| SYNTAX)?
        }
        None => return Err(SYNTAX),
    };
    if !float.is_finite() {
        return Err(RANGE);
    }
    if whole {
        let digits = digits.trim_start_matches('0');
        let sign = if text.starts_with('-') { "-" } else { "" };
        return Ok(format!("{sign}{}", if digits.is_empty() { "0" } else { digits }));
    }
    let exponent = float.abs();
    let plain = exponent == 0.0 || (1e-6..1e21).contains(&exponent);
    Ok(if plain { format!("{float}") } else { format!("{float:e}") })
}

/// Takes out the underscores that group the digits of a number, `1_000`; `None` where one stands between
/// anything else. Upstream reads them in numbers, and not in integers.
fn ungrouped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(text.into());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
    let is_digit = |byte: u8| if hexadecimal { byte.is_ascii_hexdigit() } else { byte.is_ascii_digit() };
    let mut before = None;
    let mut bytes = digits.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        // What says that it is hexadecimal may be followed by one, as a digit may.
        let begins = hexadecimal && at == 2;
        let follows = bytes.peek().is_some_and(|(_, next)| is_digit(*next));
        if byte == b'_' && !(follows && (begins || before.is_some_and(is_digit))) {
            return None;
        }
        before = Some(byte);
    }
    Some(text.replace('_', "").into())
}

/// Reads a hexadecimal float, `0x1.8p3`, which upstream's numbers may be.
fn hexadecimal(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"))?;
    let (mantissa, exponent) = rest.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mantissa = u64::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(shift)?;
    #[expect(clippy::cast_precision_loss, reason = "a float holds no more than upstream's does")]
    Some(sign * mantissa as f64 * 2_f64.powi(exponent))
}
