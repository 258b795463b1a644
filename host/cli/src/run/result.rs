//! The result of a run, as upstream prints it.
//!
//! One object: `data`, then what there is of `warnings`, `metadata`, `dryRun` and `__execution`. The plugin's
//! JSON stands in it as the plugin wrote it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use portcullis::host::Ran;
use portcullis_contract::{json_string, visible_line};

use crate::duration;
use crate::json::{Document, Node};
use crate::output::Format;

/// What is shown of a result besides itself, and what is not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    /// Whether sensitive fields are hidden.
    pub(super) redacted: bool,
    /// Whether it is told how the execution went.
    pub(super) metrics: bool,
}

/// Gives a result its form.
pub(super) fn render(ran: &Ran, shown: Shown, format: Format) -> anyhow::Result<String> {
    let text = envelope(ran, shown)?;
    let document = Document::parse(&text).context("failed to decode output")?;
    Ok(format.render(&document))
}

fn envelope(ran: &Ran, shown: Shown) -> anyhow::Result<String> {
    let output = &ran.output;
    // One by one, so that no part can pose as more than itself.
    output.data.check().context("failed to decode output")?;
    let data = if shown.redacted { &ran.redacted() } else { &output.data };
    let mut text = format!("{{\"data\":{}", data.as_str());
    if !output.warnings.is_empty() {
        let warnings: Vec<_> = output.warnings.iter().map(|warning| json_string(warning)).collect();
        write!(text, ",\"warnings\":[{}]", warnings.join(","))?;
    }
    if let Some(metadata) = &output.metadata {
        let parsed = Document::parse(metadata.as_str()).context("failed to decode output")?;
        if matches!(parsed.node(0), Node::Object(keys) if !keys.is_empty()) {
            write!(text, ",\"metadata\":{}", metadata.as_str())?;
        }
    }
    if ran.dry_run {
        text.push_str(",\"dryRun\":true");
    }
    if shown.metrics {
        write!(
            text,
            ",\"__execution\":{{\"provider\":{},\"duration\":{},\"dryRun\":{}}}",
            json_string(&ran.provider),
            json_string(&duration::to_text(ran.took)),
            ran.dry_run
        )?;
    }
    text.push('}');
    Ok(text)
}

/// What came of an execution.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Success,
    Failure,
}

/// Returns the table that `--show-metrics` prints, in upstream's layout. A provider's name is its plugin's choice, and begins no
/// line of it.
pub(super) fn metrics(provider: &str, took: Duration, outcome: Outcome) -> String {
    let line = "-".repeat(80);
    let (success, failure, rate) = match outcome {
        Outcome::Success => (1, 0, 100.0),
        Outcome::Failure => (0, 1, 0.0),
    };
    let (provider, took) = (visible_line(provider), duration::to_text(took));
    format!(
        "\nProvider Execution Metrics:\n{line}\n{:<25} {:>8} {:>8} {:>8} {:>12} {:>12}\n{line}\n\
         {provider:<25} {:>8} {success:>8} {failure:>8} {took:>12} {rate:>11.1}%\n{line}\n",
        "Provider", "Total", "Success", "Failure", "Avg Duration", "Success %", 1,
    )
}

#[cfg(test)]
mod tests {
    use portcullis_contract::{BackendName, Capability, Json, Output};

    use super::*;

    fn ran(data: &str) -> Ran {
        Ran {
            provider: "echo".to_owned(),
            backend: BackendName::Component,
            capability: Capability::FROM,
            output: Output::new(Json::from_text(data)),
            dry_run: false,
            took: Duration::from_micros(1499),
            sensitive_fields: vec!["token".to_owned()],
        }
    }

    const PLAIN: Shown = Shown { redacted: false, metrics: false };

    fn check(ran: &Ran, shown: Shown, expected: &str) {
        assert_eq!(render(ran, shown, Format::Json).unwrap(), expected);
    }

    #[test]
    fn what_there_is_nothing_of_is_left_out() {
        check(&ran("null"), PLAIN, "{\n  \"data\": null\n}\n");
        let mut all = ran("{\"n\":9007199254740993}");
        all.output.warnings = vec!["<w>".to_owned()];
        all.output.metadata = Some(Json::from_text("{\"m\":1e400}"));
        all.dry_run = true;
        check(&all, Shown { redacted: false, metrics: true }, {
            "{\n  \"__execution\": {\n    \"dryRun\": true,\n    \"duration\": \"1ms\",\n    \"provider\": \"echo\"\n  },\n  \
             \"data\": {\n    \"n\": 9007199254740993\n  },\n  \"dryRun\": true,\n  \"metadata\": {\n    \"m\": 1e400\n  },\n  \
             \"warnings\": [\n    \"\\u003cw\\u003e\"\n  ]\n}\n"
        });
        all.output.metadata = Some(Json::from_text(" {} "));
        assert!(!render(&all, PLAIN, Format::Json).unwrap().contains("metadata"));
    }

    #[test]
    fn sensitive_fields_are_redacted_when_asked_for() {
        let hidden = Shown { redacted: true, metrics: false };
        let result = ran(r#"{"token":"t","user":"u"}"#);
        assert!(render(&result, PLAIN, Format::Json).unwrap().contains("\"token\": \"t\""));
        check(&result, hidden, {
            "{\n  \"data\": {\n    \"token\": \"[REDACTED]\",\n    \"user\": \"u\"\n  }\n}\n"
        });
        check(&ran("\"token\""), hidden, "{\n  \"data\": \"token\"\n}\n");
    }

    #[test]
    fn a_name_that_a_plugin_chose_is_nothing_but_text_in_the_metrics() {
        let told = metrics("echo\n\u{1b}[2Jforged", Duration::from_millis(1), Outcome::Success);
        assert!(told.contains("\necho\\n\\u{1b}[2Jforged "), "{told}");
        assert!(!told.contains('\u{1b}'), "{told}");
    }

    #[test]
    fn every_form_shows_the_same() {
        let result = ran(r#"{"a":[1,"two"]}"#);
        let form = |format| render(&result, PLAIN, format).unwrap();
        assert_eq!(form(Format::Yaml), "data:\n    a:\n        - 1\n        - two\n\n");
        assert_eq!(form(Format::Table), "KEY     VALUE\ndata.a  [1,\"two\"]\n");
        assert_eq!(form(Format::Quiet), "");
    }

    #[test]
    fn data_cannot_pose_as_more_than_data() {
        assert!(render(&ran("1,\"dryRun\":true"), PLAIN, Format::Json).is_err());
        assert!(render(&ran(""), PLAIN, Format::Json).is_err());
    }
}
