//! How the command ends: its exit codes, and the errors that lead to them.
//!
//! The numbers are upstream's (contract spec 3.2). A plugin's exit code is never the command's: a run that
//! failed, however it failed, ends with [`Exit::Failed`].

use std::process::ExitCode;

use portcullis_contract::StopReason;

use crate::stderr;

/// The exit codes of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Done = 0,
    /// It tried and failed, or it did not understand its arguments.
    Failed = 1,
    /// What was checked works, but breaks a rule. Upstream's "validation failed".
    Deviates = 2,
    /// An input cannot be read or the provider has none of that name, or an option names what does not exist. An input
    /// with a wrong value is a failed run instead.
    InvalidInput = 3,
    /// There is no such provider or file, or the file is neither a component nor a program.
    NotFound = 4,
    /// The policy or the secrets file cannot be used.
    Configuration = 7,
    /// The time given with `--timeout` has passed.
    TimedOut = 9,
    /// The terminal was closed.
    HungUp = 129,
    /// Ctrl-C.
    Interrupted = 130,
    /// It was asked to end.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked, and how it ends because of that.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) problem: anyhow::Error,
}

/// An error without an opinion is a plain failure.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(problem: E) -> Self {
        Self { exit: Exit::Failed, problem: problem.into() }
    }
}

/// Says how the command ends because of an error.
pub(crate) trait OrExit<T> {
    /// Makes an error end the command that way.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|problem| Failure { exit, problem: problem.into() })
    }
}

/// Returns an error and everything that led to it. No error of ours repeats its source, so nothing is
/// said twice unless two places say it, as upstream's do.
pub(crate) fn chain(problem: &anyhow::Error) -> String {
    format!("{problem:#}")
}

/// Does the same for stderr, without a plugin's last words if they were shown there already.
pub(crate) fn told(problem: &anyhow::Error) -> String {
    without(problem, stderr::has_shown)
}

fn without(problem: &anyhow::Error, is_known: impl Fn(&str) -> bool) -> String {
    let told = problem.chain().map(|cause| match cause.downcast_ref::<StopReason>() {
        Some(reason) if is_known(reason.last_words()) => reason.how().to_owned(),
        _ => cause.to_string(),
    });
    told.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use portcullis_contract::CallError;

    use super::*;

    fn check(known: &str, expected: &str) {
        let reason = StopReason::Trapped { reason: "unreachable".to_owned(), stderr: "oh\n".to_owned() };
        let problem = anyhow::Error::new(CallError::Stopped(reason)).context("no answer");
        assert_eq!(without(&problem, |words| words == known), expected);
    }

    #[test]
    fn last_words_are_told_to_who_does_not_know_them() {
        let how = "no answer: the plugin stopped before it answered: unreachable";
        check("oh", how);
        check("", &format!("{how}; its last words: oh"));
    }
}
