//! Calls of a plugin whose methods block, made by callers that do not.
//!
//! Each call has a thread of the runtime for itself. A call that is dropped cannot be ended there; how it learns of
//! that is in `host.rs`. A call that panics ends the plugin, as the documentation promises.
//!
//! Most of what a short call costs is the way to another thread and back. So while calls come one by one, each is made
//! on the thread where it came in, and that thread's other tasks move to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::panicking;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::stream;
use portcullis_contract::{BackendName, Call, CallError, Digest, Kind, PluginInfo, PluginName};
use portcullis_serve::Surroundings;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

use super::host::{Caller, Calling, NativeHost};
use crate::{Error, Host};

/// Where calls are made.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    around: Surroundings,
    threads: Threads,
}

impl Calls {
    pub(super) fn new(around: Surroundings) -> Self {
        Self { around, threads: Threads::default() }
    }

    /// Makes a call and waits for its answer.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&Host<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, CallError> {
        let (caller, host) = self.host(call);
        let done = settle(self.begin(move || work(&Host::from_service(&host)))).await;
        drop(caller);
        done
    }

    /// Begins a call that hands over items before its answer. Nothing begins until somebody reads.
    ///
    /// There is room for one item, so a slow reader slows the plugin.
    pub(super) fn stream<I, T>(
        &self,
        call: &Call,
        work: impl FnOnce(&NativeHost, &mpsc::Sender<I>) -> Result<T, Error> + Send + 'static,
        last: impl FnOnce(T) -> I + Send + 'static,
    ) -> BoxStream<'static, Result<I, CallError>>
    where
        I: Send + 'static,
        T: Send + 'static,
    {
        let (calls, call) = (self.clone(), call.clone());
        let begin = async move {
            let (caller, host) = calls.host(&call);
            let (sender, items) = mpsc::channel(1);
            let task = calls.begin(move || work(&host, &sender));
            let under_way = UnderWay { items, task, last, _caller: caller };
            stream::unfold(Some(under_way), UnderWay::next)
        };
        stream::once(begin).flatten().boxed()
    }

    fn host(&self, call: &Call) -> (Caller, NativeHost) {
        let (caller, calling) = Calling::new(call);
        (caller, NativeHost::new(self.around.clone(), calling))
    }

    /// Begins what an author wrote.
    fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let fuse = Fuse(self.around.clone());
        self.threads.begin(move || {
            let _fuse = fuse;
            work()
        })
    }
}

/// Ends the plugin when a panic of its code comes by. Whoever waits for the call may have gone, and cannot do so.
struct Fuse(Surroundings);

impl Drop for Fuse {
    fn drop(&mut self) {
        if panicking() {
            self.0.give_up();
        }
    }
}

/// Waits for a thread.
async fn settle<T>(task: JoinHandle<Result<T, Error>>) -> Result<T, CallError> {
    match task.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into()),
        // It panicked, or the runtime shuts down and it never began: the plugin ends, and answers no call any more.
        Err(_) => std::future::pending().await,
    }
}

/// How many calls in a row must have come alone before the next one stays on its thread. A guess: where several are
/// under way one comes alone by chance, and moving the others away costs more than it gains.
const ALONE: usize = 16;

/// The threads for blocking work.
#[derive(Clone, Debug, Default)]
struct Threads(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicUsize,
    /// How many in a row began while no other was under way.
    alone: AtomicUsize,
}

impl Threads {
    /// Begins work that may block. Has to be called within a multi-threaded runtime.
    fn begin<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let Counts { under_way, alone } = self.0.as_ref();
        let is_alone = under_way.fetch_add(1, Ordering::Relaxed) == 0;
        let alone_before = if is_alone {
            alone.fetch_add(1, Ordering::Relaxed)
        } else {
            alone.store(0, Ordering::Relaxed);
            0
        };
        let counted = Counted(Arc::clone(&self.0));
        let work = move || {
            // Dropped by a panic, too.
            let _counted = counted;
            work()
        };
        if alone_before >= ALONE {
            tokio::spawn(async move { block_in_place(work) })
        } else {
            spawn_blocking(work)
        }
    }
}

/// One of those that are under way.
struct Counted(Arc<Counts>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that is under way, and what it has not handed over yet.
struct UnderWay<I, T, L> {
    items: mpsc::Receiver<I>,
    task: JoinHandle<Result<T, Error>>,
    last: L,
    _caller: Caller,
}

impl<I, T, L: FnOnce(T) -> I> UnderWay<I, T, L> {
    /// Returns what it hands over next, and its answer last.
    async fn next(this: Option<Self>) -> Option<(Result<I, CallError>, Option<Self>)> {
        let mut this = this?;
        match this.items.recv().await {
            Some(item) => Some((Ok(item), Some(this))),
            // The thread has dropped its end, and is about to finish.
            None => {
                let Self { task, last, .. } = this;
                Some((settle(task).await.map(last), None))
            }
        }
    }
}

/// Describes this process. Nobody reads the path and the digest: the host knows the file that it started.
pub(super) fn info(kind: Kind) -> PluginInfo {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let digest = Digest::from_sha256([0; 32]);
    PluginInfo { name: PluginName::new(name), kind, backend: BackendName::Process, path, digest }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn calls_that_come_one_by_one_stay_on_their_thread_and_hold_up_no_other() {
        let on_a_task = tokio::spawn(async {
            let threads = Threads::default();
            for _ in 0..2 {
                for before in 0..ALONE + 2 {
                    let here = thread::current().id();
                    let stays = threads.begin(|| thread::current().id()).await.unwrap() == here;
                    assert_eq!(stays, before >= ALONE, "after {before}");
                }
                let panics: fn() = || panic!("as a call may");
                assert!(threads.begin(panics).await.unwrap_err().is_panic());
                let (sender, receiver) = std::sync::mpsc::channel();
                let waits = threads.begin(move || receiver.recv());
                threads.begin(move || sender.send(())).await.unwrap().unwrap();
                waits.await.unwrap().unwrap();
            }
        });
        on_a_task.await.unwrap();
    }
}
