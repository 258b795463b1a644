//! Why a guest gave no answer: by its own doing, by a limit, or because the machine lacks something.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use portcullis_contract::{Amount, CallError, LimitHit, LimitName, StopReason};
use rustix::io::Errno;
use wasmtime::component::ResourceTableError;
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::component::engine::{advice, errno};
use crate::component::instances::Instances;
use crate::component::state::{Refused, State};

/// The panic of something of ours that a guest called: the host service, say, or whoever takes its prints.
#[derive(Debug, thiserror::Error)]
#[error("the host panicked under the call: {0}")]
struct HostPanic(String);

impl HostPanic {
    fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("a value that is no text").to_owned())
    }
}

/// Waits for a guest. A panic of ours, which the panic hook has reported, ends this one call, and the instance with it.
pub(crate) async fn contained<T>(work: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(HostPanic::of(&*panic).into()))
}

impl Instances {
    /// Returns what a guest answered, or why it did not. `None` means that the plugin was ended meanwhile.
    pub(crate) fn outcome<T>(
        &self,
        result: Option<wasmtime::Result<T>>,
        store: &Store<State>,
    ) -> Result<T, CallError> {
        match result {
            None => {
                let reason = "it was shut down under the call".to_owned();
                Err(CallError::Stopped(StopReason::Lost { reason }))
            }
            Some(Err(error)) => Err(self.explain(&error, store)),
            Some(Ok(value)) => Ok(value),
        }
    }

    /// Says why a guest did not answer.
    fn explain(&self, error: &wasmtime::Error, store: &Store<State>) -> CallError {
        let state = store.data();
        if let Some(hit) = error.downcast_ref::<LimitHit>() {
            return (*hit).into();
        }
        if let Some(panic) = error.downcast_ref::<HostPanic>() {
            return CallError::Stopped(StopReason::Lost { reason: panic.to_string() });
        }
        let (exit, trap) = (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>());
        // A guest that is refused memory mostly gives up, by a trap or an exit, and only we know why. If it took less
        // memory after that, its reason may have been another.
        let gave_up = trap.is_some() || exit.is_some_and(|exit| exit.0 != 0);
        let before = match state.refused_memory().filter(|_| gave_up) {
            Some(Refused { hit, made_do: false }) => return (*hit).into(),
            Some(Refused { hit: LimitHit { asked, allowed, .. }, made_do: true }) => {
                format!("; before that it was refused memory: asked {asked:#}, allowed {allowed}")
            }
            None => String::new(),
        };
        let stderr = state.printed().last_words();
        if let Some(exit) = exit {
            // WASI 0.2 says of an exit only whether it was a success.
            let status = if exit.0 == 0 { "it ended itself" } else { "it ended itself with an error" };
            return CallError::Stopped(StopReason::Exited { status: format!("{status}{before}"), stderr });
        }
        if let Some(trap) = trap {
            return CallError::Stopped(StopReason::Trapped { reason: format!("{trap}{before}"), stderr });
        }
        // The engine has types for limits of its own and keeps some to itself.
        let (root, limits) = (error.root_cause().to_string(), &self.ground.limits);
        if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(ResourceTableError::Full)))
            || root.contains("store handle limit exceeded")
        {
            let allowed = limits.handles.map_or(Amount::Unknown, |count| Amount::Count(count.into()));
            return CallError::Limit(LimitHit { which: LimitName::Handles, asked: Amount::Unknown, allowed });
        }
        if root.contains("fuel allocated for hostcalls has been exhausted") {
            let allowed = Amount::Bytes(limits.message);
            return CallError::Limit(LimitHit { which: LimitName::Message, asked: Amount::Unknown, allowed });
        }
        match lack(error) {
            Some(reason) => CallError::Stopped(StopReason::Lost { reason }),
            None => CallError::contract(root),
        }
    }
}

/// Says what the machine lacked, if the engine failed for that and not for something that the guest did.
pub(crate) fn lack(error: &wasmtime::Error) -> Option<String> {
    let root = error.root_cause().to_string();
    // The engine has no type for what a store may hold of a kind.
    if let Some(excess) = root.strip_prefix("resource limit exceeded: ") {
        return Some(format!("it takes more than a component may: {excess}"));
    }
    // Errors of other libraries may be around the system's own.
    let of_the_machine = error.chain().any(|cause| cause.is::<Errno>() || cause.is::<std::io::Error>())
        || error.is::<OutOfMemory>()
        || error.is::<PoolConcurrencyLimitError>();
    let forbids = matches!(errno(error), Some(Errno::PERM | Errno::ACCESS));
    let what = if forbids { "this machine does not allow it" } else { "this machine has no room for it" };
    of_the_machine.then(|| format!("{what}: {root}{}", advice(error)))
}

#[cfg(test)]
mod tests {
    use portcullis_contract::LaunchError;

    use super::*;

    #[test]
    fn what_a_machine_lacks_is_no_fault_of_a_guest() {
        let full = wasmtime::Error::from(Errno::NOMEM);
        let no_room = "this machine has no room for it: Cannot allocate memory (os error 12)";
        assert_eq!(lack(&full.context("a memory")).as_deref(), Some(no_room));
        let full = wasmtime::Error::from(std::io::Error::from(Errno::NOMEM));
        assert_eq!(lack(&full).as_deref(), Some(no_room));
        let around = LaunchError::Unreadable { path: "image".into(), source: Errno::NOMEM.into() };
        assert_eq!(lack(&around.into()).as_deref(), Some(no_room));
        assert_eq!(lack(&wasmtime::Error::msg("invalid utf-8")), None);
        assert_eq!(lack(&Trap::UnreachableCodeReached.into()), None);
        for (errno, expected) in [
            (Errno::FBIG, "no room for it: File too large (os error 27); `ulimit -f` may allow more"),
            (Errno::MFILE, "no room for it: Too many open files (os error 24); `ulimit -n` may allow more"),
            (Errno::AGAIN, "; `ulimit -u` may allow more"),
            (
                Errno::PERM,
                "does not allow it: Operation not permitted (os error 1); a filter of system calls",
            ),
        ] {
            let said = lack(&wasmtime::Error::from(std::io::Error::from(errno))).unwrap();
            assert!(said.contains(expected), "{said}");
        }
    }
}
