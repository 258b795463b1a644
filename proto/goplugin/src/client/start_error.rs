//! Why a plugin did not start, and the evidence that it left.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::{ChecksumError, Exit};
use crate::transport::SocketDirError;
use crate::{Address, HandshakeError, IdentityError};

/// Why a plugin did not start. The child and its process group are gone by now; one that the system was still starting when its
/// time was over is killed as soon as it exists.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no place for its sockets.
    #[error(transparent)]
    Sockets(#[from] SocketDirError),
    /// There is no certificate of ours, or none that fits this plugin. AutoMTLS only.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The runtime cannot run blocking work, because it is shutting down, for instance. AutoMTLS only.
    #[error("cannot prepare the start")]
    Runtime {
        /// Why not.
        source: io::Error,
    },
    /// The file does not have its checksum, or cannot be read.
    #[error("cannot verify {}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ChecksumError,
    },
    /// The kernel did not run the file.
    #[error("cannot run {}{}", path.display(), Listed(notes))]
    Spawn {
        /// The file.
        path: PathBuf,
        /// What looking at the file shows.
        notes: Vec<String>,
        /// Why not.
        source: io::Error,
    },
    /// The plugin ended before it was connected to.
    #[error("ended before it served{}", Listed(notes))]
    Exited {
        /// What looking at the file shows.
        notes: Vec<String>,
        /// How it ended.
        #[source]
        exit: Exit,
    },
    /// The plugin took too long.
    #[error("did not serve within {limit:?}{}", Printed(printed))]
    TimedOut {
        /// How long it had.
        limit: Duration,
        /// The beginning of a first line that it did not finish.
        printed: String,
        /// What it left to say about it.
        #[source]
        evidence: Option<Evidence>,
    },
    /// The plugin's first line is not a handshake that we can use.
    #[error("handshake failed: {error}{}", Listed(notes))]
    Handshake {
        /// What it said.
        error: HandshakeError,
        /// What the file's first bytes show, if the line is not that of a plugin.
        notes: Vec<String>,
        /// What it left to say about it.
        #[source]
        evidence: Option<Evidence>,
    },
    /// The plugin does not accept our certificate.
    #[error("does not accept this host's certificate: {error}")]
    Rejected {
        /// The error by which it refused.
        error: io::Error,
        /// What it left to say about it.
        #[source]
        evidence: Option<Evidence>,
    },
    /// The plugin does not listen where it said.
    #[error("cannot connect to it at {address}: {error}")]
    Connect {
        /// The address.
        address: Address,
        /// Why not.
        error: io::Error,
        /// What it left to say about it.
        #[source]
        evidence: Option<Evidence>,
    },
}

/// The evidence that a plugin left when it failed to start: how it ended, or its last words.
///
/// It is the last source in the chain of a [`StartError`], because it may have many lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// It ended by itself, in this way.
    Exit(Exit),
    /// It had to be killed, and this is the end of what it wrote to its standard error.
    LastWords(String),
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => write!(f, "it ended: {exit}"),
            Self::LastWords(words) => write!(f, "its last words: {}", words.trim()),
        }
    }
}

impl Error for Evidence {}

/// Appends notes to a message.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// Appends what was printed of a first line to a message.
struct Printed<'a>(&'a str);

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            text => write!(f, "; it printed {text:?} and did not end the line"),
        }
    }
}
