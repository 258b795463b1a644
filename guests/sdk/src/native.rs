//! A plugin as a native program, which any go-plugin host can start and call.
//!
//! The same type that is exported as a component is passed to [`serve_provider`] or [`serve_auth_handler`], in a
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
//! The library stays a `cdylib` and nothing else: with another crate type the component would lose its link-time
//! optimisation. So the program includes the library's source file instead of depending on the crate. (Paths in that
//! file begin with `self` or `super`, because `crate` means another crate in the program.) In `Cargo.toml` the program
//! requires a feature, so that it is not built for wasm:
//!
//! ```toml
//! [features]
//! native = ["portcullis-sdk/native"]
//!
//! [[bin]]
//! name = "scafctl-plugin-greet"
//! path = "src/main.rs"
//! required-features = ["native"]
//! test = false
//! ```
//!
//! `cargo build --release --features native` makes the program, for which it needs a C compiler and, the first time, some
//! minutes; the component is built as before. The program differs
//! from the component:
//!
//! - One value of the plugin's type serves all calls, and calls overlap. Each may block a thread of its own.
//! - Nothing is sandboxed. Nothing is limited, except requests, to 4 MiB, as in Go ([`Options::message_limit`]).
//! - A call whose caller has gone goes on. It can notice that by [`Host::cancelled`](crate::Host::cancelled), by a
//!   [`Sink`](crate::Sink) that is closed, and by calls of the host that fail.
//! - Its standard output reaches the host's user, if the host shows that; its standard error goes to the host's log.
//! - A panic ends the process, as in Go; every other call ends with it.
//! - If the host has no services to call back, as scafctl itself, calls of the host fail with `not available`.

mod auth;
mod call;
mod host;
mod provider;

use std::sync::Arc;

use portcullis_contract as contract;
use portcullis_serve::Served;
pub use portcullis_serve::{Capture, Level, Options, Outcome, Parent};

use self::auth::NativeAuth;
use self::provider::NativeProvider;
use crate::{AuthHandler, Json, Provider, Settings};

/// Serves a provider until its host ends it: the whole of a program's `main`.
pub fn serve_provider(plugin: impl Provider) -> Outcome {
    serve_provider_with(plugin, options())
}

/// Returns the default options, by which standard output reaches the user.
#[must_use]
pub fn options() -> Options {
    Options { capture: Capture::Stdout, ..Options::default() }
}

/// Serves a provider with other options.
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

/// Serves an auth handler with other options.
pub fn serve_auth_handler_with(plugin: impl AuthHandler, options: Options) -> Outcome {
    let mut served = Served::auth_handler(async move |around| {
        let handler = NativeAuth::describe(Arc::new(plugin), around).await?;
        Ok(Arc::new(handler) as Arc<dyn contract::AuthHandler>)
    });
    served.options = options;
    served.run()
}

/// Makes a text of each setting that is not JSON, as it is in a component: an author reads the same.
fn make_json(settings: &mut Settings) {
    settings.values_mut().for_each(Json::make_json);
}
