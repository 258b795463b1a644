//! Whether an ELF file holds the whole of its program.
//!
//! The kernel maps what the header says, even past the end of the file. A program that reaches a missing part dies of a
//! signal without a word.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The kind of a segment that is mapped.
const LOAD: u64 = 1;

/// The size of a header; that of a 32-bit program is smaller, and more than this is behind it.
const HEADER: usize = 64;

/// Where in a file of one class is what, in bytes.
struct Layout {
    /// The size of an address.
    word: usize,
    /// In the header: where the table of segments is, and of how many.
    table: usize,
    count: usize,
    /// The size of a segment in the table.
    entry: usize,
    /// In a segment: where in the file it begins, and how long it is there.
    offset: usize,
    length: usize,
}

const BITS_32: Layout = Layout { word: 4, table: 28, count: 44, entry: 32, offset: 4, length: 16 };
const BITS_64: Layout = Layout { word: 8, table: 32, count: 56, entry: 56, offset: 8, length: 32 };

/// Returns whether every segment that is mapped lies within the file. What comes after them only debuggers need.
pub(super) fn are_whole(file: &File) -> io::Result<bool> {
    match end(file) {
        Ok(end) => Ok(end <= file.metadata()?.len()),
        // The table itself is missing, or its offset is one that no file has.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Returns where in the file the last segment ends.
fn end(file: &File) -> io::Result<u64> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    let [_, _, _, _, class, order, ..] = header;
    let number = |bytes: &[u8], at: usize, size: usize| {
        let bytes = bytes.iter().skip(at).take(size);
        let shift = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        if order == 2 { bytes.fold(0, shift) } else { bytes.rev().fold(0, shift) }
    };
    let Layout { word, table, count, entry, offset, length } = if class == 1 { BITS_32 } else { BITS_64 };
    let count = usize::try_from(number(&header, count, 2)).unwrap_or_default();
    let mut segments = vec![0; entry.saturating_mul(count)];
    file.read_exact_at(&mut segments, number(&header, table, word))?;
    let ends = segments.chunks_exact(entry).filter_map(|segment| {
        let length = number(segment, length, word);
        // One that is empty in the file may be said to be anywhere.
        let is_mapped = number(segment, 0, 4) == LOAD && length > 0;
        is_mapped.then(|| number(segment, offset, word).saturating_add(length))
    });
    Ok(ends.max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn check(content: &[u8], expected: bool) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        assert_eq!(are_whole(&file).unwrap(), expected, "{} bytes", content.len());
    }

    #[test]
    fn a_program_is_whole_up_to_its_last_segment() {
        let shell = std::fs::read("/bin/sh").unwrap();
        let end = usize::try_from(end(&File::open("/bin/sh").unwrap()).unwrap()).unwrap();
        for length in [shell.len(), end] {
            check(&shell[..length], true);
        }
        for length in [end - 1, end / 2, HEADER + 1, HEADER, HEADER - 1, 20] {
            check(&shell[..length], false);
        }
    }

    #[test]
    fn the_segments_of_a_32_bit_program_are_found_in_either_order() {
        for order in [1, 2] {
            let number = |n: u32| if order == 1 { n.to_le_bytes() } else { n.to_be_bytes() };
            let short = |n: u16| if order == 1 { n.to_le_bytes() } else { n.to_be_bytes() };
            let mut program = vec![0; 300];
            let mut put = |at: usize, bytes: &[u8]| program[at..at + bytes.len()].copy_from_slice(bytes);
            put(0, b"\x7fELF\x01");
            put(5, &[order]);
            put(28, &number(52));
            put(44, &short(3));
            // One that is mapped, memory that is in no file, and a note.
            for (at, kind, offset, length) in [(52, 1, 100, 200), (84, 1, 900, 0), (116, 4, 900, 9)] {
                put(at, &number(kind));
                put(at + 4, &number(offset));
                put(at + 16, &number(length));
            }
            check(&program, true);
            check(&program[..299], false);

            // Its table is where no file reaches.
            program[28..32].fill(0xff);
            check(&program, false);
        }
    }
}
