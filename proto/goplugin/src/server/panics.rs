//! A panic, in words that hosts know.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::thread;

use super::{ServeError, failed};

/// Makes a runtime, and ends the process if that panics: tokio has no error for a thread that it does not get.
///
/// The hook ends it, before anything unwinds: that would drop half a runtime, which waits for ever for its threads.
pub(super) fn fatal_in<T>(make: impl FnOnce() -> T) -> T {
    let (here, before) = (thread::current().id(), Arc::new(std::panic::take_hook()));
    let elsewhere = Arc::clone(&before);
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == here {
            let words = panic.payload_as_str().unwrap_or("a value that is no text");
            let outcome = failed(ServeError::Runtime(io::Error::other(words.to_owned())));
            std::process::exit(outcome.exit_code().into());
        }
        (*elsewhere)(panic);
    }));
    let made = make();
    // The hook that is there holds the other half of the one that was.
    drop(std::panic::take_hook());
    if let Some(before) = Arc::into_inner(before) {
        std::panic::set_hook(before);
    }
    made
}

/// Has every panic from now on reported in a form that hosts raise to an error, as Go's own are.
pub(super) fn report() {
    std::panic::set_hook(Box::new(|panic| {
        // A closed standard error is no reason to panic in a panic.
        let _unread = std::io::stderr().lock().write_all(text(panic).as_bytes());
    }));
}

fn text(panic: &PanicHookInfo<'_>) -> String {
    let mut text = format!("panic: {}\n", panic.payload_as_str().unwrap_or("a value that is no text"));
    // Writing to a string does not fail.
    if let Some(location) = panic.location() {
        let _written = writeln!(text, "\tat {location}");
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        let _written = write!(text, "{backtrace}");
    }
    text
}
