//! What a plugin may ask of its host.
//!
//! Every call gets a [`Host`], which is valid for that call only. It answers according to what the user granted: a
//! plugin that was granted nothing gets errors, never silence.
//!
//! In a component each method is an import of its own, and a component imports only what its code
//! calls. That is why `Host` is a struct: a trait object would drag every import into every plugin.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

#[cfg(not(target_family = "wasm"))]
use crate::HostService;
use crate::{AuthHandlers, Claims, Token, TokenRequest};

/// The host, for the time of one call.
pub struct Host<'a> {
    calls: Calls<'a>,
}

#[cfg(target_family = "wasm")]
type Calls<'a> = crate::component::Imports<'a>;
#[cfg(not(target_family = "wasm"))]
type Calls<'a> = &'a dyn HostService;

impl<'a> Host<'a> {
    #[cfg(target_family = "wasm")]
    pub(crate) fn from_imports(calls: Calls<'a>) -> Self {
        Self { calls }
    }

    /// Makes a host that asks `service`: a real host behind a connection, or one that a test made up.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn from_service(service: &'a dyn HostService) -> Self {
        Self { calls: service }
    }

    /// Returns a secret, or `None` when there is none of that name. A name has 1 to 256 bytes: ASCII letters and digits, `_`,
    /// `-`, `.` and `/`, without `..`.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        self.calls.get_secret(name).map_err(HostError::of("GetSecret"))
    }

    /// Stores a secret, replacing one of the same name.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.calls.set_secret(name, value).map_err(HostError::of("SetSecret"))
    }

    /// Forgets a secret. Forgetting what is not there succeeds.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        self.calls.delete_secret(name).map_err(HostError::of("DeleteSecret"))
    }

    /// Returns the names of the secrets that match a regular expression; an empty one matches all.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        self.calls.list_secrets(pattern).map_err(HostError::of("ListSecrets"))
    }

    /// Returns who is logged in with a handler; the empty name is the host's default handler.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        self.calls.auth_identity(handler, scope).map_err(HostError::of("GetAuthIdentity"))
    }

    /// Returns the auth handlers that the plugin may ask.
    ///
    /// # Errors
    ///
    /// Only in a native plugin, when its caller has gone. A host never refuses this call: it leaves out names.
    pub fn auth_handlers(&self) -> Result<AuthHandlers, HostError> {
        self.calls.auth_handlers().map_err(HostError::of("ListAuthHandlers"))
    }

    /// Returns an access token.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        self.calls.auth_token(request).map_err(HostError::of("GetAuthToken"))
    }

    /// Returns the groups that the user is in. The texts are opaque.
    ///
    /// # Errors
    ///
    /// The host's sentence about why not.
    pub fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        self.calls.auth_groups(handler).map_err(HostError::of("GetAuthGroups"))
    }

    /// Writes to the host's log.
    ///
    /// ```
    /// # use portcullis_sdk::{Host, Level};
    /// # fn f(host: &Host) {
    /// host.log(Level::Info, "copied", &[("path", "/out/a".into()), ("bytes", 4096.into())]);
    /// # }
    /// ```
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, Value)]) {
        self.calls.log(level, message, &fields_text(fields));
    }

    /// Returns whether the caller has gone. In a component the call is then ended soon, whatever it does; in a native
    /// plugin it has to end by itself.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.calls.cancelled()
    }

    /// Returns how long the call may still take, or `None` when nothing limits it.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.calls.time_left()
    }
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// Writes fields as a JSON object; an empty text if there are none.
fn fields_text(fields: &[(&str, Value)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(*name).to_string());
        text.push(':');
        text.push_str(&value.to_string());
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// Why the host did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    method: &'static str,
    text: String,
}

impl HostError {
    fn of(method: &'static str) -> impl FnOnce(String) -> Self {
        move |text| Self { method, text }
    }

    /// Returns the host's own sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Writes upstream's form, `host GetSecret: <sentence>`.
impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host ")?;
        f.write_str(self.method)?;
        f.write_str(": ")?;
        f.write_str(&self.text)
    }
}

impl std::error::Error for HostError {}

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For following every step.
    Trace,
    /// For finding a fault.
    Debug,
    /// What happened.
    Info,
    /// Something to look at.
    Warn,
    /// Something that failed.
    Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, Value)], expected: &str) {
        assert_eq!(fields_text(fields), expected);
    }

    #[test]
    fn fields_are_a_json_object_in_their_order() {
        check(&[], "");
        check(&[("b", 1.into()), ("a", "x\"".into())], r#"{"b":1,"a":"x\""}"#);
        check(&[("a\n", Value::Null)], r#"{"a\n":null}"#);
    }

    /// Contract item 170.
    #[test]
    fn a_refused_call_names_the_call() {
        let error = HostError::of("GetSecret")("access denied: secret name outside allowed scope".to_owned());
        assert_eq!(error.to_string(), "host GetSecret: access denied: secret name outside allowed scope");
    }
}
