//! A plugin host: go-plugin child processes and WASI 0.2 components behind one trait.
//!
//! [`Host`] is the way in: it finds plugins in directories, starts them under a [`Policy`](policy::Policy) and runs
//! their providers. Underneath, a [`Backend`] starts plugins of one sort, and a
//! [`Provider`] is a running one, whichever sort it is; both come from the vocabulary in
//! [`portcullis_contract`], which is re-exported here as [`contract`].
//!
//! A whole program that runs a provider of either sort:
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
//!     // Components are compiled in a process of its own, with limits of its own: this program once more.
//!     if std::env::args_os().nth(1).is_some_and(|argument| argument == "compile-worker") {
//!         return worker_main();
//!     }
//!     // Plugins, and files of components, take some each; the usual limit is a thousand.
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
//!     // Of this, children get what plugins usually need, or what a policy says.
//!     options.process.environment = std::env::vars_os().collect();
//!     // The program that runs, also where an update has put another one in its place.
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
//!     // Asks children to end. Without it they are ended when the host is dropped, unasked.
//!     host.stop_all().await;
//!     println!("{}", ran?.output.data.as_str());
//!     Ok(())
//! }
//! ```
//!
//! Cargo features take away and never change: `process` and `component` are the two backends, `http` is HTTP for
//! components, `compile` is the compiler of components, `rooms` is the [`Host`]. Without that there is what a program
//! needs that runs one plugin: a backend, [`supervise`] around it, and [`Narrowed`] for a host that is not our own.

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
mod names;
mod narrowed;
pub mod policy;
#[cfg(feature = "process")]
pub mod process;
#[cfg(any(feature = "component", feature = "rooms"))]
mod regular;
#[cfg(feature = "rooms")]
pub mod secrets;
pub mod supervise;
mod warnings;

#[cfg(all(feature = "process", feature = "compile"))]
pub use backends::ShimSource;
pub use backends::{Options, SetupError, backends};
#[cfg(feature = "rooms")]
pub use host::Host;
pub use narrowed::Narrowed;
#[cfg(feature = "process")]
pub use portcullis_goplugin::raise_open_files;
