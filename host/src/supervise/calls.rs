//! One call to a supervised plugin: it waits for a turn, for the plugin, and for the answer, in one piece or many.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use portcullis_contract::{Call, CallError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::call_log::CallLog;
use super::clocks::{Clocks, Waiting, too_many};
use super::restarts::Launched;
use super::{Life, PluginKind, Shared};

/// A plugin at the moment of a call, and the turn that the call has.
struct Turn<K: PluginKind> {
    up: Launched<K>,
    _permit: OwnedSemaphorePermit,
}

/// What a stream keeps. Not the plugin, which it would keep alive for as long as nobody reads it.
struct Streaming<T> {
    pieces: BoxStream<'static, Result<T, CallError>>,
    launch: u64,
    _permit: OwnedSemaphorePermit,
}

impl<K: PluginKind> Shared<K> {
    /// Makes one call: waits for a turn, for the plugin, and for the answer.
    pub(super) async fn call<T, F, Fut>(
        self: &Arc<Self>,
        mut log: CallLog,
        call: &Call,
        make: F,
    ) -> Result<T, CallError>
    where
        F: FnOnce(Arc<K::Plugin>, Call) -> Fut + Send,
        Fut: Future<Output = Result<T, CallError>> + Send,
    {
        let clocks = Clocks::start(call, &self.limits);
        let made = async {
            let turn = self.turn(clocks).await?;
            let answer = make(Arc::clone(&turn.up.plugin), clocks.call());
            let answer = self.until_over(clocks, answer).await;
            if let Err(CallError::Stopped(reason)) = &answer {
                self.end(turn.up.launch, reason).await;
            }
            answer.map_err(|error| clocks.settled(error, &self.limits))
        };
        let answer = made.instrument(log.span()).await;
        log.end(answer.as_ref().err());
        answer
    }

    /// Makes one call that answers in pieces. After the deadline only the last piece, by `is_end`, is still handed
    /// over.
    pub(super) fn stream<T, F>(
        self: &Arc<Self>,
        log: CallLog,
        clocks: Clocks,
        make: F,
        is_end: fn(&T) -> bool,
    ) -> BoxStream<'static, Result<T, CallError>>
    where
        T: Send + 'static,
        F: FnOnce(&K::Plugin, &Call) -> BoxStream<'static, Result<T, CallError>> + Send + 'static,
    {
        enum Step<T, F> {
            Begin(F),
            Next(Streaming<T>),
        }
        let shared = Arc::clone(self);
        let steps = stream::unfold((log, Some(Step::Begin(make))), move |(mut log, step)| {
            let shared = Arc::clone(&shared);
            async move {
                let step = step?;
                let next = async {
                    let streaming = match step {
                        Step::Begin(make) => shared.begin(clocks, make).await?,
                        Step::Next(streaming) => streaming,
                    };
                    shared.next(clocks, streaming, is_end).await
                };
                match next.instrument(log.span()).await {
                    Ok(Some((piece, streaming))) => {
                        if is_end(&piece) {
                            log.end(None);
                        }
                        Some((Ok(piece), (log, Some(Step::Next(streaming)))))
                    }
                    Ok(None) => {
                        log.end(None);
                        None
                    }
                    Err(error) => {
                        log.end(Some(&error));
                        Some((Err(error), (log, None)))
                    }
                }
            }
        });
        steps.fuse().boxed()
    }

    /// Begins a stream: waits for a turn, and for the plugin.
    async fn begin<T>(
        self: &Arc<Self>,
        clocks: Clocks,
        make: impl FnOnce(&K::Plugin, &Call) -> BoxStream<'static, Result<T, CallError>> + Send,
    ) -> Result<Streaming<T>, CallError> {
        let Turn { up: Launched { plugin, launch }, _permit } = self.turn(clocks).await?;
        Ok(Streaming { pieces: make(&plugin, &clocks.call()), launch, _permit })
    }

    /// Waits for the next piece of a stream, or for its end.
    async fn next<T: Send>(
        &self,
        clocks: Clocks,
        mut streaming: Streaming<T>,
        is_end: fn(&T) -> bool,
    ) -> Result<Option<(T, Streaming<T>)>, CallError> {
        let next = self.until_over(clocks, async { streaming.pieces.next().await.transpose() }).await;
        match next {
            // A plugin that is always ahead of its reader never makes us wait, so the clock is looked at here, too.
            Ok(Some(piece)) if !is_end(&piece) && clocks.first() <= Instant::now() => {
                Err(clocks.error(Waiting::ForAnswer, &self.limits))
            }
            Ok(piece) => Ok(piece.map(|piece| (piece, streaming))),
            Err(error) => {
                if let CallError::Stopped(reason) = &error {
                    self.end(streaming.launch, reason).await;
                }
                Err(clocks.settled(error, &self.limits))
            }
        }
    }

    /// Waits for something no longer than the clocks, and not past the end of the plugin.
    async fn until_over<T>(
        &self,
        clocks: Clocks,
        answer: impl Future<Output = Result<T, CallError>> + Send,
    ) -> Result<T, CallError> {
        tokio::select! {
            // The loser is dropped, and with it the call: that is how it is abandoned.
            answer = timeout_at(clocks.first(), answer) => {
                answer.unwrap_or_else(|_elapsed| Err(clocks.error(Waiting::ForAnswer, &self.limits)))
            }
            // The loser holds nothing but a place to wait at.
            () = self.over() => Err(CallError::Gone),
        }
    }

    /// Waits until the plugin is over.
    pub(super) async fn over(&self) {
        let mut life = self.life.subscribe();
        // The sender is ours, so that waiting cannot fail.
        let _ = life.wait_for(|life| *life == Life::Over).await;
    }

    /// Waits for a turn, and for the plugin to be up.
    async fn turn(self: &Arc<Self>, clocks: Clocks) -> Result<Turn<K>, CallError> {
        if *self.life.borrow() != Life::Up {
            return Err(CallError::Gone);
        }
        if self.limits.concurrency == 0 {
            return Err(too_many(&self.limits));
        }
        let permit = tokio::select! {
            biased;
            // The loser gives up its place among those who wait.
            permit = timeout_at(clocks.first(), Arc::clone(&self.turns).acquire_owned()) => permit
                .map_err(|_elapsed| clocks.error(Waiting::ForTurn, &self.limits))?
                .map_err(|_closed| CallError::Gone)?,
            // A stream that nobody reads keeps its turn, so waiting for one would outlast the plugin.
            () = self.over() => return Err(CallError::Gone),
        };
        let up = self.until_over(clocks, self.plugin()).await?;
        Ok(Turn { up, _permit: permit })
    }
}
