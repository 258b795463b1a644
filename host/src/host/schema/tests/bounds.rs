//! That no schema and no input takes for ever, or more stack than there is.

use std::fmt::Write as _;

use super::*;

#[test]
fn a_schema_that_refers_to_itself_ends() {
    for (schema, expected) in [
        (r##"{"$ref":"#"}"##, ""),
        (r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##, ""),
        (r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##, ""),
        (r##"{"not":{"$ref":"#"}}"##, "inputs: validating root: the properties do not fit"),
    ] {
        check(schema, r#"{"a":1}"#, expected);
    }
}

#[test]
fn a_schema_that_doubles_at_every_step_is_refused() {
    let mut defs = String::new();
    for i in 0..40 {
        let next = i + 1;
        let _ = write!(
            defs,
            r##""a{i}":{{"allOf":[{{"$ref":"#/$defs/a{next}"}},{{"$ref":"#/$defs/a{next}"}}]}},"##
        );
    }
    let schema = format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{defs}"a40":{{"required":["b"]}}}}}}"##);
    let much = "failed to resolve inputs schema: its references stand for more than 20000 schemas";
    check(&schema, r#"{"b":1}"#, much);
}

#[test]
fn a_schema_that_looks_at_everything_again_at_every_step_is_refused() {
    let (open, close) = (r#"{"anyOf":["#, r#"],"unevaluatedProperties":false}"#);
    let schema = |steps: usize| {
        format!("{}{{\"properties\":{{\"a\":{{}}}}}}{}", open.repeat(steps), close.repeat(steps))
    };
    check(&schema(5), r#"{"a":1}"#, "");
    let much = "failed to resolve inputs schema: its unevaluated properties or items stand for more than 20000 schemas";
    check(&schema(30), r#"{"a":1}"#, much);
}

#[test]
fn a_schema_that_doubles_at_every_level_of_the_input_ends() {
    let schema = r##"{"additionalProperties":{"allOf":[{"$ref":"#"},{"$ref":"#"}]},"type":"object"}"##;
    let nested = |inner: &str| format!("{}{inner}{}", "{\"a\":".repeat(60), "}".repeat(60));
    check(schema, &nested("{}"), "");
    check(schema, &nested("1"), "inputs: validating root: property \"a\" does not fit");
}

#[test]
fn a_long_chain_of_references_ends() {
    let chain = |length: usize| {
        let links: Vec<_> =
            (0..length).map(|i| format!(r##""a{i}":{{"$ref":"#/$defs/a{}"}}"##, i + 1)).collect();
        let links = links.join(",");
        format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{links},"a{length}":{{"required":["b"]}}}}}}"##)
    };
    assert!(judged(&chain(900), r#"{"a":1}"#).is_err());
    assert!(judged(&chain(900), r#"{"b":1}"#).is_ok());
    let many = "failed to resolve inputs schema: 1501 references, of 1000 that a schema may have";
    check(&chain(1500), "{}", many);
}

#[test]
fn what_does_not_fit_a_schema_that_refers_to_itself_is_told_by_property() {
    let schema = r##"{"properties":{"tree":{"$ref":"#/$defs/t"},"n":{}},
        "$defs":{"t":{"type":"object","additionalProperties":{"$ref":"#/$defs/t"}}}}"##;
    check(schema, r#"{"tree":{"a":{}},"n":1}"#, "");
    check(schema, r#"{"tree":{"a":1},"n":1}"#, "inputs: validating root: property \"tree\" does not fit");
}

#[test]
fn no_depth_of_a_schema_reaches_the_stack() {
    for (before, after) in [(r#"{"items":"#, "}"), (r#"{"properties":{"a":"#, "}}")] {
        let deep = format!("{}{{}}{}", before.repeat(100_000), after.repeat(100_000));
        let said = judged(&deep, "{}").unwrap_err();
        assert!(said.starts_with("failed to resolve inputs schema: recursion limit exceeded"), "{said}");
    }
}

/// References on the way make it longer, whatever the depth of the input.
#[test]
fn no_way_down_through_a_schema_reaches_the_stack() {
    let nest = |levels: usize, (open, close): (&str, &str), inner: &str| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    let twice = r##"[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]"##;
    for keyword in ["not", "items"] {
        let deep = nest(120, (&format!("{{\"{keyword}\":"), "}"), "true");
        let schema = format!(r#"{{"$defs":{{"a":true}},"allOf":{twice},"not":{{"not":{deep}}}}}"#);
        check(&schema, r#"{"a":1}"#, "");
    }

    let chain: Vec<_> = (1..=40)
        .map(|next| {
            let refers = format!(r##"{{"$ref":"#/$defs/{next}"}}"##);
            format!("\"{}\":{}", next - 1, nest(30, (r#"{"anyOf":["#, "]}"), &refers))
        })
        .collect();
    let schema = format!(r##"{{"$defs":{{{},"40":false}},"$ref":"#/$defs/0"}}"##, chain.join(","));
    assert!(judged(&schema, r#"{"a":1}"#).is_err());
}

/// `serde_json` would count the levels of such a text anew.
#[test]
fn no_text_in_a_schema_hides_how_deep_it_nests() {
    let nest = |inner: &str| format!("{}{inner}{}", r#"{"items":"#.repeat(100), "}".repeat(100));
    let hidden = serde_json::json!({"$serde_json::private::RawValue": nest("{}")}).to_string();
    let schema = InputSchema::read(&Json::from_text(nest(&hidden))).unwrap();
    schema.judge(r#"{"a":1}"#, 1, &[]).unwrap();
    let Some(Ok(compiled)) = schema.compiled.get() else { panic!("it was compiled") };
    assert_eq!(compiled.schema.to_string(), nest(&hidden));

    let one = r#"{"$serde_json::private::RawValue":"1"}"#;
    let only = format!(r#"{{"properties":{{"a":{{"enum":[{one}]}}}}}}"#);
    check(&only, &format!("{{\"a\":{one}}}"), "");
    assert!(judged(&only, r#"{"a":1}"#).is_err());
}

#[test]
fn deep_values_are_judged_on_a_stack_of_their_own() {
    let schema =
        r##"{"additionalProperties":{"anyOf":[{"$ref":"#"},{"items":{"$ref":"#"}}]},"items":{"$ref":"#"}}"##;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(text::MAX_DEPTH - 1), "]".repeat(text::MAX_DEPTH - 1));
    check(schema, &deep, "");
}
