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
use serde_json::Value;

const SCHEMA: &str = include_str!("schema.json");

#[derive(Debug, Default)]
struct Echo;

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
            "echo" => Output::json(&request.input.parse::<Value>()?),
            "noop" => Ok(Output::new(Json::from_text("{}"))),
            "raw" => Ok(Output::new(request.input)),
            other => Err(Error::unknown_provider(other)),
        }
    }
}

portcullis_sdk::export!(Echo);
