//! From a file to a plugin that is up: started once, registered and configured.
//!
//! Providers are registered and then configured, auth handlers configured and then registered, as upstream has it. A
//! failed configuration keeps neither from being called (contract spec 4.3 and 4.4).

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use portcullis_contract::{
    AuthHandler, Backend, BackendName, Call, CallError, Configuration, Digest, Environment, HandlerInfo,
    HeldBy, Kind, LaunchError, Limits, PluginInfo, PluginSpec, Provider, RunAs, Stdin, chain,
};
use tokio::time::Instant;
use tracing::field::display;

use super::description::Description;
use super::discover::Candidate;
use super::find::{FindError, Purpose};
use super::handlers::{AuthRegistryError, RegisteredHandler};
use super::identity::Identities;
use super::plugins::Entry;
use super::registry::RegisteredProvider;
use super::started::{Refused, Started, Usable};
use super::wrapped::Examined;
use super::{Asker, PluginSettings, Rooms, WantedBy};
use crate::lock::lock;
use crate::supervise::{self, AuthHandlerKind, Life, PluginKind, ProviderKind, Supervised};
use crate::warnings::Warnings;

impl Rooms {
    /// Starts the plugin in a file as one of a kind, unless it is up already.
    pub(super) async fn start(
        &self,
        file: &Candidate,
        kind: Kind,
        wanted_by: WantedBy,
    ) -> Result<Started, FindError> {
        let entry = self.entry(&file.path, Purpose::Run);
        if entry.up.get().is_some_and(Started::is_introduced) {
            let started = self.bring_up(&entry, file, kind, wanted_by).await?;
            return if self.is_stopping() { Err(FindError::Stopping) } else { Ok(started) };
        }
        drop(entry);
        let whole = file.clone();
        self.run_to_end(&file.path, Purpose::Run, move |rooms, entry| async move {
            rooms.bring_up(&entry, &whole, kind, wanted_by).await
        })
        .await
    }

    async fn bring_up(
        &self,
        entry: &Entry,
        file: &Candidate,
        kind: Kind,
        wanted_by: WantedBy,
    ) -> Result<Started, FindError> {
        let mut is_new = false;
        let started = entry
            .up
            .get_or_try_init(|| {
                is_new = true;
                self.start_anew(file, kind, wanted_by)
            })
            .await?;
        // One that was up before is being stopped with the others, with their grace.
        if is_new && self.is_stopping() {
            started.kill().await;
            return Err(FindError::Stopping);
        }
        if started.kind() != kind {
            return Err(FindError::launch(file, LaunchError::OtherKind { wanted: kind }));
        }
        self.introduce(started).await;
        Ok(started.clone())
    }

    /// Returns whether the host is being stopped.
    ///
    /// Asked under the lock of the plugins, as [`stop_all`](super::Host::stop_all) lists them: either that sees a
    /// plugin that just came up, or whoever started it sees here that it came too late.
    fn is_stopping(&self) -> bool {
        let _plugins = lock(&self.plugins);
        *self.life.borrow() != Life::Up
    }

    async fn start_anew(
        &self,
        file: &Candidate,
        kind: Kind,
        wanted_by: WantedBy,
    ) -> Result<Started, FindError> {
        match kind {
            Kind::Provider => {
                let (digest, plugin) = self.launch_granted::<ProviderKind>(file, wanted_by).await?;
                self.keep(&digest, &Description::of_providers(&plugin)).await;
                Ok(self.register_providers(file, plugin))
            }
            Kind::AuthHandler => {
                let (digest, plugin) = self.launch_granted::<AuthHandlerKind>(file, wanted_by).await?;
                self.keep(&digest, &Description::AuthHandlers(plugin.handlers().to_vec())).await;
                Ok(take_handlers(file, plugin))
            }
        }
    }

    fn register_providers(&self, file: &Candidate, plugin: Arc<Supervised<ProviderKind>>) -> Started {
        let (mut providers, mut refused, warnings) = (Vec::new(), Refused::default(), Warnings::default());
        for name in plugin.providers() {
            match RegisteredProvider::new(Arc::clone(&plugin) as _, name) {
                Ok(provider) => {
                    let provider = Arc::new(provider.judged_as(providers.first()));
                    if let Err(error) = self.registry.register(Arc::clone(&provider))
                        && warnings.one_more(&file.name)
                    {
                        let first = self.registry.get(provider.name());
                        let answers = first.as_ref().map(|first| display(first.plugin.info().path.display()));
                        let (error, passed_over) = (chain(&error), file.path.display());
                        tracing::warn!(plugin = %file.name, error, file = answers, %passed_over, "provider not registered");
                    }
                    providers.push(provider);
                }
                Err(error) => {
                    if refused.note(format!("{name}: {}", chain(&error))) {
                        tracing::warn!(plugin = %file.name, provider = %name, error = chain(&error), "provider passed over");
                    }
                }
            }
        }
        Started { plugin, offers: Usable::Providers(providers), refused }
    }

