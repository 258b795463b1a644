//! Fuzz target: a plugin's schema, and an input that is judged by it.

use std::time::{Duration, Instant};

use portcullis_fuzz::{Outcome, fuzz};

use super::*;

/// Far more than judging the worst of these takes, even beside other tests.
const LONG: Duration = Duration::from_secs(20);

/// What is not to be told.
const SECRET: &str = "never-told-7f3a";

#[test]
fn any_schema_judges_any_input_soon_and_tells_no_secret() {
    fuzz(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/schema"), |input| {
        // The first line is the schema, the rest is an input.
        let text = String::from_utf8_lossy(input);
        let (schema, input) = text.split_once('\n').unwrap_or((&text, "{}"));
        let schema = match InputSchema::read(&Json::from_text(schema)) {
            Ok(schema) => schema,
            Err(reason) => {
                assert!(!reason.is_empty());
                return Outcome::Refused;
            }
        };
        // What cannot be taken apart never comes this far.
        let Ok(found) = text::members(input) else { return Outcome::Refused };
        let sensitive = vec!["secret".to_owned()];
        let begin = Instant::now();
        let judged = schema.judge(input, found.depth, &sensitive);
        assert!(begin.elapsed() < LONG, "it takes {:?}", begin.elapsed());
        let Err(error) = &judged else {
            // The walk that spares most schemas the compiler says yes only where the validator does.
            if schema.plain.is_some() {
                let compiled = compile(schema.text.as_str()).expect("what is plain is a schema");
                assert_eq!(super::judge(&compiled, input, &sensitive), Ok(()), "{text:?}");
            }
            return Outcome::Taken;
        };
        let told = error.to_string();
        assert!(!told.is_empty());
        let elsewhere =
            input.matches(SECRET).count() > found.get("secret").map_or(0, |v| v.matches(SECRET).count());
        assert!(elsewhere || schema.text.as_str().contains(SECRET) || !told.contains(SECRET), "{told}");
        Outcome::Refused
    });
}
