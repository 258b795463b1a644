//! Auth handlers, to and from the wire (contract spec 1.4 and 1.9).
//!
//! An absent time is sent as upstream does: as Go's zero time in logins and claims, as 0 elsewhere. Both are read as
//! absent everywhere. Lists are converted item by item where they are read.

mod tokens;

use std::num::NonZeroU32;
use std::time::Duration;

use portcullis_proto as proto;
use portcullis_proto::login_stream_message::Payload;

use super::execute::{from_settings, to_settings};
use super::host_service::to_unix;
use super::{Answer, ConvertError, answer, non_empty, words};
use crate::{
    AuthCapability, Claims, Configuration, DeviceCodePrompt, Flow, FlowAvailability, HandlerInfo,
    HandlerName, LoginRequest, LoginResult, PROTOCOL_VERSION, Refusal, moment,
};

pub use tokens::Purged;

/// A request, and the handler that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct For<T> {
    /// The handler that is meant, by its advertised name.
    pub handler: HandlerName,
    /// What is asked of it.
    pub request: T,
}

impl<T> For<T> {
    /// Joins the two.
    #[must_use]
    pub fn new(handler: &HandlerName, request: T) -> Self {
        Self { handler: handler.clone(), request }
    }

    fn read(handler: String, request: T) -> Self {
        Self { handler: HandlerName::new(handler), request }
    }
}

/// What a request to configure an auth handler carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigureAuth {
    /// The handler that is meant, by its advertised name.
    pub handler: HandlerName,
    /// The configuration itself.
    pub configuration: Configuration,
    /// The broker's id of our host service; `None` offers none.
    pub host_service: Option<NonZeroU32>,
    /// The application protocol that the sender speaks.
    pub protocol_version: i32,
}

impl From<ConfigureAuth> for proto::ConfigureAuthHandlerRequest {
    fn from(configure: ConfigureAuth) -> Self {
        let ConfigureAuth { handler, configuration, host_service, protocol_version } = configure;
        let Configuration { quiet, no_color, binary_name, settings, profile, prompts_for_response } =
            configuration;
        Self {
            handler_name: handler.as_str().to_owned(),
            quiet,
            no_color,
            binary_name,
            settings: to_settings(settings),
            host_service_id: host_service.map_or(0, NonZeroU32::get),
            protocol_version,
            profile: profile.unwrap_or_default(),
            // Left out, it means the same as from an older host.
            host_capabilities: prompts_for_response
                .then_some(proto::HostCapabilities { prompt_auth_response: true }),
        }
    }
}

impl TryFrom<proto::ConfigureAuthHandlerRequest> for ConfigureAuth {
    type Error = ConvertError;

    fn try_from(request: proto::ConfigureAuthHandlerRequest) -> Result<Self, ConvertError> {
        Ok(Self {
            handler: HandlerName::new(request.handler_name),
            configuration: Configuration {
                quiet: request.quiet,
                no_color: request.no_color,
                binary_name: request.binary_name,
                settings: from_settings(request.settings)?,
                profile: non_empty(request.profile),
                prompts_for_response: request.host_capabilities.is_some_and(|can| can.prompt_auth_response),
            },
            host_service: NonZeroU32::new(request.host_service_id),
            protocol_version: request.protocol_version,
        })
    }
}

impl TryFrom<proto::ConfigureAuthHandlerResponse> for Answer<()> {
    type Error = ConvertError;

    fn try_from(response: proto::ConfigureAuthHandlerResponse) -> Result<Self, ConvertError> {
        // The version is for people; neither side acts on it (contract item 21).
        let proto::ConfigureAuthHandlerResponse { error, protocol_version: _, diagnostics } = response;
        answer(error, 0, diagnostics, |_| Ok(()))
    }
}

impl From<Answer<()>> for proto::ConfigureAuthHandlerResponse {
    fn from(answer: Answer<()>) -> Self {
        let protocol_version = if answer.0.is_ok() { PROTOCOL_VERSION } else { 0 };
        let ((), error, diagnostics) = answer.split();
        Self { error, diagnostics, protocol_version }
    }
}

impl From<proto::AuthHandlerInfo> for HandlerInfo {
    fn from(info: proto::AuthHandlerInfo) -> Self {
        Self {
            name: HandlerName::new(info.name),
            display_name: info.display_name,
            flows: info.flows.into_iter().map(Flow::new).collect(),
            capabilities: info.capabilities.into_iter().map(AuthCapability::new).collect(),
        }
    }
}

impl From<HandlerInfo> for proto::AuthHandlerInfo {
    fn from(info: HandlerInfo) -> Self {
        let HandlerInfo { name, display_name, flows, capabilities } = info;
        Self {
            name: name.as_str().to_owned(),
            display_name,
            flows: flows.iter().map(|flow| flow.as_str().to_owned()).collect(),
            capabilities: capabilities.iter().map(|word| word.as_str().to_owned()).collect(),
        }
    }
}

/// Converts to whole seconds; a value that does not fit becomes the largest.
fn to_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// Reads a length of time; a negative one counts as absent.
fn from_seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

impl From<For<LoginRequest>> for proto::LoginRequest {
    fn from(login: For<LoginRequest>) -> Self {
        let LoginRequest { tenant_id, scopes, flow, timeout, profile, hostname, callback_port } =
            login.request;
        Self {
            handler_name: login.handler.as_str().to_owned(),
            tenant_id,
            scopes,
            flow: flow.map(|flow| flow.as_str().to_owned()).unwrap_or_default(),
            timeout_seconds: timeout.map_or(0, to_seconds),
            profile: profile.unwrap_or_default(),
            hostname: hostname.unwrap_or_default(),
            callback_port: callback_port.unwrap_or_default(),
        }
    }
}

