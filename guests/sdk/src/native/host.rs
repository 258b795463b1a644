//! What answers for a host, on the thread of one call.
//!
//! A thread waits here for what the host sends. It stops when its caller has gone, because nobody reads that call's
//! answer any more.

use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use portcullis_contract as contract;
use portcullis_contract::Call;
use portcullis_serve::{Entry, Level as LogLevel, Surroundings, answering};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::coop::unconstrained;

use crate::{
    AuthHandlers, Claims, Closed, DeviceCodePrompt, HostService, Level, PromptError, PromptService,
    ResponseRequest, Token, TokenRequest,
};

/// The error of host calls once the caller has gone.
const GONE: &str = "the caller has given up";

/// The caller's end of a call. Dropping it tells the call that its caller has gone.
#[derive(Debug)]
pub(super) struct Caller {
    _waits: watch::Sender<()>,
}

/// The call's own end, by which it learns that its caller has gone.
#[derive(Clone, Debug)]
pub(super) struct Calling {
    waits: watch::Receiver<()>,
    deadline: Option<Instant>,
    /// Kept because a plugin may ask from threads of its own, which know of no runtime.
    runtime: Handle,
}

impl Calling {
    /// Describes a call. Has to be called within the runtime.
    pub(super) fn new(call: &Call) -> (Caller, Self) {
        let (caller, waits) = watch::channel(());
        let calling = Self { waits, deadline: call.deadline, runtime: Handle::current() };
        (Caller { _waits: caller }, calling)
    }

    fn is_over(&self) -> bool {
        self.waits.has_changed().is_err()
    }

    /// Waits for an answer, or until nobody waits for the call.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut waits = self.waits.clone();
        let _within = self.runtime.enter();
        // Within an author's own runtime the turn may be used up, and while this blocks there is no next one.
        let answer = answering(self.deadline.map(Into::into), answer);
        block_on(unconstrained(async {
            tokio::select! {
                biased;
                // The caller never sends, so this is its end. The request to the host is dropped.
                _ = waits.changed() => None,
                answer = answer => Some(answer),
            }
        }))
    }

    /// Hands something over, once there is room for it.
    fn hand_over<I>(&self, to: &mpsc::Sender<I>, item: I) -> Result<(), Closed> {
        match self.wait(to.send(item)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(Closed),
        }
    }
}

/// Waits on this thread, whatever it is: tokio's own `block_on` panics within a runtime, an author's included.
///
/// The thread is not parked for it: a thread has one token for that, and if this took the wake-up of an author's own
/// executor, that one would sleep on.
fn block_on<T>(answer: impl Future<Output = T>) -> T {
    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        rings: Condvar,
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.rings.notify_one();
        }
    }

    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) {
            return answer;
        }
        let rung = bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
        *bell.rings.wait_while(rung, |rung| !*rung).unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// The host, on the thread of one call.
#[derive(Debug)]
pub(super) struct NativeHost {
    around: Surroundings,
    calling: Calling,
}

impl NativeHost {
    pub(super) fn new(around: Surroundings, calling: Calling) -> Self {
        Self { around, calling }
    }

    /// Hands something over, once there is room for it.
    pub(super) fn hand_over<I>(&self, to: &mpsc::Sender<I>, item: I) -> Result<(), Closed> {
        self.calling.hand_over(to, item)
    }

    /// Asks the host.
    fn ask<T>(&self, answer: impl Future<Output = Result<T, contract::HostError>>) -> Result<T, String> {
        match self.calling.wait(answer) {
            Some(answer) => answer.map_err(|error| error.to_string()),
            None => Err(GONE.to_owned()),
        }
    }
}

impl HostService for NativeHost {
    fn get_secret(&self, name: &str) -> Result<Option<String>, String> {
        self.ask(self.around.host().get_secret(name))
    }

    fn set_secret(&self, name: &str, value: &str) -> Result<(), String> {
        self.ask(self.around.host().set_secret(name, value))
    }

    fn delete_secret(&self, name: &str) -> Result<(), String> {
        self.ask(self.around.host().delete_secret(name))
    }

    fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, String> {
        self.ask(self.around.host().list_secrets(pattern))
    }

    fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, String> {
        self.ask(self.around.host().auth_identity(handler, scope))
    }

    fn auth_handlers(&self) -> Result<AuthHandlers, String> {
        let host = self.around.host();
        let handlers = self.calling.wait(host.auth_handlers());
        handlers.ok_or_else(|| GONE.to_owned())
    }

    fn auth_token(&self, request: &TokenRequest) -> Result<Token, String> {
        self.ask(self.around.host().auth_token(request))
    }

    fn auth_groups(&self, handler: &str) -> Result<Vec<String>, String> {
        self.ask(self.around.host().auth_groups(handler))
    }

    fn log(&self, level: Level, message: &str, fields: &str) {
        self.around.log(&entry(level, message, fields));
    }

    fn cancelled(&self) -> bool {
        self.calling.is_over()
    }

