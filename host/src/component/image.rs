//! A compiled component in the file of the running program, used in place.
//!
//! The file is mapped, so nothing is copied, and processes that run the same file share its pages. The engine does not
//! map such a component itself; it asks for its code to be made executable, and this does that.
//!
//! Only the running program's own file can be mapped. Loading a compiled component means running it, and whoever can
//! write into that file can replace the whole program.

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
    /// The running program's own.
    file: Arc<File>,
    /// Where in the file it lies.
    place: Range<u64>,
    pub(crate) class: Class,
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Image");
        debug.field("place", &self.place).field("class", &self.class).field("digest", &self.digest);
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
    /// The class of the component, as `ComponentBackend::precompile` returned it.
    pub class: u8,
}

impl Image {
    /// Takes a part of the running program's own file, which has to begin on a page.
    ///
    /// The caller has to check before that the part is undamaged: the engine checks little of it.
    ///
    /// # Errors
    ///
    /// Why the part cannot be used.
    pub fn of_this_program(place: Range<u64>, facts: ImageFacts) -> io::Result<Self> {
        let ImageFacts { digest, kind, class } = facts;
        let class = Class::decode(class).ok_or_else(|| io::Error::other("its class is unknown"))?;
        let file = File::open("/proc/self/exe")?;
        if place.end > file.metadata()?.len() {
            return Err(io::Error::other("it ends behind the end of the file"));
        }
        if place.is_empty() {
            return Err(io::Error::other("it has no length"));
        }
        let page = u64::try_from(rustix::param::page_size()).map_err(io::Error::other)?;
        if !place.start.is_multiple_of(page) {
            return Err(io::Error::other("it does not begin on a page"));
        }
        Ok(Self { file: Arc::new(file), place, class, digest, kind })
    }

    /// Returns whether its instances are slow to make. A fresh one for the next call is then made while a call runs, by
    /// a task of its own, which wants a thread of its own.
    #[must_use]
    pub fn starts_slowly(&self) -> bool {
        self.class != Class::Small
    }

    /// Loads it into an engine whose code memory is [`CodePages`].
    ///
    /// Each load maps it anew, for good: wasmtime panics over code at an address that it knows already, and nobody can
    /// tell when the last instance is done with it. So an engine [keeps](crate::component::engine::EngineKit::image)
    /// what it has loaded.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let memory = NonNull::from(self.map()?);
        #[expect(unsafe_code, reason = "what is loaded belongs to the program that runs")]
        // SAFETY: the memory is mapped for good, only for this, and never written to. Its bytes are from the running
        // program's own file, so loading them trusts nobody who is not trusted already. `CodePages` makes its code
        // executable.
        unsafe {
            Component::deserialize_raw(engine, memory)
        }
    }

    fn map(&self) -> io::Result<&'static [u8]> {
        let Range { start, end } = self.place;
        let length = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
        #[expect(unsafe_code, reason = "mapping a file has no safe form, because files can change")]
        // SAFETY: the mapping is private and new, and the kernel chooses its address. It lies within the file, which
        // does not change while the program runs: the program's own code is mapped from it, so the kernel lets nobody
        // write to it or cut it (ETXTBSY). Over NFS the kernel cannot prevent that, but whoever does it could also
        // replace the whole program. The mapping is never removed.
        unsafe {
            let at = mmap(null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, &*self.file, start)?;
            Ok(std::slice::from_raw_parts(at.cast::<u8>().cast_const(), length))
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
            mprotect(start.cast_mut().cast(), length, MprotectFlags::READ | MprotectFlags::EXEC)
                .map_err(|errno| wasmtime::Error::from(errno).context("unable to make code executable"))?;
        }
        Ok(())
    }

    /// Leaves the code executable: nothing else is ever mapped there.
    fn unpublish_executable(&self, _start: *const u8, _length: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "compile")]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::component::Text;
    use crate::component::engine::{Code, Engines, compiling, config};

    /// An instance of a module with one function, which does nothing.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0\
        \x01\x18\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b\
        \x02\x04\x01\0\0\0";

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn on_a_processor_that_is_too_old_it_is_said_which_is_not() {
        let compiled = Engine::new(&compiling()).unwrap().precompile_component(COMPONENT).unwrap();
        let mut old = config();
        #[expect(unsafe_code, reason = "an engine that claims too much could run what the processor lacks")]
        // SAFETY: it finds nothing.
        unsafe {
            old.detect_host_feature(|_| Some(false));
        }
        let engine = Engine::new(&old).unwrap();
        #[expect(unsafe_code, reason = "what is loaded was made by our own compiler")]
        // SAFETY: it was compiled above.
        let loaded = unsafe { Component::deserialize(&engine, compiled) };
        let said = Text::from(loaded.map(drop).unwrap_err()).to_string();
        assert!(said.contains("components need a processor of x86-64-v2"), "{said}");
    }

    #[test]
    fn an_image_may_be_loaded_again_while_it_is_in_use() {
        let compiled = Engine::new(&compiling()).unwrap().precompile_component(COMPONENT).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&compiled).unwrap();
        let (place, digest) = (0..compiled.len() as u64, Digest::from_sha256([7; 32]));
        let (file, class, kind) = (Arc::new(file), Class::Anywhere, Kind::Provider);
        let image = Image { file, place, class, digest, kind };

        let [one, other] = [0, 0].map(|slots| Engines::new(slots, Code::Image).unwrap());
        let load = |engines: &Engines| {
            let kit = engines.kit(Class::Anywhere, 0).unwrap();
            kit.image(|engine| image.load(engine)).unwrap()
        };
        let [first, again, elsewhere] = [&one, &one, &other].map(load);
        assert_eq!(first.image_range(), again.image_range());
        assert_ne!(first.image_range(), elsewhere.image_range());
    }
}
