//! The one file in which a component is a program.
//!
//! Such a file begins with the shim, an ordinary program. Behind it stand what the shim needs to be one certain
//! plugin, and a trailer by which it is found:
//!
//! ```text
//! the shim | zeros up to a page | the compiled component | the manifest | the trailer
//! ```
//!
//! The component starts on a page of its own, so that it can be mapped where it lies. The manifest says whose
//! component it is, what it may touch, how much it may use, and what it offers. The trailer holds the lengths and two
//! digests (BLAKE3): one of the shim, and one of everything behind it. A digest that stands beside what it is of shows damage
//! and no forgery: whoever may write the file may write it whole, program included.
//!
//! [`write()`] makes a file, whole or not at all, and the same one from the same parts. [`Bundle::read`] reads one as
//! hostile input. Nothing here maps or runs anything; that is for the shim and for the component backend.

mod fingerprint;
mod layout;
mod manifest;
mod mark;
mod read;
mod write;

pub use fingerprint::Fingerprint;
pub use manifest::Manifest;
pub use mark::{HTTP, MARK, Mark, NO_HTTP};
pub use read::{Bundle, ReadError};
pub use write::{Durability, Existing, Parts, WriteError, Written, is_unfinished, write};
