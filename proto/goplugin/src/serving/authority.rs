//! Makes the `:authority` by which a client calls us one that `h2` accepts.
//!
//! Clients in other languages call a server on a Unix socket by the socket's path: gRPC's C core, which is that of C++,
//! Python and Ruby, as `tmp%2Fplugin1`, and Java's as it stands. Go's servers take any name, and nobody here looks at
//! it. But `h2` resets every call whose authority has a character that may not be there. So each of them is replaced
//! before `h2` sees it.
//!
//! They can be replaced in place. HPACK compresses headers by those that came before, which both sides remember: `h2`
//! as we changed them, the client as it sent them. It matters only that both are equally long. So an authority that is
//! empty or in Huffman code is left as it is: it would change in length. No client is known to send either.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a client's preface is, which is always the same.
const PREFACE: usize = 24;

/// How long the head of a frame is: its length in three bytes, its kind, its flags, and its stream in four.
const HEAD: usize = 9;

/// The kinds of frames that carry headers.
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Their flags that change where headers begin, and how long the priority is that then comes first.
const PADDED: u8 = 0x08;
const PRIORITIZED: u8 = 0x20;
const PRIORITY: usize = 5;

/// The field that counts, and its number in HPACK's static table.
const AUTHORITY: &[u8] = b":authority";
const NUMBER: u8 = 1;

/// A link that is read through this.
pub(super) struct Legible<L> {
    link: L,
    scan: Scan,
}

impl<L> Legible<L> {
    pub(super) fn new(link: L) -> Self {
        Self { link, scan: Scan::new() }
    }
}

impl<L: AsyncRead + Unpin> AsyncRead for Legible<L> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { link, scan } = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(link).poll_read(cx, buf))?;
        scan.pass(buf.filled_mut().get_mut(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<L: AsyncWrite + Unpin> AsyncWrite for Legible<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.link).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.link).poll_shutdown(cx)
    }
}

/// Where we are in what a client sends.
struct Scan {
    /// How many bytes are passed over before anything is looked at again.
    skip: usize,
    /// How much is left of a frame's headers.
    headers: usize,
    /// What there is of the next frame's head.
    head: Vec<u8>,
    field: Field,
}

impl Scan {
    fn new() -> Self {
        Self { skip: PREFACE, headers: 0, head: Vec::with_capacity(HEAD), field: Field::Begin }
    }

    /// Looks at the next bytes, and replaces what has to be.
    fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = if self.skip > 0 {
                let taken = self.skip.min(bytes.len());
                self.skip -= taken;
                taken
            } else if self.headers > 0 {
                let taken = self.headers.min(bytes.len());
                self.headers -= taken;
                for byte in bytes.iter_mut().take(taken) {
                    self.field = self.field.step(byte);
                }
                taken
            } else {
                let taken = (HEAD - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(bytes.get(..taken).unwrap_or_default());
                if self.head.len() == HEAD {
                    self.begin_frame();
                }
                taken
            };
            let rest = std::mem::take(&mut bytes);
            bytes = rest.get_mut(taken..).unwrap_or_default();
        }
    }

    fn begin_frame(&mut self) {
        if let [high, middle, low, kind, flags, ..] = *self.head.as_slice() {
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            match kind {
                // None of the clients that this is for does that.
                HEADERS if flags & PADDED != 0 => (self.skip, self.field) = (length, Field::Lost),
                HEADERS => {
                    self.skip = if flags & PRIORITIZED == 0 { 0 } else { PRIORITY.min(length) };
                    self.headers = length - self.skip;
                    self.field = Field::Begin;
                }
                CONTINUATION => self.headers = length,
                _ => self.skip = length,
            }
        }
        self.head.clear();
    }
}

/// Where in compressed headers we are (RFC 7541, section 6).
#[derive(Clone, Copy, Debug)]
enum Field {
    /// The next one begins.
    Begin,
    /// In a number with which a field ends.
    Last,
    /// In the number of a name, behind which is a value.
    Named,
    /// A length comes next.
    Length { of: Of },
    /// In a length that goes on: the next seven bits of it belong there.
    Longer { of: Of, length: usize, shift: u32 },
    /// In a name of which that much is left. `same` is how much has come, if it may still be that of the authority.
    Name { left: usize, same: Option<usize> },
    /// In a value of which that much is left; if it is an authority, these marks may come in it.
    Value { left: usize, marks: Option<Marks> },
    /// Nobody knows, until the next headers begin.
    Lost,
}

