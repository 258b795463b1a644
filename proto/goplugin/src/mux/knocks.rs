//! Which knocks are admitted, and in which order. Pure: it reads no clock.
//!
//! A stream of the session does not say which server it is for. So the dialler knocks first, with the server's number;
//! once the knock is admitted, the next stream that arrives is for that server. If such a stream never came, all later
//! ones would be shifted by one. So the admitted knocks are few, none is admitted late, and a stream that does not come
//! in time is forgotten (protocol spec 15.6).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// How long a knock waits for its number to be served. The dialler gives up after five seconds, and must not be
/// admitted after that: its stream would not come.
const HELD: Duration = Duration::from_millis(4500);

/// How long a stream may take to arrive after its knock was answered.
const EXPECTED: Duration = Duration::from_secs(5);

/// How many knocks may be held, and as many streams expected. A guess, and one of each is what there is.
const ROOM: usize = 256;

/// The servers, the knocks that came too early, and the knocks that were admitted. `T` takes the streams of a server.
#[derive(Debug)]
pub(super) struct Knocks<T> {
    served: HashMap<u32, (Ticket, T)>,
    held: VecDeque<(u32, Instant)>,
    expected: VecDeque<(u32, Instant)>,
    next: u64,
}

/// Tells two servers apart that had the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// The answer to a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is admitted: the next stream is for its server.
    Admit,
    /// No answer yet.
    Hold,
    /// It is refused.
    Refuse,
}

/// Which server a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound<T> {
    /// The server whose number was knocked for.
    For(T),
    /// None any more: the server has ended.
    Late,
    /// Nobody knocked for it.
    Unsolicited,
}

impl<T> Default for Knocks<T> {
    fn default() -> Self {
        Self { served: HashMap::new(), held: VecDeque::new(), expected: VecDeque::new(), next: 0 }
    }
}

impl<T: Clone> Knocks<T> {
    /// Begins to serve `id`. The verdict is that of a knock that came before, if there is one.
    ///
    /// A second server of the same number takes the first one's place.
    pub(super) fn serve(&mut self, id: u32, to: T, now: Instant) -> (Ticket, Verdict) {
        self.next = self.next.wrapping_add(1);
        let ticket = Ticket(self.next);
        self.served.insert(id, (ticket, to));
        let held = self.held.iter().position(|(held, since)| *held == id && now < *since + HELD);
        let verdict = match held.and_then(|at| self.held.remove(at)) {
            Some(_) => self.admit(id, now),
            None => Verdict::Hold,
        };
        (ticket, verdict)
    }

    /// Ends what was begun by [`serve`](Self::serve).
    pub(super) fn withdraw(&mut self, id: u32, ticket: Ticket) {
        if self.served.get(&id).is_some_and(|(served, _)| *served == ticket) {
            self.served.remove(&id);
        }
    }

    /// Takes a knock for `id`.
    pub(super) fn knock(&mut self, id: u32, now: Instant) -> Verdict {
        if self.served.contains_key(&id) {
            return self.admit(id, now);
        }
        // A second knock means that the dialler has given up on the first.
        self.held.retain(|(held, _)| *held != id);
        if self.held.len() == ROOM {
            return Verdict::Refuse;
        }
        self.held.push_back((id, now));
        Verdict::Hold
    }

    /// Takes a stream that arrived.
    pub(super) fn arrive(&mut self, now: Instant) -> Inbound<T> {
        self.forget(now);
        match self.expected.pop_front() {
            None => Inbound::Unsolicited,
            Some((id, _)) => match self.served.get(&id) {
                Some((_, to)) => Inbound::For(to.clone()),
                None => Inbound::Late,
            },
        }
    }

