//! Time for guests: when they yield, and when they have run for too long.
//!
//! Compiled guests look at a counter, the epoch, at every function and every turn of a loop. One thread counts it up:
//! every 10 ms while any guest runs, and at the moment when the processor time of one may be used up or its deadline
//! comes. Each guest then asks its own [`Meter`], which compares clocks. So the end of one guest never touches another,
//! and a guest that spins yields often enough to be dropped soon after its deadline.
//!
//! The thread sleeps when nothing runs. Entering and leaving a guest that has time left costs two atomic
//! additions; no lock is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use portcullis_contract::{Amount, LimitHit, LimitName};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, EngineWeak, UpdateDeadline};

use crate::lock::lock;

/// How long a guest may run before it yields.
const TICK: Duration = Duration::from_millis(10);
/// Ticks with no guest running before the thread sleeps. Waking it costs a system call, which a plugin that is called
/// all the time should not pay for each call.
const IDLE_TICKS: u32 = 10;
/// How often a guest yields that is past its deadline: the timer of whoever drops it may be a millisecond late.
const LATE_TICK: Duration = Duration::from_micros(250);
/// A limit on processor time up to this is measured exactly, never estimated.
const SHORT: Duration = Duration::from_millis(200);
/// No wake-up is asked for.
const NEVER: u64 = u64::MAX;

/// The thread that counts the epoch up. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Clock {
    face: Arc<Face>,
    thread: Option<JoinHandle<()>>,
}

/// The part of the clock that is shared with those who run guests.
pub(crate) struct Face {
    start: Instant,
    /// Guests that are being polled right now.
    running: AtomicUsize,
    /// When some guest may have used up its time, in nanoseconds since `start`.
    wanted: AtomicU64,
    parked: AtomicBool,
    ended: AtomicBool,
    engines: std::sync::Mutex<Vec<EngineWeak>>,
    thread: std::sync::OnceLock<Thread>,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Clock {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let face = Arc::new(Face {
            start: Instant::now(),
            running: AtomicUsize::new(0),
            wanted: AtomicU64::new(NEVER),
            parked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            engines: std::sync::Mutex::new(Vec::new()),
            thread: std::sync::OnceLock::new(),
        });
        let thread = thread::Builder::new().name("portcullis-clock".to_owned()).spawn({
            let face = Arc::clone(&face);
            move || face.run()
        })?;
        face.thread.get_or_init(|| thread.thread().clone());
        Ok(Self { face, thread: Some(thread) })
    }

    /// Counts up the epoch of one more engine.
    pub(crate) fn drive(&self, engine: &Engine) {
        let mut engines = lock(&self.face.engines);
        engines.push(engine.weak());
    }

    pub(crate) fn face(&self) -> &Arc<Face> {
        &self.face
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.face.ended.store(true, Ordering::SeqCst);
        self.face.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook already.
            drop(thread.join());
        }
    }
}

impl Face {
    fn run(&self) {
        let mut idle = 0;
        while !self.ended.load(Ordering::SeqCst) {
            if idle >= IDLE_TICKS {
                self.parked.store(true, Ordering::SeqCst);
                // Whoever enters a guest first adds itself and then looks at `parked`, so that one of the two sees the
                // other.
                if self.running.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.parked.store(false, Ordering::SeqCst);
                idle = 0;
            }
            let tick = Instant::now() + TICK;
            let wanted = loop {
                let now = Instant::now();
                let wanted = self.wanted.load(Ordering::SeqCst);
                let at = if wanted == NEVER { tick } else { tick.min(self.moment(wanted)) };
                if at <= now || self.ended.load(Ordering::SeqCst) {
                    break wanted;
                }
                thread::park_timeout(at - now);
            };
            if wanted != NEVER && self.moment(wanted) <= Instant::now() {
                // A guest that wants a later wake-up asks again: the new count makes it look.
                self.wanted.compare_exchange(wanted, NEVER, Ordering::SeqCst, Ordering::SeqCst).ok();
            }
            if self.running.load(Ordering::SeqCst) == 0 {
                idle += 1;
            } else {
                idle = 0;
                self.count();
            }
        }
    }

