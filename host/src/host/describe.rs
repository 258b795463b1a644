//! What the plugin in a file says of itself: kept from an earlier start, or asked now.
//!
//! A plugin is asked by starting it with nothing granted, and ended at once. Its kind is not known before, so it is
//! started as the likely one first, and then as the other.

use portcullis_contract::{
    AuthHandler as _, BackendName, Digest, Kind, LaunchError, Plugin as _, PluginSpec,
};

use super::Rooms;
use super::description::Description;
use super::descriptors::Descriptors;
use super::discover::Candidate;
use super::find::{Describe, FindError, Purpose};
use super::wrapped::{Examined, Origin, Wrapped};
use crate::blocking::blocking;
use crate::supervise::{AuthHandlerKind, ProviderKind};

/// The reason for a plugin that is of neither kind.
const ELSEWHERE: &str = "it is for another host, and neither a provider nor an auth-handler";

/// A digest, and whether it was only remembered.
#[derive(Clone, Copy)]
pub(super) struct KnownDigest {
    pub(super) digest: Digest,
    pub(super) remembered: bool,
}

/// Whether a file may be started merely to be described.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Allowed,
    Forbidden,
    /// Allowed, whatever is kept of it: it may offer something else by now.
    Anew,
}

impl Rooms {
    /// Returns whether a file may be started merely to be described.
    ///
    /// A file that describes itself without being started counts as one that may.
    pub(super) async fn asking(&self, examined: &Examined, describe: Describe) -> Asking {
        let file = &examined.file;
        let allowed = file.backend == BackendName::Component
            || describe == Describe::All
            || self.is_trusted(file).await
            || self.genuinely_wrapped(examined).await.is_some();
        if allowed { Asking::Allowed } else { Asking::Forbidden }
    }

    async fn is_trusted(&self, file: &Candidate) -> bool {
        if self.setup.trusted.is_empty() {
            return false;
        }
        let (path, trusted) = (file.path.clone(), self.setup.trusted.clone());
        blocking(move || {
            let Some(dir) = path.parent().and_then(|dir| dir.canonicalize().ok()) else { return false };
            trusted.iter().any(|trusted| trusted.canonicalize().is_ok_and(|trusted| trusted == dir))
        })
        .await
    }

    /// Returns the digest of a file, remembered or computed.
    pub(super) async fn digest(&self, file: &Candidate) -> Result<KnownDigest, FindError> {
        let path = file.path.clone();
        let known = self.notes(move |notes| match notes.digest(&path) {
            Some(digest) => Ok(KnownDigest { digest, remembered: true }),
            None => notes.compute(&path).map(|digest| KnownDigest { digest, remembered: false }),
        });
        known.await.map_err(|source| FindError::Unreadable { path: file.path.clone(), source })
    }

    /// Returns what is kept of the plugin in a file of that digest.
    async fn kept(&self, digest: &Digest) -> Option<Description> {
        let digest = *digest;
        self.notes(move |notes| notes.get(&digest)).await
    }

