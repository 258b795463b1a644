//! How the command ends: its exit codes, and the errors that lead to them.
//!
//! The numbers are upstream's (contract spec 3.2). A plugin's exit code is never the command's: a run that
//! failed, however it failed, ends with [`Exit::Failed`].

use std::error::Error;
use std::process::ExitCode;

use portcullis_contract::StopReason;
use portcullis_goplugin::Evidence;

use crate::{logging, stderr};

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
    without(problem, was_shown)
}

/// Returns whether all of these last words were shown: in the log what was logged, and what was printed as it came.
fn was_shown(cause: &(dyn Error + 'static), words: &str) -> bool {
    // A plugin that ran may be a component, whose log goes another way: a line that looks logged is print, and may have
    // been shown nowhere.
    if cause.is::<StopReason>() {
        return stderr::has_shown(words);
    }
    let printed: Vec<_> = words.lines().filter(|line| !logging::has_shown(line)).collect();
    printed.is_empty() || stderr::has_shown(&printed.join("\n"))
}

fn without(problem: &anyhow::Error, is_known: impl Fn(&(dyn Error + 'static), &str) -> bool) -> String {
    let told = problem.chain().filter_map(|cause| {
        let said = cause.to_string();
        let words = last_words(cause).filter(|words| is_known(cause, words));
        let Some(words) = words else { return Some(said) };
        let how = said.strip_suffix(words).unwrap_or(&said);
        let how = how.strip_suffix("its last words: ").map_or(how, |how| how.trim_end_matches("; "));
        Some(how.to_owned()).filter(|how| !how.is_empty())
    });
    told.collect::<Vec<_>>().join(": ")
}

/// Returns the last words of a plugin that stopped or did not start.
fn last_words<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e str> {
    let exited = |exit: &'e portcullis_goplugin::Exit| exit.stderr.trim();
    if let Some(reason) = cause.downcast_ref::<StopReason>() {
        return Some(reason.last_words());
    }
    match cause.downcast_ref::<Evidence>() {
        Some(Evidence::Exit(exit)) => Some(exited(exit)),
        Some(Evidence::LastWords(words)) => Some(words.trim()),
        _ => cause.downcast_ref().map(exited),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::CallError;

    use super::*;

    fn check(known: &str, expected: &str) {
        let reason = StopReason::Trapped { reason: "unreachable".to_owned(), stderr: "oh\n".to_owned() };
        let problem = anyhow::Error::new(CallError::Stopped(reason)).context("no answer");
        assert_eq!(without(&problem, |_, words| words == known), expected);
    }

    #[test]
    fn last_words_are_told_to_who_does_not_know_them() {
        let how = "no answer: the plugin stopped before it answered: unreachable";
        check("oh", how);
        check("", &format!("{how}; its last words: oh"));
    }

    #[test]
    fn only_words_of_a_child_that_does_not_start_may_be_in_the_log() {
        let stderr = "[ERROR] oh".to_owned();
        let ended = portcullis_goplugin::Exit { stderr: stderr.clone(), ..Default::default() };
        let stopped = StopReason::Exited { status: "it ended itself".to_owned(), stderr };
        tracing::subscriber::with_default(tracing_subscriber::registry(), || {
            assert!(was_shown(&ended, "[ERROR] oh"));
            assert!(!was_shown(&stopped, "[ERROR] oh"));
        });
    }

    #[test]
    fn last_words_at_a_start_are_told_to_who_does_not_know_them() {
        let check = |evidence: Evidence, known: &str, expected: &str| {
            let problem = anyhow::Error::new(evidence).context("no handshake");
            assert_eq!(without(&problem, |_, words| words == known), expected);
        };
        let ended = portcullis_goplugin::Exit { stderr: "oh\n".to_owned(), ..Default::default() };
        let exit = || Evidence::Exit(ended.clone());
        check(exit(), "oh", "no handshake: it ended: exit status unknown");
        check(exit(), "", "no handshake: it ended: exit status unknown; its last words: oh");
        let words = || Evidence::LastWords("oh\n".to_owned());
        check(words(), "oh", "no handshake");
        check(words(), "", "no handshake: its last words: oh");
    }
}
