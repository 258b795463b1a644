//! An honest example of a guest that calls the host back.
//!
//! One provider, `keeper`. Its input `operation` says which call of the host to make:
//!
//! | `operation` | Inputs | `data` of its output |
//! |---|---|---|
//! | `get` | `name`, `times` | `{"found":bool,"value":text}`; the value of what is not found is empty; asks so many times, at least once |
//! | `set` | `name`, `value` | `{"success":true}` |
//! | `delete` | `name` | `{"success":true}` |
//! | `list` | `pattern` | `{"names":[text]}` |
//! | `identity` | `handler`, `scope` | `{"claims":{..}}`, or `{"claims":null}` when nobody is logged in |
//! | `handlers` | | `{"names":[text],"default":text}` |
//! | `token` | `handler`, `scope`, `minValidFor`, `forceRefresh`, `profile` | the token |
//! | `groups` | `handler` | `{"groups":[text]}` |
//!
//! Claims are `issuer`, `subject`, `tenantId`, `objectId`, `clientId`, `email`, `name`, `username`,
//! `issuedAt`, `expiresAt`; a token is `accessToken`, `tokenType`, `expiresAt`, `scope`, `cachedAt`,
//! `flow`, `sessionId`. Times are Unix seconds, 0 when unknown. Inputs that are left out are empty.
//!
//! What the host refuses becomes the provider's own error, in the host's words: `host GetSecret: ..`.
//! Another operation is refused with `unknown operation: NAME`.

use std::collections::BTreeMap;

