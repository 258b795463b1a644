//! What a person has to see or answer during a login.

use std::fmt;

use crate::{DeviceCodePrompt, ResponseRequest};

/// Shows a person something during a login, and asks them; valid for that call only.
///
/// A plugin cannot tell whether anybody looks: a host that shows nothing accepts every device code and drops it.
///
/// ```
/// use portcullis_sdk::{DeviceCodePrompt, Error, Prompts, ResponseRequest};
///
/// fn ask(prompts: &Prompts, handler: &str) -> Result<String, Error> {
///     prompts.device_code(DeviceCodePrompt {
///         user_code: "ABCD-1234".into(),
///         verification_uri: "https://acme.example/device".into(),
///         message: "Enter ABCD-1234 at https://acme.example/device".into(),
///     });
///     let answer = prompts.auth_response(ResponseRequest {
///         handler: handler.into(),
///         authorization_url: "https://acme.example/authorize".into(),
///         redirect_uri: "http://127.0.0.1:8080/".into(),
///     })?;
///     Ok(answer)
/// }
/// ```
pub struct Prompts<'a> {
    calls: Calls<'a>,
}

#[cfg(target_family = "wasm")]
type Calls<'a> = crate::component::Imports<'a>;
#[cfg(not(target_family = "wasm"))]
type Calls<'a> = &'a dyn crate::PromptService;

impl<'a> Prompts<'a> {
    #[cfg(target_family = "wasm")]
    pub(crate) fn from_imports(calls: Calls<'a>) -> Self {
        Self { calls }
    }

    /// Makes prompts that go to `service`: a real host, or one that a test made up.
    #[cfg(not(target_family = "wasm"))]
    #[must_use]
    pub fn from_service(service: &'a dyn crate::PromptService) -> Self {
        Self { calls: service }
    }

    /// Shows a device code. Returns once the host can take another, whether or not anybody looks.
    pub fn device_code(&self, prompt: DeviceCodePrompt) {
        self.calls.device_code(prompt);
    }

    /// Shows an address and returns what the person brought back from it.
    ///
    /// # Errors
    ///
    /// When the host has nobody to ask, when no login is under way of the handler that the request names, or when the person
    /// declines. Whether a host can ask at all is in
    /// [`Configuration::prompts_for_response`](crate::Configuration::prompts_for_response).
    pub fn auth_response(&self, request: ResponseRequest) -> Result<String, PromptError> {
        self.calls.auth_response(request)
    }
}

impl fmt::Debug for Prompts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prompts").finish_non_exhaustive()
    }
}

/// Why there is no answer of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptError {
    /// This host does not implement the call.
    Unimplemented,
    /// There is nobody to ask, in the host's words.
    Unavailable(String),
    /// The person declined, in the host's words.
    Cancelled(String),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host PromptAuthResponse: ")?;
        match self {
            Self::Unimplemented => f.write_str("this host cannot ask a person"),
            Self::Unavailable(text) | Self::Cancelled(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for PromptError {}
