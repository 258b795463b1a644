//! The output of a streaming execution.

use std::fmt;

/// Takes the output of a streaming execution; valid for that call only.
///
/// A slow reader slows the writer: a write returns once there is room for it. Chunks of 16 to 64 KiB cost the least.
/// Threads of a native plugin may share one behind a lock, for instance those that read the two outputs of a process.
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

    /// Makes a sink that calls a function with each chunk.
    #[cfg(not(target_family = "wasm"))]
    pub fn from_fn(write: Write<'a>) -> Self {
        Self { write }
    }

    /// Writes a chunk to the standard output of the call.
    ///
    /// # Errors
    ///
    /// When nobody reads any more; then there is no point in going on.
    pub fn stdout(&mut self, chunk: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.write(Channel::Stdout, chunk.as_ref())
    }

    /// Writes a chunk to the standard error of the call.
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

/// Which output a chunk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
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
