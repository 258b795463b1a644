//! The host's side: starting, following and ending children of every kind, with a helper that misbehaves on request.
//!
//! That real go-plugin binaries run, and what a connection tells of them, is shown elsewhere, by the workspace's own
//! tests.

mod end;
mod refused;
mod running;
mod scene;
mod start;
mod stranger;

use std::error::Error;
use std::time::Duration;

/// The helper.
const ROGUE: &str = env!("CARGO_BIN_EXE_goplugin-rogue");

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(20);

type TestResult = Result<(), Box<dyn Error>>;
