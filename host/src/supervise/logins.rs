//! The logins that are under way. Outside of them, and in the name of another handler, a plugin may ask a person nothing:
//! who is asked out of nowhere, or for a handler that they trust, may give away what they should not (as later upstream
//! hosts have it; contract spec 1.9).

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_contract::{
    AuthHandlers, Claims, HandlerName, HostError, HostService, PluginName, PromptError, ResponseRequest,
    Token, TokenRequest,
};
use tokio::sync::watch;

use crate::names::{quoted, shown};
use crate::warnings::Warnings;

/// The handlers of one plugin that are logging somebody in; one that does so twice is in it twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Logins(Arc<watch::Sender<Vec<HandlerName>>>);

/// A login that is under way until this is dropped.
pub(super) struct Login {
    all: Logins,
    handler: HandlerName,
}

/// A host service whose person is there during logins alone.
#[derive(Debug)]
struct Attended {
    plugin: PluginName,
    host: Arc<dyn HostService>,
    logins: Logins,
    warnings: Warnings,
}

impl Logins {
    pub(super) fn begin(&self, handler: &HandlerName) -> Login {
        self.0.send_modify(|all| all.push(handler.clone()));
        Login { all: self.clone(), handler: handler.clone() }
    }

    /// Returns the same services, of which that of asking a person follows the logins.
    pub(super) fn attend(&self, plugin: &PluginName, host: Arc<dyn HostService>) -> Arc<dyn HostService> {
        let (plugin, logins) = (plugin.clone(), self.clone());
        Arc::new(Attended { plugin, host, logins, warnings: Warnings::default() })
    }

    /// Waits until a handler logs nobody in.
    async fn over(&self, handler: &str) {
        let mut all = self.0.subscribe();
        // We have the sender, so that this ends for no other reason.
        let _over = all.wait_for(|all| !all.iter().any(|under_way| under_way.as_str() == handler)).await;
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.all.0.send_modify(|all| {
            if let Some(at) = all.iter().position(|under_way| *under_way == self.handler) {
                all.swap_remove(at);
            }
        });
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
        tokio::select! {
            biased;
            () = self.logins.over(&request.handler) => {}
            answer = self.host.prompt_auth_response(request) => return answer,
        }
        if self.warnings.one_more(&self.plugin) {
            let asked: &str = &shown(&request.handler);
            tracing::warn!(plugin = %self.plugin, asked, "denied; a person is asked during a login of that handler alone");
        }
        Err(PromptError::Unavailable(format!("nobody is logging in with {}", quoted(&request.handler))))
    }
}
