//! Where a streaming execution shows what it does.

use std::fmt;

/// Where a streaming execution shows what it does, for the time of one call.
///
/// A reader who is slow slows the writer: a write returns once there is room for it. Chunks of 16 to
/// 64 KiB cost the least. A native plugin's threads may share one behind a lock, as those that read what a process
/// prints would.
pub struct Sink<'a> {
    write: Write<'a>,
}

#[cfg(target_family = "wasm")]
type Write<'a> = crate::component::Imports<'a>;
#[cfg(not(target_family = "wasm"))]
type Write<'a> = &'a mut (dyn FnMut(Channel, &[u8]) -> Result<(), Closed> + Send);

impl<'a> Sink<'a> {
    #[cfg(target_family = "wasm")]
    pub(crate) fn from_imports(write: Write<'a>) -> Self {
        Self { write }
    }

    /// Makes a sink of a function that takes what is written.
    #[cfg(not(target_family = "wasm"))]
    pub fn from_fn(write: Write<'a>) -> Self {
        Self { write }
    }

    /// Shows a chunk, as stdout would.
    ///
    /// # Errors
    ///
    /// When nobody reads any more; then there is no point in going on.
    pub fn stdout(&mut self, chunk: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.write(Channel::Stdout, chunk.as_ref())
    }

    /// Shows a chunk, as stderr would.
    ///
    /// # Errors
    ///
    /// When nobody reads any more; then there is no point in going on.
    pub fn stderr(&mut self, chunk: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.write(Channel::Stderr, chunk.as_ref())
    }

    fn write(&mut self, channel: Channel, chunk: &[u8]) -> Result<(), Closed> {
        #[cfg(target_family = "wasm")]
        return self.write.write(channel, chunk);
        #[cfg(not(target_family = "wasm"))]
        (self.write)(channel, chunk)
    }
}

impl fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

/// Which of the two a chunk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// What is shown.
    Stdout,
    /// What is complained of.
    Stderr,
}

/// Nobody reads: the reader has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for Closed {}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[test]
    fn threads_may_share_one() {
        let mut shown = Vec::new();
        let mut write = |channel, chunk: &[u8]| {
            shown.push((channel, chunk.to_vec()));
            Ok(())
        };
        let sink = Mutex::new(Sink::from_fn(&mut write));
        std::thread::scope(|threads| {
            let sink = || sink.lock().unwrap_or_else(PoisonError::into_inner);
            threads.spawn(move || sink().stdout("out"));
            threads.spawn(move || sink().stderr("err"));
        });
        shown.sort_by_key(|(channel, _)| *channel == Channel::Stderr);
        assert_eq!(shown, [(Channel::Stdout, b"out".to_vec()), (Channel::Stderr, b"err".to_vec())]);
    }
}
