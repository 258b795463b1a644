//! The file that a plugin is started from.
//!
//! What was checked has to be what runs. So a file whose content matters is opened once; its digest is
//! taken over what was opened, and the kernel is told to execute that, whatever stands under the
//! path by then. (Somebody who may write *into* the file can still change it. It is the directory and
//! the file's permissions that keep them from it.)

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
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
    /// The text is not one.
    #[error("a checksum is 64 hexadecimal digits")]
    Malformed,
    /// The file is another one than was meant.
    #[error("checksums do not match: expected {expected}, found {found}")]
    Mismatch {
        /// The checksum that was asked for.
        expected: Checksum,
        /// The file's own.
        found: Checksum,
    },
    /// The file cannot be read, so nobody knows what it is.
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
    /// Names the file; whatever stands at `path` when it is started is run.
    ///
    /// The path is never searched for in `PATH`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), opened: None }
    }

    /// Opens the file; what is open now is what every start runs.
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
        Ok(Self { path, opened: Some(Arc::new(Opened { file, checksum: OnceLock::new() })) })
    }

    /// Returns where the file was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the checksum of the opened file, reading it the first time. Blocks meanwhile.
    ///
    /// A file that was only named is opened for it, and what is then started may be another.
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
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(Checksum(hasher.finalize().into())),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Says what looking at the file shows about why it may not have started as a plugin.
///
/// One sentence each, most telling first. Blocks, reads a page of the file, and never fails.
pub(super) fn diagnose(path: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        // What the kernel said of it says as much.
        Err(_) => return Vec::new(),
    };
    let mut notes = Vec::new();
    let mode = metadata.mode() & 0o7777;
    if metadata.is_dir() {
        notes.push("it is a directory".to_owned());
    } else if mode & 0o111 == 0 {
        notes.push("nobody has permission to execute it".to_owned());
    }
    if metadata.is_file() {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
        match read {
            Ok(_) => notes.extend(form(&head)),
            // That we may open no more files is nothing that this one shows.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {}
            Err(error) => notes.push(format!("it cannot be read: {error}")),
        }
    }
    let user = rustix::process::geteuid().as_raw();
    if user != metadata.uid() || mode & 0o500 != 0o500 {
        notes
            .push(format!("its mode is {mode:o}, its owner user {}, and we are user {user}", metadata.uid()));
    }
    notes
}

/// Says what kind of file begins with `head`, unless that kind is no reason for anything.
fn form(head: &[u8]) -> Option<String> {
    match head {
        [] => Some("it is empty".to_owned()),
        [b'#', b'!', line @ ..] => interpreter(line),
        [0x7f, b'E', b'L', b'F', rest @ ..] => elf(rest, head),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            Some("it is a program for macOS".to_owned())
        }
        [b'M', b'Z', ..] => Some("it is a program for Windows".to_owned()),
        [0, b'a', b's', b'm', ..] => Some("it is WebAssembly, not a program".to_owned()),
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] => Some("it is an archive, not a program".to_owned()),
        _ => Some("it is neither a program nor a script".to_owned()),
    }
}

fn interpreter(line: &[u8]) -> Option<String> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let name = line.split_whitespace().next().unwrap_or_default();
    let missing = !Path::new(name).exists();
    let dos = if line.ends_with('\r') { ", and the line ends in a carriage return" } else { "" };
    (missing || !dos.is_empty()).then(|| {
        format!(
            "it is a script for {name:?}, which {}{dos}",
            match missing {
                true => "does not exist",
                false => "exists",
            }
        )
    })
}

/// The number of our own machine in an ELF header, as far as this table goes.
const MACHINE: Option<u16> = if cfg!(target_arch = "x86_64") {
    Some(62)
} else if cfg!(target_arch = "aarch64") {
    Some(183)
} else if cfg!(target_arch = "riscv64") {
    Some(243)
} else {
    None
};

/// `rest` follows the magic number; `head` is the whole.
fn elf(rest: &[u8], head: &[u8]) -> Option<String> {
    let little = rest.get(1) == Some(&1);
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        let shift = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, shift) } else { bytes.iter().fold(0, shift) })
    };
    let machine = u16::try_from(number(18, 2)?).ok()?;
    if MACHINE.is_some_and(|ours| ours != machine) {
        let name = match machine {
            3 => "x86",
            40 => "arm",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv64",
            _ => "another machine",
        };
        return Some(format!("it is built for {name}, and this machine is {}", std::env::consts::ARCH));
    }
    // Only 64-bit headers are taken apart further; type 3 names the loader of shared libraries.
    if rest.first() != Some(&2) {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let headers = (0..count.min(64)).filter_map(|index| table.checked_add(index.checked_mul(size)?));
    let mut headers = headers.filter_map(|at| usize::try_from(at).ok());
    let loader = headers.find(|at| at.checked_add(4).is_some() && number(*at, 4) == Some(3))?;
    let start = usize::try_from(number(loader.checked_add(8)?, 8)?).ok()?;
    let name = head.get(start..)?.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(name);
    (!Path::new(name.as_ref()).exists()).then(|| format!("the loader it needs, {name:?}, does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &[u8], expected: Option<&str>) {
        assert_eq!(form(head).as_deref(), expected, "{head:?}");
    }

    #[test]
    fn what_cannot_run_here_is_named() {
        check(b"", Some("it is empty"));
        check(b"\0asm\x0d\0\x01\0", Some("it is WebAssembly, not a program"));
        check(b"MZ\x90", Some("it is a program for Windows"));
        check(b"\xcf\xfa\xed\xfe", Some("it is a program for macOS"));
        check(b"hello", Some("it is neither a program nor a script"));
        check(
            b"#!/no/such/interpreter -x\n",
            Some("it is a script for \"/no/such/interpreter\", which does not exist"),
        );
        check(b"#!/bin/sh\n", None);
    }

    #[test]
    fn headers_that_lie_are_survived() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        check(&whole[..4096], None);
        for end in 0..64 {
            let _no_panic = form(&whole[..end]);
        }
        let mut lying = whole[..4096].to_vec();
        lying[32..40].fill(0xff);
        lying[54..58].fill(0xff);
        check(&lying, None);
        lying[18..20].copy_from_slice(&[0xff, 0x7f]);
        assert!(form(&lying).unwrap().starts_with("it is built for another machine"));
    }

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
