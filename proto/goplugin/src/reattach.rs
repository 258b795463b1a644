//! The data that a host needs to attach to a plugin that already runs.
//!
//! go-plugin itself has no format for it. This one is Terraform's, which everybody uses: a JSON object for each plugin,
//! and a map of them by the plugins' names in a variable such as `TF_REATTACH_PROVIDERS`. Pure.

#[cfg(test)]
mod fuzz;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;

use crate::transport::{Address, AddressError};

/// A plugin that already runs, without TLS and without multiplexing: a host that did not start it has no keys, and its
/// one session is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reattach {
    /// Where it listens.
    pub address: Address,
    /// Its process.
    pub pid: u32,
    /// The version of the application's protocol that it speaks; 0 if not given.
    pub version: u32,
    /// Whether it runs under a test or a debugger, so that hosts must not end it.
    pub test: bool,
}

impl Reattach {
    /// Reads one plugin from its JSON object.
    pub fn from_json(value: &Value) -> Result<Self, ReattachError> {
        let text = |value: &Value, key: &'static str| match value.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(ReattachError::Field { name: key }),
        };
        let number = |key: &'static str| match value.get(key) {
            None => Ok(0),
            Some(number) => {
                let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                number.ok_or(ReattachError::Field { name: key })
            }
        };
        match value.get("Protocol").and_then(Value::as_str) {
            Some("grpc") => {}
            // A missing protocol means net/rpc here, too.
            None | Some("" | "netrpc") => return Err(ReattachError::NetRpc),
            Some(other) => return Err(ReattachError::Protocol { found: other.to_owned() }),
        }
        let address = value.get("Addr").ok_or(ReattachError::Field { name: "Addr" })?;
        let address = Address::parse(&text(address, "Network")?, &text(address, "String")?)?;
        let test = match value.get("Test") {
            None => false,
            Some(test) => test.as_bool().ok_or(ReattachError::Field { name: "Test" })?,
        };
        Ok(Self { address, pid: number("Pid")?, version: number("ProtocolVersion")?, test })
    }

    /// Reads a map of plugins by name, as in such a variable.
    pub fn all_from_json(text: &str) -> Result<BTreeMap<String, Self>, ReattachError> {
        let all: BTreeMap<String, Value> = serde_json::from_str(text).map_err(ReattachError::Json)?;
        all.into_iter().map(|(name, value)| Ok((name, Self::from_json(&value)?))).collect()
    }

    /// Writes the plugin as its JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "Protocol": "grpc",
            "ProtocolVersion": self.version,
            "Pid": self.pid,
            "Test": self.test,
            "Addr": { "Network": self.address.network(), "String": self.address.to_string() },
        })
    }
}

/// Why a text does not describe a running plugin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReattachError {
    /// It is not JSON, or not an object.
    #[error("it is not a map of plugins in JSON")]
    Json(#[source] serde_json::Error),
    /// A field is missing, or has the wrong type.
    #[error("its field {name:?} is missing or not of its type")]
    Field {
        /// The field.
        name: &'static str,
    },
    /// The plugin speaks the older flavour of go-plugin.
    #[error("it speaks \"netrpc\", and this host only \"grpc\"")]
    NetRpc,
    /// The plugin speaks neither flavour of go-plugin.
    #[error("it speaks {found:?}, and this host only \"grpc\"")]
    Protocol {
        /// The flavour that was named.
        found: String,
    },
    /// Nobody can connect to the address.
    #[error("its address cannot be used")]
    Address(#[from] AddressError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, u32, u32, bool), &str>) {
        let value: Value = serde_json::from_str(text).unwrap();
        let found = Reattach::from_json(&value);
        let found = found.map(|found| (found.address.to_string(), found.pid, found.version, found.test));
        let expected = expected.map(|(address, pid, version, test)| (address.to_owned(), pid, version, test));
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn what_go_writes_is_read() {
        check(
            r#"{"Protocol":"grpc","ProtocolVersion":5,"Pid":3382870,"Test":true,
                "Addr":{"Network":"unix","String":"/tmp/plugin713096927"}}"#,
            Ok(("/tmp/plugin713096927", 3_382_870, 5, true)),
        );
        check(
            r#"{"Protocol":"grpc","Pid":7,"Addr":{"Network":"tcp","String":"127.0.0.1:80"}}"#,
            Ok(("127.0.0.1:80", 7, 0, false)),
        );
    }

    #[test]
    fn what_cannot_be_attached_to_is_refused() {
        let address = r#""Addr":{"Network":"unix","String":"/x"}"#;
        check("[]", Err("it speaks \"netrpc\", and this host only \"grpc\""));
        check(
            &format!(r#"{{"Protocol":"netrpc",{address}}}"#),
            Err("it speaks \"netrpc\", and this host only \"grpc\""),
        );
        check(
            &format!(r#"{{"Protocol":"http",{address}}}"#),
            Err("it speaks \"http\", and this host only \"grpc\""),
        );
        check(r#"{"Protocol":"grpc"}"#, Err("its field \"Addr\" is missing or not of its type"));
        check(
            &format!(r#"{{"Protocol":"grpc","Pid":-1,{address}}}"#),
            Err("its field \"Pid\" is missing or not of its type"),
        );
        check(
            r#"{"Protocol":"grpc","Pid":1,"Addr":{"Network":"vsock","String":"1"}}"#,
            Err("its address cannot be used"),
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let address = Address::parse("unix", "/tmp/plugin1").unwrap();
        let plugin = Reattach { address, pid: 7, version: 3, test: true };
        let text = json!({ "registry/name": plugin.to_json() }).to_string();
        let all = Reattach::all_from_json(&text).unwrap();
        assert_eq!(all, BTreeMap::from([("registry/name".to_owned(), plugin)]));
        assert!(matches!(Reattach::all_from_json("x"), Err(ReattachError::Json(_))));
    }
}
