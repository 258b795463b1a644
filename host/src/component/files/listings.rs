//! Listings of directories, bounded.
//!
//! Wasmtime reads a whole directory when a guest begins to list it, and keeps it in our memory until the guest lets go.
//! No limit on memory counts that, so the entries of all listings that a guest has open are counted here.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{Dir, Mode, OFlags, openat};
use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor as _};
use wasmtime_wasi::p2::{FsResult, ReaddirIterator};

use super::told;
use crate::blocking::blocking;
use crate::component::clock::timed;
use crate::component::state::State;

/// The most entries in all open listings of a guest. A guess: fewer, and a guest cannot list a large directory; more
/// take too much memory, up to 300 bytes each.
const MOST: usize = 100_000;

/// The listings that a guest has open, each by its number in the table, with how many entries it has.
#[derive(Debug, Default)]
pub(crate) struct Listings(Vec<(u32, usize)>);

impl Listings {
    /// Returns how many entries there are in those that are still open.
    fn entries(&mut self, table: &ResourceTable) -> usize {
        self.0.retain(|(number, _)| table.get(&Resource::<ReaddirIterator>::new_borrow(*number)).is_ok());
        self.0.iter().map(|(_, entries)| entries).sum()
    }

    fn add(&mut self, number: u32, entries: usize) {
        // One that was closed may have had the same.
        self.0.retain(|(other, _)| *other != number);
        self.0.push((number, entries));
    }
}

/// Has `read-directory` refuse a listing that would bring a guest's open ones past the bound.
pub(super) fn list_within_bounds(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, State>, (directory,): (Resource<Descriptor>,)| {
            Box::new(async move { told(list(store.data_mut(), directory).await) })
        },
    )
}

async fn list(state: &mut State, directory: Resource<Descriptor>) -> FsResult<Resource<ReaddirIterator>> {
    let opened = match state.filesystem().table.get(&directory)? {
        Descriptor::Dir(directory) => Arc::clone(&directory.dir),
        Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
    };
    let (entries, spent) = blocking(move || timed(|| count(&opened))).await;
    // Nobody measures what wasmtime takes to read the same again, and to keep it.
    state.meter().add(spent.saturating_mul(2));
    let (listings, table) = state.listings();
    if listings.entries(table).saturating_add(entries) > MOST {
        return Err(ErrorCode::InsufficientMemory.into());
    }
    let listing = state.filesystem().read_directory(directory).await?;
    state.listings().0.add(listing.rep(), entries);
    Ok(listing)
}

/// Counts the entries of a directory, `.` and `..` included, up to just past the bound. One that cannot be listed
/// counts as empty: wasmtime then says why.
fn count(directory: &File) -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(directory, c".", flags, Mode::empty());
    opened.and_then(Dir::new).map_or(0, |entries| entries.take(MOST + 1).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_only_to_be_named_is_counted_as_any_other() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            File::create(directory.path().join(name)).unwrap();
        }
        let named =
            rustix::fs::open(directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(count(&named.into()), 5);
    }
}
