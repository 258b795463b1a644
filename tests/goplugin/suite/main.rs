//! go-plugin, spoken with real Go peers: one test binary.
//!
//! Without a Go toolchain the build script says that all of it is left out, and CI fails.

#![cfg(go_peers)]

mod attach;
mod host;
mod plugin;
mod scene;
mod stranger;
mod tls;
mod upstream;
