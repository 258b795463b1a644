//! The host of a plugin, called back through the broker.
//!
//! A plugin gets its `HostService` at launch, but the host says where it can be reached only later, or never: by the
//! broker's id in a request to configure (contract spec 3.7). Until then the service answers as a host that offers
//! nothing. A refusal reaches the plugin in the host's own sentence, and a failure of the connection in the sentence of
//! upstream's client, both as a [`portcullis_contract::HostError`].

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use portcullis_contract::proto::HostAnswer;
use portcullis_contract::{
    AuthHandlers, Claims, HostError, HostService, PromptError, ResponseRequest, Token, TokenRequest,
};
use portcullis_goplugin::{Broker, BrokerError, Channel, go_sentence};
use portcullis_proto as proto;
use portcullis_proto::host_service_client::HostServiceClient;
use tokio::sync::OnceCell;
use tonic::{Code, Response, Status};

/// The client of what a host offers.
type Client = HostServiceClient<Channel>;

/// A plugin's host, as far as it can be called back. Clones share the connection.
#[derive(Clone)]
pub(crate) struct RemoteHost(Arc<Shared>);

struct Shared {
    broker: Broker,
    answer_limit: usize,
    ways: Mutex<Ways>,
}

/// The connections to the host.
#[derive(Default)]
struct Ways {
    /// The connection that calls use.
    current: Option<Arc<Way>>,
    /// The connection that a configuration under way is opening.
    next: Option<Arc<Way>>,
    /// Counts the requests to connect to a host, or to forget it.
    said: u64,
    /// The number of the request that `current` comes from.
    holds: u64,
}

/// A server of the host's, and the one connection to it: an announcement is good for one dial.
struct Way {
    id: NonZeroU32,
    client: OnceCell<Client>,
}

impl RemoteHost {
    /// Makes a host that cannot be reached yet.
    pub(crate) fn over(broker: Broker, answer_limit: usize) -> Self {
        Self(Arc::new(Shared { broker, answer_limit, ways: Mutex::default() }))
    }

    /// Has calls go to the server with that broker id from now on; `None` changes nothing.
    ///
    /// If several configurations at once name the same id, one of them connects; if they name several, the last one
    /// wins, however long it takes. The earlier connection is used until the new one is open, and calls under way keep
    /// theirs.
    pub(crate) async fn bind(&self, id: Option<NonZeroU32>) -> Result<(), BrokerError> {
        let Some(id) = id else { return Ok(()) };
        let Some((way, said)) = self.ways().say(id) else { return Ok(()) };
        way.client.get_or_try_init(|| self.dial(id)).await?;
        self.ways().connected(way, said);
        Ok(())
    }

    /// Disconnects the host, for the whole process. A connection that is still being opened is not used either.
    pub(crate) fn forget(&self) {
        self.ways().forget();
    }

    async fn dial(&self, id: NonZeroU32) -> Result<Client, BrokerError> {
        let channel = self.0.broker.dial(id.get()).await?;
        // Requests may be as large as the plugin makes them: refusing them is up to the host.
        Ok(Client::new(channel).max_decoding_message_size(self.0.answer_limit))
    }

    /// Returns the client, if the host can be reached.
    fn client(&self) -> Option<Client> {
        self.ways().current.as_ref()?.client.get().cloned()
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        // The state is whole between any two statements; a panic elsewhere does not spoil it.
        self.0.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ways {
    /// Notes a request to connect. Returns the way to connect, unless it is the current one, and the number of the
    /// request.
    fn say(&mut self, id: NonZeroU32) -> Option<(Arc<Way>, u64)> {
        self.said += 1;
        if self.current.as_ref().is_some_and(|way| way.id == id) {
            self.holds = self.said;
            return None;
        }
        let way = match &self.next {
            Some(way) if way.id == id => Arc::clone(way),
            _ => Arc::clone(self.next.insert(Arc::new(Way { id, client: OnceCell::new() }))),
        };
        Some((way, self.said))
    }

    /// Has calls take a way, unless a later request holds already.
    fn connected(&mut self, way: Arc<Way>, said: u64) {
        self.next.take_if(|next| Arc::ptr_eq(next, &way));
        if said > self.holds {
            self.holds = said;
            self.current = Some(way);
        }
    }

    fn forget(&mut self) {
        self.said += 1;
        self.holds = self.said;
        self.current = None;
    }
}

impl fmt::Debug for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.ways().current.as_ref().map(|way| way.id);
        f.debug_struct("RemoteHost").field("id", &id).finish_non_exhaustive()
    }
}

