//! The state of a stream that a plugin keeps open for its host.

use tonic::{Code, Status};

/// The state of a stream that a plugin keeps open for its host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It was requested, and has not ended.
    Open,
    /// The plugin has no such service.
    Absent,
    /// The plugin ended it, or the connection did.
    Ended,
    /// The plugin ended it with an error, in these words.
    Failed(String),
}

impl Standing {
    /// Returns what the end of a stream means.
    pub(crate) fn after(end: Result<(), Status>) -> Self {
        match end {
            Ok(()) => Self::Ended,
            Err(status) => match status.code() {
                Code::Unimplemented => Self::Absent,
                Code::Unavailable | Code::Cancelled => Self::Ended,
                code => Self::Failed(format!("{code:?}: {}", status.message())),
            },
        }
    }
}