    /// Configures what a plugin offers, unless that was done, and registers its auth handlers.
    async fn introduce(&self, started: &Started) {
        let introduction = self.introduction();
        match &started.offers {
            Usable::Providers(all) => {
                for provider in all {
                    self.configure(provider, &introduction).await;
                }
            }
            Usable::AuthHandlers(all) => {
                for handler in all {
                    handler.configured.get_or_init(|| self.register_handler(handler, &introduction)).await;
                }
            }
        }
    }

    /// Configures a provider that was found before that was done, once its plugin's start is over.
    pub(super) async fn see_configured(&self, provider: &Arc<RegisteredProvider>) -> Result<(), FindError> {
        let whole = Arc::clone(provider);
        self.run_to_end(&provider.plugin.info().path, Purpose::Run, move |rooms, _| async move {
            rooms.configure(&whole, &rooms.introduction()).await;
            Ok(())
        })
        .await
    }

    /// Configures a provider, unless that was done; waits for whoever is at it.
    async fn configure(&self, provider: &RegisteredProvider, introduction: &Introduction) {
        let RegisteredProvider { plugin, advertised, configured, .. } = provider;
        let configure = || async {
            let told = self.configuration(plugin.info());
            let answer = introduction.in_time(plugin.configure(&introduction.call, advertised, &told)).await;
            introduction.note(plugin.info(), advertised, answer);
        };
        configured.get_or_init(configure).await;
    }

    async fn register_handler(&self, handler: &Arc<RegisteredHandler>, introduction: &Introduction) {
        let RegisteredHandler { plugin, info: HandlerInfo { name, .. }, .. } = handler.as_ref();
        let told = self.configuration(plugin.info());
        let answer = introduction.in_time(plugin.configure(&introduction.call, name, &told)).await;
        introduction.note(plugin.info(), name, answer);
        let PluginInfo { name: plugin, path, .. } = plugin.info();
        if let Err(error) = self.auth_registry.register(Arc::clone(handler))
            && introduction.warnings.one_more(plugin)
        {
            let first = self.auth_registry.get(name).ok();
            let answers = first.as_ref().map(|first| display(first.plugin.info().path.display()));
            let passed_over = path.display();
            tracing::warn!(%plugin, %error, file = answers, %passed_over, "auth handler not registered");
        }
    }

    /// Returns the configuration of a plugin: that of the host, and the settings of its policy.
    fn configuration(&self, plugin: &PluginInfo) -> Configuration {
        let mut configuration = self.setup.configuration.clone();
        configuration.settings.extend((self.setup.policy)(&plugin.digest).settings);
        configuration
    }

    /// Begins to configure a plugin.
    fn introduction(&self) -> Introduction {
        let limit = self.setup.patience.process_launch;
        // A deadline that is too far off to compute never comes.
        let deadline = Instant::now().checked_add(limit);
        let call = Call { deadline: deadline.map(Instant::into_std) };
        Introduction { call, limit, warnings: Warnings::default() }
    }

    /// Starts a plugin with what it was granted. Ends it again if the host is being stopped by then.
    async fn launch_granted<K: PluginKind>(
        &self,
        file: &Candidate,
        wanted_by: WantedBy,
    ) -> Result<(Digest, Arc<Supervised<K>>), FindError> {
        let mut digest = self.digest(file).await?.digest;
        let mut plugin = self.launch_under::<K>(file, digest, wanted_by).await;
        if let Err(LaunchError::Changed { .. }) = plugin {
            // The remembered digest was out of date, or the file was replaced just now.
            self.descriptors.forget(&file.path);
            digest = self.digest(file).await?.digest;
            plugin = self.launch_under::<K>(file, digest, wanted_by).await;
        }
        if let Err(LaunchError::OtherKind { .. }) = plugin {
            // A script may start another program by now. The next time, it is asked again what it offers.
            self.notes(move |notes| notes.forget_kind(&digest, K::KIND)).await;
        }
        let plugin = plugin.map_err(|source| FindError::launch(file, source))?;
        if self.is_stopping() {
            plugin.kill().await;
            return Err(FindError::Stopping);
        }
        Ok((digest, Arc::new(plugin)))
    }

