//! How a stream that a plugin keeps open for its host is getting on.

use tonic::{Code, Status};

/// How a stream that a plugin keeps open for its host is getting on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It was asked for, and has not ended.
    Open,
    /// The plugin has no such service.
    Absent,
    /// The plugin ended it, or the connection did.
    Ended,
    /// The plugin ended it with an error, in these words.
    Failed(String),
}

impl Standing {
    /// Tells what the end of a stream means.
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