    fn time_left(&self) -> Option<Duration> {
        self.calling.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Makes a line of the log.
fn entry(level: Level, message: &str, fields: &str) -> Entry {
    let level = match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    let fields = match serde_json::from_str(fields) {
        Ok(Value::Object(fields)) => fields.into_iter().collect(),
        // There are none.
        _ => Vec::new(),
    };
    Entry { fields, ..Entry::plain(level, message) }
}

/// Who shows a person something during a login.
pub(super) struct NativePrompts<'a, I> {
    host: &'a NativeHost,
    events: &'a mpsc::Sender<I>,
    event: fn(DeviceCodePrompt) -> I,
}

impl<'a, I> NativePrompts<'a, I> {
    pub(super) fn new(
        host: &'a NativeHost,
        events: &'a mpsc::Sender<I>,
        event: fn(DeviceCodePrompt) -> I,
    ) -> Self {
        Self { host, events, event }
    }
}

impl<I: Send> PromptService for NativePrompts<'_, I> {
    fn device_code(&self, prompt: DeviceCodePrompt) {
        // If nobody reads any more, `Host::cancelled` says so.
        let _unread = self.host.hand_over(self.events, (self.event)(prompt));
    }

    fn auth_response(&self, request: ResponseRequest) -> Result<String, PromptError> {
        let host = self.host.around.host();
        match self.host.calling.wait(host.prompt_auth_response(&request)) {
            Some(answer) => answer.map_err(PromptError::from),
            None => Err(PromptError::Cancelled(GONE.to_owned())),
        }
    }
}

impl From<contract::PromptError> for PromptError {
    fn from(error: contract::PromptError) -> Self {
        match error {
            contract::PromptError::Unimplemented => Self::Unimplemented,
            contract::PromptError::Cancelled(text) => Self::Cancelled(text),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::coop;

    use super::*;

    #[test]
    fn a_line_of_the_log_keeps_its_fields() {
        let line = entry(Level::Warn, "copied", r#"{"path":"/a","bytes":4096}"#);
        assert_eq!((line.level, line.message.as_str()), (LogLevel::Warn, "copied"));
        assert_eq!(line.fields, [("bytes".to_owned(), 4096.into()), ("path".to_owned(), "/a".into())]);
        for none in ["", "[1]", "{"] {
            assert!(entry(Level::Info, "m", none).fields.is_empty(), "{none}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_whose_caller_has_gone_waits_for_nothing() {
        let (caller, calling) = Calling::new(&Call::default());
        assert!(!calling.is_over());
        let waiting = tokio::task::spawn_blocking(move || {
            let answer = calling.wait(std::future::pending::<()>());
            (answer, calling.is_over())
        });
        drop(caller);
        assert_eq!(waiting.await.unwrap(), (None, true));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_may_ask_from_threads_of_its_own() {
        let (_caller, calling) = Calling::new(&Call::default());
        let asked = std::thread::spawn(move || calling.wait(tokio::task::yield_now()));
        assert_eq!(asked.join().unwrap(), Some(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_that_asks_takes_nobody_elses_wake() {
        let (_caller, calling) = Calling::new(&Call::default());
        let asked = std::thread::spawn(move || {
            // As what an author's own executor waits for does.
            std::thread::current().unpark();
            calling.wait(tokio::task::yield_now());
            let begin = Instant::now();
            // Generous: it is only ever waited out by a test that fails.
            std::thread::park_timeout(Duration::from_secs(20));
            begin.elapsed()
        });
        assert!(asked.join().unwrap() < Duration::from_secs(20));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_may_ask_within_a_runtime_of_its_own() {
        let (_caller, calling) = Calling::new(&Call::default());
        let asked = std::thread::spawn(move || {
            let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // Its own has no clock, and so it is another's that this waits for.
            let later = async { tokio::time::sleep(Duration::from_millis(1)).await };
            own.block_on(async { calling.wait(later) })
        });
        assert_eq!(asked.join().unwrap(), Some(()));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_may_hand_over_within_a_runtime_of_its_own() {
        let (_caller, calling) = Calling::new(&Call::default());
        let (sender, mut items) = mpsc::channel(1);
        let handing = std::thread::spawn(move || {
            let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
            own.block_on(async { [1, 2, 3].map(|item| calling.hand_over(&sender, item)) })
        });
        // Generous: it is only ever waited out by a test that fails.
        let mut next = async || tokio::time::timeout(Duration::from_secs(20), items.recv()).await.unwrap();
        for item in [1, 2] {
            assert_eq!(next().await, Some(item));
        }
        drop(items);
        assert_eq!(handing.join().unwrap()[..2], [Ok(()), Ok(())]);
    }

    /// The runtime would give it another turn only once it has waited.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_call_may_ask_when_its_turn_is_used_up() {
        let (_caller, calling) = Calling::new(&Call::default());
        let (done, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let answer = own.block_on(async {
                while coop::has_budget_remaining() {
                    coop::consume_budget().await;
                }
                calling.wait(coop::consume_budget())
            });
            done.send(answer)
        });
        // Generous: it is only ever waited out by a test that fails.
        assert_eq!(asked.recv_timeout(Duration::from_secs(20)), Ok(Some(())));
    }
}
