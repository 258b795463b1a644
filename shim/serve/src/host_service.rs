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
    /// Of several that are configured at once with one number, one connects. The way that was there before stays until
    /// the new one is connected, and calls that are under way keep theirs.
    pub(crate) async fn bind(&self, id: Option<NonZeroU32>) -> Result<(), BrokerError> {
        let Some(id) = id else { return Ok(()) };
        let way = {
            let Ways { current, next } = &mut *self.ways();
            if current.as_ref().is_some_and(|way| way.id == id) {
                return Ok(());
            }
            match next {
                Some(way) if way.id == id => Arc::clone(way),
                _ => Arc::clone(next.insert(Arc::new(Way { id, client: OnceCell::new() }))),
            }
        };
        way.client.get_or_try_init(|| self.dial(id)).await?;
        let mut ways = self.ways();
        ways.next.take_if(|next| Arc::ptr_eq(next, &way));
        ways.current = Some(way);
        Ok(())
    }

    /// Forgets the host, for everybody in the process.
    pub(crate) fn forget(&self) {
        *self.ways() = Ways::default();
    }

    async fn dial(&self, id: NonZeroU32) -> Result<Client, BrokerError> {
        let channel = self.0.broker.dial(id.get()).await?;
        // What is asked is as large as the plugin makes it, and the host's to refuse.
        Ok(Client::new(channel).max_decoding_message_size(self.0.answer_limit))
    }

    /// Returns the client, or the error of a host that has nothing of the kind.
    fn client(&self, part: &'static str) -> Result<Client, HostError> {
        let ways = self.ways();
        let client = ways.current.as_ref().and_then(|way| way.client.get());
        client.cloned().ok_or(HostError::Unavailable(part))
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        // The state is whole between any two statements; a panic elsewhere does not spoil it.
        self.0.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.ways().current.as_ref().map(|way| way.id);
        f.debug_struct("RemoteHost").field("id", &id).finish_non_exhaustive()
    }
}

const SECRETS: &str = "secret store";

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
        answer(self.client(SECRETS)?.get_secret(request).await)
    }

    async fn set_secret(&self, name: &str, value: &str) -> Result<(), HostError> {
        let request = proto::SetSecretRequest { name: name.to_owned(), value: value.to_owned() };
        answer(self.client(SECRETS)?.set_secret(request).await)
    }

    async fn delete_secret(&self, name: &str) -> Result<(), HostError> {
        let request = proto::DeleteSecretRequest { name: name.to_owned() };
        answer(self.client(SECRETS)?.delete_secret(request).await)
    }

    async fn list_secrets(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        let request = proto::ListSecretsRequest { pattern: pattern.to_owned() };
        answer(self.client(SECRETS)?.list_secrets(request).await)
    }

    async fn auth_identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, HostError> {
        let request =
            proto::GetAuthIdentityRequest { handler_name: handler.to_owned(), scope: scope.to_owned() };
        answer(self.client("auth identity")?.get_auth_identity(request).await)
    }

    /// A host that cannot be reached has none.
    async fn auth_handlers(&self) -> AuthHandlers {
        let Ok(mut client) = self.client("auth handlers") else { return AuthHandlers::default() };
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
        answer(self.client("auth token service")?.get_auth_token(request).await)
    }

    /// An older host knows no groups, and so nobody is in any (contract spec 5.6).
    async fn auth_groups(&self, handler: &str) -> Result<Vec<String>, HostError> {
        let request = proto::GetAuthGroupsRequest { handler_name: handler.to_owned() };
        match self.client("auth groups")?.get_auth_groups(request).await {
            Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
            response => answer(response),
        }
    }

    async fn prompt_auth_response(&self, request: &ResponseRequest) -> Result<String, PromptError> {
        let Ok(mut client) = self.client("a person") else { return Err(PromptError::Unimplemented) };
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
