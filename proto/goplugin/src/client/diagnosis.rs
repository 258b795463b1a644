//! Why a file may not have started as a plugin, by its first bytes.
//!
//! The kernel says little about a file that it does not run: "no such file" may mean the interpreter of a script, or
//! the loader of a program. Only the first page of the file is read, and nothing in it is trusted.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;

/// Returns what we have too little of to start anything, if an error says that.
pub(super) fn of_want(error: &io::Error) -> Option<String> {
    let want = match Errno::from_io_error(error)? {
        Errno::AGAIN => "there are too many processes and threads; `ulimit -u` may allow more",
        Errno::MFILE => "too many files are open; `ulimit -n` may allow more",
        Errno::NFILE => "too many files are open in the whole system",
        _ => return None,
    };
    Some(want.to_owned())
}

/// Returns reasons why a file may not have started as a plugin.
///
/// Each is one sentence; the most telling comes first. Blocks, reads a page of the file, and never fails.
pub(super) fn of(path: &Path) -> Vec<String> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        // The kernel's own error says the same.
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
            // That we have no descriptors left says nothing about this file.
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

/// Names the kind of file that begins with `head`, if the kind is a reason.
fn form(head: &[u8]) -> Option<String> {
    match head {
        [] => Some("it is empty".to_owned()),
        [b'#', b'!', line @ ..] => interpreter(line),
        [0x7f, b'E', b'L', b'F', rest @ ..] => elf(rest, head),
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..]
        | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..]
        | [0xca, 0xfe, 0xba, 0xbe | 0xbf, ..] => Some("it is a program for macOS".to_owned()),
        [b'M', b'Z', ..] => Some("it is a program for Windows".to_owned()),
        [0, b'a', b's', b'm', ..] => Some("it is WebAssembly, not a program".to_owned()),
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] => Some("it is an archive, not a program".to_owned()),
        _ => Some("it is neither a program nor a script".to_owned()),
    }
}

/// Says what is wrong with a script, by what follows its `#!`.
fn interpreter(line: &[u8]) -> Option<String> {
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let name = line.split_whitespace().next().unwrap_or_default();
    let exists = Path::new(name).exists();
    let what = if exists { "exists" } else { "does not exist" };
    let dos = if line.ends_with('\r') { ", and the line ends in a carriage return" } else { "" };
    (!exists || !dos.is_empty()).then(|| format!("it is a script for {name:?}, which {what}{dos}"))
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

/// Says what keeps a program from running here. `rest` follows the magic number in `head`.
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
    fn what_we_have_too_little_of_says_nothing_of_the_file() {
        let want = |errno: Errno| of_want(&errno.into()).unwrap_or_default();
        assert!(want(Errno::AGAIN).contains("`ulimit -u`") && want(Errno::MFILE).contains("`ulimit -n`"));
        assert!(want(Errno::NFILE).contains("the whole system"));
        assert_eq!(of_want(&Errno::NOENT.into()), None);
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
}
