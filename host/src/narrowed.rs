//! Somebody else's host, narrowed to what a plugin was granted.
//!
//! A component behind the shim obeys two sets of rules: those of the host that started the program, and the policy in
//! the file. What either refuses is refused; what the policy refuses never reaches the host.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_contract::{
    AuthHandlers, Claims, Grants, HostError, HostService, IdentityGrant, PluginName, PromptError,
    ResponseRequest, SecretGrant, Token, TokenRequest,
};

use crate::names::{check_name, quoted, shown};
use crate::warnings::Warnings;

/// Matches no name: listing secrets with it tells whether there is a store, and nothing of what is in it.
const NOTHING: &str = "^$";

/// A host service that passes on to another host only what its plugin was granted.
#[derive(Debug)]
pub struct Narrowed {
    plugin: PluginName,
    secrets: SecretGrant,
    identity: IdentityGrant,
    host: Arc<dyn HostService>,
    warnings: Warnings,
}

impl Narrowed {
    /// Narrows a host to what was granted.
    #[must_use]
    pub fn new(plugin: PluginName, grants: &Grants, host: Arc<dyn HostService>) -> Self {
        let identity = grants.identity.clone().unwrap_or_default();
        Self { plugin, secrets: grants.secrets.clone(), identity, host, warnings: Warnings::default() }
    }

    /// Passes on what was granted. Anything else is refused for upstream's reasons, in upstream's order: there is no
    /// store, the name is not valid, it was not granted.
    async fn secret(
        &self,
        call: &'static str,
        name: &str,
        may: fn(&SecretGrant, &str) -> bool,
    ) -> Result<(), HostError> {
        if may(&self.secrets, name) {
            return Ok(());
        }
        if let Err(none @ HostError::Unavailable(_)) = self.host.list_secrets(NOTHING).await {
            return Err(none);
        }
        check_name(name)?;
        self.denied(call, name);
        Err(HostError::Denied("secret name outside allowed scope".to_owned()))
    }

    fn handler(&self, call: &'static str, handler: &str) -> Result<(), HostError> {
        if self.identity.covers(handler) {
            return Ok(());
        }
        self.denied(call, handler);
        Err(HostError::Denied(format!("auth handler {} is not in the allowed set", quoted(handler))))
    }

    /// Logs a denial. Readers of this log cannot change the policy, so it does not say how.
    fn denied(&self, call: &'static str, asked: &str) {
        if self.warnings.one_more(&self.plugin) {
            let asked: &str = &shown(asked);
            tracing::warn!(plugin = %self.plugin, call, asked, "denied by the policy that the plugin runs with");
        }
    }
}

