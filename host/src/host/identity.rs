//! Tells plugins who is logged in: the auth registry as an [`IdentitySource`].
//!
//! One is made for each plugin, because a question that would lead back to its asker is refused
//! ([`Waits`](super::waits::Waits)). A handler's plugin is started when it is first asked for, and not before; which plugin
//! may ask for which handler was decided by [`Services`](super::services::Services). What a handler says in a
//! refusal is passed on; why else it failed is for the log.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use portcullis_contract::{
    AccessRequest, Account, AuthHandlers, Call, CallError, Claims, HandlerName, Kind, PluginName, Token,
    TokenRequest, chain,
};

use super::auth::{AuthError, USUAL_VALIDITY};
use super::discover::Candidate;
use super::find::{Describe, FindError};
use super::handlers::RegisteredHandler;
use super::services::{IdentityError, IdentityService, IdentitySource};
use super::waits::Wait;
use super::{Rooms, WantedBy, sentences::quote};
use crate::supervise::Life;
use crate::warnings::Warnings;

/// The longest name of a handler, in bytes, whose failure is remembered. No handler has nearly as long a one, but a
/// plugin may ask for any.
const LONGEST_NAME: usize = 256;

/// What one plugin may be told. It does not keep the host alive.
#[derive(Debug)]
pub(super) struct Identities {
    rooms: Weak<Rooms>,
    asker: PluginName,
    file: PathBuf,
    warnings: Warnings,
}

impl Identities {
    /// Makes a source for the plugin in a file.
    pub(super) fn new(rooms: Weak<Rooms>, asker: &Candidate) -> Self {
        let Candidate { name, path, .. } = asker;
        Self { rooms, asker: name.clone(), file: path.clone(), warnings: Warnings::default() }
    }

    /// Does work with the host, and gives it up once the host was dropped.
    async fn with<T, F, Fut>(&self, work: F) -> Result<T, IdentityError>
    where
        F: FnOnce(Arc<Rooms>) -> Fut + Send,
        Fut: Future<Output = Result<T, IdentityError>> + Send,
    {
        let rooms = self.rooms.upgrade().ok_or_else(shut_down)?;
        let mut life = rooms.life.subscribe();
        tokio::select! {
            answer = work(rooms) => answer,
            // The owner has dropped the host. The other branch still holds the host's inside; dropping it releases
            // that.
            _ = life.wait_for(|life| *life == Life::Over) => Err(shut_down()),
        }
    }

    /// Tells a plugin that something failed, and only the log why: the reason may speak of this machine.
    fn told(&self, what: &str, error: &dyn std::error::Error) -> IdentityError {
        if self.warnings.one_more(&self.asker) {
            tracing::warn!(plugin = %self.asker, error = chain(error), "{what}");
        }
        IdentityError(what.to_owned())
    }

    /// Tells a plugin what a handler's call failed with, without the causes: those go to the log.
    fn answered(&self, handler: &RegisteredHandler, call: &str, error: &CallError) -> IdentityError {
        if !matches!(error, CallError::Refused(_)) && self.warnings.one_more(&self.asker) {
            let (plugin, handler, error) = (&self.asker, handler.name(), chain(error));
            tracing::warn!(%plugin, %handler, call, error, "an auth handler gave no answer");
        }
        IdentityError(error.to_string())
    }
}

fn shut_down() -> IdentityError {
    IdentityError("the host is shut down".to_owned())
}

#[async_trait]
impl IdentitySource for Identities {
    /// No plugin can tell of groups: the contract has no such call (contract spec 4.8).
    fn offers(&self, service: IdentityService) -> bool {
        service != IdentityService::Groups
    }

    async fn handlers(&self) -> Result<AuthHandlers, IdentityError> {
        self.with(|rooms| async move {
            let known = rooms.known_handlers(Describe::Trusted).await;
            let known = known.map_err(|error| self.told("no auth handlers", &error))?;
            let mut names = rooms.auth_registry.names();
            names.extend(known.files.into_iter().flat_map(|(names, _)| names));
            names.sort();
            names.dedup();
            let default = rooms.setup.default_handler.as_ref().filter(|default| names.contains(default));
            Ok(AuthHandlers {
                default: default.map(HandlerName::to_string).unwrap_or_default(),
                names: names.iter().map(HandlerName::to_string).collect(),
            })
        })
        .await
    }

