//! The way to a server of the other side.

use std::io;

use super::{Address, Link, Socket, connect};
use crate::mux::Mux;
use crate::tls::Tls;

/// How links to one server are opened: the first one, and later ones after that was lost.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    to: To,
    tls: Option<Tls>,
}

/// What a route leads to.
#[derive(Clone, Debug)]
pub(crate) enum To {
    /// A socket, to which one connects.
    Address(Address),
    /// The plugin's main server, over the session.
    Main(Mux),
    /// A server with a number, over the session; every link is knocked for.
    Server(Mux, u32),
}

impl Route {
    /// Describes the way to `address`, encrypted or not.
    pub(crate) fn to_address(address: Address, tls: Option<Tls>) -> Self {
        Self { to: To::Address(address), tls }
    }

    /// Describes the way to the plugin's main server over a session.
    pub(crate) fn to_main(mux: Mux, tls: Option<Tls>) -> Self {
        Self { to: To::Main(mux), tls }
    }

    /// Describes the way to the server `id` over a session.
    pub(crate) fn to_server(mux: Mux, id: u32, tls: Option<Tls>) -> Self {
        Self { to: To::Server(mux, id), tls }
    }

    /// Tells whether its links are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a link, all the way.
    pub(crate) async fn open(&self) -> io::Result<Link> {
        self.secure(self.socket().await?).await
    }

    /// Opens what a link is made of.
    pub(crate) async fn socket(&self) -> io::Result<Socket> {
        match &self.to {
            To::Address(address) => connect(address).await,
            To::Main(mux) => Ok(Socket::Stream(mux.dial(None).await?)),
            To::Server(mux, id) => Ok(Socket::Stream(mux.dial(Some(*id)).await?)),
        }
    }

    /// Makes a link of it.
    pub(crate) async fn secure(&self, socket: Socket) -> io::Result<Link> {
        match &self.tls {
            None => Ok(Link::Plain(socket)),
            Some(tls) => tls.connect(socket).await,
        }
    }
}
