//! Links that end with the plugin's process, and the moment of that.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::Link;
use super::link::Io;

/// The moment from which the plugin's process does not exist any more.
///
/// Everything that has to end then has a clone of it. It is about the process, never about a connection.
#[derive(Clone, Debug)]
pub(crate) struct Ended(watch::Receiver<bool>);

impl Ended {
    /// Returns the moment, and the sender that makes it come.
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

    /// Waits until everything that was sent before the moment has arrived.
    pub(crate) async fn settle(self) {
        self.wait().await;
        tokio::time::sleep(LINGER).await;
    }
}

/// How long a connection outlasts its process, if the kernel does not end it. What had arrived is read by then.
const LINGER: Duration = Duration::from_millis(100);

/// A link that ends with the plugin's process, whoever else still holds the other end.
///
/// As a rule the kernel ends it, and at once. But a descendant that left the plugin's process group may have inherited
/// the socket, and calls would then wait for an answer that nobody gives.
pub(crate) struct Tethered {
    link: Box<dyn Io>,
    /// `None` once it has come; such a future must not be polled again.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    closing: Closing,
}

/// What is left to do when a link closes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// To shut down.
    AtOnce,
    /// To shut down, and then to read until the other side closes.
    Politely,
    /// To read until the other side closes.
    Listening,
}

impl Tethered {
    /// Ties `link` to what `ended` waits for.
    pub(crate) fn new(link: Link, ended: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self { link: link.into_io(), ended: Some(Box::pin(ended)), closing: Closing::AtOnce }
    }

    /// Closes after the other side, not before.
    ///
    /// A client that still writes, if only to make room for more answers, would fail at that, and many then drop the
    /// connection with the last answers unread. The same is done after an error in the protocol: the connection keeps
    /// its place until the client closes it, or the server's end cuts it.
    pub(crate) fn polite(self) -> Self {
        Self { closing: Closing::Politely, ..self }
    }

    /// Does one thing with the link, unless that has to wait and the process has ended.
    fn poll_link<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Box<dyn Io>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match poll(Pin::new(&mut self.link), cx) {
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

impl fmt::Debug for Tethered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}

impl AsyncRead for Tethered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_link(cx, |link, cx| link.poll_read(cx, buf))
    }
}

impl AsyncWrite for Tethered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_link(cx, |link, cx| link.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_link(cx, |link, cx| link.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing != Closing::Listening {
            std::task::ready!(self.poll_link(cx, |link, cx| link.poll_shutdown(cx)))?;
        }
        if self.closing == Closing::AtOnce {
            return Poll::Ready(Ok(()));
        }
        self.closing = Closing::Listening;
        let mut scrap = [0; 1024];
        loop {
            let mut heard = ReadBuf::new(&mut scrap);
            let read = std::task::ready!(self.as_mut().poll_read(cx, &mut heard));
            if read.is_err() || heard.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_link(cx, |link, cx| link.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.link.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::transport::Socket;

    #[tokio::test]
    async fn a_connection_ends_with_its_process_after_all_was_read() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let (sender, ended) = Ended::new();
        let mut tethered = Tethered::new(Link::Plain(Socket::Unix(ours)), ended.settle());
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

    #[tokio::test]
    async fn what_nobody_reads_waits_no_longer_than_the_process_lasts() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let (sender, ended) = Ended::new();
        let mut tethered = Tethered::new(Link::Plain(Socket::Unix(ours)), ended.wait());
        let piece = [0; 64 << 10];
        while tethered.write(&piece).now_or_never().is_some_and(|written| written.is_ok()) {}
        assert!(tethered.write(&piece).now_or_never().is_none());

        drop(sender);
        // What is known by now, so that there is nothing to wait for.
        let error = tethered.write(&piece).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let pieces = [io::IoSlice::new(&piece)];
        let error = tethered.write_vectored(&pieces).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_polite_link_closes_after_the_other_side() {
        let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        let (_sender, ended) = Ended::new();
        let mut polite = Tethered::new(Link::Plain(Socket::Unix(ours)), ended.wait()).polite();
        polite.write_all(b"last").await.unwrap();
        assert!(polite.shutdown().now_or_never().is_none());

        theirs.write_all(b"more room").await.unwrap();
        assert!(polite.shutdown().now_or_never().is_none());
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        theirs.write_all(b"thanks").await.unwrap();
        drop(theirs);
        polite.shutdown().await.unwrap();

        // One that never closes is heard until the end.
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let (sender, ended) = Ended::new();
        let mut polite = Tethered::new(Link::Plain(Socket::Unix(ours)), ended.wait()).polite();
        assert!(polite.shutdown().now_or_never().is_none());
        drop(sender);
        polite.shutdown().await.unwrap();
    }
}
