//! What the host does for a child, served over the broker.
//!
//! A failure of ours is a sentence in the answer, not a status, because the plugin's library reads it there
//! (contract spec 5.4); asking a person is the exception. Which plugin may ask for what was decided by
//! whoever made the [`HostService`]; this only carries it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis_contract::proto::HostAnswer;
use portcullis_contract::{
    CallError, HostError, HostService, LimitHit, LimitName, PromptError, StopReason, chain,
};
use portcullis_goplugin::{Broker, BrokerError, Serving};
use portcullis_proto as proto;
use portcullis_proto::host_service_server::{self, HostServiceServer};
use prost::Message;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use crate::lock::lock;

/// Bytes of requests that may be under way at a time, beside one message of the largest size. A guess: names and
/// secrets are short; with less, a child that sets many large secrets at once is refused some.
const REQUESTS: usize = 64 << 20;

/// The host service of one child, announced to it over the broker.
///
/// The child's library forgets an announcement within five seconds (contract spec 5.1), so nothing is served or
/// announced before somebody configures. Dropping this ends what is served.
#[derive(Debug)]
pub(super) struct HostDoor {
    host: Option<Arc<dyn HostService>>,
    broker: Broker,
    message_limit: usize,
    serving: Mutex<Servings>,
}

/// What is served now, and what was before.
#[derive(Debug)]
struct Servings<S = Serving> {
    current: Option<S>,
    /// Whether the child has answered a configuration that named the current one.
    taken: bool,
    /// Those before that the child may still ask: it keeps the first that it dials until it is stopped (contract spec
    /// 3.7). The oldest comes first.
    previous: Vec<S>,
}

impl<S> Default for Servings<S> {
    fn default() -> Self {
        Self { current: None, taken: false, previous: Vec::new() }
    }
}

/// The most announcements in a row that a child has not answered for and may ask all the same. A guess: whoever gave up
/// so often has stopped the plugin.
const UNTAKEN: usize = 8;

impl<S> Servings<S> {
    /// Forgets the current one, because the child has: a provider of it was stopped. The others of the plugin were
    /// configured with it and may still ask it.
    fn forget(&mut self) {
        if let Some(current) = self.current.take() {
            self.previous = vec![current];
        }
        self.taken = false;
    }

    /// Forgets the current one if it is the one that `is` means and no child has taken it. Which of several in a row it
    /// has dialled nobody knows, so they stay; the first is the likeliest.
    fn forget_untaken(&mut self, is: impl FnOnce(&S) -> bool) {
        if !self.taken && self.current.as_ref().is_some_and(is) {
            self.previous.extend(self.current.take());
            self.previous.truncate(UNTAKEN);
        }
    }
}

/// An announcement that a configuration carries. Dropped before the child has answered, it is not used again: it does
/// not last, and nobody knows whether the child has dialled.
#[derive(Debug)]
pub(super) struct Announced<'a> {
    door: &'a HostDoor,
    id: Option<NonZeroU32>,
}

impl Announced<'_> {
    /// Returns the broker's number of the service, for the child; `None` offers none.
    pub(super) fn id(&self) -> Option<NonZeroU32> {
        self.id
    }

    /// Notes that the child has answered, and so has dialled if it wanted to.
    pub(super) fn taken(self) {
        let mut servings = self.door.servings();
        servings.taken = servings.taken || servings.current.as_ref().is_some_and(|current| self.is(current));
    }

    fn is(&self, serving: &Serving) -> bool {
        NonZeroU32::new(serving.id()) == self.id
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.door.servings().forget_untaken(|current| self.is(current));
    }
}

impl HostDoor {
    /// Makes the door to `host`, if there is one. Nothing is served yet.
    pub(super) fn new(host: Option<Arc<dyn HostService>>, broker: Broker, message_limit: u64) -> Self {
        let message_limit = usize::try_from(message_limit).unwrap_or(usize::MAX);
        Self { host, broker, message_limit, serving: Mutex::default() }
    }

    /// Serves and announces the host, unless that was done.
    ///
    /// A child without a broker has no way to ask, and is offered none.
    pub(super) async fn announce(&self) -> Result<Announced<'_>, CallError> {
        let id = self.announce_once().await?;
        Ok(Announced { door: self, id })
    }

    async fn announce_once(&self) -> Result<Option<NonZeroU32>, CallError> {
        let Some(host) = &self.host else { return Ok(None) };
        if let Some(id) = self.announced() {
            return Ok(Some(id));
        }
        // Upstream takes 4 MiB here; a policy's own limit says the same of all messages.
        let served = Served { host: Arc::clone(host), message_limit: self.message_limit as u64 };
        let server = HostServiceServer::new(served)
            .max_decoding_message_size(self.message_limit)
            .max_encoding_message_size(self.message_limit);
        let most = REQUESTS.saturating_add(self.message_limit);
        let serving = match self.broker.serve_within(most, Routes::new(server)).await {
            Ok(serving) => serving,
            Err(BrokerError::Closed) => return Ok(None),
            Err(error) => {
                let reason = format!("it cannot be offered what the host does: {}", chain(&error));
                return Err(CallError::Stopped(StopReason::Lost { reason }));
            }
        };
        // Of two that came here at once the first is kept; an announcement that nobody dials is harmless.
        let mut servings = self.servings();
        Ok(NonZeroU32::new(servings.current.get_or_insert(serving).id()))
    }

    /// Has the host served and announced anew at the next configuration.
    pub(super) fn forget(&self) {
        self.servings().forget();
    }

    /// Ends what is served.
    pub(super) fn close(&self) {
        *self.servings() = Servings::default();
    }

    fn announced(&self) -> Option<NonZeroU32> {
        self.servings().current.as_ref().and_then(|serving| NonZeroU32::new(serving.id()))
    }

    fn servings(&self) -> MutexGuard<'_, Servings> {
        lock(&self.serving)
    }
}

