//! Where listeners of ours are.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;

use super::SocketDir;
use super::listener::{Listener, SocketFiles};

/// How often a new name in a directory of others is tried for.
const ATTEMPTS: usize = 16;

/// Where listeners are, whichever side they are on.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a directory of our own, which only we and the plugin's group may enter.
    Private(Arc<SocketDir>),
    /// In a directory that others use as well.
    Shared {
        /// The directory.
        directory: PathBuf,
        /// Who may connect besides us.
        group: Option<Group>,
        /// Those of our sockets that are there now.
        files: SocketFiles,
    },
    /// On the loopback interface, at the first of these ports that is free.
    Loopback(Ports),
}

impl Place {
    /// Returns the place in `directory` in which nothing of ours is yet.
    pub(crate) fn shared(directory: PathBuf, group: Option<Group>) -> Self {
        Self::Shared { directory, group, files: SocketFiles::default() }
    }

    /// Removes the socket files that are left in a shared directory, even if their listeners still exist.
    ///
    /// A process that ends does not wait for the tasks that would remove them.
    pub(crate) fn clear(&self) {
        if let Self::Shared { files, .. } = self {
            files.remove_all();
        }
    }

    /// Starts to listen. It needs a tokio runtime with I/O.
    pub(crate) fn bind(&self) -> io::Result<Listener> {
        match self {
            Self::Private(directory) => {
                Listener::unix(directory.fresh(), directory.group(), SocketFiles::default())
            }
            Self::Shared { directory, group, files } => {
                let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
                for _ in 0..ATTEMPTS {
                    match Listener::unix(directory.join(name()?), *group, files.clone()) {
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                        bound => return bound,
                    }
                }
                Err(last)
            }
            Self::Loopback(ports) => {
                let listener = ports.first_free(|port| StdTcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(TcpListener::from_std(listener)?))
            }
        }
    }
}

/// Returns a name like those of Go plugins' sockets: "plugin" and a random number.
fn name() -> io::Result<String> {
    let mut random = [0_u8; 4];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("plugin{}", u32::from_ne_bytes(random)))
}

/// A group of users that may connect to sockets of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(u32);

impl Group {
    /// Finds a group by its number or, failing that, its name.
    pub(crate) fn find(text: &str) -> io::Result<Self> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        match nix::unistd::Group::from_name(text)? {
            Some(group) => Ok(Self(group.gid.as_raw())),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no group {text:?}"))),
        }
    }

    /// Gives `path` to the group, with `mode`.
    pub(super) fn admit(self, path: &Path, mode: u32) -> io::Result<()> {
        std::os::unix::fs::chown(path, None, Some(self.0))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    }
}

/// The range of ports that a listener may have, both ends included. Port 0 is any that the system chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// Returns the ports from `first` to `last`, which is not lower.
    pub(crate) const fn between(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// Returns the ports from `first` to `last`, or `None` if there are none.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Returns the lowest of them.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// Returns the highest of them.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Returns what `bind` makes of the lowest port that it takes, or why it did not take the highest.
    fn first_free<T>(self, mut bind: impl FnMut(u16) -> io::Result<T>) -> io::Result<T> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for port in self.first..=self.last {
            match bind(port) {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Address, Socket};

    fn mode(listener: &Listener) -> u32 {
        let Ok(Address::Unix(path)) = listener.address() else { panic!("{listener:?}") };
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_for_us_alone_and_goes_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::shared(directory.path().to_owned(), None);
        let listener = place.bind().unwrap();
        assert_eq!(mode(&listener), 0o600); // P-22
        let other = place.bind().unwrap();
        assert_ne!(listener.address().unwrap(), other.address().unwrap());
        drop((listener, other));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0); // H-60
    }

    #[tokio::test]
    async fn a_socket_for_a_group_is_the_groups() {
        let directory = tempfile::tempdir().unwrap();
        let ours = rustix::process::getegid().as_raw();
        let group = Some(Group::find(&ours.to_string()).unwrap());
        let place = Place::shared(directory.path().to_owned(), group);
        let listener = place.bind().unwrap();
        assert_eq!(mode(&listener), 0o660); // P-17
    }

    #[tokio::test]
    async fn what_is_left_of_a_place_can_be_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::shared(directory.path().to_owned(), None);
        let (first, second) = (place.bind().unwrap(), place.bind().unwrap());
        place.clear();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0); // P-70
        let Ok(Address::Unix(path)) = first.address() else { panic!("{first:?}") };
        std::fs::write(&path, "somebody else's").unwrap();
        drop((first, second));
        assert!(path.exists());
    }

    #[test]
    fn a_group_is_found_by_number_or_name() {
        assert_eq!(Group::find("1234").unwrap(), Group(1234));
        assert_eq!(Group::find("root").unwrap(), Group(0));
        assert_eq!(Group::find("no such group").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_path_too_long_is_refused_with_the_limit() {
        let place = Place::shared(PathBuf::from(format!("/tmp/{}", "d".repeat(110))), None);
        assert!(place.bind().unwrap_err().to_string().contains("at most 107")); // P-18
    }

    #[test]
    fn ports_are_tried_from_the_lowest() {
        let mut tried = Vec::new();
        let ports = Ports::new(5, 9).unwrap();
        let found = ports.first_free(|port| {
            tried.push(port);
            if port == 7 { Ok(port) } else { Err(io::ErrorKind::AddrInUse.into()) }
        });
        assert_eq!((found.unwrap(), tried), (7, vec![5, 6, 7])); // P-19
        let none = ports.first_free::<()>(|_| Err(io::ErrorKind::AddrInUse.into()));
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(Ports::new(2, 1), None); // P-20
        assert_eq!(Ports::new(65535, 65535).unwrap().first_free(Ok).unwrap(), 65535);
    }

    #[tokio::test]
    async fn any_port_is_the_systems_choice_and_leads_to_us() {
        let mut listener = Place::Loopback(Ports::default()).bind().unwrap();
        let address = listener.address().unwrap();
        let (there, here) = tokio::join!(super::super::connect(&address), listener.accept());
        assert!(matches!((there, here), (Ok(Socket::Tcp(_)), Some(Socket::Tcp(_)))));
    }
}
