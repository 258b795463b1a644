//! From a name or a file to a provider that runs.
//!
//! Looking is not running. A name is looked for in this order: what is known of files from earlier
//! runs; components, asked in their sandbox; native programs whose own name says that they are meant,
//! which are started because they were asked for; and any other native program only where that was
//! allowed. All of them are asked with nothing granted; only who offers the name is then started to
//! stay. Who comes first among equals is upstream's order of files.
//!
//! A file's digest decides what it is granted. It may come from a note of how the file looked
//! earlier; the backend is told it and refuses a file that no longer has it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use portcullis_contract::{
    Backend, BackendName, Call, CallError, Descriptor, Digest, LaunchError, Plugin as _, PluginName,
    PluginSpec, Provider as _, ProviderName,
};
use thiserror::Error;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::Host;
use super::discover::{self, Candidate, DiscoverError};
use super::listing::discover_one;
use super::registry::{Registered, chain};
use super::supervise::{self, Supervised};

/// What is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A provider, by the name that it is registered under.
    Provider(String),
    /// The plugin in a file, and the provider that is meant if it offers several.
    File(PathBuf, Option<String>),
}

/// Whether native programs may be started that nobody asked for by name, only to be described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Describe {
    /// Only those in directories that are trusted.
    #[default]
    Trusted,
    /// All of them.
    All,
}

/// Why a plugin or provider was not found, or cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// The directories could not be looked through.
    #[error("failed to discover plugins")]
    Discover(#[source] DiscoverError),
    /// Nobody offers it.
    #[error("provider {name:?} not found{}", left_out_text(left_out))]
    NotFound {
        /// What was wanted.
        name: String,
        /// Native programs that nobody asked what they offer.
        left_out: Vec<PathBuf>,
    },
    /// The plugin offers several providers, and none was named.
    #[error("{plugin} offers several providers: {}; name one of them", names.join(", "))]
    Ambiguous {
        /// The plugin.
        plugin: PluginName,
        /// What it offers.
        names: Vec<String>,
    },
    /// The file can never be a plugin.
    #[error("{}: {reason}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It runs, and offers nothing that can be used.
    #[error("plugin {plugin} offers no provider that can be used: {reason}")]
    Useless {
        /// The plugin.
        plugin: PluginName,
        /// Why, for each.
        reason: String,
    },
    /// The host is being stopped.
    #[error("the host is shut down")]
    Stopping,
    /// It did not start.
    #[error("plugin {plugin}")]
    Launch {
        /// The plugin.
        plugin: PluginName,
        /// Why.
        #[source]
        source: LaunchError,
    },
}

fn left_out_text(left_out: &[PathBuf]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let paths: Vec<_> = left_out.iter().map(|p| p.display().to_string()).collect();
    format!(" (not started to be asked, for want of --describe: {})", paths.join(", "))
}

/// A plugin that is up, or about to be.
pub(super) type Starting = Arc<OnceCell<Started>>;

/// A plugin that is up.
#[derive(Clone, Debug)]
pub(super) struct Started {
    pub(super) plugin: Arc<Supervised>,
    /// Its providers that were found good.
    providers: Vec<Arc<Registered>>,
    /// Why the others were not.
    refused: Vec<String>,
}

/// What is known of a plugin without asking it, or after.
pub(super) enum Known {
    Described(Vec<(ProviderName, Result<Descriptor, String>)>),
    Nothing,
}

/// A digest, and whether it was only remembered.
#[derive(Clone, Copy)]
pub(super) struct KnownDigest {
    pub(super) digest: Digest,
    remembered: bool,
}

/// What a search is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Run,
    Look,
}

impl Host {
    /// Finds a provider, and starts and configures its plugin if it is not up yet.
    ///
    /// # Errors
    ///
    /// Why it was not found or cannot be used.
    pub async fn find(&self, wanted: &Wanted, describe: Describe) -> Result<Arc<Registered>, FindError> {
        match wanted {
            Wanted::Provider(name) => {
                if let Some(provider) = self.registry.get(name) {
                    return Ok(provider);
                }
                let (_, provider) = self.search(name, describe, Purpose::Run).await?;
                provider.ok_or_else(|| not_found(name, Vec::new()))
            }
            Wanted::File(path, provider) => {
                let file = discover_one(path)?;
                let started = self.start(&file).await?;
                started.choose(provider.as_deref())
            }
        }
    }

