//! Where one message of an answer ends and the next begins.

/// How long the head of a message is: a flag, and the length of what follows, in big endian.
const HEAD: usize = 5;

/// Where the bytes that have come stand among the messages that they are part of.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: [u8; HEAD],
    /// How much of the head has come.
    known: usize,
    /// How much of the message is still to come.
    left: usize,
}

impl Framing {
    /// Takes note of the bytes that have come next.
    pub(super) fn follow(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.left == 0 {
                let (head, rest) = piece.split_at(piece.len().min(HEAD - self.known));
                self.head[self.known..][..head.len()].copy_from_slice(head);
                self.known += head.len();
                piece = rest;
                if self.known < HEAD {
                    return;
                }
                let [_flag, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
                self.known = 0;
            }
            let message = piece.len().min(self.left);
            self.left -= message;
            piece = &piece[message..];
        }
    }

    /// Returns whether a message has begun and not ended.
    pub(super) fn is_inside_a_message(&self) -> bool {
        self.known > 0 || self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_head_says_however_the_pieces_fall() {
        let bytes: Vec<u8> =
            [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        let ends = [0, 8, 13, 274];
        for size in 1..=bytes.len() {
            let (mut framing, mut seen) = (Framing::default(), 0);
            for piece in bytes.chunks(size) {
                framing.follow(piece);
                seen += piece.len();
                assert_eq!(!framing.is_inside_a_message(), ends.contains(&seen), "{size} {seen}");
            }
        }
    }
}