/// What a text is.
#[derive(Clone, Copy, Debug)]
enum Of {
    Name { legible: bool },
    Value { authority: bool },
}

impl Field {
    /// Returns where we are behind `byte`, which is replaced if it has to be.
    fn step(self, byte: &mut u8) -> Self {
        let more = *byte & 0x80 != 0;
        match self {
            Self::Begin => match *byte {
                // The whole field is in a table, by a number of seven bits that may go on.
                0xff => Self::Last,
                0x80..=0xfe => Self::Begin,
                // Its value follows, and is remembered. The number is its name's.
                0x40..=0x7f => Self::named(*byte & 0x3f, 0x3f),
                // The table gets another size.
                0x3f => Self::Last,
                0x20..=0x3e => Self::Begin,
                // Its value follows, and is not remembered.
                _ => Self::named(*byte & 0x0f, 0x0f),
            },
            Self::Last | Self::Named if more => self,
            Self::Last => Self::Begin,
            Self::Named => Self::Length { of: Of::Value { authority: false } },
            Self::Length { of } => {
                // The first bit says that the text is in Huffman code. The clients that this is for do not use it.
                let of = match of {
                    Of::Name { .. } => Of::Name { legible: !more },
                    Of::Value { authority } => Of::Value { authority: authority && !more },
                };
                match usize::from(*byte & 0x7f) {
                    length @ 0x7f => Self::Longer { of, length, shift: 0 },
                    length => Self::text(of, length),
                }
            }
            // No text is that long.
            Self::Longer { shift: 28.., .. } => Self::Lost,
            Self::Longer { of, length, shift } => {
                let length = length + (usize::from(*byte & 0x7f) << shift);
                if more { Self::Longer { of, length, shift: shift + 7 } } else { Self::text(of, length) }
            }
            Self::Name { left, same } => {
                let same = same.filter(|at| AUTHORITY.get(*at) == Some(&*byte)).map(|at| at + 1);
                match left {
                    1 => Self::Length { of: Of::Value { authority: same.is_some() } },
                    _ => Self::Name { left: left - 1, same },
                }
            }
            Self::Value { left, marks } => {
                let marks = marks.map(|marks| marks.step(byte));
                if left == 1 { Self::Begin } else { Self::Value { left: left - 1, marks } }
            }
            Self::Lost => Self::Lost,
        }
    }

    /// Returns where we are behind the number of a name, which goes on if it is `most`.
    fn named(number: u8, most: u8) -> Self {
        match number {
            0 => Self::Length { of: Of::Name { legible: true } },
            NUMBER => Self::Length { of: Of::Value { authority: true } },
            number if number == most => Self::Named,
            _ => Self::Length { of: Of::Value { authority: false } },
        }
    }

    /// Returns where we are when a text of that length begins.
    fn text(of: Of, length: usize) -> Self {
        match of {
            Of::Name { .. } if length == 0 => Self::Length { of: Of::Value { authority: false } },
            Of::Name { legible } => {
                let same = (legible && length == AUTHORITY.len()).then_some(0);
                Self::Name { left: length, same }
            }
            Of::Value { .. } if length == 0 => Self::Begin,
            Of::Value { authority } => Self::Value { left: length, marks: authority.then_some(Marks::Any) },
        }
    }
}

/// Which marks may still come in an authority, besides those that names of hosts are made of.
#[derive(Clone, Copy, Debug)]
enum Marks {
    /// Those of a number in brackets, or that of a port.
    Any,
    /// It is a number in brackets, which no path begins as. It is left as it is.
    Number,
    /// That of a port.
    Port,
    /// None: the port has begun.
    None,
}

impl Marks {
    /// Returns which may come behind `byte`, which is replaced if it may not be where it is.
    fn step(self, byte: &mut u8) -> Self {
        let (marks, behind) = match (self, *byte) {
            (Self::Any, b'[') | (Self::Number, _) => (&b":[]"[..], Self::Number),
            (Self::Any | Self::Port, b':') => (&b":"[..], Self::None),
            (Self::Any | Self::Port, _) => (&b""[..], Self::Port),
            (Self::None, _) => (&b""[..], Self::None),
        };
        if !(byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || marks.contains(byte)) {
            *byte = b'-';
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[0, length[0], length[1], kind, flags, 0, 0, 0, 1][..], payload].concat()
    }

