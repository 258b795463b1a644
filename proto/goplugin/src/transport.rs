//! Where one side listens, and the socket that leads there.
//!
//! An [`Address`] is what a plugin's handshake or an announcement of its broker named, checked as far
//! as looking can. Connecting happens here and nowhere else. Our own sockets live in a [`SocketDir`].

mod dir;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

pub use self::dir::SocketDirError;
pub(crate) use self::dir::{SocketDir, sweep};

/// How many bytes of a path fit into a socket address of Linux, its terminator taken off.
const LONGEST_PATH: usize = 107;

/// Where a plugin, or one of its brokered servers, listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix stream socket, by its path.
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
    /// The path cannot be one.
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

/// Connects to `address`, once.
pub(crate) async fn connect(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
    }
}

/// One connection to the other side.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Returns the process that listened on the socket we connected to, where the kernel tells.
    pub(crate) fn listener(&self) -> Option<i32> {
        match self {
            Self::Unix(stream) => stream.peer_cred().ok()?.pid(),
            Self::Tcp(_) => None,
        }
    }
}

/// The moment from which the plugin's process does not exist any more.
///
/// Cloned to whoever has to let go then. It is about the process, never about a connection.
#[derive(Clone, Debug)]
pub(crate) struct Ended(watch::Receiver<bool>);

impl Ended {
    /// Returns the moment and what brings it about.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Tells whether the moment has passed.
    pub(crate) fn has_come(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits for the moment. A sender that is gone counts as the moment, too.
    pub(crate) async fn wait(mut self) {
        let _gone = self.0.wait_for(|ended| *ended).await;
    }

    /// Waits until nothing that was sent before the moment is still on its way.
    pub(crate) async fn settle(self) {
        self.wait().await;
        tokio::time::sleep(LINGER).await;
    }
}

/// How long after the end of its process a connection lasts that the kernel did not end. What had arrived
/// is read by then.
const LINGER: Duration = Duration::from_millis(100);

/// A connection that ends with the plugin's process, whoever else still holds the other end.
///
/// The kernel ends it for us as a rule, and at once. A descendant that left the plugin's process group may have
/// inherited the socket, however, and calls would then wait for an answer that nobody gives.
pub(crate) struct Tethered {
    socket: Socket,
    /// `None` once it has come; such a future must not be polled again.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Tethered {
    /// Ties `socket` to what `ended` waits for.
    pub(crate) fn new(socket: Socket, ended: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self { socket, ended: Some(Box::pin(ended)) }
    }
}

impl fmt::Debug for Tethered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl AsyncRead for Tethered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match read {
            Poll::Pending => {
                if let Some(ended) = &mut self.ended {
                    std::task::ready!(ended.as_mut().poll(cx));
                    self.ended = None;
                }
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            ready => ready,
        }
    }
}

impl AsyncWrite for Tethered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl tonic::transport::server::Connected for Tethered {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

/// Socket files of the plugin that we know of, to be removed when it is gone.
///
/// A plugin that heeds our directory has them there, and they go with that. One that does not leaves them
/// behind when it is killed. Any path may be announced, so what counts is that a process of the plugin
/// listens there.
pub(crate) struct Strays {
    is_plugin: Box<dyn Fn(i32) -> bool + Send + Sync>,
    paths: Mutex<BTreeSet<PathBuf>>,
}

impl Strays {
    /// Starts with none. `is_plugin` tells whether a process is one of the plugin's.
    pub(crate) fn new(is_plugin: impl Fn(i32) -> bool + Send + Sync + 'static) -> Self {
        Self { is_plugin: Box::new(is_plugin), paths: Mutex::default() }
    }

    /// Remembers the file behind `address`, to which `socket` is connected, if it is the plugin's.
    pub(crate) fn note(&self, socket: &Socket, address: &Address) {
        if let Address::Unix(path) = address
            && socket.listener().is_some_and(&self.is_plugin)
        {
            self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
    }

    /// Removes what is still there.
    pub(crate) fn remove(&self) {
        use std::os::unix::fs::FileTypeExt as _;

        for path in std::mem::take(&mut *self.paths.lock().unwrap_or_else(PoisonError::into_inner)) {
            if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_socket()) {
                let _gone = std::fs::remove_file(path);
            }
        }
    }
}

impl fmt::Debug for Strays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strays").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// A listener of ours, whose socket file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds `path`, which lies in a directory of ours and is new.
    pub(crate) fn bind(path: PathBuf) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Returns the address to announce.
    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    /// Waits for the next connection.
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        self.listener.accept().await.map(|(stream, _)| Socket::Unix(stream))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The whole directory may have gone first, and that is fine.
        let _gone = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, text: &str, expected: Result<&str, AddressError>) {
        let found = Address::parse(network, text).map(|address| address.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{network} {text:?}");
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_process_after_all_was_read() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sender, ended) = Ended::new();
        let mut tethered = Tethered::new(Socket::Unix(ours), ended.settle());
        theirs.write_all(b"last").await.unwrap();
        sender.send_replace(true);

        let mut read = [0; 4];
        tethered.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"last");
        for _ in 0..2 {
            let error = tethered.read(&mut read).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
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
}
