//! What a gRPC status says, to the contract and to people.
//!
//! A plugin's author, its library and the connection use the same codes for different things. They are told apart by
//! where the status was made.

use std::error::Error;

use portcullis_contract::proto::{FAILURE, read_failure};
use portcullis_contract::{Amount, CallError};
use portcullis_goplugin::{is_cut_off, is_unknown_call};
use tonic::{Code, Status};

/// What a status means to the contract.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The plugin does not know the call.
    Unimplemented,
    /// The plugin's author says that it does not do this.
    Declined,
    /// A message was too large for one side.
    TooLarge { asked: Amount, allowed: Amount },
    /// The deadline that went with the call has passed.
    Late,
    /// The connection failed under the call.
    Broken,
    /// What came was not an answer.
    Garbled,
    /// The plugin says so.
    Refused,
}

impl Meaning {
    pub(super) fn of(status: &Status) -> Self {
        if let Some((asked, allowed)) = sizes(status) {
            return Self::TooLarge { asked, allowed };
        }
        if is_cut_off(status) {
            return Self::Garbled;
        }
        // Only a status that was made on this side, of an error, has a source.
        let made_here = status.source().is_some();
        match status.code() {
            Code::Cancelled if made_here && is_timeout(status) => Self::Late,
            Code::DeadlineExceeded => Self::Late,
            _ if made_here => Self::Broken,
            Code::Unimplemented if !is_unknown_call(status) => Self::Garbled,
            Code::Unimplemented if is_of_a_stub(status.message()) => Self::Unimplemented,
            Code::Unimplemented => Self::Declined,
            Code::Internal if is_of_a_library(status.message()) => Self::Garbled,
            _ => Self::Refused,
        }
    }
}

/// Returns whether the library of a plugin says this by itself of a call that its author left out: in Go, in Rust, in
/// Python, and in C#. Of any other, the words are taken for the author's.
fn is_of_a_stub(words: &str) -> bool {
    const BEGINNINGS: [&str; 3] = ["unknown service ", "unknown method ", "malformed method name: "];
    const WHOLE: [&str; 5] = [
        "",
        "Method not implemented!",
        "Method not found!",
        "Method is unimplemented.",
        "Service is unimplemented.",
    ];
    let is_gos = words.starts_with("method ") && words.ends_with(" not implemented");
    is_gos || WHOLE.contains(&words) || BEGINNINGS.iter().any(|beginning| words.starts_with(beginning))
}

/// Returns whether the library of gRPC says this, on either side, of what is no message or no answer. Authors use the code
/// for whatever went wrong inside, so that it says nothing by itself.
fn is_of_a_library(words: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "failed to decode Protobuf message",
        "protocol error: ",
        "Error decompressing: ",
        "Missing request message",
        "Missing response message",
        "Unexpected EOF decoding stream",
        "grpc: ",
        "grpc-status header missing",
        "Exception deserializing request!",
    ];
    BEGINNINGS.iter().any(|beginning| words.starts_with(beginning))
}

/// Says what was seen of a connection: the innermost cause, for the outer ones say no more than "transport error".
pub(super) fn lost(status: &Status) -> String {
    chain(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// Takes the author's words out of the sentence of an ordinary error, before which the plugin's library puts the call
/// and the name of the handler. `None` for a status of any other code.
pub(super) fn authors_words<'s>(sentence: &'s str, call: &str, name: &str) -> Option<&'s str> {
    let words = sentence.strip_prefix("rpc error: code = Unknown desc = ")?;
    // A name that Go would quote in another way keeps its prefix: that reads well enough.
    Some(words.strip_prefix(&format!("{call} \"{name}\": ")).unwrap_or(words))
}

/// Returns the failure that a plugin of ours reports in the metadata of its status.
pub(super) fn reported(status: &Status) -> Option<CallError> {
    let line = status.metadata().get(FAILURE).filter(|_| status.source().is_none())?;
    read_failure(line.to_str().ok()?, status.message())
}

/// Reads the two sizes that gRPC libraries name when a message is too large for them.
///
/// The codes alone do not say it: a plugin's author may use them, too. Both libraries that matter
/// write two numbers, and no other number: `(5000000 vs. 4194304)`, or `found 5 bytes, the limit is:
/// 4 bytes`. A text in another form is taken for an author's.
fn sizes(status: &Status) -> Option<(Amount, Amount)> {
    if !matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange) {
        return None;
    }
    let mut numbers =
        status.message().split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<u64>().ok());
    let (asked, allowed, None) = (numbers.next()?, numbers.next()?, numbers.next()) else { return None };
    (asked > allowed).then_some((Amount::Bytes(asked), Amount::Bytes(allowed)))
}

fn is_timeout(status: &Status) -> bool {
    chain(status).any(|error| error.is::<tonic::TimeoutExpired>())
}

