//! A limit that a guest went past, on its way through the engine.

use std::time::Duration;

use portcullis_contract::{Amount, CallError, LimitName};
use thiserror::Error;

/// A guest went past one of its limits. Passes through the engine as an error, and is found again by its type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("limit {which} reached: asked {asked:#}, allowed {allowed}")]
pub(crate) struct LimitHit {
    pub(crate) which: LimitName,
    pub(crate) asked: Amount,
    pub(crate) allowed: Amount,
}

impl LimitHit {
    /// Refuses more bytes than a limit allows.
    pub(crate) fn check(which: LimitName, asked: u64, allowed: u64) -> Result<(), Self> {
        if asked <= allowed {
            return Ok(());
        }
        let [asked, allowed] = [asked, allowed].map(Amount::Bytes);
        Err(Self { which, asked, allowed })
    }

    /// Says that something took longer than a call may. How long it would have taken nobody knows.
    pub(crate) fn wall(allowed: Duration) -> Self {
        Self { which: LimitName::Wall, asked: Amount::Unknown, allowed: Amount::Time(allowed) }
    }
}

impl From<LimitHit> for CallError {
    fn from(LimitHit { which, asked, allowed }: LimitHit) -> Self {
        Self::Limit { which, asked, allowed }
    }
}
