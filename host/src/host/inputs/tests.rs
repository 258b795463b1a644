//! Inputs as people give them, and what becomes of them.

use portcullis_fuzz::in_time;

use super::*;

const TYPES: &str = r#"{"type":"object","required":["s"],"properties":{
    "s":{"type":"string","default":"dflt"},"i":{"type":"integer"},"n":{"type":"number"},
    "b":{"type":"boolean"},"a":{"type":"array"},"o":{"type":"object"},"x":{},"y":{"type":["string","null"]},
    "d":{"type":"number","default":1.0},"pin":{"type":"integer"}}}"#;

fn resolved(schema: &str, input: &str) -> Result<String, String> {
    let schema = InputSchema::read(&Json::from_text(schema)).unwrap();
    let whole = Json::from_text(input);
    let given = text::members(input).unwrap();
    let context = Json::from_text(r#"{"resolverContext":{"env":"prod","cfg":{"ns":{"a":1.0}},"n":5}}"#);
    resolve(&whole, &given, Some(&schema), &["pin".to_owned()], Some(&context))
        .map(|inputs| inputs.text.into_string())
        .map_err(|e| e.to_string())
}

fn check(input: &str, expected: &str) {
    let all = input.strip_suffix('}').unwrap();
    let input = format!("{all}{}\"s\":\"\",\"d\":0}}", if all == "{" { "" } else { "," });
    let expected = expected.strip_suffix('}').unwrap();
    let expected = format!("{expected}{}\"s\":\"\",\"d\":0}}", if expected == "{" { "" } else { "," });
    assert_eq!(resolved(TYPES, &input).as_deref(), Ok(expected.as_str()), "{input}");
}

fn check_error(input: &str, expected: &str) {
    let expected = format!("failed to resolve inputs: {expected}");
    assert_eq!(resolved(TYPES, input), Err(expected), "{input}");
}

/// Contract item 121.
#[test]
fn only_what_has_to_change_changes() {
    let same = r#"{ "s" : "\u0041", "n":1e400,"i" : 9007199254740993 , "x":{"deep":[ 1.0,-0 ]},"d":-0}"#;
    assert_eq!(resolved(TYPES, same).as_deref(), Ok(same));
    check(r#"{"i":"7","x":1.0,"n":1E5}"#, r#"{"i":7,"x":1.0,"n":1E5}"#);
    check(r#"{"i":12345678901234567890123}"#, r#"{"i":12345678901234567890123}"#);
    check(r#"{"gone":1,"x":null}"#.replace("null", "0").as_str(), r#"{"x":0}"#);
}

#[test]
fn values_are_coerced_by_upstreams_rules() {
    check(r#"{"i":"+5"}"#, r#"{"i":5}"#);
    check(r#"{"i":3.9}"#, r#"{"i":3}"#);
    check(r#"{"i":-3.9}"#, r#"{"i":-3}"#);
    check(r#"{"i":-0.5}"#, r#"{"i":0}"#);
    check(r#"{"i":1e15}"#, r#"{"i":1000000000000000}"#);
    check(r#"{"n":"1.0"}"#, r#"{"n":1}"#);
    check(r#"{"n":"1e3"}"#, r#"{"n":1000}"#);
    check(r#"{"n":"1e21"}"#, r#"{"n":1e21}"#);
    check(r#"{"n":"9007199254740993"}"#, r#"{"n":9007199254740993}"#);
    check(r#"{"n":"-007"}"#, r#"{"n":-7}"#);
    check(r#"{"n":"0x1.8p3"}"#, r#"{"n":12}"#);
    check(r#"{"n":"-1_0_00.5_0"}"#, r#"{"n":-1000.5}"#);
    check(r#"{"n":"0x_f_fp0"}"#, r#"{"n":255}"#);
    check(r#"{"n":5}"#, r#"{"n":5}"#);
    check(r#"{"b":"T"}"#, r#"{"b":true}"#);
    check(r#"{"b":"0"}"#, r#"{"b":false}"#);
    check(r#"{"a":" x , y,"}"#, r#"{"a":["x","y",""]}"#);
    check(r#"{"a":""}"#, r#"{"a":[]}"#);
    check(r#"{"o":5,"y":5}"#, r#"{"o":5,"y":5}"#);
}

#[test]
fn anything_can_become_a_string() {
    let check = |value: &str, expected: &str| {
        let input = format!("{{\"s\":{value},\"d\":0}}");
        assert_eq!(resolved(TYPES, &input), Ok(format!("{{\"s\":{expected},\"d\":0}}")));
    };
    check("5", "\"5\"");
    check("1.0", "\"1.0\"");
    check("true", "\"true\"");
    check("[1,\"x\",null]", "\"[1 x <nil>]\"");
    check("{\"k\":{\"j\":1}}", "\"map[k:map[j:1]]\"");
}

#[test]
fn no_depth_of_what_becomes_a_string_reaches_the_stack() {
    let depth = text::MAX_DEPTH - 1;
    for (open, close, printed) in [("[", "]", ["[", "]"]), ("{\"k\":", "}", ["map[k:", "]"])] {
        let nest = |[open, inner, close]: [&str; 3]| open.repeat(depth) + inner + &close.repeat(depth);
        let input = format!("{{\"s\":{},\"d\":0}}", nest([open, "0", close]));
        let [before, after] = printed;
        let expected = format!("{{\"s\":\"{}\",\"d\":0}}", nest([before, "0", after]));
        assert_eq!(resolved(TYPES, &input), Ok(expected));
    }
}

#[test]
fn what_cannot_be_coerced_is_told_in_upstreams_words() {
    let syntax = "strconv.ParseInt: parsing \"x\": invalid syntax";
    check_error(
        r#"{"i":"x"}"#,
        &format!(
            "failed to coerce property \"i\" to type integer: cannot convert \"x\" to integer: {syntax}"
        ),
    );
    check_error(
        r#"{"n":"1e400"}"#,
        "failed to coerce property \"n\" to type number: cannot convert \"1e400\" to number: \
         strconv.ParseFloat: parsing \"1e400\": value out of range",
    );
    for odd in ["_1", "1_", "1__0", "1_.5", "1._5", "-_1", "1e_5", "1_e5", "0_x1p0", "0x1_p0"] {
        check_error(
            &format!("{{\"n\":\"{odd}\"}}"),
            &format!(
                "failed to coerce property \"n\" to type number: cannot convert \"{odd}\" to number: \
                 strconv.ParseFloat: parsing \"{odd}\": invalid syntax"
            ),
        );
    }
    check_error(
        r#"{"b":"yes"}"#,
        "failed to coerce property \"b\" to type boolean: cannot convert \"yes\" to boolean: \
         strconv.ParseBool: parsing \"yes\": invalid syntax",
    );
    check_error(
        r#"{"a":5}"#,
        "failed to coerce property \"a\" to type array: cannot convert float64 to array",
    );
    check_error(
        r#"{"i":{}}"#,
        "failed to coerce property \"i\" to type integer: cannot convert map[string]interface {} to integer",
    );
    check_error(
        r#"{"pin":"hunter2"}"#,
        "failed to coerce property \"pin\" to type integer: coercion failed for secret value",
    );
}

#[test]
fn a_value_may_be_given_in_a_form() {
    check(r#"{"x":{"literal":{"rslvr":1}}}"#, r#"{"x":{"rslvr":1}}"#);
    check(r#"{"x":{"rslvr":"env"}}"#, r#"{"x":"prod"}"#);
    check(r#"{"x":{"rslvr":"cfg.ns.a"}}"#, r#"{"x":1.0}"#);
    check(r#"{"x":{"rslvr":"n.more"}}"#, r#"{"x":5}"#);
    check(r#"{"i":{"literal":"7"}}"#, r#"{"i":7}"#);
    let none = "no input form specified (must provide one of: literal, rslvr, expr, tmpl)";
    check_error(r#"{"x":null}"#, &format!("property \"x\": {none}"));
    check_error(r#"{"x":{"rslvr":""}}"#, &format!("property \"x\": {none}"));
    check_error(
        r#"{"x":{"literal":1,"rslvr":"env"}}"#,
        "property \"x\": multiple input forms specified (only one of literal, rslvr, expr, tmpl is allowed)",
    );
    check_error(
        r#"{"x":{"rslvr":1}}"#,
        "failed to normalize inputs: property \"x\": rslvr must be a string, got float64",
    );
    check_error(
        r#"{"x":{"rslvr":"no.such"}}"#,
        "failed to resolve property \"x\": resolver binding \"no.such\" not found at part \"no\"",
    );
    check_error(
        r#"{"x":{"rslvr":"n.a.b"}}"#,
        "failed to resolve property \"x\": cannot access nested property: \"n.a.b\" is not a map at part \"a\"",
    );
    check_error(
        r#"{"pin":{"rslvr":"hunter2"}}"#,
        "failed to resolve property \"pin\": resolver binding ***REDACTED***: path not found",
    );
}

/// Contract item 122.
#[test]
fn what_is_required_has_to_be_there_or_have_a_default() {
    assert_eq!(resolved(TYPES, "{}").as_deref(), Ok(r#"{"d":1.0,"s":"dflt"}"#));
    let schema = r#"{"required":["a"],"properties":{"a":{}}}"#;
    let missing = "failed to resolve inputs: required property \"a\" is missing";
    assert_eq!(resolved(schema, "{}"), Err(missing.to_owned()));
}

/// It would not end, were every property looked for in all of what is required.
#[test]
fn a_schema_may_require_much() {
    in_time(|| {
        let list = |of: fn(usize) -> String| (0..200_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, required) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"r{n}\"")));
        let schema = format!("{{\"properties\":{{{properties}}},\"required\":[{required}]}}");
        assert_eq!(resolved(&schema, "{}").as_deref(), Ok("{}"));
    });
}

/// Nor would it, were every property looked for in all of what was given.
#[test]
fn much_may_be_given() {
    in_time(|| {
        let list = |of: fn(usize) -> String| (0..200_000).map(of).collect::<Vec<_>>().join(",");
        let (properties, given) = (list(|n| format!("\"p{n}\":{{}}")), list(|n| format!("\"p{n}\":{n}")));
        let (schema, input) = (format!("{{\"properties\":{{{properties}}}}}"), format!("{{{given}}}"));
        assert_eq!(resolved(&schema, &input).as_deref(), Ok(input.as_str()));
    });
}

#[test]
fn without_declared_properties_everything_goes_through() {
    let input = r#"{"b":1.0,"a":{"c":[]}}"#;
    assert_eq!(resolved(r#"{"type":"object"}"#, input).as_deref(), Ok(input));
    assert_eq!(resolved("true", input).as_deref(), Ok(input));
    assert_eq!(resolved(r#"{"properties":{}}"#, input).as_deref(), Ok("{}"));
}