    /// Asks what is kept of plugins, or keeps something of them.
    pub(super) async fn notes<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Descriptors) -> T + Send + 'static,
    ) -> T {
        let notes = self.descriptors.clone();
        blocking(move || ask(&notes)).await
    }

    /// Returns what the plugin in a file says of itself: from what is kept, or by asking it with nothing granted, as
    /// one of the `likely` kind first. `None` when it would have to be asked and may not be started. A remembered
    /// digest that no longer holds is corrected.
    pub(super) async fn described(
        &self,
        examined: &mut Examined,
        known: &mut KnownDigest,
        asking: Asking,
        likely: Kind,
    ) -> Result<Option<Description>, FindError> {
        match self.described_under(examined, &known.digest, asking, likely).await {
            // As at a start, the remembered digest was out of date, and this is tried once more. A file that is
            // replaced again is not asked: the permission to ask was for the file before.
            Err(FindError::Launch { source: LaunchError::Changed { .. }, .. }) if known.remembered => {
                self.descriptors.forget(&examined.file.path);
                examined.forget();
                *known = self.digest(&examined.file).await?;
                self.described_under(examined, &known.digest, asking, likely).await
            }
            described => described,
        }
    }

    async fn described_under(
        &self,
        examined: &Examined,
        digest: &Digest,
        asking: Asking,
        likely: Kind,
    ) -> Result<Option<Description>, FindError> {
        if let Some(kept) = self.kept(digest).await.filter(|_| asking != Asking::Anew) {
            return Ok(Some(kept));
        }
        // A wrapped file may carry the description of its plugin, which then need not be started.
        let wrapped = self.wrapped(examined).await;
        let believed =
            wrapped.filter(|wrapped| asking != Asking::Forbidden || wrapped.origin == Origin::Known);
        if let Some(told) = believed.and_then(Wrapped::told) {
            return Ok(Some(told));
        }
        if asking == Asking::Forbidden {
            return Ok(None);
        }
        let (file, digest) = (examined.file.clone(), *digest);
        let asked = self.run_to_end(&examined.file.path, Purpose::Look, move |rooms, _| async move {
            rooms.ask_once(&file, &digest, asking, likely).await
        });
        asked.await.map(Some)
    }

    /// Asks a plugin what it offers, as one of the `likely` kind first, unless somebody just has.
    async fn ask_once(
        &self,
        file: &Candidate,
        digest: &Digest,
        asking: Asking,
        likely: Kind,
    ) -> Result<Description, FindError> {
        if let Some(kept) = self.kept(digest).await.filter(|_| asking != Asking::Anew) {
            return Ok(kept);
        }
        // Every plugin that asks for the auth handlers has all files described.
        if let Some(error) = self.undescribed.recall(digest, LaunchError::lasting).flatten() {
            return Err(FindError::launch(file, error));
        }
        let other = match likely {
            Kind::Provider => Kind::AuthHandler,
            Kind::AuthHandler => Kind::Provider,
        };
        let told = match self.ask(file, digest, likely).await {
            // A plugin of the other kind says so, and is asked as one of that.
            Err(LaunchError::OtherKind { .. }) => match self.ask(file, digest, other).await {
                Err(LaunchError::OtherKind { .. }) => Err(LaunchError::unfit(ELSEWHERE)),
                told => told,
            },
            told => told,
        };
        let told = told.map_err(|source| {
            if let Some(lasting) = source.lasting() {
                self.undescribed.note(*digest, lasting);
            }
            FindError::launch(file, source)
        })?;
        self.keep(digest, &told).await;
        Ok(told)
    }

    /// Starts a plugin as one of a kind, with nothing granted, to ask it what it offers.
    async fn ask(&self, file: &Candidate, digest: &Digest, kind: Kind) -> Result<Description, LaunchError> {
        let mut spec = PluginSpec::new(file.name.clone(), &file.path);
        spec.digest = Some(*digest);
        let settings = (self.setup.policy)(digest);
        spec.limits = settings.limits;
        spec.run_as.isolation = settings.run_as.isolation;
        let grace = self.setup.patience.grace;
        match kind {
            Kind::Provider => {
                let plugin = self.launch::<ProviderKind>(file, spec).await?;
                let told = Description::of_providers(&plugin);
                plugin.shutdown(grace).await;
                Ok(told)
            }
            Kind::AuthHandler => {
                let plugin = self.launch::<AuthHandlerKind>(file, spec).await?;
                let told = Description::AuthHandlers(plugin.handlers().to_vec());
                plugin.shutdown(grace).await;
                Ok(told)
            }
        }
    }

    /// Keeps what a plugin said of itself, if all of it could be read. It may differ from before under the same digest:
    /// that of a script tells nothing of what it starts.
    pub(super) async fn keep(&self, digest: &Digest, told: &Description) {
        let (digest, told) = (*digest, told.clone());
        let keep = move |notes: &Descriptors| {
            if notes.get(&digest).as_ref() != Some(&told) {
                notes.put(&digest, &told);
            }
        };
        self.notes(keep).await;
    }
}
