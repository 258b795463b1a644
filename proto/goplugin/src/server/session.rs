//! What the plugin offers to the application's own services.

use std::ffi::OsString;
use std::sync::Arc;

use super::ending::{End, Ending};
use super::output::{Output, Prints};
use crate::{Broker, Stdio};

/// A plugin that serves one host, as its own services see it. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(super) version: u32,
    pub(super) broker: Broker,
    pub(super) prints: Prints,
    pub(super) ending: Ending,
    pub(super) message_limit: usize,
    pub(super) environment: Arc<[(OsString, OsString)]>,
}

impl Session {
    /// Returns the version of the application's protocol that was chosen.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the broker, through which the host can be called back.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Returns the output to the host's standard output.
    #[must_use]
    pub fn stdout(&self) -> Output {
        self.prints.output(Stdio::Stdout)
    }

    /// Returns the output to the host's standard error, which is not the log.
    #[must_use]
    pub fn stderr(&self) -> Output {
        self.prints.output(Stdio::Stderr)
    }

    /// Returns the limit that [`Serve::message_limit`](crate::Serve::message_limit) set, for the application's
    /// own services.
    #[must_use]
    pub fn message_limit(&self) -> usize {
        self.message_limit
    }

    /// Returns the environment without the protocol's variables: the one that children should be given.
    ///
    /// The process's own environment cannot be changed safely once there are threads, and a child that is a plugin
    /// itself would take our host's variables for those of its own host.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Ends the plugin, as its host could.
    pub fn stop(&self) {
        self.ending.bring(End::Stopped);
    }

    /// Ends the plugin because its own code has panicked, as a panic ends a plugin in Go: calls under way fail with a
    /// lost connection. The socket files are removed all the same.
    pub fn give_up(&self) {
        self.ending.bring(End::Broken);
    }

    /// Waits until somebody tells the plugin to end.
    pub fn ended(&self) -> impl Future<Output = End> + Send + Sync + use<> {
        self.ending.wait()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("version", &self.version).finish_non_exhaustive()
    }
}