    /// Starts every file with an execute bit to see what it is, as upstream's discovery does, and
    /// returns the providers that were registered. What does not start is passed over.
    ///
    /// # Errors
    ///
    /// [`FindError::Discover`], when a directory cannot be read.
    pub async fn start_everything(&self) -> Result<Vec<Arc<Registered>>, FindError> {
        let mut all = Vec::new();
        for path in discover::executables(&self.setup.directories).map_err(FindError::Discover)? {
            let backend = match discover::form(&path) {
                Ok(discover::Form::Component) => BackendName::Component,
                _ => BackendName::Process,
            };
            match self.start(&Candidate::new(path, backend)).await {
                Ok(started) => {
                    let registered = |p: &&Arc<Registered>| {
                        self.registry.get(p.name()).is_some_and(|r| Arc::ptr_eq(&r, p))
                    };
                    all.extend(started.providers.iter().filter(registered).cloned());
                }
                Err(error) => tracing::debug!(error = chain(&error), "file passed over"),
            }
        }
        Ok(all)
    }

    /// Finds the file whose plugin offers a provider, and starts nothing that stays.
    pub(super) async fn locate(&self, name: &str, describe: Describe) -> Result<Candidate, FindError> {
        self.search(name, describe, Purpose::Look).await.map(|(file, _)| file)
    }

