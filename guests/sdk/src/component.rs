//! A plugin as a component: its exports, its imports, and the crossing of types in between.
//!
//! What is `pub` here is so only for the macros [`export!`](crate::export) and
//! [`export_auth_handler!`](crate::export_auth_handler). Every field is moved and not copied; JSON stays the text
//! that it is.

use std::marker::PhantomData;
use std::time::Duration;

mod auth;
pub mod bindings;
mod provider;

use bindings::auth::portcullis::plugin::prompts;
use bindings::provider::portcullis::plugin::{control, identity, log, output, secrets, types as wit};

use crate::{
    AuthHandlers, Channel, Claims, Closed, Configuration, DeviceCodePrompt, Diagnostic, Error, Host, Json,
    Level, PromptError, Refusal, ResponseRequest, Severity, Token, TokenRequest,
};

/// The one plugin of a library, as the macros that export it find it.
pub trait Exports: 'static {
    type Plugin: 'static;

    fn plugin() -> &'static Self::Plugin;
}

fn host() -> Host<'static> {
    Host::from_imports(Imports(PhantomData))
}

/// What the host offers, for the time of one call.
#[derive(Debug)]
pub(crate) struct Imports<'a>(PhantomData<&'a ()>);

impl Imports<'_> {
    pub(crate) fn get_secret(&self, name: &str) -> Result<Option<String>, String> {
        secrets::get(name)
    }

    pub(crate) fn set_secret(&self, name: &str, value: &str) -> Result<(), String> {
        secrets::set(name, value)
    }

    pub(crate) fn delete_secret(&self, name: &str) -> Result<(), String> {
        secrets::delete(name)
    }

    pub(crate) fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, String> {
        secrets::list(pattern)
    }

    pub(crate) fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, String> {
        Ok(identity::get_claims(handler, scope)?.map(Claims::from))
    }

    pub(crate) fn auth_handlers(&self) -> Result<AuthHandlers, String> {
        let identity::HandlerList { names, default } = identity::list_handlers();
        Ok(AuthHandlers { names, default })
    }

    pub(crate) fn auth_token(&self, request: &TokenRequest) -> Result<Token, String> {
        let TokenRequest { handler, scope, min_valid_for, force_refresh, profile } = request.clone();
        let request = identity::TokenRequest { handler, scope, min_valid_for, force_refresh, profile };
        Ok(identity::get_token(&request)?.into())
    }

    pub(crate) fn auth_groups(&self, handler: &str) -> Result<Vec<String>, String> {
        identity::get_groups(handler)
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message, fields);
    }

    pub(crate) fn cancelled(&self) -> bool {
        control::cancelled()
    }

    pub(crate) fn time_left(&self) -> Option<Duration> {
        control::time_left().map(Duration::from_nanos)
    }

    pub(crate) fn write(&self, channel: Channel, chunk: &[u8]) -> Result<(), Closed> {
        let channel = match channel {
            Channel::Stdout => output::Channel::Stdout,
            Channel::Stderr => output::Channel::Stderr,
        };
        output::write(channel, chunk).map_err(|output::WriteError::Closed| Closed)
    }

    pub(crate) fn device_code(&self, prompt: DeviceCodePrompt) {
        let DeviceCodePrompt { user_code, verification_uri, message } = prompt;
        prompts::device_code(&prompts::DeviceCodePrompt { user_code, verification_uri, message });
    }

    pub(crate) fn auth_response(&self, request: ResponseRequest) -> Result<String, PromptError> {
        let ResponseRequest { handler, authorization_url, redirect_uri } = request;
        let request = prompts::ResponseRequest { handler, authorization_url, redirect_uri };
        prompts::auth_response(&request).map_err(|error| match error {
            prompts::PromptError::Unimplemented => PromptError::Unimplemented,
            prompts::PromptError::Unavailable(text) => PromptError::Unavailable(text),
            prompts::PromptError::Cancelled(text) => PromptError::Cancelled(text),
        })
    }
}

impl From<Error> for wit::PluginError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unimplemented => Self::Unimplemented,
            Error::Refused(Refusal { message, exit_code, diagnostics, .. }) => {
                Self::Failed(wit::Failure { message, exit_code, diagnostics: all(diagnostics) })
            }
        }
    }
}

impl From<Diagnostic> for wit::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic { severity, summary, detail, attribute } = diagnostic;
        let severity = match severity {
            Severity::Invalid => wit::Severity::Invalid,
            Severity::Error => wit::Severity::Error,
            Severity::Warning => wit::Severity::Warning,
        };
        Self { severity, summary, detail, attribute }
    }
}

fn configuration(from: wit::Configuration) -> Result<Configuration, Error> {
    let wit::Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response } = from;
    let settings = Json::from_text(settings).fields("settings")?;
    Ok(Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response })
}

impl From<wit::Claims> for Claims {
    fn from(claims: wit::Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
        }
    }
}

impl From<wit::Token> for Token {
    fn from(token: wit::Token) -> Self {
        let wit::Token { access_token, token_type, expires_at, scope, cached_at, flow, session_id } = token;
        Self { access_token, token_type, expires_at, scope, cached_at, flow, session_id }
    }
}

fn all<A: Into<B>, B>(items: Vec<A>) -> Vec<B> {
    items.into_iter().map(Into::into).collect()
}