    /// Tells what the handler's status says, of the account that is configured. A login is for all scopes that it has.
    async fn identity(&self, handler: &str, _scope: &str) -> Result<Option<Claims>, IdentityError> {
        self.with(|rooms| async move {
            let (handler, _wait) = rooms.asked(self, handler).await?;
            let account =
                Account { profile: rooms.setup.configuration.profile.clone(), ..Account::default() };
            let status = handler.status(&Call::default(), &account).await;
            let status = status.map_err(|error| self.answered(&handler, "status", &error))?;
            Ok(status.claims.filter(|_| status.authenticated))
        })
        .await
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, IdentityError> {
        self.with(|rooms| async move {
            let (handler, _wait) = rooms.asked(self, &request.handler).await?;
            let seconds = u64::try_from(request.min_valid_for).unwrap_or(0);
            let access = AccessRequest {
                scope: request.scope.clone(),
                min_valid_for: if seconds == 0 { USUAL_VALIDITY } else { Duration::from_secs(seconds) },
                force_refresh: request.force_refresh,
                profile: request.profile.clone().or_else(|| rooms.setup.configuration.profile.clone()),
                ..AccessRequest::default()
            };
            handler.token(&Call::default(), access).await.map_err(|error| {
                let AuthError::Token { source, .. } = &error else { return self.told("no token", &error) };
                IdentityError(format!("{error}: {}", self.answered(&handler, "token", source)))
            })
        })
        .await
    }

    async fn groups(&self, _handler: &str) -> Result<Vec<String>, IdentityError> {
        Err(IdentityError("no auth handler tells of groups".to_owned()))
    }
}

impl Rooms {
    /// Finds the handler that a plugin asks for, starts it if need be, and notes who waits for whom. One that failed is
    /// not tried again at once.
    async fn asked(
        &self,
        asker: &Identities,
        name: &str,
    ) -> Result<(Arc<RegisteredHandler>, Wait<'_>), IdentityError> {
        let name = match (name, &self.setup.default_handler) {
            ("", Some(default)) => default.clone(),
            ("", None) => return Err(IdentityError("there is no default auth handler".to_owned())),
            (name, _) => HandlerName::new(name),
        };
        let circle = || {
            let name = quote(name.as_str());
            IdentityError(format!(
                "auth handler {name} would wait for the plugin that asks: it is offered by that plugin, or asks \
                 something of it"
            ))
        };
        if let Ok(handler) = self.auth_registry.get(&name)
            && handler.plugin.is_running()
        {
            let wait = self.waits.begin(&asker.file, &handler.plugin.info().path).ok_or_else(circle)?;
            return Ok((handler, wait));
        }
        if let Some(error) = self.unusable.recall(&name, IdentityError::clone) {
            return Err(error);
        }
        let not_there = |error: FindError| {
            let error = match error {
                FindError::NoHandler { .. } => IdentityError(format!("auth handler not found: {name}")),
                error => asker.told(&format!("auth handler {} cannot be used", quote(name.as_str())), &error),
            };
            if name.as_str().len() <= LONGEST_NAME {
                self.unusable.note(name.clone(), error.clone());
            }
            error
        };
        let located = self.locate(Kind::AuthHandler, name.as_str(), Describe::Trusted).await;
        let file = located.map_err(not_there)?;
        // Noted before it is started, for it may ask something itself at once.
        let wait = self.waits.begin(&asker.file, &file.path).ok_or_else(circle)?;
        let started = self.start(&file, Kind::AuthHandler, WantedBy::Plugin).await.map_err(not_there)?;
        let handler = started.handler(&name);
        let handler = handler.ok_or_else(|| IdentityError(format!("auth handler not found: {name}")))?;
        Ok((handler, wait))
    }
}
