//! The plugin's side, as hosts meet it.
//!
//! The plugin is `goplugin-peer`: the library's own [`portcullis_goplugin::Serve`] with a service for tests. It is
//! started by hand, as no good host would; by our own host; and by Go's.

#![expect(clippy::disallowed_methods, reason = "tests start what they test, and say what its environment is")]

mod by_our_host;
mod child;
mod end;
mod in_test_mode;
mod services;
mod start;

use std::error::Error;
use std::time::Duration;

/// The plugin.
const PEER: &str = env!("CARGO_BIN_EXE_goplugin-peer");

/// Generous: it is only ever waited out by a test that fails.
const LONG: Duration = Duration::from_secs(30);

type TestResult = Result<(), Box<dyn Error>>;

/// The messages of the tests' own service.
mod peer {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("portcullis.test");
}

/// The messages of go-plugin's services.
mod wire {
    #![expect(
        unreachable_pub,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]
    tonic::include_proto!("plugin");
}

/// Returns what `Echo` takes.
fn data(value: &[u8]) -> peer::Data {
    peer::Data { value: value.to_vec().into() }
}
