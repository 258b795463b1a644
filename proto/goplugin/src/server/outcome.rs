//! How serving ended, for `main`.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use thiserror::Error;

use super::{End, PortsError};
use crate::Address;
use crate::identity::{CertificateError, IdentityError};

/// How serving a plugin ended. A `main` may return it: the process then exits with [`exit_code`](Self::exit_code).
///
/// Errors were reported already.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// No host of this plugin started it.
    NotInvited,
    /// It could not serve.
    Failed(ServeError),
    /// It served until it was ended.
    Ended(End),
}

impl Outcome {
    /// Returns the exit code for the process: 0 after serving, 2 if the application's code panicked, and otherwise 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // As a Go program that panics.
            Self::Ended(End::Broken) => 2,
            Self::Ended(_) => 0,
            // Go's plugins exit with 0 when they cannot listen, which tells their hosts nothing.
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
    /// The host wants sockets for a group that does not exist.
    #[error("the socket group {group:?} cannot be used")]
    Group {
        /// The group that the host named.
        group: String,
        /// Why not.
        source: io::Error,
    },
    /// The host named ports that cannot be used.
    #[error("there is no port to listen on")]
    Ports(#[from] PortsError),
    /// The plugin cannot listen.
    #[error("cannot listen in {}", place.display())]
    Listen {
        /// The directory, or the ports.
        place: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The line cannot hold the address: it contains a separator.
    #[error("the address {address} cannot be written in a handshake")]
    Address {
        /// The address.
        address: Address,
    },
    /// The host wants TLS, and sent no certificate that could be trusted.
    #[error("the host's certificate cannot be used")]
    Certificate(#[from] CertificateError),
    /// The host wants TLS, and it cannot be set up.
    #[error("cannot prepare for TLS")]
    Identity(#[from] IdentityError),
    /// The application could not make its services.
    #[error("the plugin's services cannot be made")]
    Services(#[source] Box<dyn Error + Send + Sync>),
    /// It was told to end before it served anything. [`Serve::serve`](super::Serve::serve) treats that as an end like
    /// any other.
    #[error("it ended before it served: {end}")]
    Ended {
        /// What ended it.
        end: End,
    },
    /// One of the descriptor sets is not valid.
    #[error("cannot serve reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Signal handlers cannot be installed.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    /// The process that started this one cannot be watched.
    #[error("cannot watch the process that started this one")]
    Parent(#[source] io::Error),
    /// The line could not be printed: nobody reads it.
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
