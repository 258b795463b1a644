//! What the commands print, in upstream's keys (contract spec 10.6).
//!
//! A status has all of its keys, whatever is known, so that a script need not ask which are there; of a token
//! only what is known is told. Times are in UTC.

use portcullis_contract::{AuthStatus, CachedToken, Claims, HandlerInfo, Token, UnixSeconds};
use serde::Serialize;

use crate::table::{Row, or_dash};
use crate::{duration, moment};

fn text_of(moment: Option<UnixSeconds>) -> String {
    moment.map(moment::to_text).unwrap_or_default()
}

/// Names a handler and, of several that it logs in to, the server.
fn of_instance(handler: &str, hostname: &str) -> String {
    if hostname.is_empty() { handler.to_owned() } else { format!("{handler} ({hostname})") }
}

/// How a login stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusRow {
    handler: String,
    display_name: String,
    r#type: &'static str,
    status: String,
    authenticated: bool,
    flow: String,
    user: String,
    email: String,
    username: String,
    name: String,
    tenant_id: String,
    client_id: String,
    identity_type: String,
    token_file: String,
    hostname: String,
    expires_at: String,
    expires_in: String,
    last_refresh: String,
    scopes: Vec<String>,
    cached_tokens: usize,
    hint: String,
    #[serde(skip)]
    expires: Option<UnixSeconds>,
}

impl StatusRow {
    pub(super) fn new(
        handler: &HandlerInfo,
        status: AuthStatus,
        cached_tokens: usize,
        now: UnixSeconds,
    ) -> Self {
        let authenticated = status.authenticated;
        let known = match (authenticated, status.reason.as_str()) {
            (true, _) => "valid",
            (false, "") => "not logged in",
            (false, reason) => reason,
        };
        // Who was logged in once is nobody's business any more.
        let claims = status.claims.filter(|_| authenticated).unwrap_or_default();
        let Claims { email, name, username, .. } = claims;
        let user = if email.is_empty() { username.clone() } else { email.clone() };
        let is_workload = status.identity_type == "workload-identity";
        let expires = status.expires_at.filter(|_| authenticated);
        let hint = match authenticated {
            true => String::new(),
            false => format!("run 'portcullis auth login {}' to authenticate", handler.name),
        };
        Self {
            handler: handler.name.to_string(),
            display_name: handler.display_name.clone(),
            r#type: "handler",
            status: known.to_owned(),
            authenticated,
            flow: status.flow,
            user,
            email,
            username,
            name,
            tenant_id: status.tenant_id,
            client_id: status.client_id,
            identity_type: status.identity_type,
            token_file: if is_workload { status.token_file } else { String::new() },
            hostname: status.hostname,
            expires_at: text_of(expires),
            expires_in: expires.and_then(|expires| moment::until(expires, now)).unwrap_or_default(),
            last_refresh: text_of(status.last_refresh),
            scopes: status.scopes,
            cached_tokens,
            hint,
            expires,
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Returns whether somebody is logged in, and not for longer than that.
    pub(super) fn ends_before(&self, moment: UnixSeconds) -> bool {
        self.authenticated && self.expires.is_some_and(|expires| expires < moment)
    }
}

impl Row for StatusRow {
    const HEADINGS: &'static [&'static str] =
        &["HANDLER", "TYPE", "STATUS", "NAME", "USER", "FLOW", "EXPIRES IN"];

    fn cells(&self) -> Vec<String> {
        vec![
            of_instance(&self.handler, &self.hostname),
            self.r#type.to_owned(),
            self.status.clone(),
            or_dash(&self.display_name),
            or_dash(&self.user),
            or_dash(&self.flow),
            or_dash(&self.expires_in),
        ]
    }
}

/// An access token, with the token itself.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenRow<'t> {
    handler: &'t str,
    flow: &'t str,
    scope: &'t str,
    token_type: &'t str,
    #[serde(skip_serializing_if = "String::is_empty")]
    expires_at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    expires_in: String,
    access_token: &'t str,
    #[serde(skip_serializing_if = "str::is_empty")]
    session_id: &'t str,
}

impl<'t> TokenRow<'t> {
    pub(super) fn new(handler: &'t HandlerInfo, token: &'t Token, now: UnixSeconds) -> Self {
        let left = token.expires_at.map(|expires| moment::left(expires, now));
        Self {
            handler: handler.name.as_str(),
            flow: &token.flow,
            scope: &token.scope,
            token_type: &token.token_type,
            expires_at: text_of(token.expires_at),
            expires_in: left.map(duration::to_text).unwrap_or_default(),
            access_token: &token.access_token,
            session_id: &token.session_id,
        }
    }
}

