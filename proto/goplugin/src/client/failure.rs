//! What goes wrong after the child was started, and the error that is made of it.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::connection::Hold as _;
use super::supervised::Supervised;
use super::{FAREWELL, Launch, StartError};
use crate::tls::is_rejection;
use crate::transport::connect;
use crate::{Address, HandshakeError, IdentityError};

/// What went wrong after the child was started.
pub(super) enum Failure {
    /// It ended before it said anything.
    Ended,
    /// It closed its output without a line, or printed an empty one.
    Silent,
    /// It said something else, and perhaps where it listens.
    Words { error: HandshakeError, address: Option<Address> },
    /// It does not listen where it said.
    Deaf { address: Address, error: io::Error },
    /// Its certificate cannot be used.
    Tls(IdentityError),
    /// It took too long, and had printed this.
    Slow { printed: String },
}

impl Launch {
    /// Adds to a failure what the child left to say about it.
    pub(super) async fn explain(&self, failure: Failure, child: &Supervised) -> StartError {
        match failure {
            Failure::Slow { printed } => {
                let evidence = child.evidence(Duration::ZERO).await;
                StartError::TimedOut { limit: self.start_timeout, printed, evidence }
            }
            Failure::Ended => {
                StartError::Exited { exit: child.gone().wait().await, notes: self.diagnose().await }
            }
            Failure::Silent => match timeout(FAREWELL, child.gone().wait()).await {
                Ok(exit) => StartError::Exited { exit, notes: self.diagnose().await },
                Err(_elapsed) => StartError::Handshake {
                    error: HandshakeError::Unrecognised { text: String::new() },
                    evidence: child.evidence(Duration::ZERO).await,
                    notes: self.diagnose().await,
                },
            },
            // Only a plugin says this: it is not about to end, and its file is all right.
            Failure::Words { error, address } if error.is_of_a_plugin() => {
                self.claim_socket(child, address).await;
                let evidence = child.evidence(Duration::ZERO).await;
                StartError::Handshake { error, evidence, notes: Vec::new() }
            }
            Failure::Words { error, .. } => {
                let evidence = child.evidence(FAREWELL).await;
                StartError::Handshake { error, evidence, notes: self.diagnose().await }
            }
            Failure::Tls(error) => StartError::Identity(error),
            Failure::Deaf { error, .. } if is_rejection(&error) => {
                StartError::Rejected { evidence: child.evidence(FAREWELL).await, error }
            }
            Failure::Deaf { address, error } => {
                StartError::Connect { address, error, evidence: child.evidence(FAREWELL).await }
            }
        }
    }

    /// Has the socket of a refused plugin removed with it: one that does not heed our directory leaves its socket
    /// behind when it is killed.
    async fn claim_socket(&self, child: &Supervised, address: Option<Address>) {
        let Some(address) = address.filter(|address| address.file().is_some()) else { return };
        if let Ok(Ok(socket)) = timeout(FAREWELL, connect(&address)).await {
            child.connected(&socket, &address);
        }
    }
}