/// A host service, as the wire has it.
#[derive(Debug)]
struct Served {
    host: Arc<dyn HostService>,
    message_limit: u64,
}

impl Served {
    /// Makes a message of an answer. That one is too large is said in it, as any failure of ours; left to tonic, it
    /// would be a status in that library's words.
    fn answer<T, M: From<HostAnswer<T>> + Message>(
        &self,
        answer: Result<T, HostError>,
    ) -> Result<Response<M>, Status> {
        let message = M::from(HostAnswer(answer));
        let size = message.encoded_len() as u64;
        Ok(Response::new(match LimitHit::check(LimitName::Message, size, self.message_limit) {
            Ok(()) => message,
            Err(limit) => HostAnswer::<T>(Err(HostError::Failed(limit.to_string()))).into(),
        }))
    }
}

/// Returns the status that stands for the reason why nobody answered.
fn status(error: &PromptError) -> Status {
    let code = match error {
        PromptError::Unavailable(_) => Code::Unavailable,
        PromptError::Cancelled(_) => Code::Cancelled,
        // A plugin goes on as it would with an older host.
        _ => Code::Unimplemented,
    };
    Status::new(code, error.to_string())
}

#[tonic::async_trait]
impl host_service_server::HostService for Served {
    async fn get_secret(
        &self,
        request: Request<proto::GetSecretRequest>,
    ) -> Result<Response<proto::GetSecretResponse>, Status> {
        self.answer(self.host.get_secret(&request.get_ref().name).await)
    }

    async fn set_secret(
        &self,
        request: Request<proto::SetSecretRequest>,
    ) -> Result<Response<proto::SetSecretResponse>, Status> {
        let proto::SetSecretRequest { name, value } = request.get_ref();
        self.answer(self.host.set_secret(name, value).await)
    }

    async fn delete_secret(
        &self,
        request: Request<proto::DeleteSecretRequest>,
    ) -> Result<Response<proto::DeleteSecretResponse>, Status> {
        self.answer(self.host.delete_secret(&request.get_ref().name).await)
    }

    async fn list_secrets(
        &self,
        request: Request<proto::ListSecretsRequest>,
    ) -> Result<Response<proto::ListSecretsResponse>, Status> {
        self.answer(self.host.list_secrets(&request.get_ref().pattern).await)
    }

    async fn get_auth_identity(
        &self,
        request: Request<proto::GetAuthIdentityRequest>,
    ) -> Result<Response<proto::GetAuthIdentityResponse>, Status> {
        let proto::GetAuthIdentityRequest { handler_name, scope } = request.get_ref();
        self.answer(self.host.auth_identity(handler_name, scope).await)
    }

    async fn list_auth_handlers(
        &self,
        _: Request<proto::ListAuthHandlersRequest>,
    ) -> Result<Response<proto::ListAuthHandlersResponse>, Status> {
        Ok(Response::new(self.host.auth_handlers().await.into()))
    }

    async fn get_auth_token(
        &self,
        request: Request<proto::GetAuthTokenRequest>,
    ) -> Result<Response<proto::GetAuthTokenResponse>, Status> {
        self.answer(self.host.auth_token(&request.into_inner().into()).await)
    }

    async fn get_auth_groups(
        &self,
        request: Request<proto::GetAuthGroupsRequest>,
    ) -> Result<Response<proto::GetAuthGroupsResponse>, Status> {
        self.answer(self.host.auth_groups(&request.get_ref().handler_name).await)
    }

    /// The one call that fails with a status (contract spec 1.9): its answer has no room for a sentence.
    async fn prompt_auth_response(
        &self,
        request: Request<proto::PromptAuthResponseRequest>,
    ) -> Result<Response<proto::PromptAuthResponseResponse>, Status> {
        match self.host.prompt_auth_response(&request.into_inner().into()).await {
            Ok(value) => Ok(Response::new(proto::PromptAuthResponseResponse { value })),
            Err(error) => Err(status(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_may_not_have_taken_is_told_to_nobody_again() {
        let mut servings = Servings { current: Some(1), ..Servings::default() };
        servings.forget_untaken(|id| *id == 7);
        assert_eq!(servings.current, Some(1), "somebody else's is left alone");
        servings.forget_untaken(|id| *id == 1);
        assert_eq!((&servings.current, &servings.previous), (&None, &vec![1]));
        // It may have dialled the first, and ignored the second.
        servings.current = Some(2);
        servings.forget_untaken(|id| *id == 2);
        assert_eq!((&servings.current, &servings.previous), (&None, &vec![1, 2]));
        servings.current = Some(3);
        servings.forget();
        assert_eq!((&servings.current, &servings.previous), (&None, &vec![3]));

        let mut servings = Servings { current: Some(2), taken: true, ..Servings::default() };
        servings.forget_untaken(|id| *id == 2);
        assert_eq!(servings.current, Some(2));
        // It says that it has lost the way.
        servings.forget();
        assert_eq!((servings.current, servings.taken, servings.previous), (None, false, vec![2]));
    }
}
