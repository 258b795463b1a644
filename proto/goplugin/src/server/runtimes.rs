//! What [`Serve::run`](super::Serve::run) serves in.

use std::io;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::Calls;
use crate::serving::Placement;

/// How long the runtimes may take to drop what calls left behind.
const LEFTOVERS: Duration = Duration::from_millis(100);

/// How many I/O events are taken at a time: more than one host causes. Room for the usual thousand costs memory.
const EVENTS: usize = 128;

/// How many threads calls may block: as many as a Go program may have. A host makes as many calls as it likes, one may
/// wait for another, and a call that is given up goes on. With tokio's usual 512 all later ones would wait.
const BLOCKED: usize = 10_000;

/// The runtimes of a plugin.
pub(super) struct Runtimes {
    /// Carries the connections, and runs calls.
    pub(super) main: Runtime,
    /// Runs the calls that the main one does not keep.
    others: Option<Runtime>,
    /// Where calls run.
    pub(super) placement: Placement,
}

impl Runtimes {
    /// Starts their threads. Panics where tokio does: if there are no more threads to be had.
    pub(super) fn new(calls: Calls, threads: Option<NonZeroUsize>) -> io::Result<Self> {
        let mut workers = builder();
        if let Some(threads) = threads {
            workers.worker_threads(threads.get());
        }
        let workers = start(&mut workers)?;
        Ok(match calls {
            Calls::Spread => Self { main: workers, others: None, placement: Placement::default() },
            Calls::Together => {
                let placement = Placement::together(workers.handle().clone());
                let (sleeping, waking) = (placement.clone(), placement.clone());
                // One for the current thread would be no better: it begins all that has come before it answers any, so
                // that the host waits for it, and then it for the host.
                let mut main = builder();
                main.worker_threads(1);
                main.on_thread_park(move || sleeping.sleeps()).on_thread_unpark(move || waking.wakes());
                Self { main: start(&mut main)?, others: Some(workers), placement }
            }
        })
    }

    /// Ends them. Blocking work that is left does not keep the process alive.
    pub(super) fn shut_down(self) {
        let end = Instant::now() + LEFTOVERS;
        // The main one goes last, because calls everywhere use its clock.
        for runtime in self.others.into_iter().chain([self.main]) {
            runtime.shutdown_timeout(end.saturating_duration_since(Instant::now()));
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    // Threads for what blocks are kept, as Go keeps its own: with one at least, further work waits where the system
    // gives no more of them, and without any, tokio panics.
    builder.max_io_events_per_tick(EVENTS).max_blocking_threads(BLOCKED).thread_keep_alive(Duration::MAX);
    builder.enable_all();
    builder
}

/// Starts a runtime, and its first thread for what blocks.
fn start(builder: &mut Builder) -> io::Result<Runtime> {
    let runtime = builder.build()?;
    let _first = runtime.spawn_blocking(|| ());
    Ok(runtime)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Those that follow each other at once may run anywhere; see [`Placement`].
    #[test]
    fn long_calls_that_come_one_by_one_run_on_the_thread_of_the_connections() {
        let runtimes = Runtimes::new(Calls::Together, Some(NonZeroUsize::MIN)).unwrap();
        let (main, placement) = (runtimes.main.handle().clone(), runtimes.placement.clone());
        let here = main.block_on(main.spawn(async { thread::current().id() })).unwrap();
        let stays = || {
            let (tell, told) = oneshot::channel();
            let placement = placement.clone();
            let call = async move {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(5) {
                    std::hint::spin_loop();
                }
                tell.send(thread::current().id()).unwrap();
            };
            main.block_on(main.spawn(async move { placement.execute(call) })).unwrap();
            main.block_on(told).unwrap() == here
        };
        assert!(stays());
        // What has come while the thread was busy cannot be told from what has not, until it pauses.
        assert!((0..100).any(|_| stays()));
        runtimes.shut_down();
    }
}
