//! Breaking an input in ways that parsers have been seen to stumble over.

use crate::{LONGEST, Random};

/// How many things are done to one input at most.
const STEPS: usize = 6;

/// Pieces that mean something to what is read here: separators, numbers at the edges of their types, what JSON
/// escapes, and bytes that are no text. No parser's own words: those are in its corpus.
const PIECES: [&[u8]; 36] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"|",
    b":",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"/",
    b"[",
    b"]",
    b"{",
    b"}",
    b"0",
    b"-1",
    b"1e400",
    b"255",
    b"256",
    b"65536",
    b"4294967296",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"null",
    b"true",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
];

/// Makes an input by breaking one of `inputs`; there is at least one.
pub(crate) fn mutate(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.one_of(inputs).clone();
    for _ in 0..=random.below(STEPS) {
        step(&mut input, inputs, random);
        input.truncate(LONGEST);
    }
    input
}

fn step(input: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len().saturating_add(1));
    let byte = u8::try_from(random.below(256)).unwrap_or_default();
    match random.below(10) {
        // A bit, a byte, a neighbour of a byte.
        0 => change(input, at, |old| old ^ (1 << (byte % 8))),
        1 => change(input, at, |_| byte),
        2 => {
            change(
                input,
                at,
                |old| if byte.is_multiple_of(2) { old.wrapping_add(1) } else { old.wrapping_sub(1) },
            )
        }
        // A piece more, or less, or instead.
        3 => splice(input, at, 0, &[byte]),
        4 => splice(input, at, 0, piece(random)),
        5 => splice(input, at, 1 + random.below(8), piece(random)),
        6 => splice(input, at, 1 + random.below(input.len().clamp(1, 64)), &[]),
        // The same again, a few or many times: what nests, and what grows.
        7 => {
            let piece = cut(input, at, 1 + random.below(32)).to_vec();
            let times = if random.below(8) == 0 { 1 + random.below(512) } else { 1 + random.below(3) };
            splice(input, at, 0, &piece.repeat(times));
        }
        // A part of another.
        8 => {
            let other = random.one_of(inputs);
            let from = random.below(other.len());
            let piece = cut(other, from, 1 + random.below(other.len().max(1))).to_vec();
            splice(input, at, random.below(piece.len().saturating_add(1)), &piece);
        }
        // The end.
        _ => input.truncate(at),
    }
}

fn change(input: &mut [u8], at: usize, to: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = to(*byte);
    }
}

/// Puts `piece` in the place of `length` bytes.
fn splice(input: &mut Vec<u8>, at: usize, length: usize, piece: &[u8]) {
    let end = at.saturating_add(length).min(input.len());
    input.splice(at.min(end)..end, piece.iter().copied());
}

fn cut(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    let end = at.saturating_add(length).min(bytes.len());
    bytes.get(at.min(end)..end).unwrap_or_default()
}

fn piece(random: &mut Random) -> &'static [u8] {
    PIECES.get(random.below(PIECES.len())).copied().unwrap_or_default()
}
