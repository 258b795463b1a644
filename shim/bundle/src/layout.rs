//! Where everything is in the file, and the trailer that says so. Pure.
//!
//! Positions that can be computed are not written: the component begins at the first page behind the shim, the manifest
//! follows the component, and the trailer follows the manifest and ends the file.

/// What the compiled component is aligned to. The largest page of any Linux; 60 KiB of zeros are the price.
const PAGE: u64 = 64 << 10;
/// Ends every such file, and changes with its form.
pub(crate) const MAGIC: [u8; 8] = *b"PCSHIM02";
/// Three lengths, two digests, the magic.
pub(crate) const TRAILER: usize = 3 * 8 + 2 * 32 + 8;
/// How much of the trailer the second digest covers: everything before that digest.
pub(crate) const DIGESTED: usize = 3 * 8 + 32;
/// The largest compiled component: what a compile worker may write.
const LARGEST_IMAGE: u64 = 1 << 30;
/// The largest manifest. Most of it is what the plugin says of itself, which is bounded like one message.
const LARGEST_MANIFEST: u64 = 80 << 20;
/// The largest shim. A guess; one with all its debug information is half of it.
const LARGEST_PROGRAM: u64 = 1 << 30;

/// The lengths of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) program: u64,
    pub(crate) image: u64,
    pub(crate) manifest: u64,
}

impl Layout {
    /// Returns the layout of parts of that length, unless one is empty or larger than anything real.
    pub(crate) fn new(program: u64, image: u64, manifest: u64) -> Option<Self> {
        let parts = [(program, LARGEST_PROGRAM), (image, LARGEST_IMAGE), (manifest, LARGEST_MANIFEST)];
        let fit = parts.iter().all(|(length, most)| (1..=*most).contains(length));
        fit.then_some(Self { program, image, manifest })
    }

    /// Returns where the compiled component begins.
    pub(crate) fn image_at(&self) -> u64 {
        // No overflow: a layout is made only of lengths that are bounded.
        self.program.next_multiple_of(PAGE)
    }

    /// Returns where the manifest begins.
    pub(crate) fn manifest_at(&self) -> u64 {
        self.image_at() + self.image
    }

    /// Returns where the trailer begins.
    pub(crate) fn trailer_at(&self) -> u64 {
        self.manifest_at() + self.manifest
    }

    /// Returns how long the file is.
    pub(crate) fn length(&self) -> u64 {
        self.trailer_at() + TRAILER as u64
    }
}

/// The end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) layout: Layout,
    /// The digest of the shim.
    pub(crate) program: [u8; 32],
    /// The digest of everything between the shim and this digest.
    pub(crate) contents: [u8; 32],
}

/// What the last bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No trailer: it is an ordinary file.
    Plain,
    /// A trailer that does not fit the length of the file.
    WrongLengths,
    /// A trailer that fits. Its digests are not checked yet.
    Trailer(Trailer),
}

impl Trailer {
    /// Returns the part of the trailer that the second digest covers.
    pub(crate) fn digested(layout: &Layout, program: &[u8; 32]) -> [u8; DIGESTED] {
        let mut bytes = [0; DIGESTED];
        let lengths = [layout.program, layout.image, layout.manifest];
        let written = lengths.iter().flat_map(|length| length.to_le_bytes()).chain(*program);
        for (place, byte) in bytes.iter_mut().zip(written) {
            *place = byte;
        }
        bytes
    }

    /// Returns the rest of the trailer: the second digest, and the magic.
    pub(crate) fn rest(contents: &[u8; 32]) -> [u8; TRAILER - DIGESTED] {
        let mut bytes = [0; TRAILER - DIGESTED];
        for (place, byte) in bytes.iter_mut().zip(contents.iter().chain(&MAGIC)) {
            *place = *byte;
        }
        bytes
    }

    /// Reads the last bytes of a file of that length.
    pub(crate) fn read(bytes: &[u8; TRAILER], length: u64) -> End {
        let Some((body, magic)) = bytes.split_last_chunk::<8>() else { return End::Plain };
        if *magic != MAGIC {
            return End::Plain;
        }
        let parsed = || {
            let (lengths, rest) = body.as_chunks::<8>().0.split_at_checked(3)?;
            let [program, image, manifest] = lengths else { return None };
            let [program, image, manifest] = [program, image, manifest].map(|l| u64::from_le_bytes(*l));
            let (digests, []) = rest.as_flattened().as_chunks::<32>() else { return None };
            let [of_program, of_contents] = digests else { return None };
            let layout = Layout::new(program, image, manifest)?;
            let trailer = Self { layout, program: *of_program, contents: *of_contents };
            (layout.length() == length).then_some(trailer)
        };
        parsed().map_or(End::WrongLengths, End::Trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { program: PAGE + 1, image: 5, manifest: 7 };

    fn trailer() -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        bytes[..DIGESTED].copy_from_slice(&Trailer::digested(&LAYOUT, &[1; 32]));
        bytes[DIGESTED..].copy_from_slice(&Trailer::rest(&[2; 32]));
        bytes
    }

    #[test]
    fn a_trailer_says_what_was_written_into_it() {
        assert_eq!(LAYOUT.image_at(), 2 * PAGE);
        assert_eq!(LAYOUT.length(), 2 * PAGE + 5 + 7 + TRAILER as u64);
        let expected = Trailer { layout: LAYOUT, program: [1; 32], contents: [2; 32] };
        assert_eq!(Trailer::read(&trailer(), LAYOUT.length()), End::Trailer(expected));
    }

    #[test]
    fn a_file_without_the_magic_is_like_any_other() {
        let mut bytes = trailer();
        bytes[TRAILER - 1] ^= 1;
        assert_eq!(Trailer::read(&bytes, LAYOUT.length()), End::Plain);
    }

    #[test]
    fn lengths_that_do_not_add_up_are_wrong() {
        for length in [0, LAYOUT.length() - 1, LAYOUT.length() + 1, u64::MAX] {
            assert_eq!(Trailer::read(&trailer(), length), End::WrongLengths, "{length}");
        }
        // A wrong length of the program that takes the same number of pages fits, too; the digest finds it.
        for at in 2..24 {
            for value in [0, 0xff, 0x80] {
                let mut bytes = trailer();
                if bytes[at] != value {
                    bytes[at] = value;
                    assert_eq!(Trailer::read(&bytes, LAYOUT.length()), End::WrongLengths, "{at}: {value}");
                }
            }
        }
        for (program, image, manifest) in
            [(0, 1, 1), (1, 0, 1), (1, 1, 0), (u64::MAX, 1, 1), (1, u64::MAX, 1)]
        {
            assert_eq!(Layout::new(program, image, manifest), None);
        }
    }
}