impl From<proto::LoginRequest> for For<LoginRequest> {
    fn from(request: proto::LoginRequest) -> Self {
        let login = LoginRequest {
            tenant_id: request.tenant_id,
            scopes: request.scopes,
            flow: non_empty(request.flow).map(Flow::new),
            timeout: Some(from_seconds(request.timeout_seconds)).filter(|timeout| !timeout.is_zero()),
            profile: non_empty(request.profile),
            hostname: non_empty(request.hostname),
            callback_port: Some(request.callback_port).filter(|port| *port != 0),
        };
        Self::read(request.handler_name, login)
    }
}

/// One message of a login. The reader decides which of them ends the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginItem {
    /// What the person has to see.
    Prompt(DeviceCodePrompt),
    /// The result of the login, or the plugin's refusal.
    Result(Answer<LoginResult>),
    /// A message of a later contract.
    Unknown,
}

impl From<proto::LoginStreamMessage> for LoginItem {
    fn from(message: proto::LoginStreamMessage) -> Self {
        match message.payload {
            Some(Payload::DeviceCodePrompt(prompt)) => Self::Prompt(prompt.into()),
            Some(Payload::Result(result)) => Self::Result(Answer(Ok(result.into()))),
            // An error with an empty text is an error, too: the field is present.
            Some(Payload::Error(error)) => Self::Result(Answer(Err(Refusal::new(error)))),
            None => Self::Unknown,
        }
    }
}

/// Of a refusal only the text that is shown is sent: the message has no other fields for it.
impl From<LoginItem> for proto::LoginStreamMessage {
    fn from(item: LoginItem) -> Self {
        Self {
            payload: match item {
                LoginItem::Prompt(prompt) => Some(Payload::DeviceCodePrompt(prompt.into())),
                LoginItem::Result(Answer(Ok(result))) => Some(Payload::Result(result.into())),
                LoginItem::Result(Answer(Err(refusal))) => Some(Payload::Error(words(&refusal))),
                LoginItem::Unknown => None,
            },
        }
    }
}

impl From<proto::DeviceCodePrompt> for DeviceCodePrompt {
    fn from(prompt: proto::DeviceCodePrompt) -> Self {
        let proto::DeviceCodePrompt { user_code, verification_uri, message } = prompt;
        Self { user_code, verification_uri, message }
    }
}

impl From<DeviceCodePrompt> for proto::DeviceCodePrompt {
    fn from(prompt: DeviceCodePrompt) -> Self {
        let DeviceCodePrompt { user_code, verification_uri, message } = prompt;
        Self { user_code, verification_uri, message }
    }
}

impl From<proto::LoginResult> for LoginResult {
    fn from(result: proto::LoginResult) -> Self {
        Self { claims: result.claims.map(Claims::from), expires_at: moment(result.expires_at_unix) }
    }
}

impl From<LoginResult> for proto::LoginResult {
    fn from(result: LoginResult) -> Self {
        let LoginResult { claims, expires_at } = result;
        Self { claims: claims.map(proto::Claims::from), expires_at_unix: to_unix(expires_at) }
    }
}

impl TryFrom<proto::StopAuthHandlerResponse> for Answer<()> {
    type Error = ConvertError;

    fn try_from(response: proto::StopAuthHandlerResponse) -> Result<Self, ConvertError> {
        answer(response.error, 0, Vec::new(), |_| Ok(()))
    }
}

impl From<Answer<()>> for proto::StopAuthHandlerResponse {
    fn from(answer: Answer<()>) -> Self {
        Self { error: answer.split_words().1 }
    }
}

impl From<For<()>> for proto::DetectAvailableFlowsRequest {
    fn from(detect: For<()>) -> Self {
        Self { handler_name: detect.handler.as_str().to_owned() }
    }
}

impl From<proto::DetectAvailableFlowsRequest> for For<()> {
    fn from(request: proto::DetectAvailableFlowsRequest) -> Self {
        Self::read(request.handler_name, ())
    }
}

impl TryFrom<proto::DetectAvailableFlowsResponse> for Answer<Vec<FlowAvailability>> {
    type Error = ConvertError;

    fn try_from(response: proto::DetectAvailableFlowsResponse) -> Result<Self, ConvertError> {
        let proto::DetectAvailableFlowsResponse { flows, error } = response;
        answer(error, 0, Vec::new(), |_| Ok(flows.into_iter().map(FlowAvailability::from).collect()))
    }
}

impl From<Answer<Vec<FlowAvailability>>> for proto::DetectAvailableFlowsResponse {
    fn from(answer: Answer<Vec<FlowAvailability>>) -> Self {
        let (flows, error) = answer.split_words();
        Self { flows: flows.into_iter().map(proto::FlowAvailability::from).collect(), error }
    }
}

impl From<proto::FlowAvailability> for FlowAvailability {
    fn from(flow: proto::FlowAvailability) -> Self {
        let proto::FlowAvailability { flow, available, reason } = flow;
        Self { flow: Flow::new(flow), available, reason }
    }
}

impl From<FlowAvailability> for proto::FlowAvailability {
    fn from(flow: FlowAvailability) -> Self {
        let FlowAvailability { flow, available, reason } = flow;
        Self { flow: flow.as_str().to_owned(), available, reason }
    }
}

impl TryFrom<proto::ActivateServerModeResponse> for Answer<()> {
    type Error = ConvertError;

    fn try_from(response: proto::ActivateServerModeResponse) -> Result<Self, ConvertError> {
        answer(response.error, 0, Vec::new(), |_| Ok(()))
    }
}

impl From<Answer<()>> for proto::ActivateServerModeResponse {
    fn from(answer: Answer<()>) -> Self {
        Self { error: answer.split_words().1 }
    }
}

#[cfg(test)]
mod tests;
