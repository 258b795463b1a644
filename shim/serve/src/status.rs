//! Why there is no answer, as a status of gRPC.
//!
//! A plugin's own refusal has a field in most answers, and becomes a status only where it has none (contract spec 3.1).
//! What the plugin's author did not decide, a limit or a trap, say, is always a status, with the code that upstream's
//! libraries would give it, and with a line in its metadata for hosts of ours.

use portcullis_contract::proto::{FAILURE, failure_line};
use portcullis_contract::{CallError, chain};
use tonic::{Code, Status};

/// Returns the status for an error, with `words` before the error's text.
pub(crate) fn of(error: &CallError, words: &str) -> Status {
    let code = match error {
        CallError::Unimplemented => Code::Unimplemented,
        CallError::Limit(_) => Code::ResourceExhausted,
        CallError::Contract(_) => Code::Internal,
        // What a host sees of a plugin whose process is gone.
        CallError::Stopped(_) | CallError::Busy { .. } | CallError::Gone => Code::Unavailable,
        CallError::TimedOut { .. } => Code::DeadlineExceeded,
        // As for any error of an author that is not a status itself.
        _ => Code::Unknown,
    };
    let mut status = Status::new(code, format!("{words}{}", chain(error)));
    if let Some(line) = failure_line(error).and_then(|line| line.parse().ok()) {
        status.metadata_mut().insert(FAILURE, line);
    }
    status
}

/// Returns the status for a call that the plugin does not implement, in the words of a generated server.
pub(crate) fn unimplemented(method: &str) -> Status {
    Status::unimplemented(format!("method {method} not implemented"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_contract::{Amount, LimitHit, LimitName, Refusal, StopReason};

    use super::*;

    fn check(error: CallError, code: Code, message: &str, line: Option<&str>) {
        let status = of(&error, "");
        assert_eq!((status.code(), status.message()), (code, message));
        let found = status.metadata().get(FAILURE).map(|line| line.to_str().expect("it is ASCII"));
        assert_eq!(found, line);
    }

    #[test]
    fn every_reason_has_the_code_that_upstream_would_have_for_it() {
        check(CallError::Refused(Refusal::new("no")), Code::Unknown, "no", None);
        let limit = CallError::Limit(LimitHit {
            which: LimitName::Memory,
            asked: Amount::Bytes(2048),
            allowed: Amount::Bytes(1024),
        });
        let sentence = "limit memory reached: asked 2KiB, allowed 1KiB";
        check(limit, Code::ResourceExhausted, sentence, Some("limit memory 2048B 1024B"));
        let broken = "the plugin broke the contract: no JSON";
        check(CallError::contract("no JSON"), Code::Internal, broken, Some("contract"));
        let trapped = StopReason::Trapped { reason: "unreachable".to_owned(), stderr: "oh".to_owned() };
        let stopped = "the plugin stopped before it answered: unreachable; its last words: oh";
        check(CallError::Stopped(trapped), Code::Unavailable, stopped, Some("stopped"));
        let late = CallError::TimedOut { limit: Duration::from_millis(5) };
        check(late, Code::DeadlineExceeded, "no answer within 5ms", None);
        check(CallError::Busy { with: "login" }, Code::Unavailable, "busy: login", Some("busy login"));
        check(CallError::Gone, Code::Unavailable, "the plugin is shut down", None);
    }
}