    /// A text behind its length.
    fn text(text: &str) -> Vec<u8> {
        [&[u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat()
    }

    /// What a client says whose headers are these, whole and cut anywhere, with a percent sign in everything else.
    fn check(headers: &[u8], expected: &[u8]) {
        let said = |headers: &[u8]| {
            let (begin, end) = headers.split_at(headers.len() / 2);
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
                frame(4, 0, b""),
                frame(HEADERS, 0x04, headers),
                frame(0, 0, b"100% of \x01%, \x41\x01%"),
                // Some say at once how urgent it is, and long headers come in several frames.
                frame(HEADERS, PRIORITIZED, &[b"%%%%%", begin].concat()),
                frame(CONTINUATION, 0x04, end),
            ]
            .concat()
        };
        for length in 1..=said(headers).len() {
            let (mut scan, mut bytes) = (Scan::new(), said(headers));
            for piece in bytes.chunks_mut(length) {
                scan.pass(piece);
            }
            assert_eq!(bytes, said(expected), "in pieces of {length}");
        }
    }

    #[test]
    fn an_authority_is_made_legible_however_it_is_written() {
        let (path, legible) = ("tmp%2Fplugin1", "tmp-2Fplugin1");
        for name in [
            // As the C core writes it, as Java does, and as one might.
            [&[0x40][..], &text(":authority")].concat(),
            vec![0x41],
            vec![0x01],
            vec![0x11],
            [&[0x00][..], &text(":authority")].concat(),
        ] {
            check(&[&name[..], &text(path)].concat(), &[&name[..], &text(legible)].concat());
        }
        for (name, legible) in [
            ("/tmp/a b", "-tmp-a-b"),
            ("/tmp/10:30:00/[b]:c", "-tmp-10:30-00--b--c"),
            ("localhost:80", "localhost:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            check(&[&[0x41][..], &text(name)].concat(), &[&[0x41][..], &text(legible)].concat());
        }
    }

    #[test]
    fn everything_else_is_left_as_it_is() {
        let long = "%".repeat(300);
        for headers in [
            // Fields by their numbers, short and long; and the table's size.
            vec![0x81, 0xff, 0x80, 0x01, 0x21, 0x3f, 0x80, 0x01],
            // Names by their numbers, and names in full, one of them as long as the authority's.
            [&[0x44][..], &text("/50%"), &[0x7f, 0x01], &text("%"), &[0x0f, 0x80, 0x01], &text("%")].concat(),
            [&[0x40][..], &text(":authoritz"), &text("%"), &[0x40], &text(""), &text("%")].concat(),
            // In a code of its own, in which a percent sign is something else.
            vec![0x41, 0x82, b'%', b'%', 0x40, 0x82, b'%', b'%', 0x01, b'%'],
            [&[0x44, 0x7f, 0xad, 0x01][..], long.as_bytes()].concat(),
            vec![0x41, 0x00, 0x82],
        ] {
            check(&headers, &headers);
        }
        // It is still known where the next field begins.
        let (before, legible) = ([&[0x44, 0x7f, 0xad, 0x01][..], long.as_bytes()].concat(), text("a-b"));
        check(&[&before[..], &[0x41], &text("a%b")].concat(), &[&before[..], &[0x41], &legible].concat());
    }

    #[test]
    fn what_is_no_headers_is_survived() {
        for first in 0..=u8::MAX {
            let mut scan = Scan::new();
            scan.pass(&mut [0; PREFACE]);
            let headers = [&[first][..], &[0xff; 64]].concat();
            for flags in [0, PADDED, PRIORITIZED] {
                scan.pass(&mut frame(HEADERS, flags, &headers));
                scan.pass(&mut frame(CONTINUATION, 0, &headers));
            }
            let mut last = frame(HEADERS, 0, b"\x41\x01%");
            scan.pass(&mut last);
            assert!(last.ends_with(b"-"));
        }
    }
}
