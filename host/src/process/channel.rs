//! A connection of go-plugin that speaks the contract.
//!
//! It bounds messages, passes deadlines on, and turns a [status](super::status) into the reason why a call gave no
//! answer.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_contract::proto::{Answer, ConvertError};
use portcullis_contract::{
    BackendName, Call, CallError, LimitHit, LimitName, Limits, Refusal, Resolved, StopReason,
};
use portcullis_goplugin::{Connection, Gone, go_sentence, normalized};
use portcullis_proto::auth_handler_service_client::AuthHandlerServiceClient;
use portcullis_proto::plugin_service_client::PluginServiceClient;
use prost::Message;
use tonic::{Code, Request, Response, Status};

use super::status::{Meaning, lost, reported};

/// The client of a provider's calls, over a connection of go-plugin.
pub(super) type ProviderClient = PluginServiceClient<portcullis_goplugin::Channel>;

/// The client of an auth handler's calls, over a connection of go-plugin.
pub(super) type AuthClient = AuthHandlerServiceClient<portcullis_goplugin::Channel>;

/// The client of one of the contract's services. The generated ones have nothing in common by themselves.
pub(super) trait Client: Clone + Send + Sync + 'static {
    /// Makes a client that sends and takes messages of that many bytes.
    fn over(channel: portcullis_goplugin::Channel, size: usize) -> Self;
}

impl Client for ProviderClient {
    fn over(channel: portcullis_goplugin::Channel, size: usize) -> Self {
        Self::new(channel).max_decoding_message_size(size).max_encoding_message_size(size)
    }
}

impl Client for AuthClient {
    fn over(channel: portcullis_goplugin::Channel, size: usize) -> Self {
        Self::new(channel).max_decoding_message_size(size).max_encoding_message_size(size)
    }
}

/// How long to wait for the end of a child whose connection broke. The kernel reports both within milliseconds; past
/// this the child is called lost instead of dead, and nothing else depends on it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How close to a deadline an error is put down to it. The wire and tokio both round to milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// How long a caller has to give up by itself once its deadline has passed, for it knows what the whole limit was. One
/// that does not watch its deadline hears of it from us, this much later.
const COURTESY: Duration = Duration::from_millis(250);

/// The longest timeout that is sent. gRPC has eight digits for one, and nobody waits so long.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A connection that speaks the contract. Clones share it; none of them keeps the child alive.
#[derive(Clone, Debug)]
pub(super) struct Channel<C> {
    client: C,
    connection: portcullis_goplugin::Channel,
    gone: Gone,
    limits: Arc<Resolved>,
    closed: Arc<AtomicBool>,
}

impl<C: Client> Channel<C> {
    /// Makes a channel of the connection to a child.
    pub(super) fn new(connection: &Connection, limits: Resolved) -> Self {
        let gone = connection.gone();
        let connection = connection.channel();
        let size = usize::try_from(limits.message).unwrap_or(usize::MAX);
        let client = C::over(connection.clone(), size);
        Self { client, connection, gone, limits: Arc::new(limits), closed: Arc::default() }
    }

    /// Returns the same channel with at least the default limit on messages: a policy that is tight about requests and
    /// results must not make the plugin unknown.
    pub(super) fn for_descriptions(&self) -> Self {
        let usual = Limits::default().resolve(BackendName::Process).message;
        let mut limits = Resolved::clone(&self.limits);
        limits.message = limits.message.max(usual);
        let size = usize::try_from(limits.message).unwrap_or(usize::MAX);
        let client = C::over(self.connection.clone(), size);
        Self { client, limits: Arc::new(limits), ..self.clone() }
    }

    /// Returns how many bytes all descriptions may have together: as many as one message.
    pub(super) fn description_budget(&self) -> Budget {
        Budget { used: 0, limit: self.limits.message }
    }

    /// Makes every call from now on fail with [`CallError::Gone`].
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns whether there is anybody to call.
    pub(super) fn is_open(&self) -> bool {
        self.open().is_ok() && self.gone.exit().is_none()
    }

    /// Fails once [`close`](Self::close) was called.
    pub(super) fn open(&self) -> Result<(), CallError> {
        if self.closed.load(Ordering::Acquire) { Err(CallError::Gone) } else { Ok(()) }
    }

    /// Prepares a call that is sent later. Its time runs from now.
    pub(super) fn pending(&self, call: &Call) -> Pending<C> {
        let (deadline, began) = (call.deadline, Instant::now());
        Pending { channel: self.clone(), deadline, began, declining: Declining::Fails }
    }

    /// Prepares a call that its host does without where the plugin declines it.
    pub(super) fn optional(&self, call: &Call) -> Pending<C> {
        Pending { declining: Declining::IsAllowed, ..self.pending(call) }
    }

    /// Makes one call and waits for its answer.
    pub(super) async fn unary<Q: Message, R>(
        &self,
        call: &Call,
        request: Q,
        send: impl AsyncFnOnce(C, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, CallError> {
        self.pending(call).send(request, send).await
    }
}

/// How many bytes are left for what a plugin says of itself.
#[derive(Debug)]
pub(super) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    /// Takes the bytes of a message. Fails when fewer are left.
    pub(super) fn take(&mut self, message: &impl Message) -> Result<(), LimitHit> {
        let size = u64::try_from(message.encoded_len()).unwrap_or(u64::MAX);
        self.used = self.used.saturating_add(size);
        LimitHit::check(LimitName::Message, self.used, self.limit)
    }
}

/// One call, from before it is made until its last answer.
#[derive(Debug)]
pub(super) struct Pending<C> {
    channel: Channel<C>,
    deadline: Option<Instant>,
    began: Instant,
    declining: Declining,
}

/// What it means that a plugin's author declines a call in words of their own, with the code for a call that is not
/// there. The fallbacks of upstream, and ours for later calls, go by the code alone (contract spec 4.7).
#[derive(Clone, Copy, Debug)]
enum Declining {
    /// The call fails, in those words.
    Fails,
    /// The same as a call that the plugin does not know.
    IsAllowed,
}

impl<C: Client> Pending<C> {
    /// Returns how many bytes the call may print.
    pub(super) fn output_limit(&self) -> u64 {
        self.channel.limits.output.unwrap_or(u64::MAX)
    }

