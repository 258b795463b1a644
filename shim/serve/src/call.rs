//! One call, as its host made it.

use std::time::Instant;

use portcullis_contract::Call;
use portcullis_goplugin::timeout;
use tonic::Request;

/// Returns what goes with a call. The connection ends the call itself when its time is over, or its host has gone.
pub(crate) fn of<T>(request: &Request<T>) -> Call {
    let text = request.metadata().get(timeout::HEADER).and_then(|value| value.to_str().ok());
    Call { deadline: text.and_then(timeout::parse).and_then(|timeout| Instant::now().checked_add(timeout)) }
}
