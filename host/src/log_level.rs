//! The words for how much is logged: the same for the command and for a wrapped file.

use tracing::level_filters::LevelFilter;

/// Reads how much is to be logged: `none` or nothing, the name of a level, or a number as upstream has it, the higher
/// the more. `None` if it is none of these.
#[must_use]
pub fn log_level(text: &str) -> Option<LevelFilter> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "none" | "" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" | "0" => LevelFilter::INFO,
        "debug" | "1" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        other if other.parse::<u32>().is_ok() => LevelFilter::TRACE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<LevelFilter>) {
        assert_eq!(log_level(text), expected, "{text:?}");
    }

    #[test]
    fn levels_have_upstreams_names_and_numbers() {
        check("none", Some(LevelFilter::OFF));
        check("Debug", Some(LevelFilter::DEBUG));
        check("1", Some(LevelFilter::DEBUG));
        check("3", Some(LevelFilter::TRACE));
        check("loud", None);
    }
}
