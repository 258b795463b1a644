//! The host: it finds plugins in directories, starts them and runs requests.
//!
//! A [`Host`] searches directories, starts the plugins that are asked for, with the settings that a policy has for
//! them, and runs requests. It knows backends only as [`Backend`](portcullis_contract::Backend)s; it prints nothing,
//! reads no environment and decides no grant. All of that comes with a [`Setup`].
//!
//! Looking is not running: a listing starts no native program, and `run` starts only what was asked for by name. What
//! upstream does instead (contract spec 4.2) is available as a call of its own, [`Host::start_everything`].

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_contract::{Digest, HandlerName, LaunchError, PluginName};
use tokio::sync::watch;

pub mod auth;
mod describe;
mod description;
mod descriptors;
pub mod discover;
mod execute;
mod failures;
mod find;
pub mod flow;
pub mod handlers;
mod identity;
mod inputs;
mod listing;
mod plugins;
pub mod registry;
mod rules;
mod run;
mod schema;
mod sentences;
pub mod services;
mod setup;
mod start;
mod started;
mod text;
mod waits;
mod wrapped;

use crate::lock::lock;
use crate::supervise::Life;
use descriptors::Descriptors;
pub use execute::{ExecuteError, FailedCall, InvalidInput};
use failures::RecentFailures;
pub use find::{Describe, FindError, FoundHandlers, Wanted};
use handlers::AuthRegistry;
pub use listing::{HandlerOffer, Listed, Listing, Offer, Offers, UnusableFile};
use plugins::Plugins;
use registry::Registry;
pub use run::{InputCheck, OutputSink, Ran, Run, RunError};
use services::IdentityError;
pub use setup::{Asker, Patience, PluginSettings, PolicyLookup, ServiceFactory, Setup, WantedBy};
use waits::Waits;
pub use wrapped::{KnownWrapped, Origin, Wrapped};

/// Finds, starts and runs plugins.
///
/// A plugin that was started stays up for the next request, and a start goes on when the request that began it is
/// dropped. Calls may overlap. Dropping the host ends every plugin at once, except those whose provider or handler
/// somebody still holds.
///
/// When its file is replaced, a plugin runs on as it was, and is not started again once it has ended. To change to the
/// new file, shut the plugin down ([`Plugin::shutdown`](crate::contract::Plugin::shutdown) of what [`find`](Self::find)
/// returns): whoever wants it next has the new one started.
///
/// It needs a tokio runtime with I/O and time, and a call panics whose runtime ends before it. A native plugin lives in that
/// of the call that started it, and so does every start. It answers nobody while that runtime is blocked, and ends with it,
/// which uses up one of its [restarts](crate::supervise::RESTARTS): call a long-lived host from a long-lived runtime. A
/// plugin that has used up its restarts is in quarantine until that is [lifted](Self::lift_quarantine).
pub struct Host {
    rooms: Arc<Rooms>,
}

/// The inside of a host. Its plugins may ask things of it, but do not keep it alive.
struct Rooms {
    me: Weak<Self>,
    setup: Setup,
    descriptors: Descriptors,
    registry: Registry,
    auth_registry: AuthRegistry,
    plugins: Mutex<Plugins>,
    waits: Waits,
    /// The auth handlers that plugins asked for, and that could not be used.
    unusable: RecentFailures<HandlerName, IdentityError>,
    /// The files that could not be described, by their digests.
    undescribed: RecentFailures<Digest, LaunchError>,
    /// The files that the log has warned of, because of what the policy says of them, each with the label of that.
    warned: Mutex<HashSet<(Digest, String)>>,
    /// Over when the host was dropped.
    life: watch::Sender<Life>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("setup", &self.rooms.setup).finish_non_exhaustive()
    }
}

/// A plugin that is starting, or asking something of the host, holds its inside; this makes it let go. The other
/// plugins end even if its runtime stands still.
impl Drop for Host {
    fn drop(&mut self) {
        let Rooms { life, plugins, registry, auth_registry, .. } = self.rooms.as_ref();
        life.send_replace(Life::Over);
        let _all = (std::mem::take(&mut *lock(plugins)), registry.take_all(), auth_registry.take_all());
    }
}

impl Host {
    /// Makes a host. Starts nothing.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let rooms = Arc::new_cyclic(|me| Rooms {
            me: Weak::clone(me),
            descriptors: Descriptors::new(setup.descriptors.clone()),
            setup,
            registry: Registry::default(),
            auth_registry: AuthRegistry::default(),
            plugins: Mutex::default(),
            waits: Waits::default(),
            unusable: RecentFailures::default(),
            undescribed: RecentFailures::default(),
            warned: Mutex::default(),
            life: watch::Sender::new(Life::Up),
        });
        Self { rooms }
    }

    /// Returns the providers of the plugins that were started.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.rooms.registry
    }

    /// Returns the auth handlers of the plugins that were started.
    #[must_use]
    pub fn auth_registry(&self) -> &AuthRegistry {
        &self.rooms.auth_registry
    }

    /// Ends the quarantine of a plugin, after the cause of its deaths was removed. Its file has to be the same. Returns
    /// whether a plugin of that name was in quarantine.
    pub fn lift_quarantine(&self, plugin: &PluginName) -> bool {
        // It is logged, and whoever takes the log may ask us something: no lock is held.
        let plugins: Vec<_> = lock(&self.rooms.plugins).values().cloned().collect();
        let started = plugins.iter().filter_map(|entry| entry.up.get());
        let of_that_name = started.filter(|started| started.plugin.info().name == *plugin);
        // Files in several directories may give the same name.
        of_that_name.filter(|started| started.plugin.lift_quarantine()).count() > 0
    }

    /// Asks every plugin to end, and kills it after the grace. A second call, made while the first still waits, kills
    /// all of them at once. No plugin is started any more, and starts under way are given up.
    pub async fn stop_all(&self) {
        let first = self.rooms.life.send_replace(Life::Ending) == Life::Up;
        let plugins: Vec<_> = lock(&self.rooms.plugins).values().cloned().collect();
        let grace = if first { self.rooms.setup.patience.grace } else { Duration::ZERO };
        join_all(plugins.iter().map(|entry| entry.end(grace))).await;
    }
}

#[cfg(test)]
mod tests;
