//! The logins that are under way. Outside of them, and in the name of another handler, a plugin may ask a person nothing:
//! who is asked out of nowhere, or for a handler that they trust, may give away what they should not (as later upstream
//! hosts have it; contract spec 1.9).

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_contract::{
    AuthHandlers, Claims, HandlerName, HostError, HostService, PromptError, ResponseRequest, Token,
    TokenRequest,
};

use crate::lock::lock;
use crate::names::quoted;

/// The handlers of one plugin that are logging somebody in; one that does so twice is in it twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Logins(Arc<Mutex<Vec<HandlerName>>>);

/// A login that is under way until this is dropped.
pub(super) struct Login {
    all: Logins,
    handler: HandlerName,
}

/// A host service whose person is there during logins alone.
#[derive(Debug)]
struct Attended {
    host: Arc<dyn HostService>,
    logins: Logins,
}

impl Logins {
    pub(super) fn begin(&self, handler: &HandlerName) -> Login {
        lock(&self.0).push(handler.clone());
        Login { all: self.clone(), handler: handler.clone() }
    }

    /// Returns the same services, of which that of asking a person follows the logins.
    pub(super) fn attend(&self, host: Arc<dyn HostService>) -> Arc<dyn HostService> {
        Arc::new(Attended { host, logins: self.clone() })
    }

    fn has(&self, handler: &str) -> bool {
        lock(&self.0).iter().any(|under_way| under_way.as_str() == handler)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        if let Some(at) = all.iter().position(|under_way| *under_way == self.handler) {
            all.swap_remove(at);
        }
    }
}

#[async_trait]
impl HostService for Attended {
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        self.host.get_secret(name).await
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.host.set_secret(name, value).await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        self.host.delete_secret(name).await
    }

    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        self.host.list_secrets(pattern).await
    }

    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        self.host.auth_identity(handler, scope).await
    }

    async fn auth_handlers(&self) -> AuthHandlers {
        self.host.auth_handlers().await
    }

    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        self.host.auth_token(request).await
    }

    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        self.host.auth_groups(handler).await
    }

    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        if self.logins.has(&request.handler) {
            return self.host.prompt_auth_response(request).await;
        }
        Err(PromptError::Unavailable(format!("nobody is logging in with {}", quoted(&request.handler))))
    }
}
