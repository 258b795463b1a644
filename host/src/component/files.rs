//! Calls on a guest's files that replace wasmtime's: those that take threads or memory of ours that no limit counts.
//!
//! What may be opened is decided by the directories in a [store](crate::component::state), and by wasmtime.

use rustix::io::fcntl_dupfd_cloexec;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, NewTimestamp, OpenFlags, PathFlags,
};

use crate::component::reserve::leaves_reserve;
use crate::component::state::State;

mod listings;
mod pieces;

pub(crate) use listings::Listings;

/// What wasmtime calls the interface that files are opened with.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// A directory, a path in it, and how to open that.
type Wanted = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
/// A directory, a path in it, and its new times of access and change.
type Dated = (Resource<Descriptor>, PathFlags, String, NewTimestamp, NewTimestamp);

/// Replaces the calls of wasmtime that take threads or memory of ours that no limit counts.
pub(crate) fn replace_calls(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    open_within_bounds(&mut types)?;
    listings::list_within_bounds(&mut types)?;
    pieces::write_in_pieces(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Has `open-at` leave the host its reserve of descriptors, and both `open-at` and `set-times-at` refuse pipes.
/// Wasmtime would open a pipe and wait for its other end, on a thread of ours that neither the end of the call nor that
/// of the plugin frees.
fn open_within_bounds(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, State>, wanted: Wanted| {
            Box::new(async move { told(open(store.data_mut(), wanted).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut store: StoreContextMut<'_, State>, dated: Dated| {
            Box::new(async move { told(set_times(store.data_mut(), dated).await) })
        },
    )
}

/// Returns a result to the guest. An error that is not one of files traps.
fn told<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

async fn open(state: &mut State, wanted: Wanted) -> FsResult<Resource<Descriptor>> {
    let (directory, path_flags, path, open_flags, flags) = wanted;
    let mut files = state.filesystem();
    // Checked before it is opened, because opening may create or truncate a file.
    let next = match files.table.get(&directory)? {
        Descriptor::Dir(directory) => fcntl_dupfd_cloexec(&directory.dir, 0),
        Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
    };
    if !next.is_ok_and(|next| leaves_reserve(&next)) {
        return Err(ErrorCode::InsufficientMemory.into());
    }
    refuse_pipe(&mut files, &directory, path_flags, &path).await?;
    files.open_at(directory, path_flags, path, open_flags, flags).await
}

/// Sets the times of a file that is not a pipe: wasmtime opens it for that.
async fn set_times(state: &mut State, dated: Dated) -> FsResult<()> {
    let (directory, path_flags, path, read, changed) = dated;
    let mut files = state.filesystem();
    refuse_pipe(&mut files, &directory, path_flags, &path).await?;
    files.set_times_at(directory, path_flags, path, read, changed).await
}

/// Fails if the path leads to a pipe. Guests cannot make pipes, but one that moves an existing pipe there between the
/// check and the opening is not stopped.
async fn refuse_pipe(
    files: &mut WasiFilesystemCtxView<'_>,
    directory: &Resource<Descriptor>,
    path_flags: PathFlags,
    path: &str,
) -> FsResult<()> {
    let same = Resource::new_borrow(directory.rep());
    // If this fails, opening fails as well, and says why.
    let found = files.stat_at(same, path_flags, path.to_owned()).await;
    // Wasmtime's type for pipes, and for sockets, which nobody opens.
    if found.is_ok_and(|found| matches!(found.type_, DescriptorType::Unknown)) {
        return Err(ErrorCode::Unsupported.into());
    }
    Ok(())
}
