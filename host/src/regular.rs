//! Regular files, opened so that a pipe or a device in their place keeps nobody waiting, and directories of our own.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, and refuses anything else. Opening a pipe would wait for its other end.
///
/// # Errors
///
/// Why it cannot be opened, or that it is none.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::empty())
}

/// Does the same, and refuses a link, too.
#[cfg(feature = "component")]
pub(crate) fn open_unlinked(path: &Path) -> io::Result<File> {
    open_with(path, OFlags::NOFOLLOW)
}

fn open_with(path: &Path, also: OFlags) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | also).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Makes a directory, and those above it that are missing, which only we may enter. One that is there stays as it is.
///
/// A umask can take the right to enter from us, too, and would leave directories that no later run could use.
///
/// # Errors
///
/// Why there is none.
pub fn make_private(path: &Path) -> io::Result<()> {
    let make = || {
        DirBuilder::new().mode(0o700).create(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
    };
    let made = make().or_else(|error| match path.parent() {
        Some(above) if error.kind() == ErrorKind::NotFound => {
            make_private(above)?;
            make()
        }
        _ => Err(error),
    });
    // Another process may have made it meanwhile.
    made.or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })
}
