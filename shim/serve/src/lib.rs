//! The contract of Portcullis, served as a go-plugin plugin.
//!
//! Any [`Provider`](portcullis_contract::Provider) or [`AuthHandler`](portcullis_contract::AuthHandler) becomes a
//! program that unmodified Go hosts can start and call, and that can call them back. The shim serves components in this
//! way, and the SDK serves the same guests built natively.
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
//! - [`Served`] describes a plugin to be served: [`run`](Served::run) is the whole of a `main`,
//!   [`serve`](Served::serve) does the same within a runtime, [`serve_in_test`](Served::serve_in_test) beside a test.
//! - [`Options`] change how it is served. The defaults are those of scafctl's SDK, except that the plugin ends with its host.
//! - [`Surroundings`] are what the process offers to its plugin: the host to call back, two outputs, the log, and ways
//!   to end.
//! - [`Outcome`] is how it ended, for `main` to return.
//!
//! A plugin gets its host at launch, but the host says where it can be reached only when it configures the plugin. So
//! [`Surroundings::host`] can be used from the beginning, and answers as a host that offers nothing until then.
//!
//! No gRPC type is part of this API; messages of the wire stay in `provider.rs` and `auth.rs`.

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
    Calls, Capture, End, Outcome, Output, Parent, ServeError, TestServing, raise_open_files,
    timeout::answering,
};

pub use self::served::{Options, Served};
pub use self::surroundings::Surroundings;
