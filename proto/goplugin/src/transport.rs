//! Where both sides listen, and the connections that lead there.
//!
//! From the inside out: a [`Socket`] carries bytes, a [`Link`] is a socket that may be encrypted, and a
//! [`Tethered`] link ends when the other side's process does. A [`Route`] says how links to one server are
//! opened, the first and later ones; a [`Place`] says where our listeners are, and [`incoming`] returns what they
//! accept. None of this knows which side of the protocol it is on.

mod address;
mod busy_poll;
mod dir;
mod gathered;
mod incoming;
mod link;
mod listener;
mod place;
mod route;
mod socket;
mod strays;
mod tethered;

pub use self::address::{Address, AddressError};
pub(crate) use self::dir::{SocketDir, sweep};
pub use self::dir::{SocketDirError, temporary_dir};
pub(crate) use self::gathered::gathered;
pub(crate) use self::incoming::incoming;
pub(crate) use self::link::Link;
pub(crate) use self::listener::Listener;
pub use self::place::Ports;
pub(crate) use self::place::{Group, Place};
pub(crate) use self::route::Route;
pub(crate) use self::socket::{Socket, connect};
pub(crate) use self::strays::Strays;
pub(crate) use self::tethered::{Ended, Tethered};

/// How many bytes of a path fit into a socket address of Linux, its terminator taken off.
const LONGEST_PATH: usize = 107;
