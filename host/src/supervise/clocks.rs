//! The two clocks of a call: its caller's, and the wall of its plugin.
//!
//! Both start when the call is made. Which of them runs out first, and what the call waits for at that moment, decides
//! the error. Nothing here waits.

use std::time::Duration;

use portcullis_contract::{Amount, Call, CallError, LimitHit, LimitName, Resolved};
use tokio::time::Instant;

/// A deadline so far off that it never comes, and that no addition overflows.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The two clocks of a call.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    begun: Instant,
    caller: Option<Instant>,
    wall: Option<Duration>,
}

/// What a call waits for, which decides the error when its time is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    ForTurn,
    ForAnswer,
}

impl Clocks {
    /// Starts both.
    pub(super) fn start(call: &Call, limits: &Resolved) -> Self {
        Self { begun: Instant::now(), caller: call.deadline.map(Instant::from_std), wall: limits.wall }
    }

    /// Starts the caller's alone.
    pub(super) fn of_caller(call: &Call) -> Self {
        Self { begun: Instant::now(), caller: call.deadline.map(Instant::from_std), wall: None }
    }

    fn end_of_wall(&self) -> Option<Instant> {
        self.wall.map(|wall| self.begun + wall.min(NEVER))
    }

    /// Returns when the first of them strikes.
    pub(super) fn first(&self) -> Instant {
        let ends = [self.caller, self.end_of_wall()].into_iter().flatten();
        ends.min().unwrap_or(self.begun + NEVER)
    }

    /// Returns the call as the plugin sees it: with the earlier of both deadlines.
    pub(super) fn call(&self) -> Call {
        let told = self.caller.is_some() || self.wall.is_some();
        Call { deadline: told.then(|| self.first().into_std()) }
    }

    /// Returns an error, or that the time is up if a refusal came with that: a plugin that knows its deadline refuses
    /// once it has passed, in words of its own. What the clocks say counts.
    pub(super) fn settled(&self, error: CallError, limits: &Resolved) -> CallError {
        match error {
            CallError::Refused(_) if self.first() <= Instant::now() => self.error(Waiting::ForAnswer, limits),
            error => error,
        }
    }

    /// Says which of the clocks ran out.
    pub(super) fn error(&self, waiting: Waiting, limits: &Resolved) -> CallError {
        match (self.end_of_wall(), self.wall, self.caller) {
            (Some(end), Some(wall), caller) if caller.is_none_or(|caller| end < caller) => match waiting {
                Waiting::ForTurn => too_many(limits),
                Waiting::ForAnswer => LimitHit::wall(wall).into(),
            },
            (.., caller) => {
                let limit = caller.unwrap_or(self.begun).saturating_duration_since(self.begun);
                CallError::TimedOut { limit }
            }
        }
    }
}

/// Says that a call found no turn.
pub(super) fn too_many(limits: &Resolved) -> CallError {
    let allowed = u64::from(limits.concurrency);
    CallError::Limit(LimitHit {
        which: LimitName::Concurrency,
        asked: Amount::Count(allowed + 1),
        allowed: Amount::Count(allowed),
    })
}
