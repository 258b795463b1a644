//! A panic, in words that hosts know.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::PanicHookInfo;

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