    fn count(&self) {
        let mut engines = lock(&self.engines);
        engines.retain(|engine| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
    }

    fn moment(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Has the epoch counted up at that moment, or earlier.
    fn wake_at(&self, moment: u64) {
        if self.wanted.fetch_min(moment, Ordering::SeqCst) > moment {
            self.wake();
        }
    }

    fn enter(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How much processor time one call has used.
///
/// Reading the processor time of a thread is a system call, which costs more than a whole short call of a guest. So a
/// poll is charged by wall time until its first tick, and exactly after that. A short limit is measured exactly from
/// the start.
#[derive(Debug)]
pub(crate) struct Meter {
    face: Arc<Face>,
    /// In nanoseconds; [`NEVER`] is no limit.
    limit: AtomicU64,
    used: AtomicU64,
    /// When somebody will drop the guest, in nanoseconds since the clock's start; [`NEVER`] if nobody will.
    deadline: AtomicU64,
    /// When the poll began, or when it last yielded, in nanoseconds since the clock's start.
    since: AtomicU64,
    /// The thread's processor time when it was last read in this poll; [`NEVER`] if it was not.
    read: AtomicU64,
}

// But for what is added to it, only the thread that polls the guest writes, and whoever hands the guest to another
// thread orders the accesses.
const ORDER: Ordering = Ordering::Relaxed;

impl Meter {
    pub(crate) fn new(face: Arc<Face>) -> Self {
        let unread = || AtomicU64::new(NEVER);
        let [used, since] = [0, 0].map(AtomicU64::new);
        Self { face, limit: unread(), used, deadline: unread(), since, read: unread() }
    }

    /// Resets the meter to zero, for the next call.
    pub(crate) fn restart(&self, limit: Option<Duration>, deadline: Option<Instant>) {
        let since_start = |deadline: Instant| nanos(deadline.saturating_duration_since(self.face.start));
        self.limit.store(limit.map_or(NEVER, nanos), ORDER);
        self.deadline.store(deadline.map_or(NEVER, since_start), ORDER);
        self.used.store(0, ORDER);
    }

    /// Runs one poll of a guest.
    pub(crate) fn run<T>(&self, poll: impl FnOnce() -> T) -> T {
        let limit = self.limit.load(ORDER);
        let now = self.face.now();
        self.since.store(now, ORDER);
        self.read.store(if limit <= nanos(SHORT) { thread_time() } else { NEVER }, ORDER);
        let left = limit.saturating_sub(self.used.load(ORDER));
        let _running = Running::new(&self.face);
        if left == 0 {
            // This poll may end before the thread is awake, and so may every later one.
            self.face.count();
        } else if left <= nanos(TICK) {
            self.face.wake_at(now.saturating_add(left));
        }
        self.watch_deadline(now);
        let result = poll();
        self.charge(Charge::End);
        result
    }

    /// Runs one poll of another plugin on the guest's behalf, which is charged to that plugin.
    pub(crate) fn aside<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.charge(Charge::GoOn);
        let result = poll();
        self.read.store(thread_time(), ORDER);
        result
    }

    /// Charges the guest with processor time that another thread spent on its behalf.
    pub(crate) fn add(&self, spent: Duration) {
        self.used.fetch_add(nanos(spent), ORDER);
    }

    /// Returns what the call has used so far.
    #[cfg(all(test, feature = "http"))]
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(ORDER))
    }

    /// Answers a guest that noticed the count.
    pub(crate) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let stretch = Duration::from_nanos(self.face.now().saturating_sub(self.since.load(ORDER)));
        self.charge(Charge::GoOn);
        let (limit, used) = (self.limit.load(ORDER), self.used.load(ORDER));
        if used >= limit {
            let [asked, allowed] = [used, limit].map(|n| Amount::Time(Duration::from_nanos(n)));
            return Err(LimitHit { which: LimitName::Cpu, asked, allowed }.into());
        }
        let left = limit - used;
        if left <= nanos(TICK) {
            // A wake-up sooner than 100 us is not worth it: the guest may have used less, as another thread may have
            // had the processor.
            self.face.wake_at(self.face.now().saturating_add(left.max(100_000)));
        }
        let now = self.face.now();
        self.watch_deadline(now);
        // A call that only now came back from the host has not run for a tick.
        let yields = stretch >= TICK.mul_f32(0.8) || now >= self.deadline.load(ORDER);
        // To the runtime, and not just to the next task: with guests computing on all of its threads, a runtime would
        // look at its timers and sockets only every sixty polls, which is half a second.
        let turn = || UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()));
        Ok(if yields { turn() } else { UpdateDeadline::Continue(1) })
    }

    /// Has the guest ask again when its deadline comes, or soon if it has passed.
    fn watch_deadline(&self, now: u64) {
        let deadline = self.deadline.load(ORDER);
        if deadline <= now {
            self.face.wake_at(now.saturating_add(nanos(LATE_TICK)));
        } else if deadline - now <= nanos(TICK) {
            self.face.wake_at(deadline);
        }
    }

    fn charge(&self, then: Charge) {
        let read = self.read.load(ORDER);
        let spent = match (read, then) {
            (NEVER, Charge::End) => self.face.now().saturating_sub(self.since.load(ORDER)),
            (NEVER, Charge::GoOn) => {
                self.read.store(thread_time(), ORDER);
                self.face.now().saturating_sub(self.since.load(ORDER))
            }
            (read, _) => {
                let now = thread_time();
                self.read.store(now, ORDER);
                now.saturating_sub(read)
            }
        };
        self.used.fetch_add(spent, ORDER);
    }
}

