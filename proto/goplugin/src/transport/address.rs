//! Where one side listens, as the protocol writes it.
//!
//! An [`Address`] is one that a handshake or an announcement named, checked without connecting to it.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::LONGEST_PATH;

/// Where a plugin, or one of its brokered servers, listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix stream socket, by its path. A path that begins with `@` is a name without a file, which only Linux has.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp {
        /// A name or a number, without brackets; never empty.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// Reads an address as the protocol writes it: the network's name, then the address itself.
    pub fn parse(network: &str, text: &str) -> Result<Self, AddressError> {
        match network {
            "unix" if text.is_empty() => Err(AddressError::Empty),
            "unix" if text.contains('\0') => Err(AddressError::Zero),
            "unix" if text.len() > LONGEST_PATH => Err(AddressError::Long { length: text.len() }),
            "unix" => Ok(Self::Unix(PathBuf::from(text))),
            "tcp" => {
                let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
                let port = port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?;
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
                // Nothing before the colon means this machine (protocol spec 7.4).
                let host = if bare.is_empty() { "127.0.0.1" } else { bare };
                Ok(Self::Tcp { host: host.to_owned(), port })
            }
            _ => Err(AddressError::Network { found: network.to_owned() }),
        }
    }

    /// Returns the network's name as the protocol writes it.
    #[must_use]
    pub fn network(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp { .. } => "tcp",
        }
    }

    /// Returns the file of a Unix socket, if it has one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) if !path.as_os_str().as_bytes().starts_with(b"@") => Some(path),
            _ => None,
        }
    }

    /// Tells whether it can be read in a handshake's line: there is no way to write a separator.
    pub(crate) fn fits_a_line(&self) -> bool {
        let text = match self {
            Self::Unix(path) => path.to_str(),
            Self::Tcp { host, .. } => Some(host.as_str()),
        };
        text.is_some_and(|text| text == text.trim() && !text.contains(['|', '\n', '\r']))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The network is neither of the two.
    #[error("the network {found:?} is neither \"unix\" nor \"tcp\"")]
    Network {
        /// The network it named.
        found: String,
    },
    /// There is no path.
    #[error("the path is empty")]
    Empty,
    /// The path contains a zero byte.
    #[error("the path holds a zero byte")]
    Zero,
    /// The path does not fit into a socket address.
    #[error("the path has {length} bytes, and a socket's at most {LONGEST_PATH}")]
    Long {
        /// How many bytes it has.
        length: usize,
    },
    /// There is no port to connect to.
    #[error("the port is missing or is no number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, text: &str, expected: Result<&str, AddressError>) {
        let found = Address::parse(network, text).map(|address| address.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{network} {text:?}");
    }

    #[test]
    fn a_path_is_taken_as_it_stands() {
        check("unix", "/tmp/plugin 1", Ok("/tmp/plugin 1"));
        check("unix", &"x".repeat(LONGEST_PATH), Ok(&"x".repeat(LONGEST_PATH)));
    }

    #[test]
    fn a_path_that_cannot_be_bound_is_refused() {
        check("unix", "", Err(AddressError::Empty));
        check("unix", "/tmp/\0", Err(AddressError::Zero));
        check("unix", &"x".repeat(LONGEST_PATH + 1), Err(AddressError::Long { length: LONGEST_PATH + 1 }));
    }

    #[test]
    fn a_host_and_its_port_are_told_apart() {
        check("tcp", "127.0.0.1:10000", Ok("127.0.0.1:10000"));
        check("tcp", "[::1]:80", Ok("[::1]:80"));
        check("tcp", ":1234", Ok("127.0.0.1:1234")); // H-18
        check("tcp", "[]:1234", Ok("127.0.0.1:1234"));
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        for text in ["", "localhost", "localhost:", "localhost:http", "localhost:0", "localhost:65536"] {
            check("tcp", text, Err(AddressError::Port));
        }
    }

    #[test]
    fn another_network_is_refused_by_name() {
        check("udp", "127.0.0.1:1", Err(AddressError::Network { found: "udp".to_owned() }));
        check("", "", Err(AddressError::Network { found: String::new() }));
    }

    #[test]
    fn an_address_that_would_break_the_line_is_noticed() {
        for (path, fits) in
            [("/tmp/a b", true), ("/tmp/a|b", false), ("/tmp/a\nb", false), ("/tmp/a ", false)]
        {
            assert_eq!(Address::parse("unix", path).unwrap().fits_a_line(), fits, "{path:?}");
        }
    }
}
