//! Wrapped files: a component and the shim that runs it, in one executable file.
//!
//! Such a file begins with the shim, an ordinary program. Behind it is what the shim needs to be one certain plugin,
//! and a trailer by which that is found:
//!
//! ```text
//! the shim | zeros up to a page | the compiled component | the manifest | the trailer
//! ```
//!
//! The component starts on a page of its own, so that it can be mapped from the file. The manifest says which component
//! it is, what it may touch, how much it may use, and what it offers. The trailer holds the lengths and two digests
//! (BLAKE3): one of the shim, and one of everything behind it. Digests in the file show damage but not forgery: whoever
//! can write the file can replace all of it, program included.
//!
//! [`write()`] makes a file, whole or not at all; the same parts make the same file. [`Bundle::read`] treats a file as
//! hostile input. Nothing here maps or runs anything; the shim and the component backend do that.

mod fingerprint;
mod layout;
mod manifest;
mod mark;
mod read;
mod write;

pub use fingerprint::Fingerprint;
pub use manifest::Manifest;
pub use mark::{HTTP, MARK, Mark, NO_HTTP};
pub use read::{Bundle, ReadError, Seal};
pub use write::{Durability, Existing, Parts, WriteError, Written, is_unfinished, write};
