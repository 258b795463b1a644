//! How large a message may be, whichever way it goes.

use portcullis_contract::{BackendName, CallError, LimitHit, LimitName, Limits};

use crate::component::instances::Instances;

/// Refuses what is larger than it may be.
pub(crate) fn fits(size: u64, limit: u64) -> Result<(), CallError> {
    Ok(LimitHit::check(LimitName::Message, size, limit)?)
}

/// How many bytes are left for what a plugin says of itself.
#[derive(Debug)]
pub(crate) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }

    /// Takes `size` bytes. Fails when fewer are left.
    pub(crate) fn take(&mut self, size: u64) -> Result<(), LimitHit> {
        self.used = self.used.saturating_add(size);
        LimitHit::check(LimitName::Message, self.used, self.limit)
    }
}

impl Instances {
    /// Returns how many bytes a plugin may say of itself: never less than the default for a message, for a policy that
    /// is tight about requests must not make the plugin unknown.
    pub(crate) fn description_limit(&self) -> u64 {
        let usual = Limits::default().resolve(BackendName::Component).message;
        self.ground.limits.message.max(usual)
    }

    /// Refuses more bytes than a message may have.
    pub(crate) fn fits(&self, size: u64) -> Result<(), CallError> {
        fits(size, self.ground.limits.message)
    }

    /// Refuses texts that are together larger than a message may be.
    pub(crate) fn texts_fit(&self, texts: &[&str]) -> Result<(), CallError> {
        let size = texts.iter().map(|text| u64::try_from(text.len()).unwrap_or(u64::MAX));
        self.fits(size.fold(0, u64::saturating_add))
    }

    /// Returns `error`, or the error of the limit if a refusal is too large: it is a message like any other.
    pub(crate) fn fitting(&self, error: CallError) -> CallError {
        let CallError::Refused(refusal) = &error else { return error };
        let excess = {
            let remarks = refusal.diagnostics.iter().flat_map(|d| [&d.summary, &d.detail, &d.attribute]);
            let texts: Vec<_> = remarks.chain([&refusal.message]).map(String::as_str).collect();
            self.texts_fit(&texts).err()
        };
        excess.unwrap_or(error)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::Amount;

    use super::*;

    #[test]
    fn a_budget_is_for_all_of_it_together() {
        let mut budget = Budget::new(10);
        assert!(budget.take(4).is_ok());
        assert!(budget.take(6).is_ok());
        let hit = budget.take(1).unwrap_err();
        assert_eq!((hit.asked, hit.allowed), (Amount::Bytes(11), Amount::Bytes(10)));
    }
}