    async fn launch_under<K: PluginKind>(
        &self,
        file: &Candidate,
        digest: Digest,
        wanted_by: WantedBy,
    ) -> Result<Supervised<K>, LaunchError> {
        let settings = (self.setup.policy)(&digest);
        self.warn_of_the_policy(file, &digest, &settings);
        let mut spec = PluginSpec {
            digest: Some(digest),
            grants: settings.grants,
            limits: settings.limits,
            run_as: settings.run_as,
            prints: self.setup.prints.clone(),
            ..PluginSpec::new(file.name.clone(), &file.path)
        };
        if wanted_by == WantedBy::Caller {
            let RunAs { environment, stdin, .. } = &mut spec.run_as;
            *environment = self.setup.environment.unwrap_or(*environment);
            *stdin = self.setup.stdin.unwrap_or(*stdin);
        }
        let asker = Asker { spec: &spec, kind: K::KIND, wanted_by, identity: self.identities(file) };
        spec.host = (self.setup.services)(&asker);
        self.launch(file, spec).await
    }

    /// Warns once of what the policy says and what does not hold for this file: an entry that has its name and is for
    /// another one, and settings of native programs for a component.
    pub(super) fn warn_of_the_policy(&self, file: &Candidate, digest: &Digest, settings: &PluginSettings) {
        let Some(label) = &settings.label else {
            return self.warn_of_another_file(file, digest);
        };
        let RunAs { environment, stdin, .. } = settings.run_as;
        if file.backend == BackendName::Component
            && (environment == Environment::Inherit || stdin == Stdin::Inherit)
            && lock(&self.warned).insert((*digest, label.clone()))
        {
            tracing::warn!(
                plugin = %file.name, label,
                "`environment` and `stdin` in the policy are for native plugins, and a component gets nothing by them (the \
                 variables that it may see are named in `env`)"
            );
        }
    }

    fn warn_of_another_file(&self, file: &Candidate, digest: &Digest) {
        if let Some(label) = self.setup.labels.iter().find(|label| file.is_meant_by(label))
            && lock(&self.warned).insert((*digest, label.clone()))
        {
            tracing::warn!(
                plugin = %file.name, %digest, label,
                "the policy's table of this name is for another file, and nothing in it holds for this one, settings and \
                 limits included: if this is an update that you trust, add its digest there"
            );
        }
    }

    /// Returns the source of identities for the plugin in a file.
    fn identities(&self, file: &Candidate) -> Arc<Identities> {
        Arc::new(Identities::new(self.me.clone(), file))
    }

    /// Starts a plugin under supervision.
    pub(super) async fn launch<K: PluginKind>(
        &self,
        file: &Candidate,
        mut spec: PluginSpec,
    ) -> Result<Supervised<K>, LaunchError> {
        let Limits { memory, cpu, handles, .. } = spec.limits;
        let of_a_process = memory.is_some() || cpu.is_some() || handles.is_some();
        if of_a_process && self.holds_itself(&Examined::new(file.clone())).await {
            spec.held_by = HeldBy::Itself;
        }
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
}

/// Takes the handlers of a plugin: those that have a name, and of several with the same name the first.
fn take_handlers(file: &Candidate, plugin: Arc<Supervised<AuthHandlerKind>>) -> Started {
    let mut handlers: Vec<Arc<RegisteredHandler>> = Vec::new();
    let (mut refused, mut taken_here) = (Refused::default(), HashSet::new());
    for info in plugin.handlers() {
        let handler = if taken_here.contains(&info.name) {
            Err(AuthRegistryError::Taken(info.name.clone()))
        } else {
            RegisteredHandler::new(Arc::clone(&plugin) as _, HandlerInfo::clone(info))
        };
        match handler {
            Ok(handler) => {
                taken_here.insert(info.name.clone());
                handlers.push(Arc::new(handler));
            }
            Err(error) => {
                if refused.note(error.to_string()) {
                    tracing::warn!(plugin = %file.name, %error, "auth handler passed over");
                }
            }
        }
    }
    Started { plugin, offers: Usable::AuthHandlers(handlers), refused }
}

/// A plugin on its way to being configured, with all that it offers, however much that is.
struct Introduction {
    /// By its deadline everything has to be configured.
    call: Call,
    /// How long that is.
    limit: Duration,
    warnings: Warnings,
}

impl Introduction {
    /// Has something configured unless the time is over: a call with no time left is still begun, and very many of them
    /// take long.
    async fn in_time(
        &self,
        configured: impl Future<Output = Result<(), CallError>> + Send,
    ) -> Result<(), CallError> {
        match self.call.deadline {
            Some(deadline) if Instant::from_std(deadline) <= Instant::now() => {
                Err(CallError::TimedOut { limit: self.limit })
            }
            _ => configured.await,
        }
    }

    /// Logs why a plugin was not configured. It stays callable, as upstream has it.
    fn note(&self, plugin: &PluginInfo, name: &impl Display, answer: Result<(), CallError>) {
        match answer {
            // One that is gone is being stopped.
            Ok(()) | Err(CallError::Unimplemented | CallError::Gone) => {}
            Err(error) => {
                if self.warnings.one_more(&plugin.name) {
                    tracing::warn!(plugin = %plugin.name, %name, error = chain(&error), "not configured, but called");
                }
            }
        }
    }
}
