//! The registry of providers, by name: the first one keeps its name.
//!
//! A provider is registered under the name in its descriptor, and called by the name under which its plugin
//! advertises it; mostly the two are the same (contract spec 6.1). Its descriptor is checked here, once. Nothing
//! here starts, calls or ends a plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_contract::{CallError, Capability, Descriptor, Provider, ProviderName};
use thiserror::Error;
use tokio::sync::{OnceCell, Semaphore};

use super::rules::{self, InvalidDescriptor, Judged};
use super::schema::InputSchema;
use super::sentences::quote;
use crate::lock::lock;

/// The most requests to one plugin that may take long to check and are checked at a time, abandoned ones included. A
/// guess; fewer, and large requests wait for each other.
const JUDGES: usize = 4;

/// The providers by name. Calls may overlap; no lock is held across an await.
#[derive(Debug, Default)]
pub struct Registry {
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    providers: BTreeMap<String, Arc<RegisteredProvider>>,
    known: BTreeSet<String>,
}

/// A provider with a valid descriptor.
pub struct RegisteredProvider {
    /// The name under which its plugin takes calls for it.
    pub advertised: ProviderName,
    /// Its descriptor.
    pub descriptor: Descriptor,
    /// Its version in full, without a leading `v`.
    pub version: String,
    /// The plugin that offers it.
    pub plugin: Arc<dyn Provider>,
    pub(super) schema: Option<InputSchema>,
    /// One permit for each request to its plugin that may take long to check and is checked at a time.
    pub(super) judges: Arc<Semaphore>,
    /// Set once it was configured.
    pub(super) configured: OnceCell<()>,
    /// Whether it is known not to stream.
    silent: AtomicBool,
}