    /// Sends the request, and waits for what the plugin answers.
    pub(super) async fn ask<Q: Message, R, T>(
        &self,
        request: Q,
        send: impl AsyncFnOnce(C, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<T, CallError>
    where
        Answer<T>: TryFrom<R, Error = ConvertError>,
    {
        match Answer::try_from(self.send(request, send).await?) {
            Ok(Answer(Ok(value))) => Ok(value),
            Ok(Answer(Err(refusal))) => Err(self.settle(CallError::Refused(refusal)).await),
            Err(error) => Err(CallError::contract(error)),
        }
    }

    /// Sends the request, unless it is too large, and waits for the answer or its beginning.
    pub(super) async fn send<Q: Message, R>(
        &self,
        request: Q,
        send: impl AsyncFnOnce(C, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, CallError> {
        self.channel.open()?;
        let size = request.encoded_len() as u64;
        LimitHit::check(LimitName::Message, size, self.channel.limits.message)?;
        let mut request = Request::new(request);
        if let Some(deadline) = self.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()).min(LONGEST));
        }
        match send(self.channel.client.clone(), request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.failed(status).await),
        }
    }

    /// Returns why there is no answer.
    async fn failed(&self, status: Status) -> CallError {
        // Normalizing a status drops its source, which is what says that it was made here.
        let status = if status.source().is_none() { normalized(status) } else { status };
        if let Some(error) = reported(&status) {
            return self.settle(error).await;
        }
        let error = match Meaning::of(&status) {
            Meaning::Unimplemented => return CallError::Unimplemented,
            Meaning::Declined if matches!(self.declining, Declining::IsAllowed) => {
                return CallError::Unimplemented;
            }
            Meaning::TooLarge { asked, allowed } => {
                return CallError::Limit(LimitHit { which: LimitName::Message, asked, allowed });
            }
            Meaning::Garbled => return CallError::contract(go_sentence(&status)),
            Meaning::Broken => return self.broken(status).await,
            // One that comes before our deadline is the plugin's own, for something else.
            Meaning::Late | Meaning::Declined | Meaning::Refused => {
                CallError::Refused(Refusal { by_library: true, ..Refusal::new(go_sentence(&status)) })
            }
        };
        self.settle(error).await
    }

    /// Returns an error, or that the deadline has passed if the error came with it.
    ///
    /// A plugin that knows its deadline fails when that passes, in words of its own, in a race with the caller's clock.
    /// What the caller says counts.
    pub(super) async fn settle(&self, error: CallError) -> CallError {
        match self.deadline {
            Some(deadline) if Instant::now() + ROUNDING >= deadline => {
                tokio::time::sleep(COURTESY).await;
                let limit = deadline.saturating_duration_since(self.began) + Duration::from_micros(500);
                CallError::TimedOut {
                    limit: Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
                }
            }
            _ => error,
        }
    }

    /// Returns why a stream broke off. Upstream puts words before the status of one.
    pub(super) async fn failed_stream(&self, words: &str, status: Status) -> CallError {
        in_stream(words, self.failed(status).await)
    }

    /// Finds out what became of a child whose connection broke.
    async fn broken(&self, status: Status) -> CallError {
        let end = tokio::time::timeout(LAST_WORDS, self.channel.gone.clone().wait()).await;
        if let Err(gone) = self.channel.open() {
            return gone;
        }
        match end {
            Ok(exit) => CallError::Stopped(StopReason::Exited {
                status: exit
                    .status
                    .map_or_else(|| "exit status unknown".to_owned(), |status| status.to_string()),
                stderr: exit.stderr,
            }),
            Err(_elapsed) if status.code() == Code::Unavailable => {
                let reason = format!("its connection broke: {}", lost(&status));
                CallError::Stopped(StopReason::Lost { reason })
            }
            // It lives and speaks, but not HTTP/2 as it should be.
            Err(_elapsed) => CallError::contract(lost(&status)),
        }
    }
}

/// Takes a call that an older plugin does not know for one that it had nothing to do for.
pub(super) fn or_nothing_to_do(answer: Result<(), CallError>) -> Result<(), CallError> {
    match answer {
        Err(CallError::Unimplemented) => Ok(()),
        other => other,
    }
}

/// Puts upstream's words before a status that ended a stream.
pub(super) fn in_stream(words: &str, error: CallError) -> CallError {
    match error {
        CallError::Refused(refusal) => {
            let message = format!("{words}: {}", refusal.message);
            CallError::Refused(Refusal { message, ..refusal })
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_plugin_that_knows_no_configuration_had_nothing_to_do() {
        assert!(or_nothing_to_do(Err(CallError::Unimplemented)).is_ok());
        assert!(matches!(or_nothing_to_do(Err(CallError::Gone)), Err(CallError::Gone)));
    }
}
