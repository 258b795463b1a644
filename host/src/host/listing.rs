//! Listing the plugins in the directories, without running what nobody asked for.
//!
//! A component is asked in its sandbox, with nothing granted. A native program is described by what is kept from
//! an earlier start, or not at all.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use portcullis_contract::{
    Descriptor, Digest, HandlerInfo, Kind, ProviderName, Resolved, chain, visible_line,
};
use thiserror::Error;

use super::describe::Asking;
use super::description::Description;
use super::discover::{self, Candidate};
use super::find::look_at;
use super::wrapped::Examined;
use super::{Describe, FindError, Host, PluginSettings, Rooms, Wanted, Wrapped, rules};

/// What was found in the directories.
#[derive(Debug)]
pub struct Listing {
    /// The plugins, in the order of the search.
    pub plugins: Vec<Listed>,
    /// Files that are meant to be plugins and cannot be: a core module, for instance, or one that cannot be read.
    pub unusable: Vec<UnusableFile>,
}

/// A file that looks like a plugin.
#[derive(Debug)]
pub struct Listed {
    /// The file.
    pub file: Candidate,
    /// Its digest.
    pub digest: Digest,
    /// What the policy has for it.
    pub settings: PluginSettings,
    /// The limits that hold for it.
    pub limits: Resolved,
    /// What it offers.
    pub offers: Offers,
    /// The component that the file carries, if it is a program with one in it.
    pub wrapped: Option<Wrapped>,
}

impl Listed {
    /// Returns what the plugin says of itself as text, for a wrapped file to carry.
    ///
    /// # Errors
    ///
    /// Why a part of it could not be read, or that it offers nothing that can be used.
    pub fn description(&self) -> Result<String, String> {
        let told = match &self.offers {
            Offers::Providers(offers) => {
                let mut all = Vec::new();
                for Offer { advertised, descriptor, .. } in offers {
                    let descriptor = descriptor.clone().map_err(|e| format!("provider {advertised}: {e}"))?;
                    all.push((advertised.clone(), Ok(descriptor)));
                }
                Description::Providers(all)
            }
            Offers::AuthHandlers(offers) => {
                let whole = |offer: &HandlerOffer| match &offer.problem {
                    Some(problem) => Err(format!("auth handler {}: {problem}", offer.info.name)),
                    None => Ok(offer.info.clone()),
                };
                Description::AuthHandlers(offers.iter().map(whole).collect::<Result<_, _>>()?)
            }
            Offers::NotYetDescribed => return Err("nobody has asked it yet".to_owned()),
            Offers::Failed(error) => return Err(chain(error)),
        };
        told.to_text().map_err(|error| error.to_string())
    }
}

/// What a plugin is known to offer.
#[derive(Debug)]
pub enum Offers {
    /// These providers.
    Providers(Vec<Offer>),
    /// These auth handlers.
    AuthHandlers(Vec<HandlerOffer>),
    /// A native program that was never started, so that this is not known.
    NotYetDescribed,
    /// Asking it failed.
    Failed(FindError),
}

/// A provider that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The name it is advertised under.
    pub advertised: ProviderName,
    /// Its descriptor, or why that is unknown or invalid.
    pub descriptor: Result<Descriptor, String>,
    /// The file of an earlier provider that has the name, if there is one.
    pub taken_by: Option<PathBuf>,
}

/// An auth handler that a plugin offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerOffer {
    /// What it says of itself.
    pub info: HandlerInfo,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
    /// The file of an earlier handler that has the name, if there is one.
    pub taken_by: Option<PathBuf>,
}

/// A file that cannot be used as a plugin, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {reason}", visible_line(&path.display().to_string()))]
pub struct UnusableFile {
    /// The file.
    pub path: PathBuf,
    /// Why, and what to do.
    pub reason: String,
}

