//! The file that a plugin is started from.
//!
//! What was checked has to be what runs. So a file whose content matters is opened once: its digest is taken of
//! the opened file, and the kernel executes that same file, whatever the path leads to by then. (Somebody who may
//! write *into* the file can still change it. Only the permissions of the file prevent that.)

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The SHA-256 of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; 32]);

impl From<[u8; 32]> for Checksum {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<Checksum> for [u8; 32] {
    fn from(checksum: Checksum) -> Self {
        checksum.0
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    /// Reads 64 hexadecimal digits of either case.
    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(ChecksumError::Malformed);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = match pair {
                [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
                _ => None,
            }
            .ok_or(ChecksumError::Malformed)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is wrong with a checksum, or with the file it is for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChecksumError {
    /// The text is not a checksum.
    #[error("a checksum is 64 hexadecimal digits")]
    Malformed,
    /// The file has another checksum.
    #[error("checksums do not match: expected {expected}, found {found}")]
    Mismatch {
        /// The checksum that it must have.
        expected: Checksum,
        /// The file's own.
        found: Checksum,
    },
    /// The file cannot be read, so its checksum is not known.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
}

/// A file that can be started.
#[derive(Clone, Debug)]
pub struct Executable {
    path: PathBuf,
    opened: Option<Arc<Opened>>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    checksum: OnceLock<Checksum>,
}

impl Executable {
    /// Names a file; each start runs whatever file is at `path` then.
    ///
    /// The path is never searched for in `PATH`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), opened: None }
    }

    /// Opens a file; every start runs this opened file.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        // A pipe would block the opening until somebody writes to it.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(&path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self::holding(path, file))
    }

    /// Takes a regular file that is open already, and that was found at `path`; every start runs this opened file.
    pub fn holding(path: impl Into<PathBuf>, file: File) -> Self {
        Self { path: path.into(), opened: Some(Arc::new(Opened { file, checksum: OnceLock::new() })) }
    }

    /// Returns where the file was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the checksum of the opened file, reading it the first time. Blocks meanwhile.
    ///
    /// A file that was only named is opened for this, and a later start may run another one.
    pub fn checksum(&self) -> io::Result<Checksum> {
        let Some(opened) = &self.opened else { return Self::open(&self.path)?.checksum() };
        if let Some(checksum) = opened.checksum.get() {
            return Ok(*checksum);
        }
        let checksum = digest(&opened.file)?;
        Ok(*opened.checksum.get_or_init(|| checksum))
    }

    /// Opens the file if it is not open, and returns it if it is the one that `expected` says.
    pub(super) fn verified(self, expected: Checksum) -> Result<Self, ChecksumError> {
        let opened = match self.opened {
            Some(_) => self,
            None => Self::open(self.path).map_err(ChecksumError::Unreadable)?,
        };
        match opened.checksum().map_err(ChecksumError::Unreadable)? {
            found if found == expected => Ok(opened),
            found => Err(ChecksumError::Mismatch { expected, found }),
        }
    }

    /// Returns the open file, if it is, with whether it is a script.
    pub(super) fn opened(&self) -> Option<(&File, Form)> {
        let file = &self.opened.as_ref()?.file;
        let mut magic = [0; 2];
        // A file too short for two bytes is no script; that it is nothing else the kernel will say.
        let read = file.read_at(&mut magic, 0).unwrap_or_default();
        Some((file, if read == 2 && magic == *b"#!" { Form::Script } else { Form::Image }))
    }
}

impl From<PathBuf> for Executable {
    fn from(path: PathBuf) -> Self {
        Self::at(path)
    }
}

impl From<&Path> for Executable {
    fn from(path: &Path) -> Self {
        Self::at(path)
    }
}

impl From<&str> for Executable {
    fn from(path: &str) -> Self {
        Self::at(path)
    }
}

/// How the kernel runs a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By itself.
    Image,
    /// By starting an interpreter, which then opens the file by its path.
    Script,
}

fn digest(file: &File) -> io::Result<Checksum> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    // One that grows as fast as it is read would never end.
    let length = file.metadata()?.len();
    let mut left = length;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read_at(&mut buffer[..most], offset) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                offset += read as u64;
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What came after that would run unchecked.
    if file.metadata()?.len() != length {
        return Err(io::Error::other("its length changes while it is read"));
    }
    Ok(Checksum(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_read_as_it_is_written() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Checksum>().unwrap().to_string(), text);
        assert_eq!(text.to_uppercase().parse::<Checksum>().unwrap().to_string(), text);
        for bad in ["", "00", &"g0".repeat(32), &"ä".repeat(32), &"0".repeat(65)] {
            assert!(matches!(bad.parse::<Checksum>(), Err(ChecksumError::Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn the_opened_file_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugin");
        std::fs::write(&path, "one").unwrap();
        let opened = Executable::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "two").unwrap();

        let (one, two) = (opened.checksum().unwrap(), Executable::at(&path).checksum().unwrap());
        assert_ne!(one, two);
        assert!(opened.clone().verified(one).is_ok());
        assert!(matches!(opened.verified(two), Err(ChecksumError::Mismatch { .. })));
    }
}
