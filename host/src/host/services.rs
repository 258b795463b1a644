//! What a running plugin may ask of us, and what it gets.
//!
//! [`Services`] is the one implementation of [`HostService`]; a child reaches it over the broker, a component through
//! its imports, and it cannot tell which. It is made for one plugin. Every question passes three gates in upstream's
//! order (contract spec 5.3 to 5.5): there is something to ask, the name is valid, and it was granted. Upstream grants
//! everything when nothing is said; here that takes [`SecretScope::Prefix`] and [`HandlerScope::Allowlist`].
//!
//! A denial reads to the plugin as upstream's; the log says what would allow it. No value is logged.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_contract::{
    AuthHandlers, Claims, Grants, HostError, HostService, IdentityGrant, NamePattern, PluginName,
    PromptError, ResponseRequest, SecretGrant, Token, TokenRequest, chain,
};
use thiserror::Error;

use super::Asker;
use super::auth::address;
use crate::names::{check_name, quoted, shown};
use crate::secrets::{SecretStore, StoreError};
use crate::warnings::Warnings;

mod pattern;

use pattern::Pattern;

/// What one plugin may ask of its host. Holds no lock; calls may overlap.
pub struct Services {
    plugin: PluginName,
    secrets: Option<Arc<dyn SecretStore>>,
    identity: Option<Arc<dyn IdentitySource>>,
    person: Option<Arc<dyn Person>>,
    secret_scope: SecretScope,
    handler_scope: HandlerScope,
    warnings: Warnings,
}

/// Which secrets a plugin may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretScope {
    /// Those that were granted; the default grant grants nothing.
    Granted(SecretGrant),
    /// Those whose names start with a text, to read and to write; the empty text means all of them.
    /// That is upstream's rule, which knows no separator: `app` is a prefix of `application`.
    Prefix(String),
}

/// Which auth handlers a plugin may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerScope {
    /// Those that were granted; `None` grants none.
    Granted(Option<IdentityGrant>),
    /// Those on a list, tokens included; the empty list means all of them. That is upstream's rule.
    Allowlist(Vec<String>),
}

/// Knows who is logged in.
///
/// Calls may overlap; dropping the future of one abandons it.
#[async_trait]
pub trait IdentitySource: fmt::Debug + Send + Sync {
    /// Returns whether the source offers a service at all. Never does I/O.
    fn offers(&self, service: IdentityService) -> bool;

    /// Returns all auth handlers, and the default one.
    async fn handlers(&self) -> Result<AuthHandlers, IdentityError>;

    /// Returns who is logged in with a handler; the empty name is the default handler.
    async fn identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, IdentityError>;

    /// Returns an access token.
    async fn token(&self, request: &TokenRequest) -> Result<Token, IdentityError>;

    /// Returns the groups that the user is in.
    async fn groups(&self, handler: &str) -> Result<Vec<String>, IdentityError>;
}

/// Somebody who can be asked, such as a person at a terminal.
///
/// Calls may overlap; dropping the future of one gives up waiting for the answer.
#[async_trait]
pub trait Person: fmt::Debug + Send + Sync {
    /// Shows an address on behalf of a plugin, and returns what the person brought back from it.
    async fn auth_response(
        &self,
        plugin: &PluginName,
        request: &ResponseRequest,
    ) -> Result<String, PromptError>;
}

/// A service about identities. A host may offer each of them or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityService {
    /// Who is logged in.
    Identity,
    /// Access tokens.
    Token,
    /// The user's groups.
    Groups,
}

/// Why an identity source gave no answer. The plugin gets the text, so it must hold nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct IdentityError(pub String);

impl Services {
    /// Makes the services of a plugin with these grants. Without a store or a source of identities, calls for them
    /// fail with the sentence that there is none.
    #[must_use]
    pub fn new(
        plugin: PluginName,
        grants: &Grants,
        secrets: Option<Arc<dyn SecretStore>>,
        identity: Option<Arc<dyn IdentitySource>>,
    ) -> Self {
        let secret_scope = SecretScope::Granted(grants.secrets.clone());
        let handler_scope = HandlerScope::Granted(grants.identity.clone());
        let (person, warnings) = (None, Warnings::default());
        Self { plugin, secrets, identity, person, secret_scope, handler_scope, warnings }
    }

    /// Makes the services of a plugin that is about to be started: what its grants allow of the store and of the
    /// identities.
    #[must_use]
    pub fn granted(asker: &Asker<'_>, secrets: Option<Arc<dyn SecretStore>>) -> Self {
        let identity = Arc::clone(&asker.identity);
        Self::new(asker.spec.name.clone(), &asker.spec.grants, secrets, Some(identity))
    }

    /// Adds somebody who can be asked. This needs no grant: only auth handlers may ask a person, and for them a
    /// host adds one.
    #[must_use]
    pub fn with_person(mut self, person: Arc<dyn Person>) -> Self {
        self.person = Some(person);
        self
    }