    /// Returns the numbers of knocks that have waited too long, and are to be refused.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u32> {
        self.forget(now);
        let mut expired = Vec::new();
        while let Some((id, _)) = self.held.pop_front_if(|(_, since)| *since + HELD <= now) {
            expired.push(id);
        }
        expired
    }

    /// Returns when [`expire`](Self::expire) will have something to return next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.held.front().map(|(_, since)| *since + HELD)
    }

    /// Drops all servers and knocks.
    pub(super) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    fn admit(&mut self, id: u32, now: Instant) -> Verdict {
        self.forget(now);
        if self.expected.len() == ROOM {
            return Verdict::Refuse;
        }
        self.expected.push_back((id, now));
        Verdict::Admit
    }

    fn forget(&mut self, now: Instant) {
        while self.expected.pop_front_if(|(_, since)| *since + EXPECTED <= now).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use portcullis_fuzz::Random;

    use super::*;

    fn start() -> Instant {
        // The clock of the tests is whatever they say it is.
        Instant::now()
    }

    #[test]
    fn streams_go_to_whom_was_knocked_for_in_that_order() {
        let (mut knocks, now) = (Knocks::default(), start());
        knocks.serve(1, "one", now);
        knocks.serve(2, "two", now);
        assert_eq!((knocks.knock(2, now), knocks.knock(1, now)), (Verdict::Admit, Verdict::Admit)); // H-63
        assert_eq!(knocks.arrive(now), Inbound::For("two")); // H-64
        assert_eq!(knocks.arrive(now), Inbound::For("one"));
        assert_eq!(knocks.arrive(now), Inbound::Unsolicited);
    }

    #[test]
    fn a_knock_that_came_too_early_is_answered_when_its_number_is_served() {
        let (mut knocks, now) = (Knocks::default(), start());
        assert_eq!(knocks.knock(1, now), Verdict::Hold);
        assert_eq!(knocks.serve(1, "one", now + HELD / 2).1, Verdict::Admit);
        assert_eq!(knocks.arrive(now + HELD), Inbound::For("one"));
        assert_eq!(knocks.next_expiry(), None);
    }

    #[test]
    fn a_knock_that_nobody_serves_is_refused_and_never_answered_later() {
        let (mut knocks, now) = (Knocks::default(), start());
        assert_eq!(knocks.knock(1, now), Verdict::Hold);
        assert_eq!(knocks.next_expiry(), Some(now + HELD));
        assert_eq!(knocks.expire(now + HELD / 2), Vec::<u32>::new());
        assert_eq!(knocks.serve(1, "one", now + HELD).1, Verdict::Hold); // P-59
        assert_eq!(knocks.expire(now + HELD), [1]);
        assert_eq!(knocks.arrive(now + HELD), Inbound::Unsolicited);
    }

    #[test]
    fn what_is_expected_in_vain_is_forgotten() {
        let (mut knocks, now) = (Knocks::default(), start());
        knocks.serve(1, "one", now);
        knocks.serve(2, "two", now);
        knocks.knock(1, now);
        knocks.knock(2, now + EXPECTED / 2);
        assert_eq!(knocks.arrive(now + EXPECTED), Inbound::For("two"));
    }

    #[test]
    fn a_server_that_ended_takes_its_place_in_the_row_along() {
        let (mut knocks, now) = (Knocks::default(), start());
        let (ticket, _) = knocks.serve(1, "one", now);
        knocks.serve(2, "two", now);
        knocks.knock(1, now);
        knocks.knock(2, now);
        knocks.withdraw(1, ticket);
        assert_eq!(knocks.arrive(now), Inbound::Late);
        assert_eq!(knocks.arrive(now), Inbound::For("two"));
    }

    #[test]
    fn the_end_of_a_server_is_not_that_of_its_successor() {
        let (mut knocks, now) = (Knocks::default(), start());
        let (first, _) = knocks.serve(1, "first", now);
        knocks.serve(1, "second", now);
        knocks.withdraw(1, first);
        assert_eq!(knocks.knock(1, now), Verdict::Admit);
        assert_eq!(knocks.arrive(now), Inbound::For("second"));
    }

    #[test]
    fn a_flood_of_knocks_is_refused() {
        let (mut knocks, now) = (Knocks::<()>::default(), start());
        for id in 0..u32::try_from(ROOM).unwrap() {
            assert_eq!(knocks.knock(id, now), Verdict::Hold);
        }
        assert_eq!(knocks.knock(7, now), Verdict::Hold);
        assert_eq!(knocks.knock(u32::MAX, now), Verdict::Refuse);
    }

    /// The same rules said differently: every event with its time is kept, and questions are answered by looking
    /// at all of them.
    #[test]
    fn any_course_of_events_goes_as_the_rules_say() {
        for seed in 0..200 {
            course(seed);
        }
    }

    fn course(seed: u64) {
        let mut random = Random::from_name(&format!("knocks {seed}"));
        let (mut knocks, mut now) = (Knocks::default(), start());
        // The model: who is served, the open knocks, and everybody ever let in with whether they came.
        let mut served: Vec<(u32, Ticket, u64)> = Vec::new();
        let mut open: Vec<(u32, Instant)> = Vec::new();
        let mut row: Vec<(u32, Instant, bool)> = Vec::new();
        for step in 0..400_u64 {
            now += Duration::from_millis(u64::try_from(random.below(700)).unwrap());
            let id = u32::try_from(random.below(4)).unwrap();
            match random.below(5) {
                0 => {
                    let (ticket, verdict) = knocks.serve(id, step, now);
                    let waits = open.iter().position(|(held, since)| *held == id && now < *since + HELD);
                    assert_eq!(verdict == Verdict::Admit, waits.is_some(), "seed {seed}, step {step}");
                    if let Some(at) = waits {
                        open.remove(at);
                        row.push((id, now, false));
                    }
                    served.push((id, ticket, step));
                }
                1 => {
                    // Any ticket ever given, the latest of its number or not.
                    if !served.is_empty() {
                        let at = random.below(served.len());
                        let (id, ticket, _) = served[at];
                        knocks.withdraw(id, ticket);
                        let latest = served.iter().rposition(|(served, ..)| *served == id) == Some(at);
                        if latest {
                            served.retain(|(served, ..)| *served != id);
                        }
                    }
                }
                2 => {
                    let verdict = knocks.knock(id, now);
                    if served.iter().any(|(served, ..)| *served == id) {
                        assert_eq!(verdict, Verdict::Admit, "seed {seed}, step {step}");
                        row.push((id, now, false));
                    } else {
                        assert_eq!(verdict, Verdict::Hold, "seed {seed}, step {step}");
                        open.retain(|(held, _)| *held != id);
                        open.push((id, now));
                    }
                }
                3 => {
                    let found = knocks.arrive(now);
                    let next = row.iter_mut().find(|(_, since, came)| !came && now < *since + EXPECTED);
                    let expected = next.map(|entry| {
                        entry.2 = true;
                        entry.0
                    });
                    let expected = match expected {
                        None => Inbound::Unsolicited,
                        Some(id) => match served.iter().rfind(|(served, ..)| *served == id) {
                            Some((_, _, to)) => Inbound::For(*to),
                            None => Inbound::Late,
                        },
                    };
                    assert_eq!(found, expected, "seed {seed}, step {step}");
                }
                _ => {
                    let mut expired = knocks.expire(now);
                    let mut expected: Vec<_> = Vec::new();
                    open.retain(|(id, since)| {
                        let over = *since + HELD <= now;
                        if over {
                            expected.push(*id);
                        }
                        !over
                    });
                    expired.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(expired, expected, "seed {seed}, step {step}");
                }
            }
            let earliest = open.iter().map(|(_, since)| *since + HELD).min();
            assert_eq!(knocks.next_expiry(), earliest, "seed {seed}, step {step}");
        }
    }
}
