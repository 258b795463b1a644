//! What the process offers to the plugin that it serves.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis_contract::HostService;
use portcullis_goplugin::log::{Entry, Level};
use portcullis_goplugin::{End, Output, Session};

use crate::host_service::RemoteHost;

/// What the process offers to the plugin that it serves. Cheap to clone; clones mean the same process.
#[derive(Clone)]
pub struct Surroundings {
    session: Session,
    host: RemoteHost,
    least: Level,
}

impl Surroundings {
    pub(crate) fn new(session: Session, host: RemoteHost, least: Level) -> Self {
        Self { session, host, least }
    }

    /// Returns the host, as far as it can be called back.
    ///
    /// It may be given to a plugin before the plugin is configured. Until a configuration says where the host is, and
    /// again after the plugin was stopped, it answers as a host that offers nothing: `secret store not available`. A
    /// configuration that names no host changes nothing.
    #[must_use]
    pub fn host(&self) -> Arc<dyn HostService> {
        Arc::new(self.host.clone())
    }

    /// Returns the output to the host's standard output. Never waits.
    #[must_use]
    pub fn stdout(&self) -> Output {
        self.session.stdout()
    }

    /// Returns the output to the host's standard error, which is not the log. Never waits.
    #[must_use]
    pub fn stderr(&self) -> Output {
        self.session.stderr()
    }

    /// Writes a line of the plugin's log, unless its level is below [`Options::guest_log`](crate::Options::guest_log).
    ///
    /// Events of `tracing` go to the same log; this is for fields whose names are not known at compile time.
    pub fn log(&self, entry: &Entry) {
        if entry.level >= self.least {
            let line = entry.to_line(SystemTime::now());
            // It is no reason to fail that a host has died and does not read.
            let _unread = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    /// Returns the environment without the variables of go-plugin: the one that children should be given.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        self.session.environment()
    }

    /// Returns the version of the handshake that the host chose: 1, or 2 for later auth handlers (contract spec 1.9).
    #[must_use]
    pub fn version(&self) -> u32 {
        self.session.version()
    }

    /// Ends the plugin, as its host could.
    pub fn stop(&self) {
        self.session.stop();
    }

    /// Ends the plugin because its own code has panicked, as a panic does in Go: calls get no answer, and the process
    /// exits with 2.
    pub fn give_up(&self) {
        self.session.give_up();
    }

    /// Waits until somebody tells the plugin to end.
    pub fn ended(&self) -> impl Future<Output = End> + Send + Sync + use<> {
        self.session.ended()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("host", &self.host).finish_non_exhaustive()
    }
}