    /// Replaces the rules for secrets and auth handlers, for a host that wants upstream's.
    #[must_use]
    pub fn scoped(mut self, secret_scope: SecretScope, handler_scope: HandlerScope) -> Self {
        self.secret_scope = secret_scope;
        self.handler_scope = handler_scope;
        self
    }

    fn store(&self) -> Result<&dyn SecretStore, HostError> {
        self.secrets.as_deref().ok_or_else(|| {
            if self.warnings.one_more(&self.plugin) {
                tracing::warn!(plugin = %self.plugin, "it asks for a secret, and this host has no store of secrets; the command's is named by --secrets-file");
            }
            HostError::NO_SECRETS
        })
    }

    /// Returns the store, if a secret passes the three gates.
    fn store_for(
        &self,
        call: &'static str,
        access: Access,
        name: &str,
    ) -> Result<&dyn SecretStore, HostError> {
        self.asked(call, name);
        let store = self.store()?;
        check_name(name)?;
        if self.secret_scope.contains(name, access) {
            return Ok(store);
        }
        self.denied(call, name, || self.secret_scope.and(access, name));
        Err(HostError::Denied("secret name outside allowed scope".to_owned()))
    }

    /// Returns the source of identities, if a call passes the gates. Every name of a handler is valid.
    fn source_for(&self, service: IdentityService, handler: &str) -> Result<&dyn IdentitySource, HostError> {
        self.asked(service.call(), handler);
        let source = self.identity.as_deref().filter(|source| source.offers(service));
        let source = source.ok_or(service.unavailable())?;
        if !self.handler_scope.contains(handler) {
            self.denied(service.call(), handler, || match handler {
                "" => {
                    "a call that names its auth handler; the default one is granted by name, too".to_owned()
                }
                _ => self.handler_scope.and(handler, service == IdentityService::Token),
            });
            let text = format!("auth handler {} is not in the allowed set", quoted(handler));
            return Err(HostError::Denied(text));
        }
        if service == IdentityService::Token && !self.handler_scope.allows_tokens() {
            self.denied(service.call(), handler, || self.handler_scope.and(handler, true));
            let text = format!("access tokens of auth handler {} were not granted", quoted(handler));
            return Err(HostError::Denied(text));
        }
        Ok(source)
    }

    /// Writes down what is asked, for who follows a call.
    fn asked(&self, call: &'static str, about: &str) {
        tracing::debug!(plugin = %self.plugin, call, asked = %shown(about), "asked by the plugin");
    }

    /// Writes a denial down, with what would have allowed it.
    fn denied(&self, call: &'static str, asked: &str, allow: impl FnOnce() -> String) {
        if self.warnings.one_more(&self.plugin) {
            let allow = allow();
            let asked: &str = &shown(asked);
            tracing::warn!(plugin = %self.plugin, call, asked, allow, "denied; the plugin's table in the policy can allow it");
        }
    }

    /// Turns a store's failure into upstream's sentence. Where the store is and what exactly went wrong
    /// is for the log alone.
    fn failed(&self, what: String, error: &StoreError) -> HostError {
        if self.warnings.one_more(&self.plugin) {
            let reason = std::error::Error::source(error).map(chain).unwrap_or_default();
            tracing::warn!(plugin = %self.plugin, reason, "{what}: {error}");
        }
        HostError::Failed(format!("{what}: {error}"))
    }
}

