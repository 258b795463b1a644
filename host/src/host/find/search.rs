//! Searching the directories for who offers a name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use portcullis_contract::{BackendName, Kind, chain, visible_list};

use super::super::describe::Asking;
use super::super::description::Description;
use super::super::discover::{self, Candidate};
use super::super::started::Started;
use super::super::wrapped::Examined;
use super::super::{Rooms, WantedBy};
use super::{Describe, FindError, Purpose};

/// A file whose plugin offers what was searched for.
pub(super) struct Located {
    file: Candidate,
    /// The plugin, which is up, if the search was to run it.
    pub(super) started: Option<Started>,
}

/// What is searched for, and what came of it so far.
struct Search<'r> {
    rooms: &'r Rooms,
    kind: Kind,
    name: &'r str,
    describe: Describe,
    purpose: Purpose,
    /// Why a plugin that should offer it cannot be used: told if no other offers it.
    failure: Option<FindError>,
    /// Why others could not be asked.
    unasked: Vec<String>,
    /// Native programs that were not started to find out what they offer.
    left_out: Vec<PathBuf>,
}

impl Rooms {
    /// Finds the file whose plugin offers something, and starts nothing that stays.
    pub(in super::super) async fn locate(
        &self,
        kind: Kind,
        name: &str,
        describe: Describe,
    ) -> Result<Candidate, FindError> {
        self.search(kind, name, describe, Purpose::Look).await.map(|located| located.file)
    }

    /// Looks for who offers something, and warns if another file could have been meant.
    pub(super) async fn search(
        &self,
        kind: Kind,
        name: &str,
        describe: Describe,
        purpose: Purpose,
    ) -> Result<Located, FindError> {
        let found = self.look(discover::candidates).await?;
        let files = found.candidates.clone();
        let mut search = Search {
            rooms: self,
            kind,
            name,
            describe,
            purpose,
            failure: None,
            unasked: Vec::new(),
            left_out: Vec::new(),
        };
        let Some(located) = search.through(found).await else { return Err(search.in_vain()) };
        if let Some(error) = &search.failure {
            tracing::warn!(%kind, name, error = chain(error), "a plugin that should have this name cannot be used");
        }
        self.warn_of_others(&located.file, files, kind, name).await;
        Ok(located)
    }

    /// Says that nobody in the directories offers something.
    pub(super) fn nobody(&self, kind: Kind, name: &str, left_out: Vec<PathBuf>) -> FindError {
        FindError::nobody(kind, name, Vec::new(), left_out, Some(self.setup.directories.clone()))
    }

    /// Warns of files that were passed over though they have the name, too: any component may claim that of another
    /// plugin. Of a file that nobody has asked, its own name counts. A link to the one that answers is no other.
    async fn warn_of_others(&self, answers: &Candidate, mut files: Vec<Candidate>, kind: Kind, name: &str) {
        if let [_] = files[..] {
            return;
        }
        let (answers_at, wanted) = (answers.path.clone(), name.to_owned());
        let others = self.notes(move |notes| {
            let answering = inode(&answers_at);
            files.retain(|file| inode(&file.path) != answering);
            files.retain(|file| match notes.digest(&file.path).and_then(|digest| notes.get(&digest)) {
                Some(told) => told.offers(kind, &wanted),
                None => file.is_meant_by(&wanted),
            });
            files
        });
        let others: Vec<_> = others.await.iter().map(|file| file.path.display().to_string()).collect();
        if !others.is_empty() {
            let (file, passed_over) = (answers.path.display(), others.join(", "));
            tracing::warn!(%kind, name, %file, %passed_over, "several plugins may have this name, and one answers");
        }
    }

    /// Returns what is known of a file without asking anybody.
    async fn known_of(&self, examined: &Examined) -> Option<Description> {
        let path = examined.file.path.clone();
        match self.notes(move |notes| notes.get(&notes.digest(&path)?)).await {
            kept @ Some(_) => kept,
            None => self.genuinely_wrapped(examined).await?.told(),
        }
    }
}

