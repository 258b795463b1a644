//! From a name or a file to what runs under it: a provider or an auth handler.
//!
//! Looking is not running. What a plugin offers is known from an earlier run, or found out by asking it as one kind and
//! then as the other. A name is searched for in this order:
//!
//! - files that are known from earlier runs to offer it, and in front of them those that are unknown, have that name, and
//!   come before them in upstream's order of files;
//! - if there is none, components, asked in their sandbox, then native programs whose file has that name, started because
//!   they were asked for, then other native programs, where that was allowed;
//! - native programs that offered something else when they were last asked, if their file has that name or all may be
//!   asked.
//!
//! All are asked with nothing granted; only the plugin that offers the name is then started to stay. Among equals, the
//! first in upstream's order of files wins, and the log warns of the others.
//!
//! A file's digest decides what it is granted. It may come from a note of how the file looked earlier; the backend
//! checks it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_contract::{BackendName, HandlerName, Kind, chain};

use super::description::Description;
use super::discover::{self, Candidate, DiscoverError};
use super::handlers::RegisteredHandler;
use super::registry::RegisteredProvider;
use super::started::Started;
use super::wrapped::Examined;
use super::{Host, Rooms, WantedBy};
use crate::blocking::blocking;

mod error;
mod search;

pub use error::FindError;

/// What is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A provider or an auth handler, by the name that it is registered under.
    Named(String),
    /// The plugin in a file, and the name of the one that is meant, if it offers several.
    File(PathBuf, Option<String>),
}

/// Which native programs may be started only to find out what they offer, if nobody asked for them by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Describe {
    /// Only those in trusted directories.
    #[default]
    Trusted,
    /// All of them.
    All,
}

/// The auth handlers of the directories.
#[derive(Debug, Default)]
pub struct FoundHandlers {
    /// Those that run, by name.
    pub handlers: Vec<Arc<RegisteredHandler>>,
    /// Native programs that were not started to find out what they offer.
    pub left_out: Vec<PathBuf>,
    /// Why others could not be used.
    pub failed: Vec<FindError>,
}

/// The auth handlers of the directories, as far as they are known without being started to stay.
#[derive(Debug, Default)]
pub(super) struct KnownHandlers {
    /// Each file's, in the order in which files are looked through.
    pub(super) files: Vec<(Vec<HandlerName>, Candidate)>,
    /// Native programs that nobody asked what they offer.
    left_out: Vec<PathBuf>,
    /// What could not be asked.
    failed: Vec<FindError>,
}

/// What a search is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Run,
    Look,
}

impl Host {
    /// Finds a provider, and starts and configures its plugin if it is not up yet.
    ///
    /// # Errors
    ///
    /// Why it was not found or cannot be used.
    pub async fn find(
        &self,
        wanted: &Wanted,
        describe: Describe,
    ) -> Result<Arc<RegisteredProvider>, FindError> {
        self.rooms.find(wanted, describe).await
    }

    /// Finds an auth handler, and starts and configures its plugin if it is not up yet.
    ///
    /// # Errors
    ///
    /// Why it was not found or cannot be used.
    pub async fn find_auth_handler(
        &self,
        wanted: &Wanted,
        describe: Describe,
    ) -> Result<Arc<RegisteredHandler>, FindError> {
        self.rooms.find_auth_handler(wanted, describe).await
    }

    /// Starts and configures every auth handler in the directories. A native program that is not known yet is
    /// started only as `describe` allows, as for a listing.
    ///
    /// # Errors
    ///
    /// [`FindError::Discover`], when a directory cannot be read.
    pub async fn auth_handlers(&self, describe: Describe) -> Result<FoundHandlers, FindError> {
        self.rooms.auth_handlers(describe).await
    }

    /// Starts every file with an execute bit to see what it is, as upstream's discovery does, and returns the
    /// providers that were registered. Files that do not start are skipped.
    ///
    /// # Errors
    ///
    /// [`FindError::Discover`], when a directory cannot be read.
    pub async fn start_everything(&self) -> Result<Vec<Arc<RegisteredProvider>>, FindError> {
        let rooms = &self.rooms;
        let mut all = Vec::new();
        for started in rooms.start_all(Kind::Provider).await? {
            let registered = |p: &Arc<RegisteredProvider>| {
                rooms.registry.get(p.name()).is_some_and(|r| Arc::ptr_eq(&r, p))
            };
            all.extend(started.into_providers().into_iter().filter(registered));
        }
        Ok(all)
    }

    /// Does the same as [`start_everything`](Self::start_everything) for auth handlers.
    ///
    /// # Errors
    ///
    /// [`FindError::DiscoverAuthHandlers`], when a directory cannot be read.
    pub async fn start_every_auth_handler(&self) -> Result<Vec<Arc<RegisteredHandler>>, FindError> {
        let rooms = &self.rooms;
        let started = rooms.start_all(Kind::AuthHandler).await.map_err(|error| match error {
            FindError::Discover(error) => FindError::DiscoverAuthHandlers(error),
            other => other,
        })?;
        let registered = |h: &Arc<RegisteredHandler>| {
            rooms.auth_registry.get(h.name()).is_ok_and(|registered| Arc::ptr_eq(&registered, h))
        };
        Ok(started.into_iter().flat_map(Started::into_handlers).filter(registered).collect())
    }
}

