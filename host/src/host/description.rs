//! What a plugin said of itself.

use portcullis_contract::{Descriptor, HandlerInfo, Kind, Provider as _, ProviderName, chain};

use crate::supervise::{ProviderKind, Supervised};

/// What a plugin said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Description {
    /// Its providers: the name each is advertised under, and what it says of itself, or why that could not be read.
    Providers(Vec<(ProviderName, Result<Descriptor, String>)>),
    /// Its auth handlers.
    AuthHandlers(Vec<HandlerInfo>),
}

impl Description {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Providers(_) => Kind::Provider,
            Self::AuthHandlers(_) => Kind::AuthHandler,
        }
    }

    pub(super) fn of_providers(plugin: &Supervised<ProviderKind>) -> Self {
        let describe = |name: &ProviderName| plugin.descriptor(name).cloned().map_err(|e| chain(e));
        Self::Providers(plugin.providers().iter().map(|name| (name.clone(), describe(name))).collect())
    }

    /// Returns why it cannot be told what it says of a provider that it advertises, if that is so.
    pub(super) fn failure_of(&self, name: &str) -> Option<&str> {
        let Self::Providers(all) = self else { return None };
        let (_, described) = all.iter().find(|(advertised, _)| advertised.as_str() == name)?;
        described.as_ref().err().map(String::as_str)
    }

    pub(super) fn offers(&self, kind: Kind, name: &str) -> bool {
        match self {
            Self::Providers(all) => {
                let named = |d: &Result<Descriptor, String>| d.as_ref().is_ok_and(|d| d.name == name);
                kind == Kind::Provider && all.iter().any(|(_, d)| named(d))
            }
            Self::AuthHandlers(all) => {
                kind == Kind::AuthHandler && all.iter().any(|info| info.name.as_str() == name)
            }
        }
    }
}
