//! Where calls run: each on whichever thread is free, or short ones all on one.
//!
//! To wake another thread takes longer than many a call does. So calls may begin on the one thread that also carries
//! the connections. A call that turns out long must not hold that up: it moves to other threads. If calls are usually
//! long, further ones begin there, but only beside others: a single call would gain nothing.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use tokio::runtime::Handle;
use tonic_health::pb::health_server;

use crate::lock::lock;
use crate::wire::{grpc_broker_server, grpc_stdio_server};

/// From which length on calls that come together are spread over threads. Measured on two processors: calls of 0.2 ms
/// are as fast on one thread, and those of a millisecond a third faster on two.
const LONG: Duration = Duration::from_micros(300);

/// How long a call may keep the connections' thread at a time. One that does so twice, and is not over, will probably
/// do so again.
const TOO_LONG: Duration = Duration::from_millis(1);

/// How long the connections' thread sleeps at least if nothing was there for it to do.
const PAUSE: Duration = Duration::from_micros(20);

/// The services whose streams wait for as long as the plugin lives.
const STREAMS: [&str; 3] =
    [grpc_broker_server::SERVICE_NAME, grpc_stdio_server::SERVICE_NAME, health_server::SERVICE_NAME];

/// Where the calls of a plugin run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement(Option<Arc<Together>>);

/// Calls that begin on the thread of the connections.
#[derive(Debug)]
struct Together {
    /// The other threads.
    others: Handle,
    /// How many calls are under way.
    under_way: AtomicUsize,
    /// How long a call keeps its thread at a time: an average in nanoseconds, in which the last calls count most.
    usual: AtomicU64,
    /// When the connections' thread last went to sleep.
    asleep: Mutex<Instant>,
    /// Whether it has had nothing to do since a call last kept a thread for long.
    paused: AtomicBool,
}

impl Placement {
    /// Begins calls on the thread of their connection, and moves long ones to `others`.
    pub(crate) fn together(others: Handle) -> Self {
        Self(Some(Arc::new(Together {
            others,
            under_way: AtomicUsize::new(0),
            usual: AtomicU64::new(0),
            asleep: Mutex::new(Instant::now()),
            paused: AtomicBool::new(true),
        })))
    }

    /// Returns whether calls begin on the thread of their connection.
    pub(crate) fn is_together(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that the connections' thread goes to sleep.
    pub(crate) fn sleeps(&self) {
        if let Some(together) = &self.0 {
            *lock(&together.asleep) = Instant::now();
        }
    }

    /// Notes that it has woken.
    pub(crate) fn wakes(&self) {
        if let Some(together) = &self.0
            && lock(&together.asleep).elapsed() > PAUSE
        {
            together.paused.store(true, Ordering::Relaxed);
        }
    }

    /// Counts a call, by its path, for as long as the result is held.
    pub(super) fn count(&self, path: &str) -> Option<UnderWay> {
        let service = path.split('/').nth(1)?;
        let together = self.0.as_ref().filter(|_| !STREAMS.contains(&service))?;
        together.under_way.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay(Arc::clone(together)))
    }
}

impl<C: Future<Output = ()> + Send + 'static> Executor<C> for Placement {
    fn execute(&self, call: C) {
        drop(match &self.0 {
            None => tokio::spawn(call),
            Some(together) => tokio::spawn(Begun(Some(Timed::new(call, together)))),
        });
    }
}

impl Together {
    /// Notes how long a call has kept its thread. Calls that end at the same moment may overwrite each other's notes,
    /// which makes little difference to an average.
    fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.usual.load(Ordering::Relaxed);
        self.usual.store(before - before / 8 + took / 8, Ordering::Relaxed);
    }

    fn are_usually_long(&self) -> bool {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed)) > LONG
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Together>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call on the thread of the connections, until it moves away, which it may do before it begins.
struct Begun<C>(Option<Timed<C>>);

impl<C: Future<Output = ()> + Send + 'static> Future for Begun<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut call) = self.0.take() else { return Poll::Ready(()) };
        if call.longest.is_some() || call.begins_here() {
            let polled = Pin::new(&mut call).poll(cx);
            if polled.is_ready() || call.too_long < 2 {
                self.0 = polled.is_pending().then_some(call);
                return polled;
            }
        }
        let others = call.together.others.clone();
        drop(others.spawn(call));
        Poll::Ready(())
    }
}

/// A call, and how long it has kept its thread so far.
struct Timed<C> {
    call: Pin<Box<C>>,
    /// Whether it came while a long one had the thread.
    waited: bool,
    /// The longest that it has kept its thread at a time; `None` before it begins.
    longest: Option<Duration>,
    /// How often that was for too long.
    too_long: u32,
    together: Arc<Together>,
}

impl<C> Timed<C> {
    fn new(call: C, together: &Arc<Together>) -> Self {
        Self {
            call: Box::pin(call),
            waited: !together.paused.load(Ordering::Relaxed),
            longest: None,
            too_long: 0,
            together: Arc::clone(together),
        }
    }

    fn begins_here(&self) -> bool {
        let alone = !self.waited && self.together.under_way.load(Ordering::Relaxed) <= 1;
        alone || !self.together.are_usually_long()
    }

    /// Returns whether it has turned out long, which is noted then.
    fn is_long(&self) -> bool {
        self.longest > Some(LONG)
    }
}

impl<C: Future<Output = ()>> Future for Timed<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let begun = Instant::now();
        let polled = self.call.as_mut().poll(cx);
        let took = begun.elapsed();
        if took > LONG {
            self.together.paused.store(false, Ordering::Relaxed);
            // Not only when it is over: others may have come with it, and not begun yet.
            if !self.is_long() {
                self.together.note(took);
            }
        }
        self.longest = self.longest.max(Some(took));
        self.too_long += u32::from(took > TOO_LONG);
        polled
    }
}

