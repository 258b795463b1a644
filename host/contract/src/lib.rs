//! The vocabulary of Portcullis: what a plugin is, whatever runs it.
//!
//! Everything that a host, a backend or a shim says about plugins is said in the words of this crate:
//!
//! - [`Backend`] starts a plugin from a [`PluginSpec`];
//! - [`Plugin`] is one that runs, [`Provider`] and [`AuthHandler`] what a plugin of that kind does for us;
//! - [`HostService`] is what a running plugin may ask of us;
//! - [`CallError`], [`LaunchError`] and [`HostError`] answer *why no answer*, *why did it not start*
//!   and *why was it refused*;
//! - [`Grants`] and [`Limits`] say what a plugin may touch, and how much of it.
//!
//! Authors of plugins use the same types through the SDK; [`Json::decode`] and the methods like it read JSON into types of
//! their own.
//!
//! There is no I/O here, no clock and no runtime: traits and plain types alone. With the feature
//! `proto` the types convert to and from the messages of the wire (`From` for what leaves us,
//! `TryFrom` for what comes in).
//!
//! *Upstream* is scafctl, the Go program whose plugins these are, and its plugin SDK. "Contract spec 4.7" and the like
//! number the rules in the project's notes on them; the test that carries such a number states its rule.

mod auth;
mod backend;
mod chain;
mod decode;
mod descriptor;
mod grants;
mod host_service;
mod json;
mod limit_hit;
mod limits;
mod moment;
mod names;
mod plugin;
mod plugin_error;
mod prints;
#[cfg(feature = "proto")]
pub mod proto;
mod provider;
mod refusal;
mod tree;
mod visible;

pub use auth::{
    AccessRequest, Account, AuthHandler, AuthStatus, CachedToken, DeviceCodePrompt, FlowAvailability,
    HandlerInfo, LoginEvent, LoginRequest, LoginResult, NoLoginResult,
};
pub use backend::{
    Backend, Environment, HeldBy, InstanceReuse, Isolation, LaunchError, PluginSpec, RunAs, Stdin,
};
pub use chain::chain;
pub use descriptor::{Contact, Descriptor, Example, Link, Operation};
pub use grants::{
    Access, FsGrant, Grants, HttpAuthority, IdentityGrant, NamePattern, PatternError, SecretGrant,
};
pub use host_service::{
    AuthHandlers, Claims, HostError, HostService, PromptError, ResponseRequest, Token, TokenRequest,
};
pub use json::{Json, json_string};
pub use limit_hit::{Amount, LimitHit, LimitName};
pub use limits::{Limits, Resolved};
pub use moment::{UnixSeconds, moment};
pub use names::{
    AuthCapability, BackendName, Capability, Digest, DigestError, Flow, HandlerName, Kind, PluginName,
    ProviderName,
};
pub use plugin::{CallError, MOST_OFFERED, Plugin, PluginInfo, StopReason};
pub use plugin_error::PluginError;
pub use prints::{PrintStream, Prints};
pub use provider::{
    Call, Chunk, Configuration, Context, Execute, Iteration, Output, Provider, Settings, Solution,
};
pub use refusal::{Diagnostic, Refusal, Severity};
pub use tree::tree;
pub use visible::{quoted, visible, visible_line, visible_list};

/// The application protocol that we speak, as sent in every configuration (contract spec 2.1).
pub const PROTOCOL_VERSION: i32 = 2;
