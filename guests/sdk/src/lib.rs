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
//! pub struct Greeter;
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
//! A plugin is a library of its own (`cargo new --lib greet`), for Rust 1.95 or newer. After `rustup target add
//! wasm32-wasip2`, the command `cargo build --release --target wasm32-wasip2` makes a component of it. Two settings cannot
//! come from a dependency and belong in your own workspace: a profile for small, quick plugins, and the size of the guest's
//! stack, without which every call costs twice as much. A call that needs more stack than that, for deep recursion or large
//! local arrays, ends with the trap `out of bounds memory access`: raise the number then.
//!
//! ```toml
//! # Cargo.toml, behind [package]
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! portcullis-sdk = { path = "../portcullis/guests/sdk" }
//! serde = { version = "1", features = ["derive"] }
//!
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
//! - [`Provider`] is the trait of a provider; [`Execute`], [`Output`] and [`Descriptor`] are its messages, which are the
//!   host's own;
//! - [`AuthHandler`] is the trait of plugins that log people in and issue tokens; [`export_auth_handler!`] is its
//!   macro;
//! - [`Host`] is what a plugin may ask of its host: secrets, identity, the log, the time that is left;
//! - [`Prompts`] shows a person something during a login, and asks for an answer;
//! - [`Error`] and [`Refusal`] say why a call failed;
//! - [`Sink`] takes the output of a streaming execution;
//! - [`Json`] is JSON as text, which is parsed only where somebody looks into it;
//! - the module `native`, with the feature of that name (`cargo doc --features native` shows it), makes a native go-plugin program of the same type.
//!
//! There is no ambient state: the host is an argument of every call that may need it. Outside of
//! wasm a plugin is an ordinary type, and its tests are ordinary tests in the library itself: they make a [`Host`] from a
//! `HostService` of their own, or from `Unavailable`, which offers nothing, and call the methods. The test of a
//! login makes its [`Prompts`] from a `PromptService` in the same way.
//!
//! What a plugin prints on its own is shown line by line; flush what has no line end, or it is lost with the instance.
//!
//! Files, variables, the clock and sleep come from `std`. A component has no threads and no sockets; it speaks HTTP by
//! `wasi:http`, for which there are crates (`waki`, for instance). What a policy does not grant fails as an ordinary error.
//!
//! A whole auth handler, and its test:
//!
//! ```
//! use std::sync::Mutex;
//!
//! use portcullis_sdk::{
//!     AccessRequest, Account, AuthHandler, AuthStatus, Claims, DeviceCodePrompt, Error, Flow, HandlerInfo, HandlerName, Host,
//!     LoginRequest, LoginResult, Prompts, Token,
//! };
//!
//! #[derive(Default)]
//! pub struct Acme {
//!     // Lasts as long as the plugin runs, and the command `portcullis` starts it anew each time: a real one keeps a secret.
//!     who: Mutex<Option<Claims>>,
//! }
//!
//! impl AuthHandler for Acme {
//!     fn handlers(&self) -> Result<Vec<HandlerInfo>, Error> {
//!         Ok(vec![HandlerInfo {
//!             name: HandlerName::new("acme"),
//!             display_name: "Acme".to_owned(),
//!             flows: vec![Flow::DEVICE_CODE],
//!             capabilities: Vec::new(),
//!         }])
//!     }
//!
//!     fn login(&self, _: &Host, prompts: &Prompts, handler: &str, request: LoginRequest) -> Result<LoginResult, Error> {
//!         if handler != "acme" {
//!             return Err(Error::unknown_handler(handler));
//!         }
//!         if let Some(flow) = request.flow.filter(|flow| *flow != Flow::DEVICE_CODE) {
//!             return Err(Error::new(format!("flow not supported: {flow}")));
//!         }
//!         prompts.device_code(DeviceCodePrompt {
//!             user_code: "ABCD-1234".to_owned(),
//!             verification_uri: "https://acme.example/device".to_owned(),
//!             message: "Enter ABCD-1234 at https://acme.example/device".to_owned(),
//!         });
//!         // Here it would wait for the person to do so.
//!         let claims = Claims { username: "ada".to_owned(), ..Claims::default() };
//!         *self.who.lock().unwrap() = Some(claims.clone());
//!         Ok(LoginResult { claims: Some(claims), expires_at: None })
//!     }
//!
//!     fn logout(&self, _: &Host, _handler: &str, _: &Account) -> Result<(), Error> {
//!         *self.who.lock().unwrap() = None;
//!         Ok(())
//!     }
//!
//!     fn status(&self, _: &Host, _handler: &str, _: &Account) -> Result<AuthStatus, Error> {
//!         let claims = self.who.lock().unwrap().clone();
//!         Ok(AuthStatus { authenticated: claims.is_some(), claims, ..AuthStatus::default() })
//!     }
//!
//!     fn token(&self, _: &Host, _handler: &str, request: AccessRequest) -> Result<Token, Error> {
//!         if self.who.lock().unwrap().is_none() {
//!             return Err(Error::new("not authenticated"));
//!         }
//!         Ok(Token { access_token: "t0k3n".to_owned(), scope: request.scope, ..Token::default() })
//!     }
//! }
//!
//! portcullis_sdk::export_auth_handler!(Acme);
//!
//! # fn main() {
//! use portcullis_sdk::Unavailable;
//!
//! let (acme, host, nobody) = (Acme::default(), Host::from_service(&Unavailable), Prompts::from_service(&Unavailable));
//! let result = acme.login(&host, &nobody, "acme", LoginRequest::default()).expect("a code is all it takes");
//! assert_eq!(result.claims.expect("somebody logged in").username, "ada");
//! assert!(acme.status(&host, "acme", &Account::default()).expect("it always knows").authenticated);
//! # }
//! ```

