//! How large a message may be, whichever way it goes.

use portcullis_contract::{Amount, BackendName, CallError, LimitName, Limits};

use crate::component::instances::Instances;

/// Refuses what is larger than it may be.
pub(crate) fn fits(size: u64, limit: u64) -> Result<(), CallError> {
    if size <= limit {
        return Ok(());
    }
    let [asked, allowed] = [size, limit].map(Amount::Bytes);
    Err(CallError::Limit { which: LimitName::Message, asked, allowed })
}

impl Instances {
    /// Returns how large all that a plugin says of itself may be. That is no request or result, and a
    /// policy that is tight about those must not make it unknown.
    pub(crate) fn room_for_descriptors(&self) -> u64 {
        let usual = Limits::default().resolve(BackendName::Component).message;
        self.ground.limits.message.max(usual)
    }

    /// Refuses a request that is larger than a message may be.
    pub(crate) fn fits(&self, texts: &[&str]) -> Result<(), CallError> {
        let size = texts.iter().map(|text| u64::try_from(text.len()).unwrap_or(u64::MAX));
        fits(size.fold(0, u64::saturating_add), self.ground.limits.message)
    }
}
