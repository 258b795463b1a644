//! The only test binary: everything that holds of Portcullis, seen through the doors a user would use.
//!
//! Tests of behaviour are written once and run through every door (`parity`). What only one backend
//! can do to us, or for us, stands under that backend's name.

mod checklists;
mod cli;
mod cli_asked;
mod cli_auth;
mod cli_directories;
mod cli_endings;
mod cli_files;
mod cli_kept;
mod cli_log;
mod cli_machines;
mod cli_names;
mod cli_prints;
mod cli_told;
mod component;
mod component_ahead;
mod component_apart;
mod component_auth;
mod component_grants;
mod component_neighbours;
mod component_refused;
#[cfg(go_peers)]
mod go_host;
mod house;
mod kernel;
mod names;
mod native;
mod parity;
mod person;
mod probe;
mod process;
mod process_auth;
mod wrap;
mod wrap_by_hand;
mod wrap_refused;
mod wrapped;
