//! A plugin that is up, and what it offers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{HandlerName, Kind, Plugin, PluginName};

use super::find::FindError;
use super::handlers::RegisteredHandler;
use super::registry::RegisteredProvider;
use crate::supervise::{PluginKind, Supervised};

/// A plugin under supervision, whichever its kind.
pub(super) trait Watched: Plugin {
    /// As [`Supervised::lift_quarantine`].
    fn lift_quarantine(&self) -> bool;
}

impl<K: PluginKind> Watched for Supervised<K> {
    fn lift_quarantine(&self) -> bool {
        Supervised::lift_quarantine(self)
    }
}

/// A plugin that is up.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) plugin: Arc<dyn Watched>,
    /// What of it was found good.
    pub(super) offers: Usable,
    /// Why the rest was not.
    pub(super) refused: Refused,
}

/// The most reasons that are kept of one plugin. It may offer any number of useless things, and nobody reads more.
const MOST_REASONS: usize = 20;

/// Why what a plugin offers is of no use, one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    reasons: Vec<String>,
    /// How many more there are.
    more: usize,
}

impl Refused {
    /// Takes a reason. Returns whether it was kept, and so is worth a line in the log.
    pub(super) fn note(&mut self, reason: String) -> bool {
        let kept = self.reasons.len() < MOST_REASONS;
        if kept {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
        kept
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))?;
        if self.more > 0 { write!(f, "; and {} more", self.more) } else { Ok(()) }
    }
}

/// What a plugin offers that was found good.
#[derive(Clone, Debug)]
pub(super) enum Usable {
    Providers(Vec<Arc<RegisteredProvider>>),
    AuthHandlers(Vec<Arc<RegisteredHandler>>),
}

impl Started {
    pub(super) fn kind(&self) -> Kind {
        match self.offers {
            Usable::Providers(_) => Kind::Provider,
            Usable::AuthHandlers(_) => Kind::AuthHandler,
        }
    }

    /// Returns whether all that it offers was configured.
    pub(super) fn is_introduced(&self) -> bool {
        match &self.offers {
            Usable::Providers(all) => all.iter().all(|provider| provider.configured.initialized()),
            Usable::AuthHandlers(all) => all.iter().all(|handler| handler.configured.initialized()),
        }
    }

    /// Ends the plugin at once, and every call to it.
    pub(super) async fn kill(&self) {
        self.plugin.shutdown(Duration::ZERO).await;
    }

    /// Returns whether it offers something under a name.
    pub(super) fn offers(&self, name: &str) -> bool {
        match &self.offers {
            Usable::Providers(all) => all.iter().any(|p| p.name() == name),
            Usable::AuthHandlers(all) => all.iter().any(|h| h.name().as_str() == name),
        }
    }

    /// Returns its provider of a name.
    pub(super) fn provider(&self, name: &str) -> Option<Arc<RegisteredProvider>> {
        let Usable::Providers(all) = &self.offers else { return None };
        all.iter().find(|p| p.name() == name).cloned()
    }

    /// Returns its auth handler of a name.
    pub(super) fn handler(&self, name: &HandlerName) -> Option<Arc<RegisteredHandler>> {
        let Usable::AuthHandlers(all) = &self.offers else { return None };
        all.iter().find(|h| h.name() == name).cloned()
    }

    pub(super) fn into_providers(self) -> Vec<Arc<RegisteredProvider>> {
        match self.offers {
            Usable::Providers(all) => all,
            Usable::AuthHandlers(_) => Vec::new(),
        }
    }

    pub(super) fn into_handlers(self) -> Vec<Arc<RegisteredHandler>> {
        match self.offers {
            Usable::Providers(_) => Vec::new(),
            Usable::AuthHandlers(all) => all,
        }
    }

    /// Returns the provider that is meant: the only one, or the one of a name.
    pub(super) fn choose_provider(self, name: Option<&str>) -> Result<Arc<RegisteredProvider>, FindError> {
        let (plugin, refused) = (self.plugin.info().name.clone(), self.refused.to_string());
        choose(plugin, refused, &self.into_providers(), name)
    }

    /// Returns the auth handler that is meant: the only one, or the one of a name.
    pub(super) fn choose_handler(self, name: Option<&str>) -> Result<Arc<RegisteredHandler>, FindError> {
        let (plugin, refused) = (self.plugin.info().name.clone(), self.refused.to_string());
        choose(plugin, refused, &self.into_handlers(), name)
    }
}

/// Something that a plugin offers under a name.
trait Offered {
    const KIND: Kind;

    fn name(&self) -> &str;

    fn is_meant_by(&self, name: &str) -> bool {
        self.name() == name
    }
}

impl Offered for RegisteredProvider {
    const KIND: Kind = Kind::Provider;

    fn name(&self) -> &str {
        &self.descriptor.name
    }

    fn is_meant_by(&self, name: &str) -> bool {
        self.descriptor.name == name || self.advertised.as_str() == name
    }
}

impl Offered for RegisteredHandler {
    const KIND: Kind = Kind::AuthHandler;

    fn name(&self) -> &str {
        self.info.name.as_str()
    }
}

fn choose<T: Offered>(
    plugin: PluginName,
    refused: String,
    all: &[Arc<T>],
    name: Option<&str>,
) -> Result<Arc<T>, FindError> {
    let fitting: Vec<_> = all.iter().filter(|o| name.is_none_or(|name| o.is_meant_by(name))).collect();
    let kind = T::KIND;
    match (fitting.as_slice(), name) {
        ([one], _) | ([one, ..], Some(_)) => Ok(Arc::clone(one)),
        ([], Some(name)) if !all.is_empty() => {
            let mut known: Vec<_> = all.iter().map(|offered| offered.name()).collect();
            known.sort_unstable();
            Err(match kind {
                Kind::Provider => {
                    let names = known.into_iter().map(str::to_owned).collect();
                    FindError::NotOffered { plugin, name: name.to_owned(), names }
                }
                Kind::AuthHandler => {
                    let known = known.into_iter().map(HandlerName::new).collect();
                    FindError::nobody(kind, name, known, Vec::new(), None)
                }
            })
        }
        ([], _) if refused.is_empty() => {
            Err(FindError::Useless { plugin, kind, reason: "it names none".to_owned() })
        }
        ([], _) => Err(FindError::Useless { plugin, kind, reason: refused }),
        (several, None) => {
            let names = several.iter().map(|o| o.name().to_owned()).collect();
            Err(FindError::Ambiguous { plugin, kind, names })
        }
    }
}
