//! How much a plugin may use.
//!
//! One table holds for both backends. A component has a limit on everything. A native plugin runs unchanged, so by
//! default only the size of a message and the number of calls at a time are limited; a policy may add the others.

use std::time::Duration;

use crate::BackendName;

/// The limits that a policy sets for a plugin. `None` leaves a limit at the backend's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all memories and tables of an instance; address space of a child.
    pub memory: Option<u64>,
    /// Processor time of one call.
    pub cpu: Option<Duration>,
    /// Time of one call, waiting for a turn included.
    pub wall: Option<Duration>,
    /// Bytes of one request or result, and of what one host call carries.
    pub message: Option<u64>,
    /// Bytes that one call prints, stdout and stderr together.
    pub output: Option<u64>,
    /// Files, streams and requests that an instance has open at a time; open files of a process of a child.
    pub handles: Option<u32>,
    /// Calls at the same time; more wait for their turn.
    pub concurrency: Option<u32>,
}

impl Limits {
    /// Returns the limits that hold for a plugin of a backend. The defaults:
    ///
    /// | limit | component | process |
    /// |---|---|---|
    /// | memory | 64 MiB | none |
    /// | cpu | 1 s | none |
    /// | wall | 30 s | none |
    /// | message | 64 MiB | 64 MiB |
    /// | output | 1 MiB | none |
    /// | handles | 1,000 | none |
    /// | concurrency | 8 | 64 |
    #[must_use]
    pub fn resolve(&self, backend: BackendName) -> Resolved {
        let component = backend == BackendName::Component;
        Resolved {
            memory: self.memory.or(component.then_some(64 << 20)),
            cpu: self.cpu.or(component.then_some(Duration::from_secs(1))),
            wall: self.wall.or(component.then_some(Duration::from_secs(30))),
            message: self.message.unwrap_or(64 << 20),
            output: self.output.or(component.then_some(1 << 20)),
            // A guess, and about what the system lets a process open. Each takes memory of ours that no limit counts.
            handles: self.handles.or(component.then_some(1_000)),
            concurrency: self.concurrency.unwrap_or(if component { 8 } else { 64 }),
        }
    }
}

/// The limits that hold for one plugin. `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// See [`Limits::memory`].
    pub memory: Option<u64>,
    /// See [`Limits::cpu`].
    pub cpu: Option<Duration>,
    /// See [`Limits::wall`].
    pub wall: Option<Duration>,
    /// See [`Limits::message`].
    pub message: u64,
    /// See [`Limits::output`].
    pub output: Option<u64>,
    /// See [`Limits::handles`].
    pub handles: Option<u32>,
    /// See [`Limits::concurrency`].
    pub concurrency: u32,
}
