//! A child that offers auth handlers.
//!
//! The eleven calls of the contract, later ones included, with the fallbacks that older plugins need (contract spec
//! 4.7). Most of them fail with a status. The author's own words are taken out of it, so that a refusal reads as a
//! component's.

use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt};
use portcullis_contract::proto::{Answer, ConfigureAuth, For, LoginItem, Purged};
use portcullis_contract::{
    AccessRequest, Account, AuthHandler, AuthStatus, CachedToken, Call, CallError, Configuration,
    FlowAvailability, HandlerInfo, HandlerName, Json, LaunchError, LimitHit, LimitName, LoginEvent,
    LoginRequest, NoLoginResult, PROTOCOL_VERSION, Plugin, PluginInfo, Refusal, Token,
};
use portcullis_proto as proto;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::Started;
use super::channel::{AuthClient, Channel, Pending, in_stream, or_nothing_to_do};
use super::host_service::HostDoor;
use super::state::Child;
use super::status::authors_words;

/// A child process that offers auth handlers.
#[derive(Debug)]
pub(super) struct ProcessAuth {
    info: PluginInfo,
    handlers: Vec<HandlerInfo>,
    channel: Channel<AuthClient>,
    host: HostDoor,
    child: Child,
}

impl ProcessAuth {
    /// Asks a child what it offers. Dropping the future, or an error, ends the child.
    pub(super) async fn describe(started: Started<AuthClient>) -> Result<Self, LaunchError> {
        let Started { info, channel, host, child } = started;
        let handlers = channel
            .for_descriptions()
            .unary(&Call::default(), proto::GetAuthHandlersRequest {}, async |mut client, request| {
                client.get_auth_handlers(request).await
            })
            .await
            .map_err(LaunchError::Undescribed)?
            .handlers;
        CallError::check_offered(handlers.len()).map_err(LaunchError::Undescribed)?;
        let handlers = handlers.into_iter().map(HandlerInfo::from).collect();
        Ok(Self { info, handlers, channel, host, child })
    }

    /// Makes a call whose failures are statuses.
    async fn request<Q: Message, R>(
        &self,
        call: &Call,
        about: (&str, &HandlerName),
        request: Q,
        send: impl AsyncFnOnce(AuthClient, Request<Q>) -> Result<Response<R>, Status>,
    ) -> Result<R, CallError> {
        self.channel.unary(call, request, send).await.map_err(|error| in_its_own_words(error, about))
    }
}

/// Leaves of a refusal what the plugin's author said.
fn in_its_own_words(error: CallError, (call, name): (&str, &HandlerName)) -> CallError {
    match error {
        CallError::Refused(refusal) => match authors_words(&refusal.message, call, name.as_str()) {
            Some(words) => CallError::Refused(Refusal::new(words)),
            None => CallError::Refused(refusal),
        },
        other => other,
    }
}

#[async_trait]
impl Plugin for ProcessAuth {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn is_running(&self) -> bool {
        self.channel.is_open()
    }

    async fn shutdown(&self, grace: Duration) {
        self.channel.close();
        // Stopping it closes the broker first, as upstream has it; this only tidies up.
        self.child.stop(grace).await;
        self.host.close();
    }
}

#[async_trait]
impl AuthHandler for ProcessAuth {
    fn handlers(&self) -> &[HandlerInfo] {
        &self.handlers
    }

    async fn configure(
        &self,
        call: &Call,
        name: &HandlerName,
        configuration: &Configuration,
    ) -> Result<(), CallError> {
        self.channel.open()?;
        let host = self.host.announce().await?;
        let configure = ConfigureAuth {
            handler: name.clone(),
            configuration: configuration.clone(),
            host_service: host.id(),
            protocol_version: PROTOCOL_VERSION,
        };
        let request = proto::ConfigureAuthHandlerRequest::from(configure);
        let answer = self
            .channel
            .optional(call)
            .ask(request, async |mut client, request| client.configure_auth_handler(request).await)
            .await;
        match &answer {
            // Later libraries drop the way to us when an author refuses to be configured.
            Err(CallError::Refused(_)) => self.host.forget(),
            Ok(()) | Err(CallError::Unimplemented) => host.taken(),
            Err(_) => {}
        }
        or_nothing_to_do(answer)
    }

