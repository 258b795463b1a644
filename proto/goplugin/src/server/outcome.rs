//! How it ended, for `main`.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use thiserror::Error;

use super::{End, PortsError};
use crate::Address;
use crate::identity::{CertificateError, IdentityError};

/// What became of a plugin. A `main` may return it: the process then ends with [`exit_code`](Self::exit_code).
///
/// Whatever there was to say has been said.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// No host of this plugin started it.
    NotInvited,
    /// It could not serve.
    Failed(ServeError),
    /// It served, and was brought to its end.
    Ended(End),
}

impl Outcome {
    /// Returns the code for the process to end with: 0 after serving, 2 when the application's code broke under it,
    /// and otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As a Go program that panics.
            Self::Ended(End::Broken) => 2,
            Self::Ended(_) => 0,
            // Go's plugins end with 0 when they cannot listen, and hosts are left to wonder.
            Self::NotInvited | Self::Failed(_) => 1,
        }
    }
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        self.exit_code().into()
    }
}

/// Why a plugin cannot serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It has no version of the application's protocol.
    #[error("there is no version to serve")]
    NoVersions,
    /// Sockets are to be for a group that does not exist.
    #[error("the socket group {group:?} cannot be used")]
    Group {
        /// The group that the host named.
        group: String,
        /// Why not.
        source: io::Error,
    },
    /// The host named no port.
    #[error("there is no port to listen on")]
    Ports(#[from] PortsError),
    /// There is no socket to listen on.
    #[error("cannot listen in {}", place.display())]
    Listen {
        /// The directory, or what else it was.
        place: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The line has no way to write where the plugin listens.
    #[error("the address {address} cannot be written in a handshake")]
    Address {
        /// The address.
        address: Address,
    },
    /// The host wants TLS, and sent no certificate that could be trusted.
    #[error("the host's certificate cannot be used")]
    Certificate(#[from] CertificateError),
    /// The host wants TLS, and we cannot have it.
    #[error("cannot prepare for TLS")]
    Identity(#[from] IdentityError),
    /// The application has nothing to serve.
    #[error("the plugin's services cannot be made")]
    Services(#[source] Box<dyn Error + Send + Sync>),
    /// It was told to end before it served anything. [`Serve::serve`](super::Serve::serve) takes that for an end like
    /// any other.
    #[error("it did not come to serve: {end}")]
    Ended {
        /// How it was told.
        end: End,
    },
    /// What was given as a descriptor set is none.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Signals cannot be taken over.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// The process that started this one cannot be watched.
    #[error("cannot watch the process that started this one")]
    Parent(#[source] io::Error),
    /// Nobody reads the line.
    #[error("cannot print the handshake")]
    Announce(#[source] io::Error),
    /// What is printed cannot be captured.
    #[error("cannot capture what is printed")]
    Capture(#[source] io::Error),
    /// There are no threads to serve with, or there is a runtime already.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    /// The application's own code panicked.
    #[error("the plugin panicked")]
    Panicked(#[source] tokio::task::JoinError),
}
