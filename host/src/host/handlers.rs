//! The registry of auth handlers, by name: the first one keeps its name.
//!
//! What a handler says of itself is taken as it is: neither flows nor capabilities are checked, and later
//! changes in the plugin are not seen (contract spec 4.8 and 7.2). Nothing here starts, calls or ends a
//! plugin; the calls of a handler are in [`auth`](super::auth).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use portcullis_contract::{AuthCapability, AuthHandler, HandlerInfo, HandlerName};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::lock::lock;

/// The auth handlers by name. Calls may overlap; no lock is held across an await.
#[derive(Debug, Default)]
pub struct AuthRegistry {
    handlers: Mutex<BTreeMap<HandlerName, Arc<RegisteredHandler>>>,
}

/// An auth handler, and the plugin that offers it.
pub struct RegisteredHandler {
    /// What it says of itself.
    pub info: HandlerInfo,
    /// The plugin that offers it.
    pub plugin: Arc<dyn AuthHandler>,
    /// Set once it was configured, and then tried to register.
    pub(super) configured: OnceCell<()>,
}

/// Why a name does not lead to an auth handler, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthRegistryError {
    /// The handler has no name.
    #[error("handler name cannot be empty")]
    Nameless,
    /// Another handler has the name.
    #[error("auth handler already registered: {0}")]
    Taken(HandlerName),
    /// Nobody has the name.
    #[error("auth handler not found: {0}")]
    NotFound(HandlerName),
}

impl RegisteredHandler {
    /// Makes an entry for one handler of a plugin, without registering it.
    ///
    /// # Errors
    ///
    /// [`AuthRegistryError::Nameless`].
    pub fn new(plugin: Arc<dyn AuthHandler>, info: HandlerInfo) -> Result<Self, AuthRegistryError> {
        if info.name.as_str().is_empty() {
            return Err(AuthRegistryError::Nameless);
        }
        Ok(Self { info, plugin, configured: OnceCell::new() })
    }

    /// Returns its name, by which it is registered and called.
    #[must_use]
    pub fn name(&self) -> &HandlerName {
        &self.info.name
    }

    /// Returns its name for people.
    #[must_use]
    pub fn display_name(&self) -> &str {
        if self.info.display_name.is_empty() { self.info.name.as_str() } else { &self.info.display_name }
    }

    /// Returns whether it says that it supports a part of a request.
    #[must_use]
    pub fn has(&self, capability: &AuthCapability) -> bool {
        self.info.capabilities.contains(capability)
    }
}

impl fmt::Debug for RegisteredHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredHandler")
            .field("info", &self.info)
            .field("plugin", &self.plugin.info().name)
            .finish_non_exhaustive()
    }
}

impl AuthRegistry {
    /// Registers a handler under its name.
    ///
    /// # Errors
    ///
    /// [`AuthRegistryError::Taken`]; the handler that has the name keeps it, unless its plugin was shut down.
    pub fn register(&self, handler: Arc<RegisteredHandler>) -> Result<(), AuthRegistryError> {
        let mut handlers = lock(&self.handlers);
        let name = handler.info.name.clone();
        if handlers.get(&name).is_some_and(|first| first.plugin.is_running()) {
            return Err(AuthRegistryError::Taken(name));
        }
        handlers.insert(name, handler);
        Ok(())
    }

    /// Returns the handler of a name.
    ///
    /// # Errors
    ///
    /// [`AuthRegistryError::NotFound`].
    pub fn get(&self, name: &HandlerName) -> Result<Arc<RegisteredHandler>, AuthRegistryError> {
        let handler = lock(&self.handlers).get(name).cloned();
        handler.ok_or_else(|| AuthRegistryError::NotFound(name.clone()))
    }

    /// Returns whether a name is registered.
    #[must_use]
    pub fn has(&self, name: &HandlerName) -> bool {
        lock(&self.handlers).contains_key(name)
    }

    /// Returns all names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<HandlerName> {
        lock(&self.handlers).keys().cloned().collect()
    }

    /// Removes the handler of a name, and returns it. Its plugin runs on and is not registered again; the
    /// next plugin that starts with the name takes it.
    pub fn forget(&self, name: &HandlerName) -> Option<Arc<RegisteredHandler>> {
        lock(&self.handlers).remove(name)
    }

    /// Forgets all handlers, and returns them.
    pub(super) fn take_all(&self) -> Vec<Arc<RegisteredHandler>> {
        let handlers = std::mem::take(&mut *lock(&self.handlers));
        handlers.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::fake_auth_handler;

    fn handler(name: &str) -> Result<Arc<RegisteredHandler>, AuthRegistryError> {
        let (_world, plugin) = fake_auth_handler(&["unused"]);
        let info = HandlerInfo {
            name: HandlerName::new(name),
            display_name: String::new(),
            flows: Vec::new(),
            capabilities: Vec::new(),
        };
        RegisteredHandler::new(plugin, info).map(Arc::new)
    }

    #[test]
    fn who_comes_first_keeps_the_name_and_names_are_sorted() {
        let registry = AuthRegistry::default();
        let first = handler("github").unwrap();
        registry.register(Arc::clone(&first)).unwrap();
        registry.register(handler("entra").unwrap()).unwrap();

        // item 141
        let taken = registry.register(handler("github").unwrap()).unwrap_err();
        assert_eq!(taken.to_string(), "auth handler already registered: github");
        assert!(Arc::ptr_eq(&registry.get(&HandlerName::new("github")).unwrap(), &first));
        let nameless = handler("").unwrap_err();
        assert_eq!(nameless.to_string(), "handler name cannot be empty");
        let missing = registry.get(&HandlerName::new("GitHub")).unwrap_err();
        assert_eq!(missing.to_string(), "auth handler not found: GitHub");

        assert_eq!(registry.names(), ["entra", "github"].map(HandlerName::new));
        assert!(registry.forget(&HandlerName::new("github")).is_some());
        assert!(!registry.has(&HandlerName::new("github")));
    }
}
