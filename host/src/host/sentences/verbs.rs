//! Values as upstream's language prints them: plain, in lists, and as fractions.

use serde_json::Value;

use crate::names::quoted;

/// Prints a value as upstream's `%v` does.
pub(in super::super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    write_plain(value, &mut out);
    out
}

/// All into one text: made of those of its parts, it would be copied at every level.
fn write_plain(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Number(n) if n.is_f64() => out.push_str(&float(n.as_f64().unwrap_or_default())),
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                write_plain(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            out.push_str("map[");
            for (at, (key, value)) in pairs.into_iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                out.push_str(key);
                out.push(':');
                write_plain(value, out);
            }
            out.push(']');
        }
    }
}

/// Prints a float as upstream's `%v` does: with an exponent below 1e-4 and from 1e6 on.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// Prints a number as the fraction that upstream makes of it.
pub(super) fn ratio(value: &Value) -> String {
    let Some(float) = value.as_f64().filter(|f| value.is_f64() && f.fract() != 0.0) else {
        return match value.as_f64().filter(|_| value.is_f64()) {
            Some(whole) => format!("{whole:.0}/1"),
            None => format!("{value}/1"),
        };
    };
    let mut denominator = 1_u128;
    let mut numerator = float;
    while numerator.fract() != 0.0 {
        let Some(doubled) = denominator.checked_mul(2) else { return self::float(float) };
        denominator = doubled;
        numerator *= 2.0;
    }
    format!("{numerator:.0}/{denominator}")
}

/// Prints a number as upstream's `%f` does.
pub(super) fn fixed(value: &Value) -> String {
    format!("{:.6}", value.as_f64().unwrap_or_default())
}

/// Prints a list of texts as upstream's `%q` does.
pub(super) fn quote_all<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let quoted: Vec<_> = texts.map(quoted).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: &Value, expected: &str) {
        assert_eq!(plain(value), expected, "{value}");
    }

    #[test]
    fn values_read_as_upstream_prints_them() {
        check(&json!(null), "<nil>");
        check(&json!({"b": [1, "x", true], "a": {}}), "map[a:map[] b:[1 x true]]");
        check(&json!(0.5), "0.5");
        check(&json!(1e6), "1e+06");
        check(&json!(123456789.5), "1.234567895e+08");
        check(&json!(99999.5), "99999.5");
        check(&json!(1e-7), "1e-07");
        check(&json!(0.0001), "0.0001");
        check(&json!(2.5e300), "2.5e+300");
    }

    #[test]
    fn numbers_are_compared_in_fractions() {
        assert_eq!(ratio(&json!(5)), "5/1");
        assert_eq!(ratio(&json!(-0.75)), "-3/4");
        assert_eq!(ratio(&json!(0.1)), "3602879701896397/36028797018963968");
        assert_eq!(ratio(&json!(1e23)), "99999999999999991611392/1");
        assert_eq!(ratio(&json!(1e-300)), "1e-300");
    }
}
