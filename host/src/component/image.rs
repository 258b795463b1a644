//! A compiled component that lies in the file of the very program that runs, used where it lies.
//!
//! The file is mapped, so nothing is copied, and processes that run the same file share its pages. The engine does
//! not map such a component itself; it asks for its code to be made executable, which is all that is done here.
//!
//! Only the running program's own file can be mapped. To load a compiled component is to run it, and whoever could
//! have written into that file could have written any program in its place.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use portcullis_contract::{Digest, Kind};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine};

use crate::component::engine::Class;

/// A compiled component in the running program's own file.
#[derive(Clone)]
pub struct Image {
    /// Mapped until the process ends: nobody can tell when the last instance is done with it.
    memory: &'static [u8],
    pub(crate) class: Class,
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Image");
        debug.field("bytes", &self.memory.len()).field("class", &self.class).field("digest", &self.digest);
        debug.finish_non_exhaustive()
    }
}

/// What is known of a compiled component, besides where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// The digest of the component before it was compiled.
    pub digest: Digest,
    /// What it is for.
    pub kind: Kind,
    /// Where its instances live, as `ComponentBackend::precompile` told.
    pub class: u8,
}

impl Image {
    /// Maps a part of the running program's own file, which has to begin on a page.
    ///
    /// That the part is whole is for the caller to check before: the engine looks at little of it.
    ///
    /// # Errors
    ///
    /// Why it cannot be mapped.
    pub fn of_this_program(place: Range<u64>, facts: ImageFacts) -> io::Result<Self> {
        let ImageFacts { digest, kind, class } = facts;
        let class = Class::decode(class).ok_or_else(|| io::Error::other("its class is unknown"))?;
        let file = File::open("/proc/self/exe")?;
        if place.end > file.metadata()?.len() {
            return Err(io::Error::other("it ends behind the end of the file"));
        }
        let length = place.end.checked_sub(place.start).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(|| io::Error::other("it has no length"))?;
        #[expect(unsafe_code, reason = "mapping a file has no safe form, because files can change")]
        // SAFETY: the mapping is private and new, and the kernel says where. What is mapped lies within the
        // file, and as long as a program runs the kernel lets nobody write to its file or cut it (ETXTBSY), so
        // the bytes stay as they are. It is never unmapped.
        let memory = unsafe {
            let at = mmap(null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, &file, place.start)?;
            std::slice::from_raw_parts(at.cast::<u8>().cast_const(), length)
        };
        Ok(Self { memory, class, digest, kind })
    }

    /// Loads it into an engine whose code memory is [`CodePages`]. It must not be loaded already: the engine panics.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "what is loaded belongs to the program that runs")]
        // SAFETY: the memory is mapped for good and never written to, and the only bytes that get here are of
        // the running program's own file: loading them trusts nobody who is not trusted already. Its code is
        // made executable by `CodePages`.
        unsafe {
            Component::deserialize_raw(engine, NonNull::from(self.memory))
        }
    }
}

/// Makes the code of an [`Image`] executable in its place.
#[derive(Debug)]
pub(crate) struct CodePages;

impl CodePages {
    pub(crate) fn shared() -> Arc<dyn CustomCodeMemory> {
        Arc::new(Self)
    }
}

impl CustomCodeMemory for CodePages {
    fn required_alignment(&self) -> usize {
        rustix::param::page_size()
    }

    fn publish_executable(&self, start: *const u8, length: usize) -> wasmtime::Result<()> {
        #[expect(unsafe_code, reason = "the protection of pages has no safe form")]
        // SAFETY: the engine passes the code of a component that it was given; of those there are only images,
        // whose pages are mapped for good. Nobody writes to them, so to take the right to do so breaks nothing.
        unsafe {
            mprotect(start.cast_mut().cast(), length, MprotectFlags::READ | MprotectFlags::EXEC)?;
        }
        Ok(())
    }

    /// Leaves the code executable: the same image may be loaded again.
    fn unpublish_executable(&self, _start: *const u8, _length: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}
