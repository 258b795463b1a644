//! Writing to files in pieces.
//!
//! A guest is told how much it may write at once, but wasmtime does not enforce it. What a guest hands over stays in
//! our memory until the disk has taken it, for each of its streams, and no limit counts it.

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{Descriptor, HostDescriptor as _};
use wasmtime_wasi::p2::{DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult};

use super::told;
use crate::component::state::State;

/// The most bytes that are written at once. A guess: fewer cost a large file time, more a thousand streams memory.
const PIECE: usize = 64 << 10;

/// Has what a guest writes to files go in pieces.
pub(super) fn write_in_pieces(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    type File = Resource<Descriptor>;

    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, State>, (file, from): (File, u64)| {
            let mut files = store.data_mut().filesystem();
            let stream = files.write_via_stream(file, from);
            told(in_pieces(&mut files, stream))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, State>, (file,): (File,)| {
            let mut files = store.data_mut().filesystem();
            let stream = files.append_via_stream(file);
            told(in_pieces(&mut files, stream))
        },
    )
}

fn in_pieces(
    files: &mut WasiFilesystemCtxView<'_>,
    stream: FsResult<Resource<DynOutputStream>>,
) -> FsResult<Resource<DynOutputStream>> {
    let stream = files.table.delete(stream?)?;
    Ok(files.table.push(Box::new(Pieces(stream)) as DynOutputStream)?)
}

/// A stream that takes no more than a piece at once.
struct Pieces(DynOutputStream);

#[async_trait]
impl Pollable for Pieces {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

#[async_trait]
impl OutputStream for Pieces {
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