impl<C> Drop for Timed<C> {
    fn drop(&mut self) {
        if !self.is_long() {
            self.together.note(self.longest.unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::future::poll_fn;
    use std::hint::spin_loop;
    use std::thread::{self, ThreadId};

    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The two runtimes, and where calls say which thread they are on.
    struct Setup {
        main: Runtime,
        placement: Placement,
        tell: UnboundedSender<ThreadId>,
        told: UnboundedReceiver<ThreadId>,
        _others: Runtime,
    }

    impl Setup {
        fn new() -> Self {
            let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let others = runtime();
            let (tell, told) = unbounded_channel();
            let placement = Placement::together(others.handle().clone());
            Self { main: runtime(), placement, tell, told, _others: others }
        }

        /// Makes calls that come together and each compute for so long, and returns the threads that they ran on.
        fn ran_on(&mut self, calls: usize, computing: Duration) -> HashSet<ThreadId> {
            let (placement, tell) = (self.placement.clone(), self.tell.clone());
            let brought = self.main.spawn(async move {
                for _ in 0..calls {
                    let (tell, under_way) = (tell.clone(), placement.count("/an.Application/Call"));
                    let mut under_way = Some(under_way);
                    placement.execute(poll_fn(move |_| {
                        compute(computing);
                        drop(under_way.take());
                        tell.send(thread::current().id()).unwrap();
                        Poll::Ready(())
                    }));
                }
            });
            let threads = self.main.block_on(async {
                brought.await.unwrap();
                let mut threads = HashSet::new();
                for _ in 0..calls {
                    threads.extend(timeout(PATIENCE, self.told.recv()).await.unwrap());
                }
                threads
            });
            // The last one is over by then, too.
            let _here = self.here();
            threads
        }

        /// Returns the thread of the connections.
        fn here(&self) -> ThreadId {
            self.main.block_on(self.main.spawn(async { thread::current().id() })).unwrap()
        }
    }

    fn compute(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            spin_loop();
        }
    }

    #[test]
    fn short_calls_stay_on_the_thread_of_their_connection() {
        let mut setup = Setup::new();
        let here = setup.here();
        // One that the machine interrupts is a long one, until short ones have made up for it.
        let rounds = 100;
        let stayed = (0..rounds).filter(|_| setup.ran_on(8, Duration::ZERO) == HashSet::from([here])).count();
        assert!(stayed > rounds / 2, "{stayed}");
    }

    #[test]
    fn calls_that_are_usually_long_are_spread_unless_they_come_alone() {
        let mut setup = Setup::new();
        let here = setup.here();
        for _ in 0..8 {
            assert_eq!(setup.ran_on(1, LONG * 4), HashSet::from([here]));
            setup.placement.sleeps();
            compute(PAUSE);
            setup.placement.wakes();
        }
        assert!(setup.ran_on(4, LONG * 4).iter().any(|thread| *thread != here));
    }

    #[test]
    fn a_call_that_came_while_a_long_one_had_the_thread_begins_elsewhere() {
        let mut setup = Setup::new();
        let here = setup.here();
        // Nobody says that the thread has slept.
        assert_eq!(setup.ran_on(1, LONG * 16), HashSet::from([here]));
        assert!(!setup.ran_on(1, LONG * 16).contains(&here));
    }

    #[test]
    fn of_long_calls_that_come_together_only_the_first_begins_here() {
        let mut setup = Setup::new();
        let here = setup.here();
        let (placement, tell) = (setup.placement.clone(), setup.tell.clone());
        let _under_way = [(); 4].map(|()| setup.placement.count("/an.Application/Call"));
        let brought = setup.main.spawn(async move {
            for _ in 0..4 {
                let tell = tell.clone();
                placement.execute(poll_fn(move |_| {
                    compute(LONG * 16);
                    tell.send(thread::current().id()).unwrap();
                    // It waits for something.
                    Poll::Pending
                }));
            }
        });
        let threads = setup.main.block_on(async {
            brought.await.unwrap();
            let mut threads = Vec::new();
            while threads.len() < 4 {
                threads.extend(timeout(PATIENCE, setup.told.recv()).await.unwrap());
            }
            threads
        });
        assert_eq!(threads.iter().filter(|thread| **thread == here).count(), 1, "{threads:?}");
    }

    #[test]
    fn a_call_that_keeps_the_thread_again_and_again_moves() {
        let mut setup = Setup::new();
        let (here, tell) = (setup.here(), setup.tell.clone());
        let placement = setup.placement.clone();
        setup.main.block_on(async {
            placement.execute(poll_fn(move |cx| {
                compute(TOO_LONG * 2);
                cx.waker().wake_by_ref();
                let gone = thread::current().id() != here;
                tell.send(thread::current().id()).unwrap();
                if gone { Poll::Ready(()) } else { Poll::Pending }
            }));
            let mut polls = Vec::new();
            while polls.last().is_none_or(|last| *last == here) {
                polls.extend(timeout(PATIENCE, setup.told.recv()).await.unwrap());
            }
            assert_eq!(polls.len(), 3, "{polls:?}");
        });
    }

    #[test]
    fn streams_that_wait_for_ever_are_not_counted() {
        let setup = Setup::new();
        let streams = [
            "/plugin.GRPCBroker/StartStream",
            "/plugin.GRPCStdio/StreamStdio",
            "/grpc.health.v1.Health/Watch",
        ];
        for path in streams {
            assert!(setup.placement.count(path).is_none(), "{path}");
        }
        assert!(setup.placement.count("/plugin.Application/Call").is_some());
    }
}
