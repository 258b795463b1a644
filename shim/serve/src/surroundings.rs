//! What a plugin gets of the process that it is served in.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use portcullis_contract::HostService;
use portcullis_goplugin::log::{Entry, Level};
use portcullis_goplugin::{End, Output, Session};

use crate::host_service::RemoteHost;

/// What a plugin gets of the process that it is served in. Cheap to clone; clones are one.
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
    /// It may be handed to a plugin before anybody has configured it. Until a configuration says where the host is, and
    /// from when the plugin is stopped, it answers as a host that has nothing: `secret store not available`. A configuration
    /// that says nothing of a host leaves it as it is.
    #[must_use]
    pub fn host(&self) -> Arc<dyn HostService> {
        Arc::new(self.host.clone())
    }

    /// Returns what takes prints to the host's standard output. It never waits.
    #[must_use]
    pub fn stdout(&self) -> Output {
        self.session.stdout()
    }

    /// Returns what takes prints to the host's standard error. The log is not for this. It never waits.
    #[must_use]
    pub fn stderr(&self) -> Output {
        self.session.stderr()
    }

    /// Writes a line of the plugin's log, unless it is of less weight than [`Options::guest_log`](crate::Options::guest_log).
    ///
    /// What is logged through `tracing` gets there, too; this is for fields whose names are not known beforehand.
    pub fn log(&self, entry: &Entry) {
        if entry.level >= self.least {
            let line = entry.to_line(SystemTime::now());
            // A host that died does not read, and that is no reason to fail.
            let _unread = std::io::stderr().lock().write_all(line.as_bytes());
        }
    }

    /// Returns the environment without the variables of go-plugin: the one that children should be given.
    #[must_use]
    pub fn environment(&self) -> &[(OsString, OsString)] {
        self.session.environment()
    }

    /// Returns the version of the handshake that is spoken: 1, or, by later auth handlers, 2 (contract spec 1.9).
    #[must_use]
    pub fn version(&self) -> u32 {
        self.session.version()
    }

    /// Ends the plugin, as its host could.
    pub fn stop(&self) {
        self.session.stop();
    }

    /// Ends the plugin because its own code has panicked, as a panic does in Go: calls are not answered, and the
    /// process ends with 2.
    pub fn give_up(&self) {
        self.session.give_up();
    }

    /// Waits until the plugin is told to end, by whomever.
    pub fn ended(&self) -> impl Future<Output = End> + Send + Sync + use<> {
        self.session.ended()
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("host", &self.host).finish_non_exhaustive()
    }
}
