//! Regular files, opened so that a pipe or a device in their place keeps nobody waiting.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, and refuses anything else. Opening a pipe would wait for its other end.
pub(crate) fn open(path: &Path, also: OFlags) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | also).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}
