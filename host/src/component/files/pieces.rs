//! Streams of files that go in pieces.
//!
//! Wasmtime keeps as much of a file with us as a guest reads or writes at once, in each of its streams and until the guest or
//! the disk takes it. No limit on memory counts that, so it is a little at a time.

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{Descriptor, HostDescriptor as _};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsResult, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::told;
use crate::component::state::State;

/// The most bytes that are read or written at once. A guess: fewer cost a large file time, more a thousand streams memory.
const PIECE: usize = 64 << 10;

/// Has the streams that a guest makes of files go in pieces.
pub(super) fn stream_in_pieces(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    type File = Resource<Descriptor>;

    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, State>, (file, from): (File, u64)| {
            let mut files = store.data_mut().filesystem();
            let stream = files.read_via_stream(file, from);
            told(wrapped(&mut files, stream, |stream| Box::new(Pieces(stream)) as DynInputStream))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, State>, (file, from): (File, u64)| {
            let mut files = store.data_mut().filesystem();
            let stream = files.write_via_stream(file, from);
            told(wrapped(&mut files, stream, |stream| Box::new(Pieces(stream)) as DynOutputStream))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, State>, (file,): (File,)| {
            let mut files = store.data_mut().filesystem();
            let stream = files.append_via_stream(file);
            told(wrapped(&mut files, stream, |stream| Box::new(Pieces(stream)) as DynOutputStream))
        },
    )
}

/// Puts something around a stream that was just made.
fn wrapped<S: Send + 'static>(
    files: &mut WasiFilesystemCtxView<'_>,
    stream: FsResult<Resource<S>>,
    wrap: impl FnOnce(S) -> S,
) -> FsResult<Resource<S>> {
    let stream = files.table.delete(stream?)?;
    Ok(files.table.push(wrap(stream))?)
}

/// A stream of which no more than a piece goes at once.
struct Pieces<S>(S);

#[async_trait]
impl<S: Pollable> Pollable for Pieces<S> {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[async_trait]
impl InputStream for Pieces<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.read(size.min(PIECE))
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.blocking_read(size.min(PIECE)).await
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}

#[async_trait]
impl OutputStream for Pieces<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PIECE {
            return Err(StreamError::trap("the guest wrote more to a file than it was permitted"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.0.check_write()?.min(PIECE))
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}
