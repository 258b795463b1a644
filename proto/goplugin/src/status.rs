//! Statuses of gRPC as Go has them.

use std::error::Error as _;

use bytes::Bytes;
use tonic::{Code, Status};

use crate::channel::CutOff;

/// Returns `status` with the code that grpc-go has for the same failure.
///
/// tonic has other codes for two of its own failures: for a message over the limit `OutOfRange` instead of
/// `ResourceExhausted`, and for a deadline that passed `Cancelled` instead of `DeadlineExceeded`. Both are
/// raised where no channel sees them: in the client's decoder, or in a peer's server.
#[must_use]
pub fn normalized(status: Status) -> Status {
    let code = match (status.code(), status.message()) {
        (Code::OutOfRange, message) if message.contains("message length too large") => {
            Code::ResourceExhausted
        }
        (Code::Cancelled, "Timeout expired") => Code::DeadlineExceeded,
        _ => return status,
    };
    Status::with_details_and_metadata(
        code,
        status.message(),
        Bytes::copy_from_slice(status.details()),
        status.metadata().clone(),
    )
}

/// Returns whether the other side does not know a call. tonic says the same of an answer that is compressed, which it
/// cannot read.
#[must_use]
pub fn is_unknown_call(status: &Status) -> bool {
    status.code() == Code::Unimplemented && !status.message().starts_with("Content is compressed with")
}

/// Returns whether the answer to a call lacks its end, though the connection lives: a message is cut off, or no status
/// follows the last one.
#[must_use]
pub fn is_cut_off(status: &Status) -> bool {
    status.source().is_some_and(|source| source.is::<CutOff>())
}

/// Returns what Go's client prints of a status, and what Go's errors therefore say.
#[must_use]
pub fn go_sentence(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, message: &str, expected: Code) {
        let found = normalized(Status::new(code, message));
        assert_eq!((found.code(), found.message()), (expected, message));
    }

    #[test]
    fn what_tonic_names_differently_gets_the_name_that_go_uses() {
        let over = "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes";
        check(Code::OutOfRange, over, Code::ResourceExhausted);
        check(Code::Cancelled, "Timeout expired", Code::DeadlineExceeded);
    }

    #[test]
    fn what_a_plugin_says_is_left_as_it_is() {
        check(Code::OutOfRange, "index 7", Code::OutOfRange);
        check(Code::Cancelled, "not today", Code::Cancelled);
        check(Code::Unknown, "transport error", Code::Unknown);
    }

    #[test]
    fn a_status_reads_as_it_does_in_go() {
        assert_eq!(go_sentence(&Status::unknown("no")), "rpc error: code = Unknown desc = no");
        assert_eq!(go_sentence(&Status::cancelled("")), "rpc error: code = Canceled desc = ");
        let denied = go_sentence(&Status::permission_denied("x"));
        assert_eq!(denied, "rpc error: code = PermissionDenied desc = x");
    }
}
