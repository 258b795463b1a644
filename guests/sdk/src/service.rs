//! What a [`Host`](crate::Host) and its prompts ask outside of a component.

use std::time::Duration;

use crate::{
    AuthHandlers, Claims, DeviceCodePrompt, Level, PromptError, ResponseRequest, Token, TokenRequest,
};

const NO_SECRETS: &str = "secret store not available";

/// What a [`Host`](crate::Host) asks outside of a component.
///
/// An error is the host's own sentence, without any prefix. Calls may overlap. By default every method answers as a
/// host that offers nothing, so a test implements only what it is about:
///
/// ```
/// use portcullis_sdk::{Host, HostService};
///
/// struct OneSecret;
///
/// impl HostService for OneSecret {
///     fn get_secret(&self, name: &str) -> Result<Option<String>, String> {
///         Ok((name == "app.token").then(|| "s3cret".to_owned()))
///     }
/// }
///
/// let host = Host::from_service(&OneSecret);
/// assert_eq!(host.get_secret("app.token"), Ok(Some("s3cret".to_owned())));
/// assert!(host.auth_groups("acme").is_err());
/// ```
pub trait HostService: Send + Sync {
    /// See [`Host::get_secret`](crate::Host::get_secret).
    fn get_secret(&self, _name: &str) -> Result<Option<String>, String> {
        Err(NO_SECRETS.to_owned())
    }

    /// See [`Host::set_secret`](crate::Host::set_secret).
    fn set_secret(&self, _name: &str, _value: &str) -> Result<(), String> {
        Err(NO_SECRETS.to_owned())
    }

    /// See [`Host::delete_secret`](crate::Host::delete_secret).
    fn delete_secret(&self, _name: &str) -> Result<(), String> {
        Err(NO_SECRETS.to_owned())
    }

    /// See [`Host::list_secrets`](crate::Host::list_secrets).
    fn list_secrets(&self, _pattern: &str) -> Result<Vec<String>, String> {
        Err(NO_SECRETS.to_owned())
    }

    /// See [`Host::auth_identity`](crate::Host::auth_identity).
    fn auth_identity(&self, _handler: &str, _scope: &str) -> Result<Option<Claims>, String> {
        Err("auth identity not available".to_owned())
    }

    /// See [`Host::auth_handlers`](crate::Host::auth_handlers).
    fn auth_handlers(&self) -> Result<AuthHandlers, String> {
        Ok(AuthHandlers::default())
    }

    /// See [`Host::auth_token`](crate::Host::auth_token).
    fn auth_token(&self, _request: &TokenRequest) -> Result<Token, String> {
        Err("auth token service not available".to_owned())
    }

    /// See [`Host::auth_groups`](crate::Host::auth_groups).
    fn auth_groups(&self, _handler: &str) -> Result<Vec<String>, String> {
        Err("auth groups not available".to_owned())
    }

    /// See [`Host::log`](crate::Host::log); `fields` is a JSON object or empty.
    fn log(&self, _level: Level, _message: &str, _fields: &str) {}

    /// See [`Host::cancelled`](crate::Host::cancelled).
    fn cancelled(&self) -> bool {
        false
    }

    /// See [`Host::time_left`](crate::Host::time_left).
    fn time_left(&self) -> Option<Duration> {
        None
    }
}

/// Where [`Prompts`](crate::Prompts) go outside of a component.
///
/// The test of a login implements one that plays the person:
///
/// ```
/// use std::sync::Mutex;
///
/// use portcullis_sdk::{DeviceCodePrompt, PromptError, PromptService, Prompts, ResponseRequest};
///
/// #[derive(Default)]
/// struct Person {
///     seen: Mutex<Vec<String>>,
/// }
///
/// impl PromptService for Person {
///     fn device_code(&self, prompt: DeviceCodePrompt) {
///         self.seen.lock().unwrap().push(prompt.user_code);
///     }
///
///     fn auth_response(&self, request: ResponseRequest) -> Result<String, PromptError> {
///         Ok(format!("code from {}", request.authorization_url))
///     }
/// }
///
/// let person = Person::default();
/// let prompts = Prompts::from_service(&person);
/// prompts.device_code(DeviceCodePrompt { user_code: "ABCD-1234".into(), ..DeviceCodePrompt::default() });
/// assert_eq!(*person.seen.lock().unwrap(), ["ABCD-1234"]);
/// ```
pub trait PromptService: Send + Sync {
    /// See [`Prompts::device_code`](crate::Prompts::device_code).
    fn device_code(&self, _prompt: DeviceCodePrompt) {}

    /// See [`Prompts::auth_response`](crate::Prompts::auth_response).
    fn auth_response(&self, _request: ResponseRequest) -> Result<String, PromptError> {
        Err(PromptError::Unimplemented)
    }
}

/// A host that offers nothing, and says so in a real host's words.
///
/// ```
/// use portcullis_sdk::{Host, Unavailable};
///
/// let host = Host::from_service(&Unavailable);
/// let refused = host.get_secret("token").map_err(|e| e.to_string());
/// assert_eq!(refused, Err("host GetSecret: secret store not available".to_owned()));
/// ```
///
/// Its prompts reach nobody: device codes are dropped, and questions fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unavailable;

impl HostService for Unavailable {}

impl PromptService for Unavailable {}
