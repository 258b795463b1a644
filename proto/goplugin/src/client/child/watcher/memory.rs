//! Giving up the memory that a fork has and does not need.
//!
//! The kernel's list says which memory that is. Nothing is allocated to read it: the heap is given up, too.

use std::ops::Range;
use std::ptr::without_provenance_mut;

/// How much of the list is read at once. A line has some hundred bytes, and a path of up to 4096.
const PIECE: usize = 8 << 10;

/// Gives up the contents of all private anonymous memory but the stack. This is for a process with one thread that
/// needs no more than its stack.
///
/// # Safety
///
/// No value in such memory is what it was after this: the caller uses none of them, and never returns.
#[expect(unsafe_code, reason = "these calls have no safe form that may be made after a fork")]
pub(super) unsafe fn give_up() {
    let mut list = [0_u8; PIECE];
    let stack = (&raw const list).addr();
    let mut held = 0;
    // SAFETY: these are system calls, on a buffer of that length and on memory that the caller has done with.
    unsafe {
        let maps = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        loop {
            let room = list.get_mut(held..).unwrap_or_default();
            let Ok(read @ 1..) = usize::try_from(libc::read(maps, room.as_mut_ptr().cast(), room.len()))
            else {
                break;
            };
            let whole = list.get(..held + read).unwrap_or_default();
            let (lines, begun) =
                whole.split_at(whole.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
            for memory in lines.split(|byte| *byte == b'\n').filter_map(own) {
                if !memory.contains(&stack) {
                    libc::madvise(without_provenance_mut(memory.start), memory.len(), libc::MADV_DONTNEED);
                }
            }
            held = begun.len();
            let begins = whole.len() - held;
            list.copy_within(begins..begins + held, 0);
        }
        libc::close(maps);
    }
}

/// Returns the addresses in a line of the list, if that memory is writable, private and anonymous.
fn own(line: &[u8]) -> Option<Range<usize>> {
    let mut columns = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (start, end) = columns.next()?.split_once('-')?;
    let (marks, _offset, _device, file) =
        (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let address = |text| usize::from_str_radix(text, 16).ok();
    (marks.starts_with("rw") && marks.ends_with('p') && file == "0").then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn what_is_nobody_elses_is_told_by_its_line() {
        let heap = "55d0a000-55d0c000 rw-p 00000000 00:00 0                          [heap]";
        assert_eq!(own(heap.as_bytes()), Some(0x55d0_a000..0x55d0_c000));
        assert_eq!(own(b"7f00-7f10 rw-p 00000000 00:00 0 "), Some(0x7f00..0x7f10));
        for other in [
            "7f00-7f10 r-xp 00002000 fd:01 1573                  /usr/lib/libc.so.6",
            "7f00-7f10 rw-p 00002000 fd:01 1573                  /usr/lib/libc.so.6",
            "7f00-7f10 rw-s 00000000 00:01 1025                  /dev/zero (deleted)",
            "7f00-7f10 rw-s 00000000 00:00 0 ",
            "7f00-7f10 r--p 00000000 00:00 0                  [vvar]",
            "7f00-7f10 ---p 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(own(other.as_bytes()), None, "{other}");
        }
    }
}
