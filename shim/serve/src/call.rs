//! One call, as its host made it.

use std::time::Instant;

use portcullis_contract::Call;
use portcullis_goplugin::timeout;
use tonic::Request;

/// Returns what goes with a call. The connection drops a call by itself when its time is over or its host has gone.
pub(crate) fn of<T>(request: &Request<T>) -> Call {
    let limit = timeout::of(request.metadata().as_ref());
    Call { deadline: limit.and_then(|limit| Instant::now().checked_add(limit)) }
}
