//! Why a call gave no answer, beyond what a gRPC code can say.
//!
//! Every host reads the code and the message of a status. Ours also reads a line of plain ASCII in the
//! metadata, under [`FAILURE`], so that a component behind the shim fails like one in the host itself. Texts
//! stay in the message.
//!
//! The line needs no trust: a plugin can only say of itself that it hit a limit, broke the contract, died in a call
//! or is busy.

use std::time::Duration;

use crate::{Amount, CallError, LimitHit, LimitName, StopReason};

/// The name of the line in a status's metadata.
pub const FAILURE: &str = "portcullis-failure";

/// Writes the line; `None` if the code says everything.
#[must_use]
pub fn failure_line(error: &CallError) -> Option<String> {
    match error {
        CallError::Limit(LimitHit { which, asked, allowed }) => {
            Some(format!("limit {which} {} {}", amount(asked), amount(allowed)))
        }
        CallError::Contract(_) => Some("contract".to_owned()),
        CallError::Stopped(_) => Some("stopped".to_owned()),
        CallError::Busy { with } => Some(format!("busy {with}")),
        _ => None,
    }
}

/// Reads a line and the message of its status; `None` if the line is not understood.
#[must_use]
pub fn read_failure(line: &str, sentence: &str) -> Option<CallError> {
    let mut words = line.split(' ');
    let error = match words.next()? {
        "limit" => {
            let name = words.next()?;
            let which = LimitName::ALL.into_iter().find(|limit| limit.key() == name)?;
            CallError::Limit(LimitHit {
                which,
                asked: read_amount(words.next()?)?,
                allowed: read_amount(words.next()?)?,
            })
        }
        "contract" => caused(sentence, |cause| CallError::contract(cause.to_owned())),
        "stopped" => caused(sentence, |cause| {
            let (reason, words) = cause.split_once(StopReason::BEFORE_LAST_WORDS).unwrap_or((cause, ""));
            let [reason, stderr] = [reason, words].map(str::to_owned);
            CallError::Stopped(StopReason::Trapped { reason, stderr })
        }),
        // Only a login waits for a person.
        "busy" => match words.next()? {
            "login" => CallError::Busy { with: "login" },
            _ => return None,
        },
        _ => return None,
    };
    words.next().is_none().then_some(error)
}

/// Makes an error of its cause: the part of the sentence after the words that all errors of its kind begin with.
fn caused(sentence: &str, error: impl Fn(&str) -> CallError) -> CallError {
    let words = format!("{}: ", error(""));
    error(sentence.split_once(&words).map_or(sentence, |(_, cause)| cause))
}

fn amount(amount: &Amount) -> String {
    match amount {
        Amount::Bytes(bytes) => format!("{bytes}B"),
        Amount::Time(time) => format!("{}ns", time.as_nanos()),
        Amount::Count(count) => count.to_string(),
        Amount::Unknown => "?".to_owned(),
    }
}

fn read_amount(text: &str) -> Option<Amount> {
    if text == "?" {
        return Some(Amount::Unknown);
    }
    if let Some(nanos) = text.strip_suffix("ns") {
        return Some(Amount::Time(Duration::from_nanos(nanos.parse().ok()?)));
    }
    if let Some(bytes) = text.strip_suffix('B') {
        return Some(Amount::Bytes(bytes.parse().ok()?));
    }
    Some(Amount::Count(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;

    fn check(error: CallError) {
        let line = failure_line(&error).expect("it has a line");
        assert!(line.is_ascii());
        let said = chain(&error);
        // Most calls of an auth handler put a prefix before the sentence.
        for sentence in [said.clone(), format!("GetToken \"door\": {said}")] {
            let read = read_failure(&line, &sentence).expect("what leaves us can be read");
            assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(&error));
            assert_eq!(chain(&read), said);
        }
    }

    #[test]
    fn what_no_code_says_survives_both_ways() {
        let limits = [
            (LimitName::Memory, Amount::Bytes(65 << 20), Amount::Bytes(64 << 20)),
            (LimitName::Cpu, Amount::Unknown, Amount::Time(Duration::from_millis(1_500))),
            (LimitName::Wall, Amount::Unknown, Amount::Time(Duration::from_secs(30))),
            (LimitName::Message, Amount::Bytes(2), Amount::Bytes(1)),
            (LimitName::Output, Amount::Bytes(11), Amount::Bytes(10)),
            (LimitName::Handles, Amount::Unknown, Amount::Count(1_000)),
            (LimitName::Concurrency, Amount::Count(9), Amount::Count(8)),
        ];
        for (which, asked, allowed) in limits {
            check(CallError::Limit(LimitHit { which, asked, allowed }));
        }
        check(CallError::contract("no JSON"));
        check(CallError::Stopped(StopReason::Lost { reason: "gone".to_owned() }));
        check(CallError::Busy { with: "login" });
    }

    #[test]
    fn last_words_are_told_from_how_it_ended() {
        let stopped = StopReason::Exited { status: "exit".to_owned(), stderr: "oh\ndear\n".to_owned() };
        let stopped = CallError::Stopped(stopped);
        let Some(CallError::Stopped(read)) = read_failure("stopped", &chain(&stopped)) else {
            panic!("it is read")
        };
        assert_eq!((read.how(), read.last_words()), ("exit", "oh\ndear"));
    }

    #[test]
    fn what_a_code_says_has_no_line_and_nonsense_is_none() {
        for error in [CallError::Unimplemented, CallError::Gone] {
            assert_eq!(failure_line(&error), None);
        }
        let nonsense = [
            "",
            "limit",
            "limit memory",
            "limit memory 1B",
            "limit nothing 2B 1B",
            "limit memory -2B 1B",
            "limit memory 99999999999999999999B 1B",
            "limit memory 2B 1B more",
            "busy",
            "busy lunch",
            "stopped now",
            "Contract",
        ];
        for line in nonsense {
            assert!(read_failure(line, "s").is_none(), "{line}");
        }
    }
}