enum Charge {
    End,
    GoOn,
}

/// Says that a guest runs, for as long as it does, even if it panics.
struct Running<'a>(&'a Face);

impl<'a> Running<'a> {
    fn new(face: &'a Face) -> Self {
        face.enter();
        Self(face)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Returns what some work returns, and the processor time that it took on this thread.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = thread_time();
    let done = work();
    (done, Duration::from_nanos(thread_time().saturating_sub(begun)))
}

fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, rest] = [time.tv_sec, time.tv_nsec].map(|n| u64::try_from(n).unwrap_or_default());
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use wasmtime::{Instance, Module, Store};

    use super::*;
    use crate::component::engine::compiling;

    #[test]
    fn a_guest_that_has_used_up_its_time_is_stopped_however_short_its_polls_are() {
        let engine = Engine::new(&compiling()).unwrap();
        let clock = Clock::start().unwrap();
        clock.drive(&engine);
        let meter = Arc::new(Meter::new(Arc::clone(clock.face())));
        // From here on its thread is never there in time.
        drop(clock);

        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let ticking = Arc::clone(&meter);
        store.epoch_deadline_callback(move |_| ticking.tick());
        let module = wat::parse_str(r#"(module (func (export "run")))"#).unwrap();
        let module = Module::new(&engine, module).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let function = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();

        let mut run = || meter.run(|| function.call(&mut store, ()));
        meter.restart(None, None);
        assert!(run().is_ok());
        meter.restart(Some(Duration::ZERO), None);
        let hit = run().unwrap_err().downcast::<LimitHit>().unwrap();
        assert_eq!(hit.which, LimitName::Cpu);

        // Whatever another thread spent for it counts as well.
        const HOUR: Duration = Duration::from_secs(3600);
        meter.restart(Some(HOUR), None);
        assert!(run().is_ok());
        meter.add(HOUR);
        let hit = run().unwrap_err().downcast::<LimitHit>().unwrap();
        assert_eq!(hit.which, LimitName::Cpu);
    }
}
