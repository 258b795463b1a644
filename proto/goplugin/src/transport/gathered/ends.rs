//! How many messages end in what was read, by the heads of HTTP/2's frames.

/// How long the head of a frame is: its length in three bytes, its kind, its flags, and its stream in four.
const HEAD: usize = 9;

/// A client's preface is no frame. This much of it is left once as much was taken as a head has.
const PREFACE: usize = 24 - HEAD;

/// The kinds of frames that a message may end with, and the flag of that.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END: u8 = 0x01;

/// Where we are in what the other side sends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// How many bytes are passed over before the next head.
    skip: usize,
    /// What has come of that head.
    head: Vec<u8>,
}

impl Ends {
    /// Looks at the next bytes, and counts the messages that end in them.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut ends = 0;
        while !bytes.is_empty() {
            let taken = if self.skip > 0 {
                let taken = self.skip.min(bytes.len());
                self.skip -= taken;
                taken
            } else {
                let taken = (HEAD - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..taken]);
                ends += usize::from(self.head.len() == HEAD && self.begin_frame());
                taken
            };
            bytes = &bytes[taken..];
        }
        ends
    }

    /// Returns whether the frame whose head has come is the last of a message.
    fn begin_frame(&mut self) -> bool {
        let mut is_last = false;
        match *self.head.as_slice() {
            // No frame is that long.
            [b'P', b'R', b'I', ..] => self.skip = PREFACE,
            [high, middle, low, kind, flags, ..] => {
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                is_last = matches!(kind, DATA | HEADERS) && flags & END != 0;
            }
            _ => {}
        }
        self.head.clear();
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of the kind and with the flags, and this behind its head.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    #[test]
    fn what_a_message_ends_with_is_counted_however_it_comes() {
        let said = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, b""),
            // Each has a flag that means something else there.
            frame(4, END, b""),
            frame(6, END, &[0; 8]),
            frame(HEADERS, 4, &[END; 30]),
            frame(DATA, END, &[0, 0, 0, DATA, END]),
            frame(HEADERS, 4 | END, b"trailers"),
            frame(DATA, END, b""),
            frame(DATA, 0, b"more to come"),
        ]
        .concat();
        for length in [1, 2, 5, 7, 64, said.len()] {
            let mut ends = Ends::default();
            let found: usize = said.chunks(length).map(|piece| ends.count(piece)).sum();
            assert_eq!(found, 3, "in pieces of {length}");
        }
    }
}
