//! A compiled component in an open file, and how it comes into an engine.

use std::fs::File;
use std::io;
#[cfg(feature = "compile")]
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::engine::Class;

/// A compiled component in an open file that is known to be ours.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(super) file: File,
    /// How much of the file is the component; the rest is ours.
    pub(super) length: u64,
    pub(crate) class: Class,
}

impl Compiled {
    /// Takes what a worker of ours just wrote into a file that nobody else has.
    #[cfg(feature = "compile")]
    pub(crate) fn unkept(mut file: File) -> io::Result<Self> {
        let mut class = [0];
        let Some(length) = file.metadata()?.len().checked_sub(1) else {
            return Err(io::Error::other("the worker wrote nothing"));
        };
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut class)?;
        let [class] = class;
        let class = Class::decode(class).ok_or_else(|| io::Error::other("the worker wrote no class"))?;
        Ok(Self { file, length, class })
    }

    /// Returns the same once more.
    #[cfg(feature = "compile")]
    pub(crate) fn again(&self) -> io::Result<Self> {
        let Self { ref file, length, class } = *self;
        Ok(Self { file: file.try_clone()?, length, class })
    }

    #[cfg(feature = "compile")]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the component as the compiler wrote it.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Maps it; or copies it, where that cannot be.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        self.map(engine).or_else(|error| self.copy_unmapped(engine, error))
    }

    fn map(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // Leads to the very file that was verified, whatever is under its name by now.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        #[expect(unsafe_code, reason = "what is mapped was made by our own compiler")]
        // SAFETY: the file was either written by a worker of ours into a file that nobody else was
        // given, or carries our authentication code over its whole content, checked on this very
        // file. It belongs to us, others cannot write to it, and we never write to a file that has its
        // name; so it is what the engine's compiler made, and stays so while it is mapped.
        unsafe {
            Component::deserialize_file(engine, path)
        }
    }

    /// Copies what may not be mapped (on a `noexec` file system) or cannot be (without a /proc to name an open file
    /// by). A copy takes memory that a mapping would share; compiling anew would take that and time.
    pub(super) fn copy_unmapped(
        &self,
        engine: &Engine,
        error: wasmtime::Error,
    ) -> wasmtime::Result<Component> {
        let errno: Option<&Errno> = error.downcast_ref();
        let is_forbidden = errno.is_some_and(|errno| [Errno::ACCESS, Errno::PERM].contains(errno));
        let unopened: Option<&io::Error> = error.downcast_ref();
        let has_no_name = unopened.is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_forbidden && !has_no_name {
            return Err(error);
        }
        tracing::info!("compiled component copied into memory, its file cannot be mapped: {error:#}");
        let bytes = self.read()?;
        #[expect(unsafe_code, reason = "what is loaded was made by our own compiler")]
        // SAFETY: the bytes are those of the file, of which holds what is said where it is mapped.
        unsafe {
            Component::deserialize(engine, bytes)
        }
    }
}
