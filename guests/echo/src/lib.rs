//! The smallest useful guest: it gives back what it is given.
//!
//! | Provider | `data` of its output |
//! |---|---|
//! | `echo` | the input, parsed and written again |
//! | `noop` | `{}`; the input is not looked at |
//! | `raw` | the input's text as it came; it is not looked at either |
//!
//! All three are called in `from`, `transform` and `action`.

use std::collections::BTreeMap;

use portcullis_sdk::{Capability, Descriptor, Error, Execute, Host, Json, Output, Provider};
use serde_json::{Map, Value};

const SCHEMA: &str = include_str!("schema.json");

#[derive(Debug, Default)]
pub(crate) struct Echo;

impl Provider for Echo {
    fn providers(&self) -> Result<Vec<String>, Error> {
        Ok(["echo", "noop", "raw"].map(str::to_owned).into())
    }

    fn describe(&self, provider: &str) -> Result<Descriptor, Error> {
        let description = match provider {
            "echo" => "Gives back its input, parsed and written again.",
            "noop" => "Gives back an empty object.",
            "raw" => "Gives back its input as it was written.",
            other => return Err(Error::unknown_provider(other)),
        };
        let any = || Json::from_text(r#"{"type":"object"}"#);
        let success = || Json::from_text(r#"{"properties":{"success":{"type":"boolean"}},"type":"object"}"#);
        Ok(Descriptor {
            name: provider.to_owned(),
            description: description.to_owned(),
            version: "1.2.3".to_owned(),
            category: "test".to_owned(),
            capabilities: vec![Capability::FROM, Capability::TRANSFORM, Capability::ACTION],
            schema: Some(Json::from_text(SCHEMA.trim_end())),
            output_schemas: BTreeMap::from([
                (Capability::FROM, any()),
                (Capability::TRANSFORM, any()),
                (Capability::ACTION, success()),
            ]),
            sensitive_fields: vec!["secret".to_owned()],
            ..Descriptor::default()
        })
    }

    fn execute(&self, _host: &Host<'_>, request: Execute) -> Result<Output, Error> {
        match request.provider.as_str() {
            "echo" => {
                let input: Result<Option<Map<String, Value>>, _> = request.input.parse();
                Output::json(&input.map_err(|e| Error::new(format!("failed to decode input: {e}")))?)
            }
            "noop" => Ok(Output::new(Json::from_text("{}"))),
            "raw" => Ok(Output::new(request.input)),
            other => Err(Error::unknown_provider(other)),
        }
    }
}

portcullis_sdk::export!(Echo);

#[cfg(test)]
mod tests {
    use portcullis_sdk::Unavailable;

    use super::*;

    fn check(provider: &str, input: &str, expected: Result<&str, &str>) {
        let request = Execute::new(provider, Json::from_text(input));
        let found = match Echo.execute(&Host::from_service(&Unavailable), request) {
            Ok(output) => Ok(output.data.into_string()),
            Err(Error::Refused(refusal)) => Err(refusal.message),
            Err(Error::Unimplemented) => panic!("execute is implemented"),
        };
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{provider}: {input}");
    }

    #[test]
    fn echo_gives_back_the_value_and_raw_the_text() {
        let input = r#"{ "b": 1.0, "a": 9007199254740993, "a": 2 }"#;
        check("echo", input, Ok(r#"{"a":2,"b":1.0}"#));
        check("raw", input, Ok(input));
        check("noop", input, Ok("{}"));
        check("echo", "null", Ok("null"));
        check("nobody", input, Err("unknown provider: nobody"));
    }

    #[test]
    fn every_provider_describes_itself() {
        for name in Echo.providers().expect("the names are known") {
            let descriptor = Echo.describe(&name).expect("a name that is offered is described");
            assert_eq!(descriptor.name, name);
            let schema: Value = descriptor.schema.expect("it has a schema").parse().expect("it is JSON");
            assert_eq!(schema["type"], "object");
        }
    }
}
