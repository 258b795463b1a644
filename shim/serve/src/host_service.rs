//! The host of a plugin, by calling back through the broker.
//!
//! A plugin has its host from the beginning, and the host says where it is later, or never: a number in a request to
//! configure (contract spec 3.7). Until then it answers as a host that has nothing. What it refuses is in its own
//! sentence; what the connection does to a call is in the sentence that upstream's client has for it, and
//! [`portcullis_contract::HostError`] carries both to the plugin alike.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use portcullis_contract::proto::HostAnswer;
use portcullis_contract::{
    AuthHandlers, Claims, HostError, HostService, PromptError, ResponseRequest, Token, TokenRequest,
};
use portcullis_goplugin::{Broker, BrokerError, Channel};
use portcullis_proto as proto;
use portcullis_proto::host_service_client::HostServiceClient;
use tokio::sync::OnceCell;
use tonic::{Code, Response, Status};

use crate::status::sentence;

/// The client of what a host offers.
type Client = HostServiceClient<Channel>;

/// A plugin's host, as far as it can be called back. Clones are one.
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
    /// What calls take.
    current: Option<Arc<Way>>,
    /// What a configuration that is under way connects to.
    next: Option<Arc<Way>>,
    /// How often somebody said where the host is, or that it is to be forgotten.
    said: u64,
    /// The number, among those, of what holds now.
    holds: u64,
}

/// A server of the host's, and the one connection to it. An announcement is good for one.
struct Way {
    id: NonZeroU32,
    client: OnceCell<Client>,
}

impl RemoteHost {
    /// Makes a host that nobody has said yet where it is.
    pub(crate) fn over(broker: Broker, answer_limit: usize) -> Self {
        Self(Arc::new(Shared { broker, answer_limit, ways: Mutex::default() }))
    }

    /// Has calls go to the server of that number from now on; with none they go on as before.
    ///
    /// Of several that are configured at once with one number, one connects; of several numbers the last one holds,
    /// however long it takes. The way that was there before stays until the new one is connected, and calls that are under
    /// way keep theirs.
    pub(crate) async fn bind(&self, id: Option<NonZeroU32>) -> Result<(), BrokerError> {
        let Some(id) = id else { return Ok(()) };
        let Some((way, said)) = self.ways().say(id) else { return Ok(()) };
        way.client.get_or_try_init(|| self.dial(id)).await?;
        self.ways().connected(way, said);
        Ok(())
    }

    /// Forgets the host, for everybody in the process. One that is being connected to is forgotten, too.
    pub(crate) fn forget(&self) {
        self.ways().forget();
    }

    async fn dial(&self, id: NonZeroU32) -> Result<Client, BrokerError> {
        let channel = self.0.broker.dial(id.get()).await?;
        // What is asked is as large as the plugin makes it, and the host's to refuse.
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
    /// Notes where the host is. Returns the way to connect, unless it is the current one, with the number of what was
    /// said.
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

    /// Has calls take a way, unless something said later holds.
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

/// Returns what the host answered, or what became of the call.
fn answer<M, T>(response: Result<Response<M>, Status>) -> Result<T, HostError>
where
    HostAnswer<T>: From<M>,
{
    match response {
        Ok(response) => HostAnswer::from(response.into_inner()).0,
        Err(status) => Err(HostError::Failed(sentence(&status))),
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

    /// A host that cannot be reached has none.
    async fn auth_handlers(&self) -> AuthHandlers {
        let Some(mut client) = self.client() else { return AuthHandlers::default() };
        match client.list_auth_handlers(proto::ListAuthHandlersRequest {}).await {
            Ok(response) => response.into_inner().into(),
            Err(status) => {
                tracing::warn!(status = %sentence(&status), "the host does not list its auth handlers");
                AuthHandlers::default()
            }
        }
    }

    async fn auth_token(&self, request: &TokenRequest) -> Result<Token, HostError> {
        let request = proto::GetAuthTokenRequest::from(request.clone());
        answer(self.client().ok_or(HostError::NO_TOKENS)?.get_auth_token(request).await)
    }

    /// An older host knows no groups, and so nobody is in any (contract spec 5.6).
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
                _ => PromptError::Unavailable(sentence(&status)),
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
