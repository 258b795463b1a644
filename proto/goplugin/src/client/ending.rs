//! How a plugin reacted to the request to end.

use std::time::Duration;

use super::Exit;

/// How a plugin that was asked to end did so.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// How it answered.
    pub asked: Asked,
    /// How long it took, from the request until its process and its output had ended.
    pub took: Duration,
    /// Whether it took a signal: SIGTERM, because it did not know the request, or SIGKILL, because the grace was over.
    pub killed: bool,
    /// How it ended.
    pub exit: Exit,
}

/// How a plugin answered the request to end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// It was not asked: it had ended, it is under test, or there was no time to ask.
    Not,
    /// It confirmed the request.
    Answered,
    /// It ended the connection before it answered, as plugins in Go do.
    Cut,
    /// It does not know the request.
    Absent,
    /// It answered with an error, in these words.
    Failed(String),
    /// It did not answer.
    Unanswered,
}
