//! What a plugin asks of us, to and from the wire (contract spec 1.5).
//!
//! The requests for secrets and groups hold only texts, and are read where they are served.

use portcullis_proto as proto;

use super::{non_empty, words};
use crate::moment::GO_ZERO;
use crate::{AuthHandlers, Claims, HostError, ResponseRequest, Token, TokenRequest, UnixSeconds, moment};

/// What the host answered, or why it did not. A type of its own for the sake of `From`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer<T>(pub Result<T, HostError>);

impl<T> HostAnswer<T> {
    fn read(error: String, value: impl FnOnce() -> T) -> Self {
        Self(if error.is_empty() { Ok(value()) } else { Err(from_text(error)) })
    }

    /// Returns the value, or an empty one, and the text for the `error` field.
    fn split(self) -> (T, String)
    where
        T: Default,
    {
        match self.0 {
            Ok(value) => (value, String::new()),
            Err(error) => (T::default(), words(&error)),
        }
    }
}

/// Reads a sentence back. The kind of error is guessed from it: the wire carries nothing else.
fn from_text(text: String) -> HostError {
    let unavailable =
        [HostError::NO_SECRETS, HostError::NO_IDENTITY, HostError::NO_TOKENS, HostError::NO_GROUPS];
    if let Some(known) = unavailable.into_iter().find(|known| known.to_string() == text) {
        return known;
    }
    match text.strip_prefix("access denied: ") {
        Some(denied) => HostError::Denied(denied.to_owned()),
        None => HostError::Failed(text),
    }
}

/// Writes a moment for a field in which upstream says "never" with Go's zero time (contract spec 3.8): upstream's
/// readers take 0 for 1970.
pub(super) fn to_unix(of: Option<UnixSeconds>) -> i64 {
    of.and_then(moment).unwrap_or(GO_ZERO)
}

/// Writes a moment for a field in which upstream says "never" with 0.
pub(super) fn to_unix_or_0(of: Option<UnixSeconds>) -> i64 {
    of.and_then(moment).unwrap_or_default()
}

impl From<HostAnswer<Option<String>>> for proto::GetSecretResponse {
    fn from(answer: HostAnswer<Option<String>>) -> Self {
        let (value, error) = answer.split();
        Self { found: value.is_some(), value: value.unwrap_or_default(), error }
    }
}

impl From<proto::GetSecretResponse> for HostAnswer<Option<String>> {
    fn from(response: proto::GetSecretResponse) -> Self {
        Self::read(response.error, || response.found.then_some(response.value))
    }
}

impl From<HostAnswer<()>> for proto::SetSecretResponse {
    fn from(answer: HostAnswer<()>) -> Self {
        Self { error: answer.split().1 }
    }
}

impl From<proto::SetSecretResponse> for HostAnswer<()> {
    fn from(response: proto::SetSecretResponse) -> Self {
        Self::read(response.error, || ())
    }
}

impl From<HostAnswer<()>> for proto::DeleteSecretResponse {
    fn from(answer: HostAnswer<()>) -> Self {
        Self { error: answer.split().1 }
    }
}

impl From<proto::DeleteSecretResponse> for HostAnswer<()> {
    fn from(response: proto::DeleteSecretResponse) -> Self {
        Self::read(response.error, || ())
    }
}

impl From<HostAnswer<Vec<String>>> for proto::ListSecretsResponse {
    fn from(answer: HostAnswer<Vec<String>>) -> Self {
        let (names, error) = answer.split();
        Self { names, error }
    }
}

impl From<proto::ListSecretsResponse> for HostAnswer<Vec<String>> {
    fn from(response: proto::ListSecretsResponse) -> Self {
        Self::read(response.error, || response.names)
    }
}

impl From<HostAnswer<Vec<String>>> for proto::GetAuthGroupsResponse {
    fn from(answer: HostAnswer<Vec<String>>) -> Self {
        let (groups, error) = answer.split();
        Self { groups, error }
    }
}

impl From<proto::GetAuthGroupsResponse> for HostAnswer<Vec<String>> {
    fn from(response: proto::GetAuthGroupsResponse) -> Self {
        Self::read(response.error, || response.groups)
    }
}

impl From<HostAnswer<Option<Claims>>> for proto::GetAuthIdentityResponse {
    fn from(answer: HostAnswer<Option<Claims>>) -> Self {
        let (claims, error) = answer.split();
        Self { claims: claims.map(proto::Claims::from), error }
    }
}

