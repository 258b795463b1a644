//! Fuzz targets: every message that a peer sends, made one of the vocabulary.

use std::error::Error;
use std::fmt;
use std::path::Path;

use portcullis_fuzz::{Outcome, fuzz};
use prost::Message;

use super::*;
use crate::{
    AccessRequest, Account, AuthHandlers, AuthStatus, CachedToken, Claims, Descriptor, Execute,
    FlowAvailability, HandlerInfo, Output, ResponseRequest, Token, TokenRequest,
};

/// The longest error, whatever the message held: an error names a field and what was expected there.
const LONGEST_ERROR: usize = 1024;

/// Reads `input` as a message, converts it, and looks at what came of it.
///
/// What was understood survives a round trip: written as a message and read again, it is the same.
fn convert<M, C>(input: &[u8]) -> Outcome
where
    M: Message + Default + From<C>,
    C: TryFrom<M, Error: Error> + Clone + PartialEq + fmt::Debug,
{
    let Ok(message) = M::decode(input) else { return Outcome::Refused };
    match C::try_from(message) {
        Ok(understood) => {
            let sent = M::from(understood.clone()).encode_to_vec();
            let heard = M::decode(sent.as_slice()).expect("what we send is a message");
            let again = C::try_from(heard).expect("what was understood once is understood again");
            assert_eq!(again, understood);
            Outcome::Taken
        }
        Err(error) => {
            let mut link: Option<&dyn Error> = Some(&error);
            while let Some(error) = link {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() <= LONGEST_ERROR, "{} bytes", text.len());
                link = error.source();
            }
            Outcome::Refused
        }
    }
}

/// Makes one target of each message, with a corpus under its name.
macro_rules! targets {
    ($($name:ident => $vocabulary:ty,)*) => {
        const TARGETS: &[(&str, fn(&[u8]) -> Outcome)] =
            &[$((stringify!($name), convert::<proto::$name, $vocabulary>),)*];
    };
}

targets! {
    ActivateServerModeResponse => Answer<()>,
    AuthHandlerInfo => HandlerInfo,
    CachedTokenInfo => CachedToken,
    ConfigureAuthHandlerRequest => ConfigureAuth,
    ConfigureAuthHandlerResponse => Answer<()>,
    ConfigureProviderRequest => Configure,
    ConfigureProviderResponse => Answer<()>,
    DeleteSecretResponse => HostAnswer<()>,
    DescribeWhatIfResponse => Answer<String>,
    DetectAvailableFlowsRequest => For<()>,
    DetectAvailableFlowsResponse => Answer<Vec<FlowAvailability>>,
    ExecuteProviderRequest => Execute,
    ExecuteProviderResponse => Answer<Output>,
    ExecuteProviderStreamChunk => StreamItem,
    ExtractDependenciesResponse => Answer<Vec<String>>,
    GetAuthGroupsResponse => HostAnswer<Vec<String>>,
    GetAuthIdentityResponse => HostAnswer<Option<Claims>>,
    GetAuthTokenRequest => TokenRequest,
    GetAuthTokenResponse => HostAnswer<Token>,
    GetProviderDescriptorResponse => Descriptor,
    GetSecretResponse => HostAnswer<Option<String>>,
    GetStatusRequest => For<Account>,
    GetStatusResponse => AuthStatus,
    GetTokenRequest => For<AccessRequest>,
    GetTokenResponse => Token,
    ListAuthHandlersResponse => AuthHandlers,
    ListCachedTokensRequest => For<Option<String>>,
    ListSecretsResponse => HostAnswer<Vec<String>>,
    LoginRequest => For<crate::LoginRequest>,
    LoginStreamMessage => LoginItem,
    LogoutRequest => For<Account>,
    PromptAuthResponseRequest => ResponseRequest,
    PurgeExpiredTokensRequest => For<Option<String>>,
    PurgeExpiredTokensResponse => Purged,
    SetSecretResponse => HostAnswer<()>,
    StopAuthHandlerResponse => Answer<()>,
    StopProviderResponse => Answer<()>,
}

fn corpus() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"))
}

#[test]
fn any_message_is_understood_once_and_for_all_or_refused_by_its_field() {
    for (name, target) in TARGETS {
        fuzz(corpus().join(name), target);
    }
}

#[test]
fn every_corpus_has_a_target() {
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|(target, _)| name == *target), "{}", name.display());
    }
}