    fn login(
        &self,
        call: &Call,
        name: &HandlerName,
        request: LoginRequest,
    ) -> BoxStream<'static, Result<LoginEvent, CallError>> {
        let request = proto::LoginRequest::from(For::new(name, request));
        let start = Running::Asked { pending: self.channel.pending(call), request: Box::new(request) };
        stream::unfold(start, |running| running.next()).fuse().boxed()
    }

    async fn logout(&self, call: &Call, name: &HandlerName, account: &Account) -> Result<(), CallError> {
        let request = proto::LogoutRequest::from(For::new(name, account.clone()));
        self.request(call, ("Logout", name), request, async |mut client, request| {
            client.logout(request).await
        })
        .await
        .map(|proto::LogoutResponse {}| ())
    }

    async fn status(
        &self,
        call: &Call,
        name: &HandlerName,
        account: &Account,
    ) -> Result<AuthStatus, CallError> {
        let request = proto::GetStatusRequest::from(For::new(name, account.clone()));
        self.request(call, ("GetStatus", name), request, async |mut client, request| {
            client.get_status(request).await
        })
        .await
        .map(AuthStatus::from)
    }

    async fn token(
        &self,
        call: &Call,
        name: &HandlerName,
        request: AccessRequest,
    ) -> Result<Token, CallError> {
        let request = proto::GetTokenRequest::from(For::new(name, request));
        self.request(call, ("GetToken", name), request, async |mut client, request| {
            client.get_token(request).await
        })
        .await
        .map(Token::from)
    }

    async fn list_cached_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, CallError> {
        let request = proto::ListCachedTokensRequest::from(For::new(name, profile.map(str::to_owned)));
        self.request(call, ("ListCachedTokens", name), request, async |mut client, request| {
            client.list_cached_tokens(request).await
        })
        .await
        .map(|response| response.tokens.into_iter().map(CachedToken::from).collect())
    }

    async fn purge_expired_tokens(
        &self,
        call: &Call,
        name: &HandlerName,
        profile: Option<&str>,
    ) -> Result<u32, CallError> {
        let request = proto::PurgeExpiredTokensRequest::from(For::new(name, profile.map(str::to_owned)));
        let response = self
            .request(call, ("PurgeExpiredTokens", name), request, async |mut client, request| {
                client.purge_expired_tokens(request).await
            })
            .await?;
        Purged::try_from(response).map(|purged| purged.0).map_err(CallError::contract)
    }

    async fn stop(&self, call: &Call, name: Option<&HandlerName>) -> Result<(), CallError> {
        let request = proto::StopAuthHandlerRequest {
            handler_name: name.map(|name| name.as_str().to_owned()).unwrap_or_default(),
        };
        let answer = self
            .channel
            .optional(call)
            .ask(request, async |mut client, request| client.stop_auth_handler(request).await)
            .await;
        or_nothing_to_do(answer)?;
        // The plugin's library has now forgotten us for all of its handlers.
        self.host.forget();
        Ok(())
    }

    async fn detect_available_flows(
        &self,
        call: &Call,
        name: &HandlerName,
    ) -> Result<Vec<FlowAvailability>, CallError> {
        let request = proto::DetectAvailableFlowsRequest::from(For::new(name, ()));
        self.channel
            .optional(call)
            .ask(request, async |mut client, request| client.detect_available_flows(request).await)
            .await
    }

    async fn activate_server_mode(&self, call: &Call, settings: Json) -> Result<(), CallError> {
        let request = proto::ActivateServerModeRequest { settings: settings.into_string().into() };
        self.channel
            .pending(call)
            .ask(request, async |mut client, request| client.activate_server_mode(request).await)
            .await
    }
}

/// What upstream puts before the status that ended a login.
const BROKEN: &str = "login stream error";

/// Where a login stands.
enum Running {
    /// Nothing was sent.
    Asked { pending: Pending<AuthClient>, request: Box<proto::LoginRequest> },
    /// The plugin is answering.
    Answering { pending: Pending<AuthClient>, items: Box<Streaming<proto::LoginStreamMessage>>, shown: Shown },
    /// There is nothing more to say, and nobody listens any more.
    Over,
}