impl From<proto::GetAuthIdentityResponse> for HostAnswer<Option<Claims>> {
    fn from(response: proto::GetAuthIdentityResponse) -> Self {
        Self::read(response.error, || response.claims.map(Claims::from))
    }
}

impl From<Claims> for proto::Claims {
    fn from(claims: Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at_unix: to_unix(claims.issued_at),
            expires_at_unix: to_unix(claims.expires_at),
        }
    }
}

impl From<proto::Claims> for Claims {
    fn from(claims: proto::Claims) -> Self {
        Self {
            issuer: claims.issuer,
            subject: claims.subject,
            tenant_id: claims.tenant_id,
            object_id: claims.object_id,
            client_id: claims.client_id,
            email: claims.email,
            name: claims.name,
            username: claims.username,
            issued_at: moment(claims.issued_at_unix),
            expires_at: moment(claims.expires_at_unix),
        }
    }
}

impl From<AuthHandlers> for proto::ListAuthHandlersResponse {
    fn from(handlers: AuthHandlers) -> Self {
        Self { handler_names: handlers.names, default_handler: handlers.default }
    }
}

impl From<proto::ListAuthHandlersResponse> for AuthHandlers {
    fn from(response: proto::ListAuthHandlersResponse) -> Self {
        Self { names: response.handler_names, default: response.default_handler }
    }
}

impl From<TokenRequest> for proto::GetAuthTokenRequest {
    fn from(request: TokenRequest) -> Self {
        Self {
            handler_name: request.handler,
            scope: request.scope,
            min_valid_for_seconds: request.min_valid_for,
            force_refresh: request.force_refresh,
            profile: request.profile.unwrap_or_default(),
        }
    }
}

impl From<proto::GetAuthTokenRequest> for TokenRequest {
    fn from(request: proto::GetAuthTokenRequest) -> Self {
        Self {
            handler: request.handler_name,
            scope: request.scope,
            min_valid_for: request.min_valid_for_seconds,
            force_refresh: request.force_refresh,
            profile: non_empty(request.profile),
        }
    }
}

impl From<ResponseRequest> for proto::PromptAuthResponseRequest {
    fn from(request: ResponseRequest) -> Self {
        let ResponseRequest { handler, authorization_url, redirect_uri } = request;
        Self { handler_name: handler, authorization_url, redirect_uri }
    }
}

impl From<proto::PromptAuthResponseRequest> for ResponseRequest {
    fn from(request: proto::PromptAuthResponseRequest) -> Self {
        let proto::PromptAuthResponseRequest { handler_name, authorization_url, redirect_uri } = request;
        Self { handler: handler_name, authorization_url, redirect_uri }
    }
}

/// Leaves out when a token was cached, its flow and its session: the message has no fields for them.
impl From<HostAnswer<Token>> for proto::GetAuthTokenResponse {
    fn from(answer: HostAnswer<Token>) -> Self {
        let (token, error) = answer.split();
        Self {
            access_token: token.access_token,
            token_type: token.token_type,
            expires_at_unix: to_unix_or_0(token.expires_at),
            scope: token.scope,
            error,
        }
    }
}

