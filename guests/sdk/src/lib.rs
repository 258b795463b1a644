//! Write a Portcullis plugin: implement one trait, call one macro.
//!
//! A whole plugin:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use portcullis_sdk::{Capability, Descriptor, Error, Execute, Host, Json, Level, Output, Provider};
//!
//! #[derive(Default)]
//! struct Greeter;
//!
//! #[derive(serde::Deserialize)]
//! struct Input {
//!     name: String,
//! }
//!
//! impl Provider for Greeter {
//!     fn providers(&self) -> Result<Vec<String>, Error> {
//!         Ok(vec!["greet".to_owned()])
//!     }
//!
//!     fn describe(&self, provider: &str) -> Result<Descriptor, Error> {
//!         if provider != "greet" {
//!             return Err(Error::unknown_provider(provider));
//!         }
//!         Ok(Descriptor {
//!             name: "greet".to_owned(),
//!             description: "Says hello to somebody.".to_owned(),
//!             version: "1.0.0".to_owned(),
//!             capabilities: vec![Capability::FROM],
//!             schema: Some(Json::from_text(
//!                 r#"{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}"#,
//!             )),
//!             output_schemas: BTreeMap::from([(Capability::FROM, Json::from_text(r#"{"type":"string"}"#))]),
//!             ..Descriptor::default()
//!         })
//!     }
//!
//!     fn execute(&self, host: &Host, request: Execute) -> Result<Output, Error> {
//!         let Input { name } = request.input_as()?;
//!         host.log(Level::Debug, "greeting", &[("name", name.as_str().into())]);
//!         Output::json(&format!("Hello, {name}!"))
//!     }
//! }
//!
//! portcullis_sdk::export!(Greeter);
//! ```
//!
//! It lives in a library whose `Cargo.toml` says `crate-type = ["cdylib"]`, and
//! `cargo build --release --target wasm32-wasip2` makes a component of it. Two things cannot come from a
//! dependency and belong into the author's own workspace: a profile for small, quick plugins and the
//! size of the guest's stack, without which every call costs twice as much.
//!
//! ```toml
//! # Cargo.toml
//! [profile.release]
//! lto = "fat"
//! codegen-units = 1
//! panic = "abort"
//! strip = true
//!
//! # .cargo/config.toml
//! [target.wasm32-wasip2]
//! rustflags = ["-Clink-arg=-zstack-size=131072"]
//! ```
//!
//! The tour:
//!
//! - [`Provider`] is the trait; [`Execute`], [`Output`] and [`Descriptor`] are its messages;
//! - [`Host`] is what a plugin may ask for: secrets, identity, the log, the time that is left;
//! - [`Error`] and [`Refusal`] say no;
//! - [`Sink`] shows what a streaming execution does;
//! - [`Json`] is JSON as text, parsed by whoever wants to look into it.
//!
//! There is no ambient state: the host is an argument of every call that may need it. Outside of
//! wasm a plugin is an ordinary type, and its tests are ordinary tests: they make a [`Host`] of their own
//! `HostService`, or of `Unavailable`, which has nothing to offer, and call the methods.

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod component;
mod descriptor;
mod error;
mod host;
mod identity;
mod json;
mod provider;
#[cfg(not(target_family = "wasm"))]
mod service;
mod sink;

pub use descriptor::{Capability, Contact, Descriptor, Example, Link, Operation};
pub use error::{Diagnostic, Error, Refusal, Severity};
pub use host::{Host, HostError, Level};
pub use identity::{AuthHandlers, Claims, Token, TokenRequest, UnixSeconds};
pub use json::{Json, Settings};
pub use provider::{Configuration, Context, Execute, Iteration, Output, Provider, Solution};
#[cfg(not(target_family = "wasm"))]
pub use service::{HostService, Unavailable};
pub use sink::{Channel, Closed, Sink};

/// Makes a type that implements [`Provider`] the plugin of this library.
///
/// `export!(Type)` makes the plugin with [`Default`]; `export!(Type, expression)` with an expression. It
/// is made when the first call arrives.
///
/// For wasm this emits the exports of a component. Elsewhere it only checks that the type implements
/// the trait, because the names of those exports are not valid symbols of a shared library.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export!($plugin, <$plugin as ::core::default::Default>::default());
    };
    ($plugin:ty, $make:expr) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Exports;

            impl $crate::component::Exports for Exports {
                type Plugin = $plugin;

                fn plugin() -> &'static $plugin {
                    static PLUGIN: ::std::sync::OnceLock<$plugin> = ::std::sync::OnceLock::new();
                    PLUGIN.get_or_init(|| $make)
                }
            }

            $crate::component::bindings::export_provider_plugin!(
                Exports with_types_in $crate::component::bindings
            );
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> $plugin = || {
            fn is_provider<P: $crate::Provider>(plugin: P) -> P {
                plugin
            }
            is_provider($make)
        };
    };
}