impl Running {
    /// Returns the next event that the reader is to see. Whatever ends the login drops the stream of it.
    async fn next(mut self) -> Option<(Result<LoginEvent, CallError>, Self)> {
        loop {
            self = match self {
                Self::Asked { pending, request } => {
                    let items =
                        pending.send(*request, async |mut client, request| client.login(request).await).await;
                    match items {
                        Ok(items) => {
                            let shown = Shown { bytes: 0, allowed: pending.output_limit() };
                            Self::Answering { pending, items: Box::new(items), shown }
                        }
                        // Go's client learns of it when it reads, so the words are those of a stream.
                        Err(error) => return Some((Err(in_stream(BROKEN, error)), Self::Over)),
                    }
                }
                Self::Answering { pending, mut items, mut shown } => match items.message().await {
                    Ok(Some(message)) => match shown.take(message) {
                        Ok(None) => Self::Answering { pending, items, shown },
                        Ok(Some(LoginEvent::Prompt(prompt))) => {
                            let rest = Self::Answering { pending, items, shown };
                            return Some((Ok(LoginEvent::Prompt(prompt)), rest));
                        }
                        Ok(Some(end)) => return Some((Ok(end), Self::Over)),
                        Err(error) => return Some((Err(pending.settle(error).await), Self::Over)),
                    },
                    Ok(None) => {
                        let error = CallError::contract(NoLoginResult);
                        return Some((Err(error), Self::Over));
                    }
                    Err(status) => {
                        let error = pending.failed_stream(BROKEN, status).await;
                        return Some((Err(error), Self::Over));
                    }
                },
                Self::Over => return None,
            };
        }
    }
}

/// What a login has shown so far.
#[derive(Debug)]
struct Shown {
    bytes: u64,
    allowed: u64,
}

impl Shown {
    /// Takes one message in, and returns what of it the reader sees.
    fn take(&mut self, message: proto::LoginStreamMessage) -> Result<Option<LoginEvent>, CallError> {
        match LoginItem::from(message) {
            LoginItem::Prompt(prompt) => {
                self.bytes = self.bytes.saturating_add(prompt.size());
                LimitHit::check(LimitName::Output, self.bytes, self.allowed)?;
                Ok(Some(LoginEvent::Prompt(prompt)))
            }
            LoginItem::Result(Answer(Ok(result))) => Ok(Some(LoginEvent::Result(result))),
            LoginItem::Result(Answer(Err(refusal))) => Err(CallError::Refused(refusal)),
            LoginItem::Unknown => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::{DeviceCodePrompt, LoginResult};

    use super::*;

    fn prompt(code: &str) -> LoginItem {
        LoginItem::Prompt(DeviceCodePrompt { user_code: code.to_owned(), ..DeviceCodePrompt::default() })
    }

    /// Plays the messages of a login until one of them ends it.
    fn play<const N: usize>(allowed: Option<u64>, items: [LoginItem; N]) -> (usize, Option<String>) {
        let (mut shown, mut seen) = (Shown { bytes: 0, allowed: allowed.unwrap_or(u64::MAX) }, 0);
        for item in items {
            match shown.take(item.into()) {
                Ok(Some(LoginEvent::Prompt(_))) => seen += 1,
                Ok(Some(LoginEvent::Result(_))) => return (seen, None),
                Ok(None) => {}
                Err(error) => return (seen, Some(error.to_string())),
            }
        }
        (seen, Some("no end".to_owned()))
    }

    #[test]
    fn prompts_are_shown_until_a_result_or_a_refusal_and_what_is_unknown_is_passed_over() {
        let result = || LoginItem::Result(Answer(Ok(LoginResult::default())));
        assert_eq!(play(None, [prompt("a"), LoginItem::Unknown, prompt("b"), result()]), (2, None));
        let refused = LoginItem::Result(Answer(Err(Refusal::new("no"))));
        assert_eq!(play(None, [prompt("a"), refused, result()]), (1, Some("no".to_owned())));
    }

    #[test]
    fn what_a_login_shows_counts_as_output() {
        let result = || LoginItem::Result(Answer(Ok(LoginResult::default())));
        assert_eq!(play(Some(12), [prompt("12345"), prompt("67890"), result()]), (2, None));
        let (seen, error) = play(Some(11), [prompt("12345"), prompt("67890"), result()]);
        assert_eq!((seen, error.as_deref()), (1, Some("limit output reached: asked 12B, allowed 11B")));
        let (seen, error) = play(Some(1), [prompt(""), prompt(""), result()]);
        assert_eq!((seen, error.as_deref()), (1, Some("limit output reached: asked 2B, allowed 1B")));
    }
}
