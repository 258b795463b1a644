//! Rounds of calls, and what is made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often every contender has its turn.
pub(crate) const ROUNDS: usize = 11;

/// What the calls of one round took: each, in order of length, and all together, in microseconds.
pub(crate) struct Times {
    each: Vec<f64>,
    together: f64,
}

impl Times {
    pub(crate) fn new(mut each: Vec<f64>, together: f64) -> Self {
        each.sort_unstable_by(f64::total_cmp);
        Self { each, together }
    }

    pub(crate) fn p50(&self) -> f64 {
        self.each[self.each.len() / 2]
    }

    pub(crate) fn p99(&self) -> f64 {
        self.each[self.each.len() * 99 / 100]
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.each.len() as f64 / self.together * 1e6
    }
}

/// Has everybody make rounds in turn, the first of them to warm up, and returns them by contender.
///
/// A machine whose speed drifts drifts for all of them alike.
pub(crate) fn alternate<C>(contenders: &mut [C], mut round: impl FnMut(&mut C) -> Times) -> Vec<Vec<Times>> {
    for contender in &mut *contenders {
        round(contender);
    }
    let mut rounds: Vec<Vec<Times>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (contender, rounds) in contenders.iter_mut().zip(&mut rounds) {
            rounds.push(round(contender));
        }
    }
    rounds
}

/// Returns the median of a figure over the rounds of one contender.
pub(crate) fn over(rounds: &[Times], figure: fn(&Times) -> f64) -> f64 {
    median(rounds.iter().map(figure))
}

/// Returns the median of how many times longer the peer's figure is, round by round.
pub(crate) fn ratio(peer: &[Times], ours: &[Times], figure: fn(&Times) -> f64) -> f64 {
    median(peer.iter().zip(ours).map(|(peer, ours)| figure(peer) / figure(ours)))
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Keeps the processors from falling asleep between the steps of a call, for as long as it lives. Whoever
/// has something to do takes its place.
pub(crate) struct Awake {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    pub(crate) fn keep() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let spin = || {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || {
                // The least of priorities: 19 of this thread alone.
                let _as_it_was = rustix::process::nice(19);
                while !ended.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..processors).map(|_| spin()).collect();
        Self { ended, threads }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that spins cannot fail");
        }
    }
}
