//! Bounds the memory of all requests under way together.
//!
//! Calls are limited by their number, and messages by their length. A stranger that makes as many calls as it may, each
//! with the longest message, would have us hold the product of the two.

use std::error::Error;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::lock::lock;

/// The bytes that a header counts besides its text, as in HTTP/2.
const HEADER: usize = 32;

/// The bytes that are left for requests.
#[derive(Clone, Debug)]
pub(crate) struct Room(Arc<Mutex<usize>>);

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    /// Has a request take of the room: its head now, and its body as it comes. Dropping the returned [`Held`] gives all
    /// of that back, once the request is answered.
    pub(super) fn weigh<B>(&self, request: Request<B>) -> Result<(Request<Body>, Arc<Held>), Status>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let held = Arc::new(Held { room: self.clone(), bytes: AtomicUsize::new(0) });
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum::<usize>();
        held.take(request.uri().path().len() + headers)?;
        let weighed = Arc::clone(&held);
        Ok((request.map(|body| Body::new(Weighed { body, held: weighed })), held))
    }
}

/// The bytes that one request holds, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Room,
    bytes: AtomicUsize,
}

impl Held {
    fn take(&self, bytes: usize) -> Result<(), Status> {
        let mut left = lock(&self.room.0);
        let full = || Status::resource_exhausted("the requests that are under way are too large together");
        *left = left.checked_sub(bytes).ok_or_else(full)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *lock(&self.room.0) += *self.bytes.get_mut();
    }
}

/// A body that ends with an error once there is no room for more of it.
struct Weighed<B> {
    body: B,
    held: Arc<Held>,
}

impl<B> http_body::Body for Weighed<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.held.take(data.len())?;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
