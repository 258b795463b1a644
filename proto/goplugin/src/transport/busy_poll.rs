//! When a connection stays awake for what comes next, instead of having itself woken.
//!
//! A processor with nothing to do falls asleep, and takes some 40 us to wake up; a caller of short calls, one after another, pays
//! that at every hop. So after something short was said, and as long as the answers to such come soon, a connection looks
//! again and again for a moment. It yields in between: whatever else its runtime has to do comes first.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// So long it stays awake at most, after something was said, whatever it says meanwhile. Measured: with 50 us single calls of
/// 1 KiB to a Go plugin are hardly faster, with 100 us by a quarter, and callbacks by two fifths.
const AWAKE: Duration = Duration::from_micros(100);

/// Who had to be woken is later by so much at the most: an answer that has taken no longer would have come in time.
const WAKING: Duration = Duration::from_micros(100);

/// What is longer is worth more of a processor's time than there is to gain. Large calls, many at a time, are slower by a quarter
/// beside somebody who looks for them all the time.
const SHORT: usize = 8 << 10;

/// After so many failures one in a row makes it no more careful: one of 64 answers that could have come in time is waited for.
const MOST_FAILURES: u32 = 6;

/// Whether one connection stays awake.
#[derive(Debug)]
pub(super) struct BusyPoll {
    /// When something was said that nothing has come after yet. What is said soon after it makes no difference.
    since: Option<Instant>,
    /// So many answers have to come soon before it stays awake for one.
    wary: u32,
    /// So often in a row it has stayed awake for nothing.
    failures: u32,
}

impl BusyPoll {
    pub(super) fn new() -> Self {
        Self { since: None, wary: 1, failures: 0 }
    }

    /// Takes note that so many bytes came and were said, and returns whether to look again at once.
    pub(super) fn goes_on(&mut self, read: usize, said: usize, now: Instant) -> bool {
        if read > 0
            && let Some(waited) = self.since.take().map(|since| now - since)
        {
            if self.wary == 0 {
                self.failures = 0;
            } else if waited < AWAKE + WAKING {
                self.wary -= 1;
            }
        }
        let late = self.since.is_some_and(|since| now - since >= AWAKE);
        if late && self.wary == 0 {
            self.failures = (self.failures + 1).min(MOST_FAILURES);
            self.wary = 1 << self.failures;
        }
        if said > 0 && (late || self.since.is_none()) {
            self.since = Some(now);
        }
        if read > SHORT || said > SHORT {
            self.since = None;
            self.wary = self.wary.max(1);
        }
        self.since.is_some() && self.wary == 0 && others_can_run()
    }
}

/// Returns whether there is a processor left for whoever is to answer.
fn others_can_run() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|processors| processors.get() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection, and what its clock says.
    struct Connection(BusyPoll, Instant);

    impl Connection {
        fn new() -> Self {
            Self(BusyPoll::new(), Instant::now())
        }

        /// Says something, and has an answer after `micros`, in turns of 10 us. Returns for how many of those it stayed awake.
        fn call(&mut self, micros: u64, length: usize) -> u64 {
            let mut awake = u64::from(self.0.goes_on(0, length, self.1));
            let began = self.1;
            while self.1 < began + Duration::from_micros(micros) {
                self.1 += Duration::from_micros(10);
                // Who sleeps has no turns.
                if awake > 0 && self.0.goes_on(0, 0, self.1) {
                    awake += 1;
                }
            }
            assert!(!self.0.goes_on(length, 0, self.1), "there is nothing to wait for");
            awake
        }
    }

    #[test]
    fn it_stays_awake_for_an_answer_when_the_last_came_soon() {
        let mut connection = Connection::new();
        assert_eq!(connection.call(80, 1), 0);
        for _ in 0..10 {
            assert!(connection.call(80, 1) >= 8);
        }
    }

    #[test]
    fn it_sleeps_where_answers_take_their_time() {
        let mut connection = Connection::new();
        for _ in 0..10 {
            assert_eq!(connection.call(5000, 1), 0);
        }
    }

    #[test]
    fn it_stays_awake_no_longer_than_an_answer_could_take_that_comes_soon() {
        let mut connection = Connection::new();
        connection.call(80, 1);
        assert_eq!(connection.call(5000, 1), 10);
        assert_eq!(connection.call(5000, 1), 0);
    }

    #[test]
    fn it_goes_to_sleep_where_nobody_answers_however_often_it_says_something() {
        let mut connection = Connection::new();
        connection.call(80, 1);
        let mut awake = 0;
        for turn in 0..1000 {
            connection.1 += Duration::from_micros(10);
            awake += u32::from(connection.0.goes_on(0, usize::from(turn % 5 == 0), connection.1));
        }
        assert_eq!(awake, 10);
    }

    #[test]
    fn the_more_often_it_was_for_nothing_the_less_it_tries() {
        // Each would have come in time if nobody had to be woken, and never does.
        let mut connection = Connection::new();
        let tries = (0..1000).filter(|_| connection.call(150, 1) > 0).count();
        assert!((6..25).contains(&tries), "{tries} of 1000");

        // Once it was right it is as it was.
        while connection.call(80, 1) == 0 {}
        assert!(connection.call(150, 1) > 0);
        assert_eq!(connection.call(80, 1), 0);
        assert!(connection.call(80, 1) > 0);
    }

    #[test]
    fn nobody_stays_awake_for_what_is_long() {
        let mut connection = Connection::new();
        connection.call(80, 1);
        assert_eq!(connection.call(80, SHORT + 1), 0);
        // And what comes after it is like the first.
        assert_eq!(connection.call(80, 1), 0);
        assert!(connection.call(80, 1) > 0);
    }
}
