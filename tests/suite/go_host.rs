//! What a Go host that was never changed makes of a plugin, whatever it is made of.
//!
//! The host is scafctl's in its words and in the order of things, on three versions of go-plugin and in
//! every mode that they have. A test is a matrix of what plugins are made of and of hosts; what is not in a
//! host's hands (a plugin's memory, say, or how it is looked at) is tested elsewhere.

mod auth;
mod callbacks;
mod endings;
mod logins;
mod provider;
mod streaming;

use portcullis_tests::go_host::Made;

// Tests are called after these.
const MADE_OF_GO: Made = Made::Go;
const MADE_OF_RUST: Made = Made::Rust;
const WRAPPED: Made = Made::Wrapped;
