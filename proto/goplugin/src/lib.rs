//! The go-plugin protocol, for any service.
//!
//! A go-plugin plugin is a program that serves gRPC to the process that started it, its host. This crate implements
//! both sides. As a host it starts such a program, connects to it, and makes sure that it ends. As a plugin it says
//! where it listens, and serves until it is told to end. It knows nothing of what is served: that is between the
//! plugin's services and the host's own tonic client.
//!
//! ```no_run
//! use std::time::Duration;
//! use portcullis_goplugin::{Cookie, Launch, Versions};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let launch = Launch::new("./kv-go-grpc", Cookie::new("BASIC_PLUGIN", "hello"), Versions::from([1]));
//! let plugin = launch.start().await?;
//! plugin.ping(Duration::from_secs(1)).await?;
//! // Any tonic client takes the channel: `KvClient::new(plugin.channel())`.
//! let exit = plugin.stop(Duration::from_secs(2)).await;
//! println!("{exit}");
//! # Ok(())
//! # }
//! ```
//!
//! The tour:
//!
//! - [`Launch`] describes a start, and [`Launch::start`] performs it; a start that fails leaves nothing behind.
//!   [`Encryption::AutoMtls`] is go-plugin's own way to encrypt. [`Attach`] connects to a plugin that already runs.
//! - [`Connection`] is a running plugin: its [`Channel`] for calls, its [`Broker`] for calls in the other
//!   direction, [`Gone`] to learn of its end, and [`stop`](Connection::stop) to end it; [`stop_all`] ends many at once.
//! - For finding out what is wrong with a plugin, a connection also returns the plugin's
//!   [services](Connection::services), [health](Connection::health) and
//!   [certificate](Connection::peer_certificate), and how the plugin reacted to the
//!   [request to end](Connection::stop_and_tell).
//! - A [`Sink`] gets what the plugin logs and prints.
//! - [`Serve`] describes a plugin of one's own, and [`Serve::run`] is its `main`. Its services get a [`Session`], with
//!   the [`Broker`] to call the host back and an [`Output`] to print to.
//! - [`raise_open_files`], called first in `main`, lets a program open more files and sockets; what it starts keeps the
//!   old limit.
//!
//! Only Linux is supported so far: parent-death signals and pidfds keep children from outliving us.
//!
//! "Protocol spec 26" and the like number the rules in the project's notes on go-plugin, and "P-63" the items of their
//! checklist; the test that carries such a number states its rule.

pub mod log;
pub mod timeout;

mod broker;
mod certificate;
mod channel;
mod client;
mod controller;
mod handshake;
mod health;
mod identity;
#[cfg(test)]
mod kernel;
mod lock;
mod mux;
mod open_files;
mod paced;
mod pidfd;
mod reattach;
mod reflection;
mod server;
mod serving;
mod sink;
mod standing;
mod status;
mod stdio;
mod task;
mod tls;
mod transport;
#[expect(unreachable_pub, reason = "the other crate that holds this file shows it to others")]
mod tree;

pub use self::broker::{Broker, BrokerError, Serving};
pub use self::certificate::Certificate;
#[cfg(feature = "x509")]
pub use self::certificate::CertificateFacts;
pub use self::channel::{Channel, ChannelBody};
pub use self::client::{
    Asked, Attach, AttachError, Checksum, ChecksumError, Connection, Encryption, Ending, Environment,
    Evidence, Executable, Exit, Gone, Launch, StartError, Stdin, Streams, stop_all,
};
pub use self::handshake::{Cookie, Expected, Handshake, HandshakeError, Versions};
pub use self::health::{Health, PingError};
pub use self::identity::{CertificateError, IdentityError};
pub use self::open_files::raise_open_files;
pub use self::reattach::{Reattach, ReattachError};
pub use self::reflection::{ReflectionError, ServiceList};
pub use self::server::{
    Calls, Capture, End, Listen, Logs, Outcome, Output, Panics, Parent, PortsError, Serve, ServeError,
    Services, Session, TestServing,
};
pub use self::serving::contained_stream;
pub use self::sink::{Discard, Sink, Stdio};
pub use self::standing::Standing;
pub use self::status::{go_sentence, is_cut_off, is_unknown_call, normalized};
pub use self::tls::{Tls, TlsSession};
pub use self::transport::{Address, AddressError, Ports, SocketDirError, temporary_dir};

/// The messages of go-plugin's own services, as generated.
mod wire {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("plugin");
}