/// Returns the host's answer, or why the call failed.
fn answer<M, T>(response: Result<Response<M>, Status>) -> Result<T, HostError>
where
    HostAnswer<T>: From<M>,
{
    match response {
        Ok(response) => HostAnswer::from(response.into_inner()).0,
        Err(status) => Err(HostError::Failed(go_sentence(&status))),
    }
}

#[async_trait]
impl HostService for RemoteHost {
    async fn get_secret(&self, name: &str) -> Result<Option<String>, HostError> {
        let request = proto::GetSecretRequest { name: name.to_owned() };
        answer(self.client().ok_or(HostError::NO_SECRETS)?.get_secret(request).await)
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        let request = proto::SetSecretRequest { name: name.to_owned(), value: value.to_owned() };
        answer(self.client().ok_or(HostError::NO_SECRETS)?.set_secret(request).await)
    }

    async fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        let request = proto::DeleteSecretRequest { name: name.to_owned() };
        answer(self.client().ok_or(HostError::NO_SECRETS)?.delete_secret(request).await)
    }

    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        let request = proto::ListSecretsRequest { pattern: pattern.to_owned() };
        answer(self.client().ok_or(HostError::NO_SECRETS)?.list_secrets(request).await)
    }

    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        let request =
            proto::GetAuthIdentityRequest { handler_name: handler.to_owned(), scope: scope.to_owned() };
        answer(self.client().ok_or(HostError::NO_IDENTITY)?.get_auth_identity(request).await)
    }

    /// A host that cannot be reached offers none.
    async fn auth_handlers(&self) -> AuthHandlers {
        let Some(mut client) = self.client() else { return AuthHandlers::default() };
        match client.list_auth_handlers(proto::ListAuthHandlersRequest {}).await {
            Ok(response) => response.into_inner().into(),
            Err(status) => {
                tracing::warn!(status = %go_sentence(&status), "the host does not list its auth handlers");
                AuthHandlers::default()
            }
        }
    }

    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        let request = proto::GetAuthTokenRequest::from(request.clone());
        answer(self.client().ok_or(HostError::NO_TOKENS)?.get_auth_token(request).await)
    }

    /// A host that does not implement the call counts as one with no groups (contract spec 5.6).
    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        let request = proto::GetAuthGroupsRequest { handler_name: handler.to_owned() };
        match self.client().ok_or(HostError::NO_GROUPS)?.get_auth_groups(request).await {
            Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
            response => answer(response),
        }
    }

    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        let Some(mut client) = self.client() else { return Err(PromptError::Unimplemented) };
        let request = proto::PromptAuthResponseRequest::from(request.clone());
        match client.prompt_auth_response(request).await {
            Ok(response) => Ok(response.into_inner().value),
            Err(status) => Err(match status.code() {
                Code::Unimplemented => PromptError::Unimplemented,
                Code::Cancelled => PromptError::Cancelled(status.message().to_owned()),
                Code::Unavailable => PromptError::Unavailable(status.message().to_owned()),
                _ => PromptError::Unavailable(go_sentence(&status)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(ways: &mut Ways, id: u32) -> Option<(Arc<Way>, u64)> {
        ways.say(NonZeroU32::new(id).unwrap())
    }

    fn current(ways: &Ways) -> Option<u32> {
        ways.current.as_ref().map(|way| way.id.get())
    }

    #[test]
    fn what_was_said_last_holds_in_whatever_order_ways_are_connected() {
        let mut ways = Ways::default();
        let (first, early) = say(&mut ways, 1).unwrap();
        let (second, late) = say(&mut ways, 2).unwrap();
        ways.connected(second, late);
        ways.connected(first, early);
        assert_eq!(current(&ways), Some(2));

        // One that is there until a later one is connected.
        let (third, early) = say(&mut ways, 3).unwrap();
        let (fourth, late) = say(&mut ways, 4).unwrap();
        ways.connected(third, early);
        assert_eq!(current(&ways), Some(3));
        ways.connected(fourth, late);
        assert_eq!(current(&ways), Some(4));

        // The current one is said again.
        let (fifth, early) = say(&mut ways, 5).unwrap();
        assert!(say(&mut ways, 4).is_none());
        ways.connected(fifth, early);
        assert_eq!(current(&ways), Some(4));
    }

    #[test]
    fn a_host_that_is_forgotten_while_it_is_connected_to_stays_forgotten() {
        let mut ways = Ways::default();
        let (way, said) = say(&mut ways, 1).unwrap();
        ways.forget();
        let (same, again) = say(&mut ways, 1).unwrap();
        assert!(Arc::ptr_eq(&way, &same));
        ways.connected(way, said);
        assert_eq!(current(&ways), None);
        ways.connected(same, again);
        assert_eq!(current(&ways), Some(1));
    }
}
