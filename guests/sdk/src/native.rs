//! A plugin as a native program, which any host of go-plugin starts and calls.
//!
//! The same type that is exported as a component is handed to [`serve_provider`] or [`serve_auth_handler`], in a
//! program beside the library:
//!
//! ```no_run
//! # mod plugin {
//! #     use portcullis_sdk::{Descriptor, Error, Execute, Host, Output, Provider};
//! #     pub struct Greeter;
//! #     impl Provider for Greeter {
//! #         fn providers(&self) -> Result<Vec<String>, Error> { Err(Error::Unimplemented) }
//! #         fn describe(&self, provider: &str) -> Result<Descriptor, Error> { Err(Error::Unimplemented) }
//! #         fn execute(&self, host: &Host, request: Execute) -> Result<Output, Error> { Err(Error::Unimplemented) }
//! #     }
//! # }
//! # /*
//! #[path = "lib.rs"]
//! mod plugin;
//! # */
//!
//! fn main() -> portcullis_sdk::native::Outcome {
//!     portcullis_sdk::native::serve_provider(plugin::Greeter)
//! }
//! ```
//!
//! The library stays a `cdylib` and nothing else, because a library that is anything besides loses its link-time
//! optimisation as a component; the program therefore takes the source file in, and not the crate. (Paths in it begin with
//! `self` or `super`: `crate` is another one in the program.) In `Cargo.toml` it is a program that needs a feature, so that
//! nobody builds it for wasm:
//!
//! ```toml
//! [features]
//! native = ["portcullis-sdk/native"]
//!
//! [[bin]]
//! name = "scafctl-plugin-greet"
//! path = "src/main.rs"
//! required-features = ["native"]
//! ```
//!
//! `cargo build --release --features native` makes the program; the component is built as it was. What differs from one:
//!
//! - There is one value of the plugin's type for all calls, and calls overlap. Each has a thread to block.
//! - Nothing is sandboxed and nothing limited, but for a request, which may have 4 MiB, as in Go ([`Options::message_limit`]).
//! - A call whose caller has gone is not ended but told so, by [`Host::cancelled`](crate::Host::cancelled), by a
//!   [`Sink`](crate::Sink) that is closed and by calls of the host that fail.
//! - What it prints to standard output reaches the host's user, if the host shows that, and what it prints to standard
//!   error the host's log.
//! - A panic ends the process, as in Go; every other call ends with it.
//! - Where the host offers nothing to call back, as scafctl itself does, calls of the host say `not available`.

mod auth;
mod call;
mod convert;
mod host;
mod provider;

use std::sync::Arc;

use portcullis_contract as contract;
use portcullis_serve::Served;
pub use portcullis_serve::{Capture, Level, Options, Outcome, Parent};

use self::auth::NativeAuth;
use self::provider::NativeProvider;
use crate::{AuthHandler, Provider};

/// Serves a provider until its host ends it: the whole of a program's `main`.
pub fn serve_provider(plugin: impl Provider) -> Outcome {
    serve_provider_with(plugin, options())
}

/// Returns how a plugin is served unless something else is chosen: what it prints to standard output reaches the user.
#[must_use]
pub fn options() -> Options {
    Options { capture: Capture::Stdout, ..Options::default() }
}

/// Serves a provider in a way that was chosen.
pub fn serve_provider_with(plugin: impl Provider, options: Options) -> Outcome {
    let mut served = Served::provider(async move |around| {
        let provider = NativeProvider::describe(Arc::new(plugin), around).await?;
        Ok(Arc::new(provider) as Arc<dyn contract::Provider>)
    });
    served.options = options;
    served.run()
}

/// Serves an auth handler until its host ends it: the whole of a program's `main`.
pub fn serve_auth_handler(plugin: impl AuthHandler) -> Outcome {
    serve_auth_handler_with(plugin, options())
}

/// Serves an auth handler in a way that was chosen.
pub fn serve_auth_handler_with(plugin: impl AuthHandler, options: Options) -> Outcome {
    let mut served = Served::auth_handler(async move |around| {
        let handler = NativeAuth::describe(Arc::new(plugin), around).await?;
        Ok(Arc::new(handler) as Arc<dyn contract::AuthHandler>)
    });
    served.options = options;
    served.run()
}
