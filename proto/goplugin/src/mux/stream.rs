//! One stream of a session, as a connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _};

/// How a client of HTTP/2 begins, whatever it wants then.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that ends once, and is announced at the latest when it is dropped.
pub(crate) struct Stream {
    inner: Compat<yamux::Stream>,
    /// Whether we have shut down writing. Doing so twice would end the whole session of a Go peer.
    shut: bool,
    /// Whether the other side does not know of it yet: the library announces a stream with its first bytes.
    unknown: bool,
    /// What to tell when the other side has answered for the first time.
    answered: Option<oneshot::Sender<()>>,
}

impl Stream {
    /// Takes a stream of ours, and returns it with what resolves when its first answer came, or it was dropped.
    pub(super) fn outbound(inner: yamux::Stream) -> (Self, oneshot::Receiver<()>) {
        let (answered, answer) = oneshot::channel();
        let stream = Self { inner: inner.compat(), shut: false, unknown: true, answered: Some(answered) };
        (stream, answer)
    }

    /// Takes a stream of the other side's, and acknowledges it. A Go peer ends a session in which that takes too long.
    pub(super) fn inbound(inner: yamux::Stream) -> Self {
        let mut inner = inner.compat();
        // The library does so with the first bytes that are written, be they none.
        let mut cx = Context::from_waker(Waker::noop());
        let _written = Pin::new(&mut inner).poll_write(&mut cx, &[]);
        Self { inner, shut: false, unknown: false, answered: None }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.get_ref().fmt(f)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_ready()
            && let Some(answered) = self.answered.take()
        {
            let _nobody_waits = answered.send(());
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if written.is_ready() {
            self.unknown = false;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.shut = shut.is_ready();
        shut
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The other side was promised a stream, and would take the next one for it.
        if self.unknown {
            let mut cx = Context::from_waker(Waker::noop());
            let _written = Pin::new(&mut self.inner).poll_write(&mut cx, PREFACE);
        }
    }
}
