//! Calls of a plugin whose methods block, made by callers that do not.
//!
//! Each gets a thread of the runtime's for itself. A call that is dropped cannot be ended there; what it is told instead
//! is in `host.rs`. One that panics takes the plugin with it, as its documentation has it.

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use futures_util::stream;
use portcullis_contract::{BackendName, Call, CallError, Digest, Kind, PluginInfo, PluginName};
use portcullis_serve::Surroundings;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::host::{Caller, Calling, NativeHost};
use crate::{Error, Host};

/// Where calls are made.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    around: Surroundings,
}

impl Calls {
    pub(super) fn new(around: Surroundings) -> Self {
        Self { around }
    }

    /// Makes a call and waits for its answer.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl FnOnce(&Host<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, CallError> {
        let (caller, host) = self.host(call);
        let done = self.settle(spawn_blocking(move || work(&Host::from_service(&host)))).await;
        drop(caller);
        done
    }

    /// Begins a call that hands over things before its answer. Nothing begins until somebody reads.
    ///
    /// There is room for one thing: whoever is slow to read slows the plugin.
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
            let task = spawn_blocking(move || work(&host, &sender));
            let under_way = UnderWay { calls, items, task, last, _caller: caller };
            stream::unfold(Some(under_way), UnderWay::next)
        };
        stream::once(begin).flatten().boxed()
    }

    fn host(&self, call: &Call) -> (Caller, NativeHost) {
        let (caller, calling) = Calling::new(call);
        (caller, NativeHost::new(self.around.clone(), calling))
    }

    /// Waits for a thread.
    async fn settle<T>(&self, task: JoinHandle<Result<T, Error>>) -> Result<T, CallError> {
        match task.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error.into()),
            Err(error) => self.broken(&error).await,
        }
    }

    /// Ends the plugin. No call is answered after that.
    async fn broken<T>(&self, error: &JoinError) -> T {
        // A runtime that shuts down has work that never began, and ends without us.
        if error.is_panic() {
            self.around.give_up();
        }
        std::future::pending().await
    }
}

/// A call that is under way, and what it has not handed over yet.
struct UnderWay<I, T, L> {
    calls: Calls,
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
            // The thread has let go of the other end, and is about to be done.
            None => {
                let Self { calls, task, last, .. } = this;
                Some((calls.settle(task).await.map(last), None))
            }
        }
    }
}

/// Says who this process is. Nobody asks: whoever started it knows the file, and looked at it.
pub(super) fn info(kind: Kind) -> PluginInfo {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let digest = Digest::from_sha256([0; 32]);
    PluginInfo { name: PluginName::new(name), kind, backend: BackendName::Process, path, digest }
}
