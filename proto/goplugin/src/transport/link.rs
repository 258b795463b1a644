//! A socket that may be encrypted.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsStream;

use super::Socket;
use crate::TlsSession;

/// One connection to the other side.
#[derive(Debug)]
pub(crate) enum Link {
    /// As it is.
    Plain(Socket),
    /// Encrypted, the handshake done.
    Tls(Box<TlsStream<Socket>>),
}

impl Link {
    /// Returns what the two sides agreed on, if it is encrypted.
    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(TlsSession::of(stream)),
        }
    }

    /// Returns it as one stream of bytes, encrypted or not.
    pub(super) fn into_io(self) -> Box<dyn Io> {
        match self {
            Self::Plain(socket) => Box::new(socket),
            Self::Tls(stream) => stream,
        }
    }
}

/// What carries bytes, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> Io for T {}