    async fn search(
        &self,
        name: &str,
        describe: Describe,
        purpose: Purpose,
    ) -> Result<(Candidate, Option<Arc<Registered>>), FindError> {
        let found = discover::candidates(&self.setup.directories).map_err(FindError::Discover)?;
        // Why one that should have had it does not: told if nobody else has it.
        let mut failure = None;
        let (mut components, mut meant, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for file in found.candidates {
            let kept = self.descriptors.digest(&file.path).and_then(|d| self.descriptors.get(&d));
            match kept {
                Some(kept) if kept.iter().any(|(_, d)| d.name == name) => {
                    match self.offers(&file, name, purpose).await {
                        Ok(Some(provider)) => return Ok((file, provider)),
                        Ok(None) => {}
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
                Some(_) => {}
                None if file.backend == BackendName::Component => components.push(file),
                None if file.is_meant_by(name) => meant.push(file),
                None => others.push(file),
            }
        }
        // Most are called what they offer; asking those first asks the fewest.
        components.sort_by_key(|file| !file.is_meant_by(name));
        let mut left_out = Vec::new();
        for file in components.into_iter().chain(meant).chain(others) {
            let is_meant = file.is_meant_by(name);
            if !is_meant && !self.may_describe(&file, describe) {
                left_out.push(file.path);
                continue;
            }
            // A name promises nothing: only what says that it offers it is given anything.
            let (offered, should_have_it) = match self.offers(&file, name, Purpose::Look).await {
                Ok(Some(_)) => (self.offers(&file, name, purpose).await, true),
                looked => (looked, is_meant),
            };
            match offered {
                Ok(Some(provider)) => return Ok((file, provider)),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(error = chain(&error), "file passed over");
                    if should_have_it {
                        failure = failure.or(Some(error));
                    }
                }
            }
        }
        for misfit in found.misfits {
            if Candidate::new(misfit.path.clone(), BackendName::Component).is_meant_by(name) {
                let super::Misfit { path, reason } = misfit;
                failure = failure.or(Some(FindError::Misfit { path, reason }));
            }
        }
        Err(failure.unwrap_or_else(|| not_found(name, left_out)))
    }

    /// Returns whether a file offers a provider; to run it, with the provider.
    async fn offers(
        &self,
        file: &Candidate,
        name: &str,
        purpose: Purpose,
    ) -> Result<Option<Option<Arc<Registered>>>, FindError> {
        match purpose {
            Purpose::Run => {
                let started = self.start(file).await?;
                Ok(started.providers.iter().find(|p| p.name() == name).cloned().map(Some))
            }
            Purpose::Look => {
                let mut known = self.digest(file).await?;
                let Known::Described(all) = self.described(file, &mut known, true).await? else {
                    return Ok(None);
                };
                let offered = all.iter().any(|(_, d)| d.as_ref().is_ok_and(|d| d.name == name));
                Ok(offered.then_some(None))
            }
        }
    }

    /// Returns whether a file may be started merely to be described.
    pub(super) fn may_describe(&self, file: &Candidate, describe: Describe) -> bool {
        if file.backend == BackendName::Component || describe == Describe::All {
            return true;
        }
        let Some(dir) = file.path.parent().and_then(|dir| dir.canonicalize().ok()) else { return false };
        self.setup.trusted.iter().any(|trusted| trusted.canonicalize().is_ok_and(|t| t == dir))
    }

    /// Returns the digest of a file, remembered or computed.
    pub(super) async fn digest(&self, file: &Candidate) -> Result<KnownDigest, FindError> {
        if let Some(digest) = self.descriptors.digest(&file.path) {
            return Ok(KnownDigest { digest, remembered: true });
        }
        let (descriptors, path) = (self.descriptors.clone(), file.path.clone());
        // Reading a large file is no work for a thread that others wait on.
        let computed = tokio::task::spawn_blocking(move || descriptors.compute(&path)).await;
        let digest = computed.unwrap_or_else(|_panic| Err(std::io::Error::other("not computed")));
        let digest = digest.map_err(|source| FindError::Unreadable { path: file.path.clone(), source })?;
        Ok(KnownDigest { digest, remembered: false })
    }

    /// Returns what the plugin in a file says of itself: from what is kept, or by asking it with
    /// nothing granted. A digest that was remembered and no longer holds is put right.
    pub(super) async fn described(
        &self,
        file: &Candidate,
        known: &mut KnownDigest,
        may_start: bool,
    ) -> Result<Known, FindError> {
        match self.described_under(file, &known.digest, may_start).await {
            // As at a start: the file itself knows better than what was remembered of it.
            Err(FindError::Launch { source: LaunchError::Changed { .. }, .. }) if known.remembered => {
                self.descriptors.forget(&file.path);
                *known = self.digest(file).await?;
                self.described_under(file, &known.digest, may_start).await
            }
            described => described,
        }
    }

    async fn described_under(
        &self,
        file: &Candidate,
        digest: &Digest,
        may_start: bool,
    ) -> Result<Known, FindError> {
        if let Some(kept) = self.descriptors.get(digest) {
            return Ok(Known::Described(kept.into_iter().map(|(name, d)| (name, Ok(d))).collect()));
        }
        if !may_start {
            return Ok(Known::Nothing);
        }
        let mut spec = PluginSpec::new(file.name.clone(), &file.path);
        spec.digest = Some(*digest);
        spec.limits = (self.setup.policy)(digest).limits;
        let plugin = self.launch(file, spec).await.map_err(|source| failed(file, source))?;
        let described = descriptions(&plugin);
        self.keep(digest, &described);
        plugin.shutdown(self.setup.patience.grace).await;
        Ok(Known::Described(described))
    }

    /// Starts the plugin in a file, unless it is up already.
    async fn start(&self, file: &Candidate) -> Result<Started, FindError> {
        let starting = {
            let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(plugins.entry(file.path.clone()).or_default())
        };
        let mut is_new = false;
        let started = starting
            .get_or_try_init(|| {
                is_new = true;
                self.start_anew(file)
            })
            .await?;
        if self.is_stopping() {
            // One that was up before is among those that are being stopped, and has its grace.
            if is_new {
                started.plugin.kill().await;
            }
            return Err(FindError::Stopping);
        }
        Ok(started.clone())
    }

    /// Returns whether the host is being stopped.
    ///
    /// Asked under the lock under which [`stop_all`](Self::stop_all) looks for what is up: either it
    /// sees a plugin that was put there before, or whoever put it there sees that it came too late.
    fn is_stopping(&self) -> bool {
        let _plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopping.load(Ordering::SeqCst)
    }

    async fn start_anew(&self, file: &Candidate) -> Result<Started, FindError> {
        let known = self.digest(file).await?;
        let (digest, plugin) = match self.launch_granted(file, known.digest).await {
            // What was remembered is of another day; the file itself knows better.
            Err(LaunchError::Changed { .. }) if known.remembered => {
                self.descriptors.forget(&file.path);
                let digest = self.digest(file).await?.digest;
                (digest, self.launch_granted(file, digest).await)
            }
            launched => (known.digest, launched),
        };
        let plugin = Arc::new(plugin.map_err(|source| failed(file, source))?);
        if self.is_stopping() {
            plugin.kill().await;
            return Err(FindError::Stopping);
        }
        if !self.descriptors.has(&digest) {
            self.keep(&digest, &descriptions(&plugin));
        }

        let mut started = Started { plugin, providers: Vec::new(), refused: Vec::new() };
        for name in started.plugin.providers() {
            match Registered::new(Arc::clone(&started.plugin) as _, name) {
                Ok(provider) => {
                    let provider = Arc::new(provider);
                    if let Err(error) = self.registry.register(Arc::clone(&provider)) {
                        tracing::warn!(plugin = %file.name, error = chain(&error), "provider not registered");
                    }
                    started.providers.push(provider);
                }
                Err(error) => {
                    tracing::warn!(plugin = %file.name, provider = %name, error = chain(&error), "provider passed over");
                    started.refused.push(format!("{name}: {}", chain(&error)));
                }
            }
        }
        for provider in &started.providers {
            self.configure(provider).await;
        }
        Ok(started)
    }

    async fn launch_granted(&self, file: &Candidate, digest: Digest) -> Result<Supervised, LaunchError> {
        let settings = (self.setup.policy)(&digest);
        let mut spec = PluginSpec {
            digest: Some(digest),
            grants: settings.grants,
            limits: settings.limits,
            run_as: settings.run_as,
            ..PluginSpec::new(file.name.clone(), &file.path)
        };
        spec.host = (self.setup.services)(&spec);
        self.launch(file, spec).await
    }

    async fn launch(&self, file: &Candidate, spec: PluginSpec) -> Result<Supervised, LaunchError> {
        let patience = self.setup.patience;
        let limit = match file.backend {
            BackendName::Process => patience.process_launch,
            BackendName::Component => patience.component_launch,
        };
        let backend = self
            .backend(file.backend)
            .ok_or_else(|| LaunchError::unfit(format!("this build has no {} backend", file.backend)))?;
        supervise::launch(backend, spec, limit).await
    }

    fn backend(&self, name: BackendName) -> Option<Arc<dyn Backend>> {
        self.setup.backends.iter().find(|b| b.name() == name).cloned()
    }

    /// Tells a provider what the host is like. One that fails here stays callable, as upstream has it.
    async fn configure(&self, provider: &Registered) {
        let deadline = Instant::now() + self.setup.patience.process_launch;
        let call = Call { deadline: Some(deadline.into_std()) };
        let configuration = &self.setup.configuration;
        match provider.plugin.configure(&call, &provider.advertised, configuration).await {
            Ok(()) | Err(CallError::Unimplemented) => {}
            Err(error) => {
                tracing::warn!(provider = provider.name(), error = chain(&error), "provider not configured");
            }
        }
    }

    /// Keeps what a plugin said of itself, if it said all of it.
    fn keep(&self, digest: &Digest, described: &[(ProviderName, Result<Descriptor, String>)]) {
        let all: Option<Vec<_>> =
            described.iter().map(|(name, d)| Some((name.clone(), d.as_ref().ok()?.clone()))).collect();
        if let Some(all) = all {
            self.descriptors.put(digest, &all);
        }
    }
}

impl Started {
    fn choose(&self, name: Option<&str>) -> Result<Arc<Registered>, FindError> {
        let plugin = || self.plugin.info().name.clone();
        let named = |p: &&Arc<Registered>| name.is_none_or(|n| p.name() == n || p.advertised.as_str() == n);
        let fitting: Vec<_> = self.providers.iter().filter(named).collect();
        match (fitting.as_slice(), name) {
            ([one], _) | ([one, ..], Some(_)) => Ok(Arc::clone(one)),
            ([], Some(name)) if !self.providers.is_empty() => Err(not_found(name, Vec::new())),
            ([], _) if self.refused.is_empty() => {
                Err(FindError::Useless { plugin: plugin(), reason: "it names none".to_owned() })
            }
            ([], _) => Err(FindError::Useless { plugin: plugin(), reason: self.refused.join("; ") }),
            (several, None) => Err(FindError::Ambiguous {
                plugin: plugin(),
                names: several.iter().map(|p| p.name().to_owned()).collect(),
            }),
        }
    }
}

fn descriptions(plugin: &Supervised) -> Vec<(ProviderName, Result<Descriptor, String>)> {
    let describe = |name: &ProviderName| plugin.descriptor(name).cloned().map_err(|e| chain(e));
    plugin.providers().iter().map(|name| (name.clone(), describe(name))).collect()
}

fn failed(file: &Candidate, source: LaunchError) -> FindError {
    FindError::Launch { plugin: file.name.clone(), source }
}

fn not_found(name: &str, left_out: Vec<PathBuf>) -> FindError {
    FindError::NotFound { name: name.to_owned(), left_out }
}
