//! Files, by the host's own interface for them: `std` hides what the host holds for each.

use portcullis_sdk::{Error, Host};
use serde_json::{Value, json};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

/// Returns how many bytes of a file in a granted directory can be read at once, and how many written; then writes
/// `beyond` more than that.
pub(crate) fn at_once(path: &str, beyond: usize) -> Result<Value, Error> {
    let (directory, name) = place(path)?;
    let both_ways = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let file = directory.open_at(PathFlags::empty(), name, OpenFlags::empty(), both_ways)?;
    let read = file.read_via_stream(0)?.blocking_read(u64::MAX)?;
    let stream = file.write_via_stream(0)?;
    let room = stream.check_write()?;
    if beyond > 0 {
        stream.write(&vec![b'y'; usize::try_from(room).unwrap_or(usize::MAX).saturating_add(beyond)])?;
    }
    Ok(json!({ "read": read.len(), "room": room }))
}

/// Opens a file in a granted directory `files` times, or until that is refused, and keeps all of them open while the
/// host sets a secret, if there is one to set.
pub(crate) fn hoard(
    host: &Host<'_>,
    path: &str,
    files: usize,
    secret: &str,
    value: &str,
) -> Result<Value, Error> {
    let (directory, name) = place(path)?;
    let (mut kept, mut refused) = (Vec::new(), None);
    while kept.len() < files && refused.is_none() {
        match directory.open_at(PathFlags::empty(), name, OpenFlags::empty(), DescriptorFlags::READ) {
            Ok(file) => kept.push(file),
            Err(error) => refused = Some(error.name()),
        }
    }
    if !secret.is_empty() {
        host.set_secret(secret, value)?;
    }
    Ok(json!({ "files": kept.len(), "refused": refused }))
}

/// Begins `listings` listings of a granted directory, and drops none before the last has begun; all of that `repeat`
/// times.
pub(crate) fn listings(path: &str, listings: usize, repeat: usize) -> Result<Value, Error> {
    let directory = granted(path)?;
    for _ in 0..repeat {
        let list = |_| directory.read_directory();
        let _kept = (0..listings).map(list).collect::<Result<Vec<_>, _>>()?;
    }
    Ok(json!({ "listings": listings }))
}

/// Sets the times of a file in a granted directory, or of what a link there leads to.
pub(crate) fn touch(path: &str) -> Result<Value, Error> {
    let (directory, name) = place(path)?;
    directory.set_times_at(PathFlags::SYMLINK_FOLLOW, name, NewTimestamp::Now, NewTimestamp::Now)?;
    Ok(json!({ "success": true }))
}

/// Returns the granted directory that a file lies in, and its name there.
fn place(path: &str) -> Result<(Descriptor, &str), Error> {
    let (directory, name) = path.rsplit_once('/').ok_or_else(|| Error::new(format!("not a path: {path}")))?;
    Ok((granted(directory)?, name))
}

fn granted(path: &str) -> Result<Descriptor, Error> {
    let granted = get_directories().into_iter().find(|(_, name)| name == path);
    granted.map(|(directory, _)| directory).ok_or_else(|| Error::new(format!("not granted: {path}")))
}