impl Rooms {
    pub(super) async fn find(
        &self,
        wanted: &Wanted,
        describe: Describe,
    ) -> Result<Arc<RegisteredProvider>, FindError> {
        match wanted {
            Wanted::Named(name) => {
                if let Some(provider) = self.registry.get(name).filter(|found| found.plugin.is_running()) {
                    if !provider.configured.initialized() {
                        self.see_configured(&provider).await?;
                    }
                    return Ok(provider);
                }
                let located = self.search(Kind::Provider, name, describe, Purpose::Run).await?;
                let provider = located.started.and_then(|started| started.provider(name));
                provider.ok_or_else(|| self.nobody(Kind::Provider, name, Vec::new()))
            }
            Wanted::File(path, provider) => {
                let file = look_at(path).await?;
                self.start(&file, Kind::Provider, WantedBy::Caller)
                    .await?
                    .choose_provider(provider.as_deref())
            }
        }
    }

    async fn find_auth_handler(
        &self,
        wanted: &Wanted,
        describe: Describe,
    ) -> Result<Arc<RegisteredHandler>, FindError> {
        match wanted {
            Wanted::Named(text) => {
                let name = HandlerName::new(text);
                if let Ok(handler) = self.auth_registry.get(&name)
                    && handler.plugin.is_running()
                {
                    return Ok(handler);
                }
                match self.search(Kind::AuthHandler, text, describe, Purpose::Run).await {
                    Ok(located) => located
                        .started
                        .and_then(|started| started.handler(&name))
                        .ok_or_else(|| self.nobody(Kind::AuthHandler, text, Vec::new())),
                    Err(FindError::NoHandler { name, left_out, searched, .. }) => {
                        let known = self.known_handlers(describe).await?.files;
                        let mut known: Vec<_> = known.into_iter().flat_map(|(names, _)| names).collect();
                        known.sort();
                        known.dedup();
                        Err(FindError::NoHandler { name, known, left_out, searched })
                    }
                    Err(error) => Err(error),
                }
            }
            Wanted::File(path, handler) => {
                let file = look_at(path).await?;
                self.start(&file, Kind::AuthHandler, WantedBy::Caller)
                    .await?
                    .choose_handler(handler.as_deref())
            }
        }
    }

    async fn auth_handlers(&self, describe: Describe) -> Result<FoundHandlers, FindError> {
        let KnownHandlers { files, left_out, mut failed } = self.known_handlers(describe).await?;
        for (_, file) in files {
            if let Err(error) = self.start(&file, Kind::AuthHandler, WantedBy::Caller).await {
                failed.push(error);
            }
        }
        let names = self.auth_registry.names();
        let handlers = names.iter().filter_map(|name| self.auth_registry.get(name).ok());
        let handlers = handlers.filter(|handler| handler.plugin.is_running()).collect();
        Ok(FoundHandlers { handlers, left_out, failed })
    }

    /// Returns the auth handlers of the directories without starting any to stay.
    pub(super) async fn known_handlers(&self, describe: Describe) -> Result<KnownHandlers, FindError> {
        let mut all = KnownHandlers::default();
        for file in self.look(discover::candidates).await?.candidates {
            let mut examined = Examined::new(file);
            let described = async {
                let mut known = self.digest(&examined.file).await?;
                let asking = self.asking(&examined, describe).await;
                self.described(&mut examined, &mut known, asking, Kind::AuthHandler).await
            };
            match described.await {
                Ok(Some(Description::AuthHandlers(infos))) => {
                    let names = infos.into_iter().map(|info| info.name);
                    all.files.push((names.filter(|name| !name.as_str().is_empty()).collect(), examined.file));
                }
                Ok(Some(Description::Providers(_))) => {}
                Ok(None) => all.left_out.push(examined.file.path),
                // As in a listing.
                Err(FindError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(error = chain(&error), "file passed over");
                    all.failed.push(error);
                }
            }
        }
        Ok(all)
    }

    /// Looks through the directories on a thread for it: they may hold many files, or lie on a slow disk.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        through: impl FnOnce(&[PathBuf]) -> Result<T, DiscoverError> + Send + 'static,
    ) -> Result<T, FindError> {
        let directories = self.setup.directories.clone();
        blocking(move || through(&directories)).await.map_err(FindError::Discover)
    }

    async fn start_all(&self, kind: Kind) -> Result<Vec<Started>, FindError> {
        let mut all = Vec::new();
        let candidate = |path: PathBuf| {
            let backend = match discover::form(&path) {
                Ok(discover::Form::Component) => BackendName::Component,
                _ => BackendName::Process,
            };
            Candidate::new(path, backend)
        };
        let look = move |directories: &[PathBuf]| {
            Ok(discover::executables(directories)?.into_iter().map(candidate).collect::<Vec<_>>())
        };
        for file in self.look(look).await? {
            match self.start(&file, kind, WantedBy::Caller).await {
                Ok(started) => all.push(started),
                Err(error) => tracing::debug!(error = chain(&error), "file passed over"),
            }
        }
        Ok(all)
    }
}

/// Looks at one file that was named.
pub(super) async fn look_at(path: &Path) -> Result<Candidate, FindError> {
    let at = path.to_owned();
    Ok(blocking(move || discover::examine(&at)).await?)
}