#[async_trait]
impl HostService for Narrowed {
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        self.secret("get_secret", name, SecretGrant::may_read).await?;
        self.host.get_secret(name).await
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.secret("set_secret", name, SecretGrant::may_write).await?;
        self.host.set_secret(name, value).await
    }

    async fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        self.secret("delete_secret", name, SecretGrant::may_write).await?;
        self.host.delete_secret(name).await
    }

    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        let mut names = self.host.list_secrets(pattern).await?;
        names.retain(|name| self.secrets.may_read(name));
        Ok(names)
    }

    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        self.handler("auth_identity", handler)?;
        self.host.auth_identity(handler, scope).await
    }

    async fn auth_handlers(&self) -> AuthHandlers {
        if self.identity.handlers.is_empty() {
            return AuthHandlers::default();
        }
        let AuthHandlers { mut names, mut default } = self.host.auth_handlers().await;
        names.retain(|name| self.identity.covers(name));
        if !self.identity.covers(&default) {
            default.clear();
        }
        AuthHandlers { names, default }
    }

    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        self.handler("auth_token", &request.handler)?;
        if !self.identity.token {
            self.denied("auth_token", &request.handler);
            let handler = quoted(&request.handler);
            return Err(HostError::Denied(format!(
                "access tokens of auth handler {handler} were not granted"
            )));
        }
        self.host.auth_token(request).await
    }

    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        self.handler("auth_groups", handler)?;
        self.host.auth_groups(handler).await
    }

    /// Needs no grant: asking people is what auth handlers are for, and hosts refuse everybody else.
    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        self.host.prompt_auth_response(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Log;

    /// A host that has everything and refuses nothing. It answers with what it was asked for.
    #[derive(Debug)]
    struct Open;

    #[async_trait]
    impl HostService for Open {
        async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
            Ok(Some(name.to_owned()))
        }

        async fn set_secret(&self, _: &str, _: &str) -> Result<(), HostError> {
            Ok(())
        }

        async fn delete_secret(&self, _: &str) -> Result<(), HostError> {
            Ok(())
        }

        async fn list_secrets(&self, _: &str) -> Result<Vec<String>, HostError> {
            Ok(vec!["app.one".to_owned(), "other".to_owned()])
        }

        async fn auth_identity(&self, handler: &str, _: &str) -> Result<Option<Claims>, HostError> {
            Ok(Some(Claims { issuer: handler.to_owned(), ..Claims::default() }))
        }

        async fn auth_handlers(&self) -> AuthHandlers {
            AuthHandlers { names: vec!["door".to_owned(), "side".to_owned()], default: "side".to_owned() }
        }

        async fn auth_token(&self, _: &TokenRequest) -> Result<Token, HostError> {
            Ok(Token::default())
        }

        async fn auth_groups(&self, _: &str) -> Result<Vec<String>, HostError> {
            Ok(Vec::new())
        }

        async fn prompt_auth_response(&self, _: &ResponseRequest) -> Result<String, PromptError> {
            Ok("answer".to_owned())
        }
    }

    fn narrowed(grants: &Grants) -> Narrowed {
        Narrowed::new(PluginName::new("p"), grants, Arc::new(Open))
    }

    fn some() -> Grants {
        Grants {
            secrets: SecretGrant { read: vec!["app.*".parse().unwrap()], write: Vec::new() },
            identity: Some(IdentityGrant { handlers: vec!["door".to_owned()], token: false }),
            ..Grants::default()
        }
    }

    fn token_of(handler: &str) -> TokenRequest {
        TokenRequest { handler: handler.to_owned(), ..TokenRequest::default() }
    }

    #[tokio::test]
    async fn what_was_not_granted_never_gets_to_the_host() {
        let host = narrowed(&some());
        assert_eq!(host.get_secret("app.one").await, Ok(Some("app.one".to_owned())));
        let denied = HostError::Denied("secret name outside allowed scope".to_owned());
        assert_eq!(host.get_secret("other").await.unwrap_err(), denied);
        let nameless = host.get_secret("").await.unwrap_err();
        assert_eq!(nameless.to_string(), "secret name must not be empty");
        assert_eq!(host.set_secret("app.one", "x").await.unwrap_err(), denied);
        assert_eq!(host.delete_secret("app.one").await.unwrap_err(), denied);
        assert_eq!(host.list_secrets("").await, Ok(vec!["app.one".to_owned()]));

        assert!(host.auth_identity("door", "").await.is_ok());
        assert!(matches!(host.auth_identity("side", "").await, Err(HostError::Denied(_))));
        assert!(matches!(host.auth_identity("", "").await, Err(HostError::Denied(_))));
        let handlers = AuthHandlers { names: vec!["door".to_owned()], default: String::new() };
        assert_eq!(host.auth_handlers().await, handlers);
        let error = host.auth_token(&token_of("door")).await.unwrap_err().to_string();
        assert_eq!(error, "access denied: access tokens of auth handler \"door\" were not granted");
        assert!(matches!(host.auth_groups("side").await, Err(HostError::Denied(_))));
        assert!(host.prompt_auth_response(&ResponseRequest::default()).await.is_ok());
    }

    #[tokio::test]
    async fn without_a_grant_there_is_nothing() {
        let host = narrowed(&Grants::default());
        assert!(host.get_secret("app.one").await.is_err());
        assert_eq!(host.list_secrets("").await, Ok(Vec::new()));
        assert_eq!(host.auth_handlers().await, AuthHandlers::default());
        assert!(host.auth_token(&token_of("door")).await.is_err());
    }

    #[test]
    fn a_plugin_that_keeps_asking_does_not_flood_the_log() {
        let host = narrowed(&Grants::default());
        let lines = Log::of(|| {
            for _ in 0..1_000 {
                assert!(host.handler("auth_identity", "door").is_err());
            }
        });
        assert_eq!(lines.len(), 101);
    }
}
