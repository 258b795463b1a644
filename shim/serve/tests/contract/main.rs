//! The contract as it is served: what is on the wire, seen with the messages of the wire.
//!
//! The plugins are made up (`player.rs`, `keyholder.rs`) and know no JSON but what they are told to do. What real plugins
//! are to real hosts is tested in the workspace's own suite.

mod auth;
mod host;
mod keyholder;
mod player;
mod provider;
mod stage;

type TestResult = Result<(), Box<dyn std::error::Error>>;