/// Why a provider was not registered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its descriptor cannot be read.
    #[error("failed to get provider descriptor")]
    Unreadable(#[source] CallError),
    /// Its version is not valid.
    #[error("failed to get provider descriptor")]
    Version(#[source] InvalidDescriptor),
    /// Its descriptor is not valid.
    #[error("invalid provider descriptor")]
    Invalid(#[source] InvalidDescriptor),
    /// Another provider has the name.
    #[error("provider {} already registered with version {version}", quote(name))]
    Taken {
        /// The name.
        name: String,
        /// The version of the one that has it.
        version: String,
    },
}

impl RegisteredProvider {
    /// Checks the descriptor of one provider, without registering it.
    ///
    /// # Errors
    ///
    /// Why the provider cannot be used.
    pub fn new(plugin: Arc<dyn Provider>, advertised: &ProviderName) -> Result<Self, RegisterError> {
        let descriptor =
            plugin.descriptor(advertised).map_err(|e| RegisterError::Unreadable(e.clone()))?.clone();
        let version = rules::version(&descriptor).map_err(RegisterError::Version)?;
        let Judged { version, schema } =
            rules::judge(&descriptor, version).map_err(RegisterError::Invalid)?;
        let (advertised, configured) = (advertised.clone(), OnceCell::new());
        let (judges, silent) = (Arc::new(Semaphore::new(JUDGES)), AtomicBool::new(false));
        Ok(Self { advertised, descriptor, version, plugin, schema, judges, configured, silent })
    }

    /// Has its requests checked by the judges of another provider of its plugin.
    pub(super) fn judged_as(self, other: Option<&Arc<Self>>) -> Self {
        let judges = other.map_or(self.judges, |other| Arc::clone(&other.judges));
        Self { judges, ..self }
    }

    /// Returns the name that it is registered under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// Returns whether an operation changes something, as far as the provider says.
    #[must_use]
    pub fn writes(&self, operation: &str) -> bool {
        let listed = self.descriptor.write_operations.iter().flatten().any(|o| o == operation);
        listed || self.descriptor.operations.iter().any(|o| o.is_write && o.name == operation)
    }

    /// Returns whether it may stream; it may until it has once said that it does not.
    pub(super) fn may_stream(&self) -> bool {
        !self.silent.load(Ordering::Relaxed)
    }

    /// Remembers that it does not stream.
    pub(super) fn does_not_stream(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for RegisteredProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredProvider")
            .field("name", &self.descriptor.name)
            .field("version", &self.version)
            .field("plugin", &self.plugin.info().name)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Registers a provider under the name in its descriptor.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Taken`]; the provider that has the name keeps it, unless its plugin was shut down.
    pub fn register(&self, provider: Arc<RegisteredProvider>) -> Result<(), RegisterError> {
        let mut names = lock(&self.names);
        let name = provider.descriptor.name.clone();
        if let Some(first) = names.providers.get(&name).filter(|first| first.plugin.is_running()) {
            return Err(RegisterError::Taken { name, version: first.version.clone() });
        }
        names.providers.insert(name, provider);
        Ok(())
    }

    /// Makes [`has`](Self::has) true for a name that no registered provider has yet.
    pub fn mark_known(&self, name: impl Into<String>) {
        lock(&self.names).known.insert(name.into());
    }

    /// Returns the provider of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<RegisteredProvider>> {
        lock(&self.names).providers.get(name).cloned()
    }

    /// Returns whether a name is registered, or was [marked](Self::mark_known).
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let names = lock(&self.names);
        names.providers.contains_key(name) || names.known.contains(name)
    }

    /// Returns all providers, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<RegisteredProvider>> {
        lock(&self.names).providers.values().cloned().collect()
    }

    /// Returns the providers with a capability, by name.
    #[must_use]
    pub fn with_capability(&self, capability: &Capability) -> Vec<Arc<RegisteredProvider>> {
        let mut all = self.all();
        all.retain(|p| p.descriptor.capabilities.contains(capability));
        all
    }

    /// Returns the providers of a category, by name.
    #[must_use]
    pub fn with_category(&self, category: &str) -> Vec<Arc<RegisteredProvider>> {
        let mut all = self.all();
        all.retain(|p| p.descriptor.category == category);
        all
    }

    /// Removes the provider of a name, and returns it. Its plugin runs on and is not registered again; the
    /// next plugin that starts with the name takes it.
    pub fn forget(&self, name: &str) -> Option<Arc<RegisteredProvider>> {
        lock(&self.names).providers.remove(name)
    }

    /// Forgets everything, and returns all providers.
    pub(super) fn take_all(&self) -> Vec<Arc<RegisteredProvider>> {
        let names = std::mem::take(&mut *lock(&self.names));
        names.providers.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use portcullis_contract::{BackendName, Digest, Json, Kind, PluginInfo, PluginName};

    use super::*;
    use crate::fake::{FakeProvider, World, descriptor};

    /// Returns the provider of that name, which is of a category and can do these things.
    fn provider(name: &str, category: &str, capabilities: &[Capability]) -> Arc<RegisteredProvider> {
        let world = Arc::new(World::default());
        let schemas = capabilities.iter().map(|capability| (capability.clone(), Json::from_text("{}")));
        let descriptor = Descriptor {
            category: category.to_owned(),
            capabilities: capabilities.to_vec(),
            output_schemas: schemas.collect(),
            ..descriptor(name, &world)
        };
        let info = PluginInfo {
            name: PluginName::new(name),
            kind: Kind::Provider,
            backend: BackendName::Process,
            path: "/nowhere".into(),
            digest: Digest::from_sha256([0; 32]),
        };
        let names = vec![ProviderName::new(name)];
        let (descriptors, dead) = (vec![descriptor], AtomicBool::new(false));
        let plugin = FakeProvider { info, providers: names.clone(), descriptors, world, dead };
        Arc::new(RegisteredProvider::new(Arc::new(plugin), &names[0]).unwrap())
    }

    /// Contract spec 6.1.
    #[test]
    fn providers_are_found_by_what_they_are_in_the_order_of_their_names() {
        let registry = Registry::default();
        for (name, category, capabilities) in [
            ("b", "files", &[Capability::FROM, Capability::TRANSFORM][..]),
            ("c", "net", &[Capability::TRANSFORM]),
            ("a", "files", &[Capability::FROM]),
        ] {
            registry.register(provider(name, category, capabilities)).unwrap();
        }
        let names =
            |found: Vec<Arc<RegisteredProvider>>| -> String { found.iter().map(|p| p.name()).collect() };
        assert_eq!(names(registry.all()), "abc");
        assert_eq!(names(registry.with_category("files")), "ab");
        assert_eq!(names(registry.with_category("file")), "");
        assert_eq!(names(registry.with_capability(&Capability::TRANSFORM)), "bc");
        assert_eq!(names(registry.with_capability(&Capability::ACTION)), "");

        let again = registry.register(provider("a", "net", &[Capability::FROM])).unwrap_err();
        assert_eq!(again.to_string(), "provider \"a\" already registered with version 1.0.0");
        registry.mark_known("d");
        assert!(registry.has("d") && registry.get("d").is_none() && !registry.has("e"));
    }
}