impl Search<'_> {
    async fn through(&mut self, found: discover::Found) -> Option<Located> {
        let (mut unknown, mut outdated) = (Vec::new(), Vec::new());
        for file in found.candidates {
            let mut examined = Examined::new(file);
            match self.rooms.known_of(&examined).await {
                Some(told) if told.offers(self.kind, self.name) => {
                    // An earlier file may have the name, too, and nobody has asked it yet: it was built anew, say.
                    let (called_so, others): (Vec<_>, Vec<_>) =
                        unknown.into_iter().partition(|file| self.is_called_so(file));
                    unknown = others;
                    for mut earlier in called_so {
                        let located = self.ask(&mut earlier, Asking::Allowed).await;
                        if located.is_some() {
                            return located;
                        }
                    }
                    let offered = self.offers(&mut examined, self.purpose, Asking::Allowed).await;
                    let located = self.note(offered, true);
                    if located.is_some() {
                        return located;
                    }
                }
                Some(_) => outdated.push(examined),
                None => unknown.push(examined),
            }
        }
        // Components first. Most plugins are called like what they offer, so asking by name first asks the fewest.
        unknown.sort_by_key(|examined| {
            (examined.file.backend != BackendName::Component, !self.is_called_so(examined))
        });
        for mut examined in unknown {
            let may_be_asked = self.is_called_so(&examined)
                || self.rooms.asking(&examined, self.describe).await == Asking::Allowed;
            if !may_be_asked {
                self.left_out.push(examined.file.path);
                continue;
            }
            let located = self.ask(&mut examined, Asking::Allowed).await;
            if located.is_some() {
                return located;
            }
        }
        for mut examined in outdated {
            if self.may_offer_more(&examined) {
                let located = self.ask(&mut examined, Asking::Anew).await;
                if located.is_some() {
                    return located;
                }
            }
        }
        for file in found.unusable {
            if Candidate::new(file.path.clone(), BackendName::Component).is_meant_by(self.name) {
                self.failure.get_or_insert(file.into());
            }
        }
        None
    }

    fn is_called_so(&self, examined: &Examined) -> bool {
        examined.file.is_meant_by(self.name)
    }

    /// Returns whether a plugin may offer what it did not when it was last asked, though its file is the same: that of
    /// a script tells nothing of what it starts.
    fn may_offer_more(&self, examined: &Examined) -> bool {
        examined.file.backend == BackendName::Process
            && (self.is_called_so(examined) || self.describe == Describe::All)
    }

    /// Asks a plugin what it offers, and uses it if it offers this.
    async fn ask(&mut self, examined: &mut Examined, asking: Asking) -> Option<Located> {
        // A file's name proves nothing: a plugin is granted something only after it said that it offers this.
        let (offered, should_have_it) = match self.offers(examined, Purpose::Look, asking).await {
            Ok(Some(_)) => (self.offers(examined, self.purpose, Asking::Allowed).await, true),
            // It says so itself, and nothing more.
            Err(undescribed @ FindError::Undescribed { .. }) => (Err(undescribed), true),
            looked => (looked, self.is_called_so(examined)),
        };
        self.note(offered, should_have_it)
    }

    fn note(&mut self, offered: Result<Option<Located>, FindError>, should_have_it: bool) -> Option<Located> {
        let error = match offered {
            Ok(located) => return located,
            Err(error) => error,
        };
        tracing::debug!(error = chain(&error), "file passed over");
        if should_have_it || matches!(error, FindError::Stopping) {
            self.failure.get_or_insert(error);
        } else {
            self.unasked.push(chain(&error));
        }
        None
    }

    /// Returns a file if its plugin offers it.
    async fn offers(
        &self,
        examined: &mut Examined,
        purpose: Purpose,
        asking: Asking,
    ) -> Result<Option<Located>, FindError> {
        let Self { rooms, kind, name, .. } = *self;
        let (offers, started) = match purpose {
            Purpose::Run => {
                let started = rooms.start(&examined.file, kind, WantedBy::Caller).await?;
                (started.offers(name), Some(started))
            }
            Purpose::Look => {
                let mut known = rooms.digest(&examined.file).await?;
                let told = rooms.described(examined, &mut known, asking, kind).await?;
                let offers = told.as_ref().is_some_and(|told| told.offers(kind, name));
                if kind == Kind::Provider
                    && !offers
                    && let Some(why) = told.as_ref().and_then(|told| told.failure_of(name))
                {
                    let (plugin, name) = (examined.file.name.clone(), name.to_owned());
                    return Err(FindError::Undescribed { plugin, name, reason: why.to_owned() });
                }
                (offers, None)
            }
        };
        Ok(offers.then(|| Located { file: examined.file.clone(), started }))
    }

    /// Says that nobody offers it, or why the one that should cannot be used.
    fn in_vain(self) -> FindError {
        let Self { rooms, kind, name, failure, unasked, left_out, .. } = self;
        if failure.is_none() && !unasked.is_empty() {
            let errors = visible_list(unasked.iter());
            tracing::warn!(%kind, name, errors, "plugins that may offer it could not be asked");
        }
        failure.unwrap_or_else(|| rooms.nobody(kind, name, left_out))
    }
}

/// Returns what is the same for all paths to a file; nothing for one that is gone.
fn inode(path: &Path) -> Option<(u64, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}