impl Host {
    /// Lists the plugins in the directories. Starts native programs only as `describe` allows; asks components
    /// in their sandbox, with nothing granted.
    ///
    /// # Errors
    ///
    /// [`FindError::Discover`], when a directory cannot be read.
    pub async fn list(&self, describe: Describe) -> Result<Listing, FindError> {
        let rooms = &self.rooms;
        let found = rooms.look(discover::candidates).await?;
        let mut listing = Listing { plugins: Vec::new(), unusable: found.unusable };
        let mut first = First::default();
        for file in found.candidates {
            let path = file.path.clone();
            let examined = Examined::new(file);
            let asking = rooms.asking(&examined, describe).await;
            match rooms.listed(examined, asking).await {
                Ok(mut listed) => {
                    first.note(&mut listed);
                    listing.plugins.push(listed);
                }
                // Gone since the directory was read, as what is renamed when it is whole.
                Err(FindError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => listing.unusable.push(UnusableFile { path, reason: chain(&error) }),
            }
        }
        Ok(listing)
    }

    /// Returns for one plugin what a listing would. Since it was named, by its file or by what it offers, it is
    /// started if that is needed. A name is that of a provider, or else that of an auth handler.
    ///
    /// # Errors
    ///
    /// Why it was not found or cannot be used.
    pub async fn inspect(&self, wanted: &Wanted, describe: Describe) -> Result<Listed, FindError> {
        let file = match wanted {
            Wanted::File(path, _) => look_at(path).await?,
            Wanted::Named(name) => match self.rooms.locate(Kind::Provider, name, describe).await {
                Err(not_found @ FindError::NotFound { .. }) => {
                    let handler = self.rooms.locate(Kind::AuthHandler, name, describe).await;
                    handler.map_err(|_| not_found)?
                }
                located => located?,
            },
        };
        self.rooms.listed(Examined::new(file), Asking::Allowed).await
    }
}

impl Rooms {
    async fn listed(&self, mut examined: Examined, asking: Asking) -> Result<Listed, FindError> {
        let mut known = self.digest(&examined.file).await?;
        let offers = match self.described(&mut examined, &mut known, asking, Kind::Provider).await {
            Ok(Some(Description::Providers(all))) => Offers::Providers(all.into_iter().map(offer).collect()),
            Ok(Some(Description::AuthHandlers(all))) => {
                Offers::AuthHandlers(all.into_iter().map(handler_offer).collect())
            }
            Ok(None) => Offers::NotYetDescribed,
            Err(error) => Offers::Failed(error),
        };
        // Only now, for it may have turned out to be another file than was remembered.
        let digest = known.digest;
        let settings = (self.setup.policy)(&digest);
        self.warn_of_the_policy(&examined.file, &digest, &settings);
        let wrapped = self.wrapped(&examined).await.cloned();
        let file = examined.file;
        let limits = settings.limits.resolve(file.backend);
        Ok(Listed { file, digest, settings, limits, offers, wrapped })
    }
}

fn offer((advertised, described): (ProviderName, Result<Descriptor, String>)) -> Offer {
    let judged = described.and_then(|d| {
        let version = rules::version(&d).map_err(|e| format!("failed to get provider descriptor: {e}"))?;
        rules::judge(&d, version).map_err(|e| format!("invalid provider descriptor: {e}"))?;
        Ok(d)
    });
    Offer { advertised, descriptor: judged, taken_by: None }
}

fn handler_offer(info: HandlerInfo) -> HandlerOffer {
    let nameless = info.name.as_str().is_empty();
    let problem = nameless.then(|| super::handlers::AuthRegistryError::Nameless.to_string());
    HandlerOffer { info, problem, taken_by: None }
}

/// Which file was the first with a name: it keeps it.
#[derive(Default)]
struct First {
    providers: BTreeMap<String, PathBuf>,
    handlers: BTreeMap<String, PathBuf>,
}

impl First {
    /// Notes which offers come too late.
    fn note(&mut self, listed: &mut Listed) {
        let path = &listed.file.path;
        let taken_by = |first: &mut BTreeMap<String, PathBuf>, name: &str| match first.get(name) {
            Some(winner) => Some(winner.clone()),
            None => {
                first.insert(name.to_owned(), path.clone());
                None
            }
        };
        match &mut listed.offers {
            Offers::Providers(offers) => {
                for offer in offers {
                    let Ok(descriptor) = &offer.descriptor else { continue };
                    offer.taken_by = taken_by(&mut self.providers, &descriptor.name);
                }
            }
            Offers::AuthHandlers(offers) => {
                for offer in offers.iter_mut().filter(|offer| offer.problem.is_none()) {
                    offer.taken_by = taken_by(&mut self.handlers, offer.info.name.as_str());
                }
            }
            Offers::NotYetDescribed | Offers::Failed(_) => {}
        }
    }
}