use portcullis_sdk::{
    AuthHandlers, Capability, Claims, Descriptor, Error, Execute, Host, Json, Output, Provider, Token,
    TokenRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(crate) struct Keeper;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Input {
    operation: String,
    name: String,
    value: String,
    pattern: String,
    times: u32,
    handler: String,
    scope: String,
    min_valid_for: i64,
    force_refresh: bool,
    profile: Option<String>,
}

impl Provider for Keeper {
    fn providers(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["keeper".to_owned()])
    }

    fn describe(&self, provider: &str) -> Result<Descriptor, Error> {
        if provider != "keeper" {
            return Err(Error::unknown_provider(provider));
        }
        let done = r#"{"properties":{"success":{"type":"boolean"}},"type":"object"}"#;
        Ok(Descriptor {
            name: "keeper".to_owned(),
            description: "Asks the host for secrets and for who the user is.".to_owned(),
            version: "1.2.3".to_owned(),
            category: "test".to_owned(),
            capabilities: vec![Capability::FROM, Capability::ACTION],
            schema: Some(Json::from_text(include_str!("schema.json").trim_end())),
            output_schemas: BTreeMap::from([
                (Capability::FROM, Json::from_text(r#"{"type":"object"}"#)),
                (Capability::ACTION, Json::from_text(done)),
            ]),
            sensitive_fields: vec!["value".to_owned()],
            write_operations: Some(vec!["set".to_owned(), "delete".to_owned()]),
            ..Descriptor::default()
        })
    }

    fn execute(&self, host: &Host<'_>, request: Execute) -> Result<Output, Error> {
        if request.provider != "keeper" {
            return Err(Error::unknown_provider(&request.provider));
        }
        let input: Input = request.input_as()?;
        let data = match input.operation.as_str() {
            "get" => {
                for _ in 1..input.times {
                    host.get_secret(&input.name)?;
                }
                let value = host.get_secret(&input.name)?;
                json!({ "found": value.is_some(), "value": value.unwrap_or_default() })
            }
            "set" => {
                host.set_secret(&input.name, &input.value)?;
                json!({ "success": true })
            }
            "delete" => {
                host.delete_secret(&input.name)?;
                json!({ "success": true })
            }
            "list" => json!({ "names": host.list_secrets(&input.pattern)? }),
            "identity" => {
                let claims = host.auth_identity(&input.handler, &input.scope)?;
                json!({ "claims": claims.map(claims_value) })
            }
            "handlers" => {
                let AuthHandlers { names, default } = host.auth_handlers()?;
                json!({ "names": names, "default": default })
            }
            "token" => token_value(host.auth_token(&TokenRequest {
                handler: input.handler,
                scope: input.scope,
                min_valid_for: input.min_valid_for,
                force_refresh: input.force_refresh,
                profile: input.profile,
            })?),
            "groups" => json!({ "groups": host.auth_groups(&input.handler)? }),
            other => return Err(Error::new(format!("unknown operation: {other}"))),
        };
        Ok(Output::new(data.into()))
    }
}

fn claims_value(claims: Claims) -> Value {
    json!({
        "issuer": claims.issuer,
        "subject": claims.subject,
        "tenantId": claims.tenant_id,
        "objectId": claims.object_id,
        "clientId": claims.client_id,
        "email": claims.email,
        "name": claims.name,
        "username": claims.username,
        "issuedAt": claims.issued_at.unwrap_or(0),
        "expiresAt": claims.expires_at.unwrap_or(0),
    })
}

fn token_value(token: Token) -> Value {
    json!({
        "accessToken": token.access_token,
        "tokenType": token.token_type,
        "expiresAt": token.expires_at.unwrap_or(0),
        "scope": token.scope,
        "cachedAt": token.cached_at.unwrap_or(0),
        "flow": token.flow,
        "sessionId": token.session_id,
    })
}

portcullis_sdk::export!(Keeper);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use portcullis_sdk::HostService;

    use super::*;

    /// A host with secrets and nobody logged in.
    #[derive(Default)]
    struct Secrets(Mutex<BTreeMap<String, String>>);

    impl HostService for Secrets {
        fn get_secret(&self, name: &str) -> Result<Option<String>, String> {
            Ok(self.0.lock().unwrap().get(name).cloned())
        }

        fn set_secret(&self, name: &str, value: &str) -> Result<(), String> {
            if name.is_empty() {
                return Err("secret name must not be empty".to_owned());
            }
            self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
            Ok(())
        }

        fn delete_secret(&self, name: &str) -> Result<(), String> {
            self.0.lock().unwrap().remove(name);
            Ok(())
        }

        fn list_secrets(&self, _pattern: &str) -> Result<Vec<String>, String> {
            Ok(self.0.lock().unwrap().keys().cloned().collect())
        }

        fn auth_identity(&self, _handler: &str, _scope: &str) -> Result<Option<Claims>, String> {
            Ok(None)
        }

        fn auth_groups(&self, _handler: &str) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }
    }

    fn check(secrets: &Secrets, input: &str, expected: Result<Value, &str>) {
        let request = Execute::new("keeper", Json::from_text(input));
        let found = match Keeper.execute(&Host::from_service(secrets), request) {
            Ok(output) => Ok(output.data.parse::<Value>().expect("what the keeper returns is JSON")),
            Err(Error::Refused(refusal)) => Err(refusal.message),
            Err(Error::Unimplemented) => panic!("execute is implemented"),
        };
        assert_eq!(found, expected.map_err(str::to_owned), "{input}");
    }

    #[test]
    fn what_is_set_can_be_got_listed_and_deleted() {
        let secrets = Secrets::default();
        check(&secrets, r#"{"operation":"get","name":"a"}"#, Ok(json!({"found": false, "value": ""})));
        check(&secrets, r#"{"operation":"set","name":"a","value":"1"}"#, Ok(json!({"success": true})));
        check(&secrets, r#"{"operation":"get","name":"a"}"#, Ok(json!({"found": true, "value": "1"})));
        check(&secrets, r#"{"operation":"list"}"#, Ok(json!({"names": ["a"]})));
        check(&secrets, r#"{"operation":"delete","name":"a"}"#, Ok(json!({"success": true})));
        check(&secrets, r#"{"operation":"list"}"#, Ok(json!({"names": []})));
    }

    #[test]
    fn nobody_logged_in_is_an_answer() {
        let nobody = Secrets::default();
        check(&nobody, r#"{"operation":"identity"}"#, Ok(json!({"claims": null})));
        check(&nobody, r#"{"operation":"handlers"}"#, Ok(json!({"names": [], "default": ""})));
        check(&nobody, r#"{"operation":"groups"}"#, Ok(json!({"groups": []})));
    }

    #[test]
    fn what_the_host_refuses_is_refused_in_its_words() {
        let secrets = Secrets::default();
        let nameless = "host SetSecret: secret name must not be empty";
        check(&secrets, r#"{"operation":"set","value":"1"}"#, Err(nameless));
        let token = "host GetAuthToken: auth token service not available";
        check(&secrets, r#"{"operation":"token"}"#, Err(token));
        check(&secrets, r#"{"operation":"fly"}"#, Err("unknown operation: fly"));
    }
}
