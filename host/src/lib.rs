//! A plugin host: go-plugin child processes and WASI 0.2 components behind one trait.
//!
//! Start with [`Host`]: it finds plugins in directories, starts them under a [`Policy`](policy::Policy) and runs their
//! providers. Underneath, a [`Backend`] starts plugins of one sort, and a [`Provider`] is a running plugin of either
//! sort. Both traits are defined in [`portcullis_contract`], which is re-exported here as [`contract`].
//!
//! A whole program that runs a provider, native or component:
//!
//! ```no_run
//! use std::error::Error;
//! use std::path::Path;
//! use std::process::ExitCode;
//!
//! use portcullis::compile::{Worker, worker_main};
//! use portcullis::component::CacheOptions;
//! use portcullis::contract::{Json, chain};
//! use portcullis::host::{Describe, Run, Setup, Wanted};
//! use portcullis::policy::Policy;
//! use portcullis::{Host, Options, backends, raise_open_files};
//!
//! fn main() -> ExitCode {
//!     // Components are compiled in another process, with limits of its own: this same program, started again.
//!     if std::env::args_os().nth(1).is_some_and(|argument| argument == "compile-worker") {
//!         return worker_main();
//!     }
//!     // Each plugin takes some descriptors, and the usual limit is a thousand.
//!     raise_open_files();
//!     match run() {
//!         Ok(()) => ExitCode::SUCCESS,
//!         Err(error) => {
//!             eprintln!("{}", chain(&*error));
//!             ExitCode::FAILURE
//!         }
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn run() -> Result<(), Box<dyn Error>> {
//!     let mut options = Options::default();
//!     // From these variables, children get those that plugins usually need, and those that a policy grants.
//!     options.process.environment = std::env::vars_os().collect();
//!     // The running program itself, even if an update has replaced its file.
//!     let program = "/proc/self/exe".into();
//!     options.component.worker = Some(Worker { program, args: vec!["compile-worker".into()] });
//!     options.component.cache =
//!         Some(CacheOptions { directory: "state/components".into(), key_directory: "state".into() });
//!
//!     let mut setup = Setup::new(backends(options)?).with_policy(Policy::load(Path::new("policy.toml"))?);
//!     setup.directories = vec!["plugins".into()];
//!     setup.configuration.binary_name = "example".to_owned();
//!     let host = Host::new(setup);
//!
//!     let echo = Wanted::Named("echo".to_owned());
//!     let request = Run { input: Some(Json::from_text(r#"{"message":"hello"}"#)), ..Run::default() };
//!     let ran = host.run(&echo, Describe::Trusted, request, None).await;
//!     // Asks children to end. Without this they are killed when the host is dropped.
//!     host.stop_all().await;
//!     println!("{}", ran?.output.data.as_str());
//!     Ok(())
//! }
//! ```
//!
//! Turning a Cargo feature off removes something and changes nothing else. `process` and `component` are the two
//! backends, `http` is HTTP for components, `compile` is the compiler of components, and `rooms` is the [`Host`].
//! Without `rooms` there is what a program needs to run a single plugin: a backend, [`supervise`] around it, and
//! [`Narrowed`] for a host that is not our own. [`log_level`], [`make_private`] and [`open_regular`] are what a command
//! line around all that needs, too.
//!
//! *Upstream* is scafctl, the Go program whose plugins these are; the page of [`contract`] says what the numbers behind
//! "contract spec" are.

#[cfg(feature = "rooms")]
pub use portcullis_bundle as bundle;
pub use portcullis_contract as contract;
pub use portcullis_contract::{Backend, Provider};

mod backends;
#[cfg(any(feature = "process", feature = "component", feature = "rooms"))]
mod blocking;
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
mod lock;
mod log_level;
#[cfg(any(feature = "process", feature = "component", feature = "rooms"))]
mod magic;
mod names;
mod narrowed;
pub mod policy;
#[cfg(feature = "process")]
pub mod process;
#[cfg(any(feature = "http", feature = "rooms"))]
mod public;
#[cfg(any(feature = "component", feature = "rooms"))]
mod regular;
#[cfg(feature = "rooms")]
pub mod secrets;
pub mod supervise;
#[cfg(feature = "rooms")]
mod turn;
mod warnings;

#[cfg(all(feature = "process", feature = "compile"))]
pub use backends::ShimSource;
pub use backends::{Options, SetupError, backends};
#[cfg(feature = "rooms")]
pub use host::Host;
pub use log_level::log_level;
pub use narrowed::Narrowed;
#[cfg(feature = "process")]
pub use portcullis_goplugin::raise_open_files;
#[cfg(any(feature = "component", feature = "rooms"))]
pub use regular::{make_private, open as open_regular};