mod auth;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod component;
mod host;
#[cfg(all(feature = "native", not(target_family = "wasm")))]
pub mod native;
mod prompts;
mod provider;
#[cfg(not(target_family = "wasm"))]
mod service;
mod sink;

pub use auth::AuthHandler;
pub use host::{Host, HostError, Level};
#[doc(inline)]
pub use portcullis_contract::PluginError as Error;
#[doc(inline)]
pub use portcullis_contract::{
    AccessRequest, Account, AuthCapability, AuthHandlers, AuthStatus, CachedToken, Capability, Claims,
    Configuration, Contact, Context, Descriptor, DeviceCodePrompt, Diagnostic, Example, Execute, Flow,
    FlowAvailability, HandlerInfo, HandlerName, Iteration, Json, Link, LoginRequest, LoginResult, Operation,
    Output, ProviderName, Refusal, ResponseRequest, Settings, Severity, Solution, Token, TokenRequest,
    UnixSeconds,
};
pub use prompts::{PromptError, Prompts};
pub use provider::Provider;
#[doc(no_inline)]
pub use serde_json::Value;
#[cfg(not(target_family = "wasm"))]
pub use service::{HostService, PromptService, Unavailable};
pub use sink::{Channel, Closed, Sink};

/// Makes a type that implements [`Provider`] the plugin of this library, which is one plugin: a provider or an auth handler.
///
/// `export!(Type)` makes the plugin with [`Default`], `export!(Type, expression)` with the expression, when the first
/// call arrives. For an auth handler use [`export_auth_handler!`](crate::export_auth_handler).
///
/// For wasm this emits the exports of a component. Elsewhere it only checks that the type implements
/// the trait, because the names of those exports are not valid symbols of a shared library.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export!($plugin, <$plugin as ::core::default::Default>::default());
    };
    ($plugin:ty, $make:expr) => {
        $crate::__export!(Provider, provider, export_provider_plugin, $plugin, $make);
    };
}

/// Makes a type that implements [`AuthHandler`] the plugin of this library.
///
/// It is used like [`export!`].
#[macro_export]
macro_rules! export_auth_handler {
    ($plugin:ty) => {
        $crate::export_auth_handler!($plugin, <$plugin as ::core::default::Default>::default());
    };
    ($plugin:ty, $make:expr) => {
        $crate::__export!(AuthHandler, auth, export_auth_handler_plugin, $plugin, $make);
    };
}

/// Exports a plugin of one kind: its trait, and where and under which name its exports are generated.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($kind:ident, $bindings:ident, $export:ident, $plugin:ty, $make:expr) => {
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

            $crate::component::bindings::$bindings::$export!(
                Exports with_types_in $crate::component::bindings::$bindings
            );
        };

        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> $plugin = || {
            fn is_of_the_kind<P: $crate::$kind>(plugin: P) -> P {
                plugin
            }
            is_of_the_kind($make)
        };
    };
}
