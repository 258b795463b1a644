//! Our listeners, and the socket files that go with them.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Address, Group, LONGEST_PATH, Socket};
use crate::lock::lock;
use crate::log::chain;
use crate::mux::{Stream, Streams};

/// How many connections wait in the kernel to be accepted.
const BACKLOG: i32 = 128;

/// How long accepting rests when the process is out of descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// A listener of ours. Its socket file, if it has one, is removed with it.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
    /// The streams of a session that were knocked for.
    Streams(Streams),
    /// The streams of a session that nobody knocked for.
    Main(mpsc::Receiver<Stream>),
}

impl Listener {
    /// Binds `path`, which is new; nobody but us and `group` may ever connect.
    pub(super) fn unix(path: PathBuf, group: Option<Group>, files: SocketFiles) -> io::Result<Self> {
        let length = path.as_os_str().len();
        if length > LONGEST_PATH {
            let text =
                format!("{} has {length} bytes, and a socket's path at most {LONGEST_PATH}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the socket's mode, so that it is never open to more, whatever the umask.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
        let file = SocketFile::new(path, files);
        if let Some(group) = group {
            group.admit(&file.path, 0o660)?;
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self::Unix(UnixListener::from_std(StdUnixListener::from(socket))?, file))
    }

    /// Returns the address that others connect to. A session's streams have none.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Tcp { host: address.ip().to_string(), port: address.port() })
            }
            Self::Streams(_) | Self::Main(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Waits for the next connection, however often accepting fails; `None` when there will be no more. The future may
    /// be dropped, and this called again.
    pub(crate) async fn accept(&mut self) -> Option<Socket> {
        loop {
            match self.try_accept().await {
                Ok(socket) => return socket,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a connection cannot be accepted");
                    sleep(EXHAUSTED).await;
                }
            }
        }
    }

    async fn try_accept(&mut self) -> io::Result<Option<Socket>> {
        match self {
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Some(Socket::unix(stream))),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Some(Socket::Tcp(stream)))
            }
            Self::Streams(streams) => Ok(streams.next().await.map(Socket::Stream)),
            Self::Main(streams) => Ok(streams.recv().await.map(Socket::Stream)),
        }
    }
}

/// A socket file of ours, removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    among: SocketFiles,
}

impl SocketFile {
    fn new(path: PathBuf, among: SocketFiles) -> Self {
        lock(&among.0).insert(path.clone());
        Self { path, among }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // The directory may be gone already, and that is fine. What is not in the list was removed, and its name may be
        // another's by now.
        if lock(&self.among.0).remove(&self.path) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Socket files of ours, by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketFiles(Arc<Mutex<BTreeSet<PathBuf>>>);

impl SocketFiles {
    /// Removes all of them, whoever still holds their listeners.
    pub(super) fn remove_all(&self) {
        for path in std::mem::take(&mut *lock(&self.0)) {
            let _gone = std::fs::remove_file(path);
        }
    }
}
