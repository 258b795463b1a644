//! When a connection polls for what comes next, instead of sleeping until it is woken.
//!
//! An idle processor takes some 40 us to wake up, and short calls, one after another, pay that at every hop. So after a
//! short write a connection stays awake and polls for a moment. It yields in between: whatever else its runtime has to
//! do comes first.
//!
//! Where processors are busy this gains nothing, and may slow down whoever is to answer. So each connection keeps
//! measuring which of the two is faster.

use std::time::{Duration, Instant};

/// How long it stays awake at most after a write, whatever is written meanwhile. Measured: with 50 us single calls of 1
/// KiB to a Go plugin are hardly faster, with 100 us by a quarter, and callbacks by two fifths.
const AWAKE: Duration = Duration::from_micros(100);

/// A wait that takes longer counts as this: staying awake gains nothing on it, and its length says little of the next.
const MOST: Duration = Duration::from_micros(300);

/// It does not stay awake around a read or write longer than this: that costs more of a processor than it gains. Many
/// large calls at a time are slower by a quarter beside a connection that keeps polling.
const SHORT: usize = 8 << 10;

/// Of this many waits the last [`TRIES`] go the other way, to be measured. They come in a row, because the scheduler
/// takes a few to settle. Guesses.
const ROUND: u32 = 256;
const TRIES: u32 = 16;

/// Whether one connection stays awake.
#[derive(Debug, Default)]
pub(super) struct BusyPoll {
    /// When the first write was made that nothing has been read after.
    since: Option<Instant>,
    /// Whether this wait is one that begins awake.
    awake: bool,
    /// Which one of its round it is.
    wait: u32,
    /// How long recent waits have taken that began asleep, and awake.
    asleep_took: Average,
    awake_took: Average,
}

impl BusyPoll {
    /// Notes how many bytes were read and written, and returns whether to poll again at once.
    pub(super) fn goes_on(&mut self, read: usize, said: usize, now: Instant) -> bool {
        if read > 0
            && let Some(since) = self.since.take()
        {
            // Tries are few, so each counts for more.
            let parts = if self.is_try() { 4 } else { 8 };
            let took = if self.awake { &mut self.awake_took } else { &mut self.asleep_took };
            took.note((now - since).min(MOST), parts);
        }
        if said > 0 && self.since.is_none() {
            self.since = Some(now);
            self.wait = (self.wait + 1) % ROUND;
            self.awake = self.begins_awake();
        }
        if read > SHORT || said > SHORT {
            self.since = None;
        }
        self.awake && self.since.is_some_and(|since| now - since < AWAKE)
    }

    /// Decides how a wait begins: asleep at first, and for as long as waits are too long for polling to help. The next
    /// one is awake, so that there is something to compare.
    fn begins_awake(&self) -> bool {
        let Some(asleep) = self.asleep_took.0.filter(|took| *took < MOST * 7 / 8) else { return false };
        let better = self.awake_took.0.unwrap_or_default() < asleep * 15 / 16;
        better != self.is_try()
    }

    fn is_try(&self) -> bool {
        self.wait >= ROUND - TRIES
    }
}

/// An average in which what was last counts most.
#[derive(Debug, Default)]
struct Average(Option<Duration>);

impl Average {
    /// Takes in a value, as one part of so many.
    fn note(&mut self, value: Duration, parts: u32) {
        self.0 = Some(self.0.map_or(value, |before| (before * (parts - 1) + value) / parts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(10);

    /// A connection, what its clock says, and how much later an answer is there for who sleeps, and for who is awake.
    struct Connection {
        poll: BusyPoll,
        now: Instant,
        waking: u32,
        in_the_way: u32,
    }

    impl Connection {
        /// Where processors fall asleep.
        fn idle() -> Self {
            Self { poll: BusyPoll::default(), now: Instant::now(), waking: 4, in_the_way: 0 }
        }

        /// Says something, and has an answer after so many steps of 10 us. Returns for how many turns it stayed awake.
        fn call(&mut self, steps: u32, length: usize) -> u32 {
            let begun = self.now;
            let mut turns = 0;
            let mut said = length;
            while self.poll.goes_on(0, std::mem::take(&mut said), self.now) {
                turns += 1;
                self.now += STEP;
                if self.now == begun + (steps + self.in_the_way) * STEP {
                    break;
                }
            }
            // Who has gone to sleep is woken.
            let late = if turns > 0 { self.in_the_way } else { 0 };
            let answered = begun + (steps + late) * STEP;
            if self.now < answered || turns == 0 {
                self.now = answered + self.waking * STEP;
            }
            assert!(!self.poll.goes_on(length, 0, self.now), "there is nothing to wait for");
            turns
        }

        /// Returns for how many of so many calls it stayed awake.
        fn calls(&mut self, calls: u32, steps: u32) -> u32 {
            (0..calls).map(|_| u32::from(self.call(steps, 1) > 0)).sum()
        }
    }

    #[test]
    fn it_stays_awake_where_answers_come_sooner_for_it() {
        let mut connection = Connection::idle();
        assert_eq!(connection.call(8, 1), 0, "nobody knows yet");
        assert_eq!(connection.calls(ROUND, 8), ROUND - TRIES);
    }

    #[test]
    fn it_sleeps_where_answers_take_their_time() {
        let mut connection = Connection::idle();
        connection.calls(ROUND, 15);
        assert_eq!(connection.calls(ROUND, 15), TRIES);
        connection.calls(ROUND, 500);
        assert_eq!(connection.calls(ROUND, 500), 0);
        // And when they do not any more, it is awake again.
        connection.calls(2 * ROUND, 8);
        assert_eq!(connection.calls(ROUND, 8), ROUND - TRIES);
    }

    #[test]
    fn it_sleeps_where_it_would_be_in_the_way() {
        let mut busy = Connection { waking: 0, in_the_way: 3, ..Connection::idle() };
        busy.calls(ROUND, 5);
        assert_eq!(busy.calls(ROUND, 5), TRIES);
    }

    #[test]
    fn it_stays_awake_no_longer_than_is_worth_it() {
        let mut connection = Connection::idle();
        connection.call(8, 1);
        assert_eq!(connection.call(500, 1), 10);
    }

    #[test]
    fn it_goes_to_sleep_where_nobody_answers_however_often_it_says_something() {
        let mut connection = Connection::idle();
        connection.call(8, 1);
        let mut awake = 0;
        for turn in 0..1000 {
            awake += u32::from(connection.poll.goes_on(0, usize::from(turn % 5 == 0), connection.now));
            connection.now += STEP;
        }
        assert_eq!(awake, 10);
    }

    #[test]
    fn nobody_stays_awake_for_what_is_long() {
        let mut connection = Connection::idle();
        connection.call(8, 1);
        assert_eq!(connection.call(8, SHORT + 1), 0);
        assert!(connection.call(8, 1) > 0);
    }
}
