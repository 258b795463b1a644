//! What fits a schema and what does not.

use portcullis_fuzz::in_time;

use super::*;

mod bounds;

fn judged(schema: &str, input: &str) -> Result<(), String> {
    let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
    let depth = text::members(input).unwrap().depth;
    schema.judge(input, depth, &["secret".to_owned()]).map_err(|e| e.to_string())
}

fn check(schema: &str, input: &str, expected: &str) {
    assert_eq!(judged(schema, input).err().unwrap_or_default(), expected, "{schema}: {input}");
}

#[test]
fn what_does_not_fit_is_told_in_upstreams_words() {
    let one = |keywords: &str| format!(r#"{{"type":"object","properties":{{"a":{keywords}}}}}"#);
    let at = |rest: &str| format!("inputs: validating root: validating /properties/a: {rest}");
    let check_one = |keywords: &str, value: &str, expected: &str| {
        check(&one(keywords), &format!("{{\"a\":{value}}}"), &at(expected));
    };
    check_one(r#"{"type":"string"}"#, "5", r#"type: 5 has type "integer", want "string""#);
    check_one(
        r#"{"type":["string","null"]}"#,
        "1.5",
        r#"type: 1.5 has type "number", want one of "string, null""#,
    );
    check_one(r#"{"enum":["x","y"]}"#, "\"z\"", "enum: z does not equal any of: [x y]");
    check_one(r#"{"const":1}"#, "2", "const: 2 does not equal 1");
    check_one(r#"{"minimum":3}"#, "2", "minimum: 2/1 is less than 3.000000");
    check_one(r#"{"exclusiveMaximum":2}"#, "2", "exclusiveMaximum: 2/1 is greater than or equal to 2.000000");
    check_one(r#"{"multipleOf":2}"#, "3", "multipleOf: 3/1 is not a multiple of 2.000000");
    check_one(
        r#"{"minLength":3}"#,
        "\"\u{1f600}b\"",
        "minLength: \"\u{1f600}b\" contains 2 Unicode code points, fewer than 3",
    );
    check_one(r#"{"pattern":"^a$"}"#, "\"b\"", r#"pattern: "b" does not match regular expression "^a$""#);
    check_one(r#"{"minItems":2}"#, "[1]", "minItems: array length 1 is less than 2");
    check_one(r#"{"uniqueItems":true}"#, "[1,2,1]", "uniqueItems: array items 2 and 0 are equal");
    let written = r#"[[1,{"k":0}],"1",[1.0,{"k":-0.0}]]"#;
    check_one(r#"{"uniqueItems":true}"#, written, "uniqueItems: array items 2 and 0 are equal");
    check_one(
        r#"{"maxProperties":0}"#,
        "{\"b\":1}",
        "maxProperties: object has 1 properties, greater than 0",
    );
    check_one(r#"{"additionalProperties":false}"#, "{\"b\":1}", r#"unexpected additional properties ["b"]"#);
    check_one(r#"{"required":["b","c"]}"#, "{}", r#"required: missing properties: ["b" "c"]"#);
    check_one(
        r#"{"items":{"type":"string"}}"#,
        "[1]",
        r#"validating /properties/a/items: type: 1 has type "integer", want "string""#,
    );
    check_one(
        r##"{"oneOf":[{"type":"string"},{"type":"null"}]}"##,
        "1",
        "oneOf: did not validate against any of [<anonymous schema> <anonymous schema>]",
    );
    check_one(
        r#"{"propertyNames":{"pattern":"^a"}}"#,
        "{\"b\":1}",
        r#"validating /properties/a/propertyNames: pattern: "b" does not match regular expression "^a""#,
    );
    check_one(
        r#"{"dependentRequired":{"b":["c"]}}"#,
        "{\"b\":1}",
        r#"dependentRequired: missing properties ["c"]"#,
    );
    let contains = |more: &str| format!(r#"{{"contains":{{"type":"integer"}},{more}}}"#);
    let few = "minContains: contains validated fewer items than that";
    check_one(&contains(r#""minContains":2"#), "[1,\"x\"]", few);
    let many = "maxContains: contains validated more items than that";
    check_one(&contains(r#""maxContains":1"#), "[1,2]", many);
}

/// Each of them begins where it is, and not all of them at the root.
#[test]
fn what_fits_none_of_several_is_told_of_each() {
    let schema = r#"{"properties":{"a":{"anyOf":[{"type":"string"},{"required":["b"]}]}}}"#;
    let said = "validation failed with 3 errors:\n  \
        - inputs: validating root: validating /properties/a: anyOf: did not validate against any of \
        [<anonymous schema> <anonymous schema>]:\n  \
        - inputs: validating /properties/a/anyOf/0: type: map[] has type \"object\", want \"string\"\n  \
        - inputs: validating /properties/a/anyOf/1: required: missing properties: [\"b\"]\n";
    check(schema, r#"{"a":{}}"#, said);
}

/// The short way says yes where the long one does, and leaves every no to it.
#[test]
fn a_plain_schema_is_judged_without_being_compiled() {
    let check = |schema: &str, input: &str, plain: bool| {
        let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
        let value = text::to_value(input).unwrap();
        assert_eq!(schema.plain.is_some_and(|plain| plain.fits(&value)), plain, "{input}");
        if plain {
            let compiled = compile(schema.text.as_str()).unwrap();
            assert_eq!(judge(&compiled, input, &[]), Ok(()), "{input}");
        }
    };
    let types = r#"{"type":"object","required":["s"],"additionalProperties":false,"properties":{
        "s":{"type":"string","description":"d","format":"email"},"i":{"type":"integer"},"x":{}}}"#;
    check(types, r#"{"s":"a","i":1,"x":null}"#, true);
    check(types, r#"{"s":"a","i":1.0}"#, true);
    check(types, r#"{"s":"a","i":1e400}"#, true);
    check(types, r#"{"s":"a","i":1.5}"#, false);
    check(types, r#"{"i":1}"#, false);
    check(types, r#"{"s":"a","other":1}"#, false);
    let bounds = r#"{"properties":{
        "n":{"minimum":0,"maximum":9},"s":{"minLength":1,"maxLength":2},"c":{"enum":["x",1]},
        "w":{"maximum":9007199254740992},
        "l":{"type":["array","null"],"minItems":1,"maxItems":2,"items":{"type":"string"}},
        "o":{"type":"object","required":["k"],"properties":{"k":{"type":"boolean"}}}}}"#;
    for (input, plain) in [
        (r#"{"n":9}"#, true),
        (r#"{"n":-1}"#, false),
        (r#"{"n":1e400}"#, false),
        (r#"{"w":9007199254740991}"#, true),
        // As a float it is the bound.
        (r#"{"w":9007199254740993}"#, false),
        (r#"{"n":"x","s":3}"#, true),
        ("{\"s\":\"\u{1f600}b\"}", true),
        (r#"{"s":"abc"}"#, false),
        (r#"{"s":""}"#, false),
        (r#"{"c":"x"}"#, true),
        // It fits, but only the validator says so.
        (r#"{"c":1.0}"#, false),
        (r#"{"l":null}"#, true),
        (r#"{"l":["a","b"]}"#, true),
        (r#"{"l":[]}"#, false),
        (r#"{"l":["a",1]}"#, false),
        (r#"{"o":{"k":1}}"#, false),
        (r#"{"o":{"k":true,"more":1}}"#, true),
        (r#"{"o":{}}"#, false),
    ] {
        check(bounds, input, plain);
    }
    for more in [
        r#"{"properties":{"s":{"pattern":"a"}}}"#,
        r#"{"properties":{"s":{"type":["text"]}}}"#,
        r#"{"properties":{"s":{"minLength":-1}}}"#,
        r#"{"properties":{"s":false}}"#,
        r#"{"properties":{"s":{}},"minProperties":1}"#,
        r#"{"properties":{"s":{}},"additionalProperties":{"type":"string"}}"#,
    ] {
        check(more, r#"{"s":"a"}"#, false);
    }
}

#[test]
fn a_reference_is_told_by_what_it_leads_to() {
    let schema = r##"{"properties":{"a":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"string"}}}"##;
    let said = r#"inputs: validating root: validating /properties/a: validating /$defs/n: type: 1 has type "integer", want "string""#;
    check(schema, r#"{"a":1}"#, said);
}

/// Its references start from there.
#[test]
fn what_a_part_with_a_name_of_its_own_wants_is_not_looked_up_elsewhere() {
    let schema = r##"{"$defs":{"n":{"type":["object","null"]}},"properties":{"a":{"$id":"https://example.com/a",
        "$ref":"#/$defs/n","$defs":{"n":{"type":["string","boolean"]}}}}}"##;
    let said = judged(schema, r#"{"a":1}"#).unwrap_err();
    assert!(said.contains("boolean") && !said.contains("object"), "{said}");
}

#[test]
fn several_findings_are_a_list() {
    let schema = r#"{"properties":{"a":{"type":"string"},"b":{"minimum":1}}}"#;
    let said = "validation failed with 2 errors:\n  \
        - inputs: validating root: validating /properties/a: type: 1 has type \"integer\", want \"string\"\n  \
        - inputs: validating root: validating /properties/b: minimum: 0/1 is less than 1.000000\n";
    check(schema, r#"{"a":1,"b":0}"#, said);
}

#[test]
fn a_sensitive_value_is_never_told() {
    let nested = r#"{"properties":{"secret":{"pattern":"^x","minLength":9,"properties":{"k":{"const":1}}}}}"#;
    for input in [r#"{"secret":"hunter2"}"#, r#"{"secret":{"k":"hunter2"}}"#] {
        let said = judged(nested, input).unwrap_err();
        assert!(!said.contains("hunter2") && said.contains(sentences::MASK), "{said}");
    }
    for schema in [r#"{"const":1}"#, r#"{"enum":[1]}"#, r#"{"type":"string"}"#, r#"{"anyOf":[{"const":2}]}"#]
    {
        let said = judged(schema, r#"{"secret":"hunter2","b":3}"#).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }
    let below = r#"{"properties":{"b":{"properties":{"secret":{"type":"integer"}}},"c":{"const":1},"d":{"items":
        {"properties":{"secret":{"maxLength":3}}}}}}"#;
    let input = r#"{"b":{"secret":"hunter2"},"c":[{"secret":"hunter2"}],"d":[{"secret":"hunter2"}]}"#;
    let said = judged(below, input).unwrap_err();
    assert!(!said.contains("hunter2") && said.matches(sentences::MASK).count() == 3, "{said}");
    let names = [
        r#"{"additionalProperties":false}"#,
        r#"{"unevaluatedProperties":false}"#,
        r#"{"propertyNames":{"maxLength":3}}"#,
    ];
    for keywords in names {
        let schema = format!(r#"{{"properties":{{"secret":{keywords}}}}}"#);
        let said = judged(&schema, r#"{"secret":{"hunter2":1}}"#).unwrap_err();
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// It would not end, were every item compared with all others.
#[test]
fn two_that_are_equal_are_found_among_very_many() {
    in_time(|| {
        let items: Vec<_> = (0..200_000).map(|n| n.to_string()).collect();
        let input = format!("{{\"a\":[{},199999]}}", items.join(","));
        let said = "inputs: validating root: validating /properties/a: uniqueItems: array items 200000 and 199999 are equal";
        check(r#"{"properties":{"a":{"uniqueItems":true}}}"#, &input, said);
    });
}

/// A few lines of a schema would make gigabytes of a text of one mebibyte.
#[test]
fn a_long_value_is_not_told_for_every_schema_that_it_does_not_fit() {
    let branches = vec![r#"{"type":"integer"}"#; 200].join(",");
    let input = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    for keyword in ["anyOf", "allOf"] {
        let schema = format!(r#"{{"properties":{{"a":{{"{keyword}":[{branches}]}}}}}}"#);
        let said = judged(&schema, &input).unwrap_err();
        let end = r#"has type "string", want "integer""#;
        assert!(said.trim_end().ends_with(end) && said.len() < 2 << 20, "{} bytes", said.len());
    }
}

/// It would not end, were what lies deep copied at every level.
#[test]
fn what_is_long_and_lies_deep_is_told_once() {
    in_time(|| {
        let deep = format!("{}\"{}\"{}", "[".repeat(9_000), "x".repeat(16 << 20), "]".repeat(9_000));
        let said =
            judged(r#"{"properties":{"a":{"type":"null"}}}"#, &format!("{{\"a\":{deep}}}")).unwrap_err();
        assert!(said.contains("]]] has type \"array\", want \"null\""));
        let twice = format!("{{\"a\":[{deep},{deep}]}}");
        let said =
            "inputs: validating root: validating /properties/a: uniqueItems: array items 1 and 0 are equal";
        check(r#"{"properties":{"a":{"uniqueItems":true}}}"#, &twice, said);
    });
}

/// It would not end, were every property looked for among all that are not told.
#[test]
fn very_much_of_an_input_may_be_sensitive() {
    in_time(|| {
        let names: Vec<_> = (0..200_000).map(|n| format!("s{n}")).collect();
        let given: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let schema = InputSchema::read(&Json::from_text(r#"{"const":1}"#)).unwrap();
        let said = schema.judge(&format!("{{{}}}", given.join(",")), 1, &names).unwrap_err().to_string();
        assert!(said.contains("s7:***REDACTED*** ") && !said.contains(":1"));
    });
}

/// The validator would keep every finding of every item by every alternative: gigabytes, and more than there are.
#[test]
fn what_does_not_fit_in_very_many_ways_is_told_by_property() {
    let branches = vec![r#"{"items":{"type":"string"}}"#; 6_000].join(",");
    let schema = format!(r#"{{"properties":{{"a":{{"anyOf":[{branches}]}}}}}}"#);
    let items = vec!["1"; 1000].join(",");
    check(&schema, &format!("{{\"a\":[{items}]}}"), "inputs: validating root: property \"a\" does not fit");
}

#[test]
fn numbers_that_nothing_holds_are_judged() {
    let schema = r#"{"properties":{"a":{"type":"number","minimum":0}}}"#;
    check(schema, r#"{"a":1e400}"#, "");
    check(schema, r#"{"a":18446744073709551617}"#, "");
    let said = judged(schema, r#"{"a":-1e400}"#).unwrap_err();
    assert!(said.contains("is less than 0.000000"), "{said}");
}

#[test]
fn nothing_is_fetched() {
    let said = judged(r#"{"$ref":"https://example.com/schema.json"}"#, "{}").unwrap_err();
    assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
    let said = judged(r#"{"$ref":"file:///etc/passwd"}"#, "{}").unwrap_err();
    assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
}

#[test]
fn formats_judge_nothing_and_patterns_cannot_hang() {
    check(r#"{"properties":{"a":{"format":"email"}}}"#, r#"{"a":"no"}"#, "");
    let input = format!("{{\"a\":\"{}!\"}}", "a".repeat(100_000));
    assert!(judged(r#"{"properties":{"a":{"pattern":"^(a+)+$"}}}"#, &input).is_err());
    for pattern in ["(?=a)b", r"(b)\\1", "(?i-)b", "(?i)b)", "((?i)b"] {
        let schema = format!(r#"{{"properties":{{"a":{{"pattern":"{pattern}"}}}}}}"#);
        let said = judged(&schema, "{\"a\":\"b\"}").unwrap_err();
        assert!(said.starts_with("failed to resolve inputs schema: "), "{said}");
    }
}

#[test]
fn patterns_mean_what_they_mean_upstream() {
    let check = |pattern: &str, draft: &str, fits: &[&str], not: &[&str]| {
        let schema = serde_json::json!({"$schema": draft, "properties": {"a": {"pattern": pattern}}});
        for value in fits {
            let input = serde_json::json!({"a": value}).to_string();
            assert_eq!(judged(&schema.to_string(), &input), Ok(()), "{pattern} {value:?}");
        }
        for value in not {
            let input = serde_json::json!({"a": value}).to_string();
            let said = judged(&schema.to_string(), &input).unwrap_err();
            let as_written = format!("does not match regular expression {}", sentences::quote(pattern));
            assert!(said.ends_with(&as_written), "{pattern} {value:?}: {said}");
        }
    };
    let latest = "https://json-schema.org/draft/2020-12/schema";
    for draft in [latest, "http://json-schema.org/draft-07/schema#"] {
        check(
            r"^\s$",
            draft,
            &["\t", "\n", "\u{c}", "\r", " "],
            &["\u{b}", "\u{a0}", "\u{2028}", "\u{feff}"],
        );
        check(r"^\S$", draft, &["\u{b}", "\u{a0}", "é"], &[" ", "\t"]);
        check(r"^[\s_]$", draft, &[" ", "_"], &["\u{a0}"]);
        check(r"^[\S ]$", draft, &[" ", "x", "\u{a0}", "\u{10ffff}"], &["\t"]);
        check(r"^\d\w$", draft, &["1a"], &["١a", "1é"]);
        check("^a.b$", draft, &["a\rb", "a\u{2028}b"], &["a\nb"]);
        check("^[[:alpha:]]+$", draft, &["abc"], &["a:]", "é", ":]"]);
        check("^[^[:^digit:]x]$", draft, &["7"], &["x", "a", "é"]);
        check("^[]a]$", draft, &["]", "a"], &["b"]);
        check(r"^\[.\]$", draft, &["[x]"], &["[]"]);
        check(r"^\<a>$", draft, &["<a>"], &["a"]);
        check(r"^[\w-.]$", draft, &["a", "-", "."], &["/", ","]);
        check(r"^[\p{L}--0]$", draft, &["é", "-", "/"], &["1"]);
        check("^a{2}{{,3}}$", draft, &["aa{{,3}}"], &["aa", "aaaa"]);
        check("^(?s)a.b(?-s).$", draft, &["a\nbc"], &["a\nb\n"]);
        check("^(?s:a.)b.$", draft, &["a\nbc"], &["abb\n", "ab\n"]);
        check(r"^\Qa.b\E.$", draft, &["a.bc"], &["axbc"]);
        check("(?i)^ab|c(?-i)d$", draft, &["ABx", "xCd"], &["xab", "CD"]);
        check("^(?iU:a(?-i)b|c)d$", draft, &["Abd", "cd"], &["ABd", "Cd"]);
        check(r"(?m)\Aa$|\Ab\z", draft, &["a\nb", "b"], &["b\na"]);
        check(r"^(?P<n>a)\101[\102-\104]\x{45}\pL$", draft, &["aACEé"], &["aAEEx", "aABE1"]);
    }
    check(r"\bfoo\b", latest, &["éfoo", "a foo"], &["afoo"]);
    check(r"^é\B.$", latest, &["é!"], &["éa"]);
}

#[test]
fn what_is_no_pattern_is_told_as_it_was_written() {
    for (schema, pattern, at) in [
        (r#"{"properties":{"a":{"pattern":"(\\s"}}}"#, r#""(\\s""#, ", at \"/properties/a/pattern\""),
        (
            r#"{"patternProperties":{"([[:alpha:]]":true}}"#,
            r#""([[:alpha:]]""#,
            ", at \"/patternProperties/([[:alpha:]]\"",
        ),
    ] {
        let said = format!("failed to resolve inputs schema: {pattern} is not a \"regex\"{at}");
        check(schema, r#"{"a":"b"}"#, &said);
    }
}

#[test]
fn patterns_of_names_mean_what_they_mean_upstream_and_values_are_none() {
    let names = r#"{"patternProperties":{"^[[:upper:]]$":{"type":"string"}},"additionalProperties":false,
        "properties":{"pattern":{"enum":[{"pattern":"\\s"}]}}}"#;
    check(names, r#"{"A":"x","pattern":{"pattern":"\\s"}}"#, "");
    let said = "inputs: validating root: validating /patternProperties/^[[:upper:]]$: type: 1 has type \"integer\", want \"string\"";
    check(names, r#"{"A":1}"#, said);
    check(names, r#"{"u]":"x"}"#, "inputs: validating root: unexpected additional properties [\"u]\"]");

    let depending = r#"{"$schema":"http://json-schema.org/draft-07/schema#",
        "dependencies":{"enum":{"properties":{"a":{"pattern":"^\\Q.\\E$"}}}}}"#;
    check(depending, r#"{"enum":1,"a":"."}"#, "");
}

#[test]
fn what_upstream_takes_for_a_remark_judges_nothing() {
    let seven = |rest: &str| format!(r#"{{"$schema":"http://json-schema.org/draft-07/schema#",{rest}}}"#);
    let encoded =
        r#""properties":{"a":{"contentEncoding":"base64"},"b":{"contentMediaType":"application/json"}}"#;
    check(&seven(encoded), r#"{"a":"not base64!","b":"oops"}"#, "");
    check(r#"{"dependencies":{"a":["b"]}}"#, r#"{"a":1}"#, "");
    assert!(judged(&seven(r#""dependencies":{"a":["b"]}"#), r#"{"a":1}"#).is_err());
}