/// A token that a handler keeps, without the token itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CachedRow {
    pub(super) handler: String,
    pub(super) token_kind: String,
    is_expired: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) scope: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    flow: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    fingerprint: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    session_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    expires_at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    expires_in: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cached_at: String,
    #[serde(skip)]
    expires: Option<UnixSeconds>,
    #[serde(skip)]
    cached: Option<UnixSeconds>,
}

impl CachedRow {
    pub(super) fn new(handler: &HandlerInfo, token: CachedToken, now: UnixSeconds) -> Self {
        let lives = token.expires_at.filter(|_| !token.is_expired);
        let in_words = |expires| moment::until(expires, now).unwrap_or_else(|| "expired".to_owned());
        Self {
            // Whose it is, is known without being told.
            handler: handler.name.to_string(),
            token_kind: token.token_kind,
            is_expired: token.is_expired,
            scope: token.scope,
            token_type: token.token_type,
            flow: token.flow,
            fingerprint: token.fingerprint,
            session_id: token.session_id,
            hostname: token.hostname,
            expires_at: text_of(token.expires_at),
            expires_in: lives.map(in_words).unwrap_or_default(),
            cached_at: text_of(token.cached_at),
            expires: token.expires_at,
            cached: token.cached_at,
        }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.is_expired
    }

    pub(super) fn expires(&self) -> Option<UnixSeconds> {
        self.expires
    }

    pub(super) fn cached(&self) -> Option<UnixSeconds> {
        self.cached
    }
}

impl Row for CachedRow {
    const HEADINGS: &'static [&'static str] =
        &["HANDLER", "KIND", "SCOPE", "TYPE", "FLOW", "EXPIRED", "EXPIRES IN", "CACHED AT"];

    fn cells(&self) -> Vec<String> {
        vec![
            of_instance(&self.handler, &self.hostname),
            or_dash(&self.token_kind),
            or_dash(&self.scope),
            or_dash(&self.token_type),
            or_dash(&self.flow),
            if self.is_expired { "yes" } else { "no" }.to_owned(),
            or_dash(&self.expires_in),
            or_dash(&self.cached_at),
        ]
    }
}

#[cfg(test)]
mod tests {
    use portcullis_contract::HandlerName;
    use serde_json::{Value, json};

    use super::*;

    fn handler() -> HandlerInfo {
        HandlerInfo {
            name: HandlerName::new("door"),
            display_name: String::new(),
            flows: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    fn status(identity_type: &str, claims: Claims) -> Value {
        let [identity_type, token_file] = [identity_type, "/a/b"].map(str::to_owned);
        let status = AuthStatus {
            authenticated: true,
            claims: Some(claims),
            identity_type,
            token_file,
            ..AuthStatus::default()
        };
        json!(StatusRow::new(&handler(), status, 0, 1000))
    }

    #[test]
    fn a_status_names_whom_and_what_upstream_names() {
        let claims = || Claims { subject: "s-1".to_owned(), name: "Ada".to_owned(), ..Claims::default() };
        let user = status("user", claims());
        assert_eq!((&user["user"], &user["tokenFile"]), (&json!(""), &json!("")), "{user}");
        assert_eq!(user["displayName"], "");
        let workload = status("workload-identity", Claims { username: "ada".to_owned(), ..claims() });
        assert_eq!(
            (&workload["user"], &workload["tokenFile"]),
            (&json!("ada"), &json!("/a/b")),
            "{workload}"
        );
    }

    #[test]
    fn of_several_servers_each_row_names_its_own() {
        let hostname = || "a.example".to_owned();
        let status = AuthStatus { hostname: hostname(), ..AuthStatus::default() };
        assert_eq!(StatusRow::new(&handler(), status, 0, 1000).cells()[0], "door (a.example)");
        let kept = CachedToken { hostname: hostname(), ..CachedToken::default() };
        assert_eq!(CachedRow::new(&handler(), kept, 1000).cells()[0], "door (a.example)");
        assert_eq!(CachedRow::new(&handler(), CachedToken::default(), 1000).cells()[0], "door");
    }

    #[test]
    fn what_is_left_of_a_token_is_a_duration_and_of_one_that_is_kept_two_units() {
        let check = |expires: UnixSeconds, exactly: &str, about: &str| {
            let expires_at = Some(expires);
            let token = Token { expires_at, ..Token::default() };
            let shown = json!(TokenRow::new(&handler(), &token, 1000));
            assert_eq!(shown["expiresIn"], exactly, "{shown}");
            let kept = CachedToken { expires_at, ..CachedToken::default() };
            let shown = json!(CachedRow::new(&handler(), kept, 1000));
            assert_eq!(shown["expiresIn"], about, "{shown}");
        };
        check(1000 + 27_157 * 3600 + 26 * 60 + 45, "27157h26m45s", "1131d13h");
        check(999, "0s", "expired");
    }
}
