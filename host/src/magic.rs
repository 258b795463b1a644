//! What a file is, by its first bytes and never by its name.

/// How many bytes say it.
#[cfg(feature = "rooms")]
pub(crate) const LENGTH: u64 = 8;

/// What the first bytes of a file say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Magic {
    /// A WebAssembly component.
    Component,
    /// A core WebAssembly module.
    CoreModule,
    /// WebAssembly of a version that is not known.
    UnknownWasm,
    /// WebAssembly that ends before it says of which version it is.
    CutWasm,
    /// A program for Linux, a library, or what else has this form; for any processor.
    Elf,
    /// A script that names its interpreter.
    Script,
    /// A program for Windows.
    Windows,
    /// A program for macOS, or for several processors of it.
    MacOs,
    /// Nothing, or zeros: what a crash of the machine leaves of a file that had just been written.
    Blank,
    /// None of these.
    Other,
}

impl Magic {
    /// Recognises a file by how it begins.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Self::Component,
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Self::CoreModule,
            [0, b'a', b's', b'm', _, _, _, _, ..] => Self::UnknownWasm,
            [0, b'a', b's', b'm', ..] => Self::CutWasm,
            [0x7f, b'E', b'L', b'F', ..] => Self::Elf,
            [b'#', b'!', ..] => Self::Script,
            [b'M', b'Z', ..] => Self::Windows,
            [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..]
            | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..]
            | [0xca, 0xfe, 0xba, 0xbe | 0xbf, ..] => Self::MacOs,
            _ if head.iter().take(8).all(|byte| *byte == 0) => Self::Blank,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let check = |head: &[u8], expected| assert_eq!(Magic::of(head), expected, "{head:?}");
        check(b"\0asm\x0d\0\x01\0rest", Magic::Component);
        check(b"\0asm\x01\0\0\0", Magic::CoreModule);
        check(b"\0asm\x0c\0\x01\0", Magic::UnknownWasm);
        check(b"\0asm\x0d\0\x01", Magic::CutWasm);
        check(b"\0asm", Magic::CutWasm);
        check(b"\x7fELF", Magic::Elf);
        check(b"#!/bin/sh\n", Magic::Script);
        check(b"MZ\x90", Magic::Windows);
        for mac in [*b"\xfe\xed\xfa\xcf", *b"\xce\xfa\xed\xfe", *b"\xca\xfe\xba\xbe", *b"\xca\xfe\xba\xbf"] {
            check(&mac, Magic::MacOs);
        }
        check(b"", Magic::Blank);
        check(b"\0\0\0\0\0\0\0\0and more", Magic::Blank);
        check(b"\0\0\0\0\0\0\0x", Magic::Other);
        check(b"\x7fEL", Magic::Other);
        check(b"hello", Magic::Other);
    }
}
