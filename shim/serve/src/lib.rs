//! The contract of Portcullis, served as a go-plugin plugin.
//!
//! Whatever implements [`Provider`](portcullis_contract::Provider) or
//! [`AuthHandler`](portcullis_contract::AuthHandler) becomes a program that an unmodified Go host starts and
//! calls, callbacks included. The shim serves components in this way, and the SDK the same guests built natively.
//!
//! ```no_run
//! use std::sync::Arc;
//! use portcullis_contract::{Backend, PluginSpec};
//! use portcullis_serve::{Outcome, Served, Surroundings};
//!
//! fn serve(backend: Arc<dyn Backend>, spec: PluginSpec) -> Outcome {
//!     // Nothing is launched unless a host started this process.
//!     Served::provider(async move |around: Surroundings| {
//!         backend.launch_provider(PluginSpec { host: Some(around.host()), ..spec }).await
//!     })
//!     .run()
//! }
//! ```
//!
//! The tour:
//!
//! - [`Served`] is a plugin that is to be served, and how: [`run`](Served::run) is the whole of a `main`,
//!   [`serve`](Served::serve) the same within a runtime, [`serve_in_test`](Served::serve_in_test) beside a test.
//! - [`Options`] are what can be chosen; the defaults are upstream's, but that the plugin ends with its host.
//! - [`Surroundings`] are what a plugin gets of the process that it is served in: the host to call back, two outputs,
//!   the log, and a way to end.
//! - [`Outcome`] is how it ended, for `main` to return.
//!
//! A plugin gets its host when it is launched, and hears where that is when it is configured. So [`Surroundings::host`]
//! is there from the beginning, and has nothing to offer before a configuration brings the number to dial
//! (`host_service.rs`).
//!
//! No type of gRPC shows here; messages of the wire go no further than `provider.rs` and `auth.rs`.

mod auth;
mod call;
mod host_service;
mod provider;
mod request;
mod served;
mod service;
mod status;
mod surroundings;

pub use portcullis_goplugin::log::{Entry, Level};
pub use portcullis_goplugin::{
    Capture, End, Outcome, Output, Parent, ServeError, TestServing, raise_open_files,
};

pub use self::served::{Options, Served};
pub use self::surroundings::Surroundings;
