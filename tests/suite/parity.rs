//! One behaviour each, through every door: the same plugin as a Go child process, and the same guest as a child process
//! of its own, as a component, and as that component behind the shim.

mod auth;
mod auth_login;
mod auth_prompts;
mod callbacks;
mod cancellation;
mod concurrency;
mod configuration;
mod errors;
mod json;
mod limits;
mod log;
mod prints;
mod results;
mod streaming;