/// Shows the plugin and the scopes, and nothing of what the store and the source hold.
impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("plugin", &self.plugin)
            .field("secret_scope", &self.secret_scope)
            .field("handler_scope", &self.handler_scope)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl HostService for Services {
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        let store = self.store_for("get_secret", Access::Read, name)?;
        store.secret(name).await.map_err(|e| self.failed(format!("get secret {}", quoted(name)), &e))
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        let store = self.store_for("set_secret", Access::Write, name)?;
        store.set(name, value).await.map_err(|e| self.failed(format!("set secret {}", quoted(name)), &e))
    }

    async fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        let store = self.store_for("delete_secret", Access::Write, name)?;
        store.delete(name).await.map_err(|e| self.failed(format!("delete secret {}", quoted(name)), &e))
    }

    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        self.asked("list_secrets", pattern);
        let names = self.store()?.names().await;
        let mut names = names.map_err(|e| self.failed("list secrets".to_owned(), &e))?;
        names.retain(|name| self.secret_scope.contains(name, Access::Read));
        if pattern.is_empty() {
            return Ok(names);
        }
        let pattern = Pattern::parse(pattern)?;
        let mut matching = Vec::new();
        // A pattern may be slow and a list long: yielding in between lets the deadline of the call end it.
        for names in names.chunks(pattern::TURN) {
            matching.extend(names.iter().filter(|name| pattern.matches(name)).cloned());
            tokio::task::yield_now().await;
        }
        Ok(matching)
    }

    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        let source = self.source_for(IdentityService::Identity, handler)?;
        source
            .identity(handler, scope)
            .await
            .map_err(|e| HostError::Failed(format!("get auth identity: {e}")))
    }

    async fn auth_handlers(&self) -> AuthHandlers {
        self.asked("auth_handlers", "");
        // A plugin that may ask no handler need not have the directories searched.
        let source = self.identity.as_ref().filter(|_| !self.handler_scope.is_empty());
        let Some(source) = source else { return AuthHandlers::default() };
        let AuthHandlers { mut names, mut default } = match source.handlers().await {
            Ok(handlers) => handlers,
            Err(error) => {
                tracing::debug!(plugin = %self.plugin, %error, "no auth handlers are listed");
                return AuthHandlers::default();
            }
        };
        names.retain(|name| self.handler_scope.contains(name));
        if !self.handler_scope.contains(&default) {
            default.clear();
        }
        AuthHandlers { names, default }
    }

    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        let source = self.source_for(IdentityService::Token, &request.handler)?;
        source.token(request).await.map_err(|e| HostError::Failed(format!("get auth token: {e}")))
    }

    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        let source = self.source_for(IdentityService::Groups, handler)?;
        source.groups(handler).await.map_err(|e| HostError::Failed(format!("get auth groups: {e}")))
    }

    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        self.asked("prompt_auth_response", &request.handler);
        if let Some(fault) = address::of_answer(&request.authorization_url) {
            let address = quoted(&request.authorization_url);
            return Err(PromptError::Unavailable(format!("nobody is sent to {address}: {fault}")));
        }
        match &self.person {
            Some(person) => person.auth_response(&self.plugin, request).await,
            None => Err(PromptError::Unavailable("there is nobody to ask".to_owned())),
        }
    }
}

/// What is done to a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl SecretScope {
    /// Returns the line of a policy that grants a secret beside what is granted already.
    fn and(&self, access: Access, name: &str) -> String {
        let granted = |patterns: &[NamePattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (mut read, mut write) = match self {
            Self::Granted(SecretGrant { read, write }) => (granted(read), granted(write)),
            Self::Prefix(_) => (Vec::new(), Vec::new()),
        };
        match access {
            Access::Read => read.push(name.to_owned()),
            Access::Write => write.push(name.to_owned()),
        }
        let lists = [("read", read), ("write", write)].into_iter().filter(|(_, names)| !names.is_empty());
        let lists: Vec<_> = lists.map(|(key, names)| format!("{key} = {names:?}")).collect();
        format!("secrets = {{ {} }}", lists.join(", "))
    }

    fn contains(&self, name: &str, access: Access) -> bool {
        match (self, access) {
            (Self::Granted(grant), Access::Read) => grant.may_read(name),
            (Self::Granted(grant), Access::Write) => grant.may_write(name),
            (Self::Prefix(prefix), _) => name.starts_with(prefix.as_str()),
        }
    }
}

impl HandlerScope {
    /// Returns the line of a policy that grants a handler beside what is granted already.
    fn and(&self, handler: &str, token: bool) -> String {
        let granted = match self {
            Self::Granted(Some(grant)) => grant.clone(),
            Self::Granted(None) | Self::Allowlist(_) => IdentityGrant { handlers: Vec::new(), token: false },
        };
        let mut handlers = granted.handlers;
        if !handlers.iter().any(|granted| granted == handler) {
            handlers.push(shown(handler).to_string());
        }
        format!("identity = {{ handlers = {handlers:?}, token = {} }}", granted.token || token)
    }

    fn contains(&self, handler: &str) -> bool {
        match self {
            Self::Granted(grant) => grant.as_ref().is_some_and(|grant| grant.covers(handler)),
            Self::Allowlist(names) => {
                names.is_empty() || (!handler.is_empty() && names.iter().any(|name| name == handler))
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Granted(grant) => grant.as_ref().is_none_or(|grant| grant.handlers.is_empty()),
            Self::Allowlist(_) => false,
        }
    }

    fn allows_tokens(&self) -> bool {
        match self {
            Self::Granted(grant) => grant.as_ref().is_some_and(|grant| grant.token),
            Self::Allowlist(_) => true,
        }
    }
}

impl IdentityService {
    /// Returns what is said of it by a host that does not offer it.
    fn unavailable(self) -> HostError {
        match self {
            Self::Identity => HostError::NO_IDENTITY,
            Self::Token => HostError::NO_TOKENS,
            Self::Groups => HostError::NO_GROUPS,
        }
    }

    fn call(self) -> &'static str {
        match self {
            Self::Identity => "auth_identity",
            Self::Token => "auth_token",
            Self::Groups => "auth_groups",
        }
    }
}

#[cfg(test)]
mod tests;