impl From<proto::GetAuthTokenResponse> for HostAnswer<Token> {
    fn from(response: proto::GetAuthTokenResponse) -> Self {
        Self::read(response.error, || Token {
            access_token: response.access_token,
            token_type: response.token_type,
            expires_at: moment(response.expires_at_unix),
            scope: response.scope,
            ..Token::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<M, C>(contract: C)
    where
        M: From<C> + Clone + PartialEq + std::fmt::Debug,
        C: From<M> + Clone + PartialEq + std::fmt::Debug,
    {
        let message = M::from(contract.clone());
        let back = C::from(message.clone());
        assert_eq!(back, contract);
        assert_eq!(M::from(back), message);
    }

    fn claims() -> Claims {
        Claims {
            issuer: "issuer".to_owned(),
            subject: "subject".to_owned(),
            tenant_id: "tenant".to_owned(),
            object_id: "object".to_owned(),
            client_id: "client".to_owned(),
            email: "email".to_owned(),
            name: "name".to_owned(),
            username: "username".to_owned(),
            issued_at: Some(1),
            expires_at: Some(-2),
        }
    }

    fn texts() -> Vec<String> {
        vec!["one".to_owned(), "two".to_owned()]
    }

    #[test]
    fn every_field_of_the_host_service_survives_both_ways() {
        check::<proto::GetSecretResponse, _>(HostAnswer(Ok(Some("value".to_owned()))));
        check::<proto::GetSecretResponse, _>(HostAnswer(Ok(Some(String::new()))));
        check::<proto::GetSecretResponse, _>(HostAnswer(Ok(None)));
        check::<proto::SetSecretResponse, _>(HostAnswer(Ok(())));
        check::<proto::DeleteSecretResponse, _>(HostAnswer(Ok(())));
        check::<proto::ListSecretsResponse, _>(HostAnswer(Ok(texts())));
        check::<proto::GetAuthGroupsResponse, _>(HostAnswer(Ok(texts())));
        check::<proto::GetAuthIdentityResponse, _>(HostAnswer(Ok(Some(claims()))));
        check::<proto::GetAuthIdentityResponse, _>(HostAnswer(Ok(None::<Claims>)));
        check::<proto::ListAuthHandlersResponse, _>(AuthHandlers {
            names: texts(),
            default: "default".to_owned(),
        });
        check::<proto::GetAuthTokenRequest, _>(TokenRequest {
            handler: "handler".to_owned(),
            scope: "scope".to_owned(),
            min_valid_for: 3,
            force_refresh: true,
            profile: Some("profile".to_owned()),
        });
        check::<proto::GetAuthTokenResponse, _>(HostAnswer(Ok(Token {
            access_token: "token".to_owned(),
            token_type: "type".to_owned(),
            expires_at: Some(4),
            scope: "scope".to_owned(),
            ..Token::default()
        })));
        check::<proto::PromptAuthResponseRequest, _>(ResponseRequest {
            handler: "handler".to_owned(),
            authorization_url: "authorization".to_owned(),
            redirect_uri: "redirect".to_owned(),
        });
    }

    #[test]
    fn every_error_of_the_host_survives_in_every_answer() {
        for error in [
            HostError::NO_SECRETS,
            HostError::NO_IDENTITY,
            HostError::NO_TOKENS,
            HostError::NO_GROUPS,
            HostError::Denied("secret name outside allowed scope".to_owned()),
            HostError::Failed("get secret \"n\": broken".to_owned()),
        ] {
            check::<proto::GetSecretResponse, _>(HostAnswer::<Option<String>>(Err(error.clone())));
            check::<proto::SetSecretResponse, _>(HostAnswer::<()>(Err(error.clone())));
            check::<proto::DeleteSecretResponse, _>(HostAnswer::<()>(Err(error.clone())));
            check::<proto::ListSecretsResponse, _>(HostAnswer::<Vec<String>>(Err(error.clone())));
            check::<proto::GetAuthGroupsResponse, _>(HostAnswer::<Vec<String>>(Err(error.clone())));
            check::<proto::GetAuthIdentityResponse, _>(HostAnswer::<Option<Claims>>(Err(error.clone())));
            check::<proto::GetAuthTokenResponse, _>(HostAnswer::<Token>(Err(error)));
        }
    }

    #[test]
    fn an_error_without_words_stays_an_error() {
        let answer = HostAnswer::<()>(Err(HostError::Failed(String::new())));
        assert_eq!(proto::SetSecretResponse::from(answer).error, "no reason given");
    }

    /// Contract item 137.
    #[test]
    fn zero_and_gos_zero_time_are_no_time_and_absence_is_sent_as_upstream_sends_it() {
        for (wire, read) in [(0, None), (-62_135_596_800, None), (1, Some(1)), (-1, Some(-1))] {
            let message = proto::Claims { issued_at_unix: wire, expires_at_unix: wire, ..Default::default() };
            let claims = Claims::from(message);
            assert_eq!((claims.issued_at, claims.expires_at), (read, read), "{wire}");
            assert_eq!(proto::Claims::from(claims).issued_at_unix, read.unwrap_or(-62_135_596_800));
            let unread = Claims { issued_at: Some(wire), ..Claims::default() };
            assert_eq!(proto::Claims::from(unread).issued_at_unix, read.unwrap_or(-62_135_596_800));

            let token = proto::GetAuthTokenResponse { expires_at_unix: wire, ..Default::default() };
            assert_eq!(HostAnswer::<Token>::from(token).0.map(|t| t.expires_at), Ok(read));
        }
    }
}