fn chain(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_contract::{LimitHit, LimitName};
    use portcullis_goplugin::go_sentence;

    use super::*;

    fn check(status: Status, expected: Meaning) {
        assert_eq!(Meaning::of(&status), expected, "{status:?}");
    }

    fn made_here(code: Code, source: impl Error + Send + Sync + 'static) -> Status {
        let mut status = Status::new(code, "made here");
        status.set_source(Arc::new(source));
        status
    }

    #[test]
    fn a_status_means_what_whoever_made_it_meant() {
        check(Status::unimplemented(""), Meaning::Unimplemented);
        check(Status::unknown("GetProviders: no"), Meaning::Refused);
        check(Status::unavailable("later"), Meaning::Refused);
        check(Status::internal("unexpected EOF"), Meaning::Refused);
        check(Status::internal("database down"), Meaning::Refused);
        check(Status::deadline_exceeded("late"), Meaning::Late);
        check(made_here(Code::Unknown, std::io::Error::other("reset")), Meaning::Broken);
        check(Status::unimplemented("not on a Sunday"), Meaning::Declined);
        let compressed = "Content is compressed with `gzip` which isn't supported";
        check(Status::unimplemented(compressed), Meaning::Garbled);
        check(made_here(Code::Unimplemented, std::io::Error::other("reset")), Meaning::Broken);
        check(made_here(Code::Cancelled, tonic::TimeoutExpired(())), Meaning::Late);
        check(Status::cancelled("the author's own"), Meaning::Refused);
    }

    /// The texts of the libraries as they are today.
    #[test]
    fn what_a_library_says_by_itself_is_told_from_its_authors_words() {
        for words in [
            "unknown service plugin.PluginService",
            "unknown method StopProvider for service plugin.PluginService",
            "malformed method name: \"/x\"",
            "method StopProvider not implemented",
            "Method not implemented!",
            "Method not found!",
            "Method is unimplemented.",
            "Service is unimplemented.",
        ] {
            check(Status::unimplemented(words), Meaning::Unimplemented);
        }
        for words in [
            "failed to decode Protobuf message: invalid wire type",
            "protocol error: received message with invalid compression flag: 7",
            "Error decompressing: corrupt deflate stream",
            "Missing request message.",
            "Missing response message.",
            "Unexpected EOF decoding stream.",
            "grpc: error while marshaling: string field contains invalid UTF-8",
            "grpc-status header missing, mapped from HTTP status code 400",
            "Exception deserializing request!",
        ] {
            check(Status::internal(words), Meaning::Garbled);
        }
    }

    #[test]
    fn what_a_plugin_of_ours_says_beside_a_status_goes_before_its_code() {
        let mut status = Status::resource_exhausted("limit cpu reached: asked 2s, allowed 1s");
        status.metadata_mut().insert(FAILURE, "limit cpu 2000000000ns 1000000000ns".parse().unwrap());
        assert!(matches!(reported(&status), Some(CallError::Limit(LimitHit { which: LimitName::Cpu, .. }))));
        status.metadata_mut().insert(FAILURE, "nonsense".parse().unwrap());
        assert!(reported(&status).is_none());
        let mut broken = made_here(Code::Unavailable, std::io::Error::other("reset"));
        broken.metadata_mut().insert(FAILURE, "stopped".parse().unwrap());
        assert!(reported(&broken).is_none());
    }

    /// The texts of grpc-go and of tonic, as they are today.
    #[test]
    fn a_message_too_large_is_told_from_an_authors_use_of_the_code() {
        let [asked, allowed] = [5_000_000, 4_194_304].map(Amount::Bytes);
        let too_large = || Meaning::TooLarge { asked, allowed };
        check(
            Status::resource_exhausted("grpc: received message larger than max (5000000 vs. 4194304)"),
            too_large(),
        );
        check(
            Status::out_of_range(
                "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
            ),
            too_large(),
        );
        check(Status::resource_exhausted("quota of 5 used up"), Meaning::Refused);
        check(Status::out_of_range("3 is not within 5 and 9"), Meaning::Refused);
        check(Status::unknown("found 5000000 bytes, the limit is: 4194304 bytes"), Meaning::Refused);
    }

    /// Contract item 139.
    #[test]
    fn an_ordinary_error_is_told_in_its_authors_words_and_another_as_it_came() {
        let check = |status: Status, expected: Option<&str>| {
            assert_eq!(authors_words(&go_sentence(&status), "Logout", "door"), expected, "{status:?}");
        };
        check(Status::unknown("Logout \"door\": no"), Some("no"));
        check(Status::unknown("no"), Some("no"));
        check(Status::unknown("Logout \"side\": no"), Some("Logout \"side\": no"));
        check(Status::permission_denied("Logout \"door\": no"), None);
    }
}
