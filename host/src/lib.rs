//! A plugin host: go-plugin child processes and WASI 0.2 components behind one trait.
//!
//! [`Host`] is the way in: it finds plugins in directories, starts them under a [`Policy`](policy::Policy) and runs
//! their providers. Underneath, a [`Backend`] starts plugins of one sort, and a
//! [`Provider`] is a running one, whichever sort it is; both come from the vocabulary in
//! [`portcullis_contract`], which is re-exported here as [`contract`].
//!
//! Cargo features take away and never change: `process` and `component` are the two backends, `http` is HTTP for
//! components, `compile` is the compiler of components, `rooms` is the [`Host`]. Without that there is what a program
//! needs that runs one plugin: a backend, [`supervise`] around it, and [`Narrowed`] for a host that is not our own.

pub use portcullis_contract as contract;
pub use portcullis_contract::{Backend, Provider};

mod backends;
#[cfg(feature = "compile")]
pub mod compile;
#[cfg(feature = "component")]
pub mod component;
#[cfg(test)]
mod fake;
#[cfg(feature = "rooms")]
pub mod host;
#[cfg(any(feature = "compile", feature = "rooms"))]
mod leftovers;
mod names;
mod narrowed;
pub mod policy;
#[cfg(feature = "process")]
pub mod process;
#[cfg(feature = "rooms")]
pub mod secrets;
pub mod supervise;

#[cfg(all(feature = "process", feature = "compile"))]
pub use backends::ShimSource;
pub use backends::{Options, SetupError, backends};
#[cfg(feature = "rooms")]
pub use host::Host;
pub use narrowed::Narrowed;
