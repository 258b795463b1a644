//! A guest that lets people in: two auth handlers, and every way in which a login can go.
//!
//! `door` (*Door*) knows the flows `device_code`, `interactive` and `pat` and all capabilities but `federated_token`
//! and `instance_hostname`; `side` (*Side door*) knows one flow that nobody else does, `secret_knock`, and no
//! capability. Each remembers who came in and what it issued, in memory and nowhere else.
//!
//! | Login, by `flow` | What happens |
//! |---|---|
//! | none, `device_code` | one prompt, `ABCD-1234`; then `ada` is in |
//! | `interactive` | the host is asked for an answer, and whoever it names is in |
//! | `pat` | whoever the secret `app.pat` names is in; `no pat` without it |
//! | another | `flow not supported: FLOW` |
//!
//! | Login, by `tenant-id` | What happens |
//! |---|---|
//! | `two-prompts` | a second prompt, `EFGH-5678` |
//! | `astray` | a prompt that leads to `http://door.example/device` |
//! | `flood` | 10,000 prompts, `F-00000` and on, in place of the one |
//! | `never` | the prompt, and then nothing until the caller has gone |
//! | `no-claims` | a result that says not who it was |
//! | `refuse` | `login refused` |
//! | `remark` | the same, with a remark that is an error: `nobody is home: ring twice` |
//! | `crash` | the whole plugin ends, with the words `the door fell on me` |
//! | `echo` | whoever was asked for; see `echo.rs`, also for a token of the scope `echo` |
//!
//! A token is `token-N-SCOPE`, where N counts what the handler issued; one of the scope `forever` never
//! expires, those whose scope begins with `old` have expired already. A setting `fail` that is `true`, or the
//! account that is meant, makes `configure` fail. `side` lets nobody out again, and of the account `lost` it can tell
//! nothing and forget nothing. Of the account `kept` it keeps a token, though nobody is in.
//!
//! While nobody is in, a variable `DOOR_TOKEN_FILE` is shown as the file of a workload's token.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_sdk::{
    AccessRequest, Account, AuthCapability, AuthHandler, AuthStatus, CachedToken, Claims, Configuration,
    DeviceCodePrompt, Diagnostic, Error, Flow, FlowAvailability, HandlerInfo, HandlerName, Host, Json,
    LoginRequest, LoginResult, Prompts, Refusal, ResponseRequest, Token, UnixSeconds,
};
use serde_json::{Map, Value};

mod echo;

/// When everything happens.
const NOW: UnixSeconds = 1_700_000_000;
const AN_HOUR_LATER: UnixSeconds = 1_700_003_600;
/// Where a code is entered.
const PAGE: &str = "https://door.example/device";
const HANDLERS: [&str; 2] = ["door", "side"];

#[derive(Debug, Default)]
pub(crate) struct Doorman {
    /// By the name of the handler.
    doors: Mutex<BTreeMap<String, Door>>,
}

/// What one handler remembers.
#[derive(Debug, Default)]
struct Door {
    configuration: Configuration,
    visitor: Option<Visitor>,
    issued: usize,
    /// In the order in which they were issued.
    tokens: Vec<Token>,
}

/// Who is in, and how they came.
#[derive(Debug)]
struct Visitor {
    claims: Option<Claims>,
    flow: String,
    scopes: Vec<String>,
    tenant_id: String,
    hostname: String,
}

impl Doorman {
    fn doors(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what one handler remembers, or changes it.
    fn at<T>(&self, handler: &str, look: impl FnOnce(&mut Door) -> T) -> Result<T, Error> {
        if !HANDLERS.contains(&handler) {
            return Err(Error::unknown_handler(handler));
        }
        Ok(look(self.doors().entry(handler.to_owned()).or_default()))
    }
}

impl AuthHandler for Doorman {
    fn handlers(&self) -> Result<Vec<HandlerInfo>, Error> {
        let info =
            |name: &str, display_name: &str, flows: &[Flow], capabilities: &[AuthCapability]| HandlerInfo {
                name: HandlerName::new(name),
                display_name: display_name.to_owned(),
                flows: flows.to_vec(),
                capabilities: capabilities.to_vec(),
            };
        let all = [
            AuthCapability::SCOPES_ON_LOGIN,
            AuthCapability::SCOPES_ON_TOKEN_REQUEST,
            AuthCapability::TENANT_ID,
            AuthCapability::HOSTNAME,
            AuthCapability::CALLBACK_PORT,
            AuthCapability::FLOW_OVERRIDE,
            AuthCapability::TOKEN_HOSTNAME,
        ];
        Ok(vec![
            info("door", "Door", &[Flow::DEVICE_CODE, Flow::INTERACTIVE, Flow::PAT], &all),
            info("side", "Side door", &[Flow::new("secret_knock")], &[]),
        ])
    }

    fn configure(&self, _: &Host<'_>, handler: &str, configuration: Configuration) -> Result<(), Error> {
        let fails = configuration.setting::<Value>("fail")?;
        let account = configuration.profile.as_deref().map(Value::from);
        if fails.is_some_and(|fails| fails == Value::Bool(true) || Some(fails) == account) {
            return Err(Error::new("configure refused"));
        }
        self.at(handler, |door| door.configuration = configuration)
    }

    fn login(
        &self,
        host: &Host<'_>,
        prompts: &Prompts<'_>,
        handler: &str,
        request: LoginRequest,
    ) -> Result<LoginResult, Error> {
        if request.tenant_id == "echo" {
            return Ok(LoginResult { claims: Some(echo::claims(&request)), expires_at: Some(NOW) });
        }
        let asks = self.at(handler, |door| door.configuration.prompts_for_response)?;
        let flow = request.flow.unwrap_or(Flow::DEVICE_CODE).into_string();
        let username = match flow.as_str() {
            "device_code" => device_code(host, prompts, &request.tenant_id)?,
            "interactive" if !asks => return Err(Error::new("the host asks nobody")),
            "interactive" => prompts.auth_response(ResponseRequest {
                handler: handler.to_owned(),
                authorization_url: "https://door.example/authorize".to_owned(),
                redirect_uri: format!("http://127.0.0.1:{}/", request.callback_port.unwrap_or(0)),
            })?,
            "pat" => host.get_secret("app.pat")?.ok_or_else(|| Error::new("no pat"))?,
            other => return Err(Error::new(format!("flow not supported: {other}"))),
        };
        let LoginRequest { tenant_id, scopes, hostname, .. } = request;
        let claims = (tenant_id != "no-claims").then(|| Claims {
            issuer: "https://door.example".to_owned(),
            subject: "s-1".to_owned(),
            tenant_id: tenant_id.clone(),
            object_id: String::new(),
            client_id: "c-1".to_owned(),
            email: "ada@door.example".to_owned(),
            name: "Ada".to_owned(),
            username,
            issued_at: Some(NOW),
            expires_at: None,
        });
        let hostname = hostname.unwrap_or_default();
        let visitor = Visitor { claims: claims.clone(), flow, scopes, tenant_id, hostname };
        self.at(handler, |door| door.visitor = Some(visitor))?;
        Ok(LoginResult { claims, expires_at: Some(AN_HOUR_LATER) })
    }

    fn logout(&self, _: &Host<'_>, handler: &str, _: &Account) -> Result<(), Error> {
        if handler == "side" {
            return Err(Error::new("side cannot log out"));
        }
        self.at(handler, |door| {
            door.visitor = None;
            door.tokens.clear();
        })
    }

    fn status(&self, _: &Host<'_>, handler: &str, account: &Account) -> Result<AuthStatus, Error> {
        find_account(handler, account.profile.as_deref())?;
        self.at(handler, |door| match &door.visitor {
            None => AuthStatus {
                reason: "not logged in".to_owned(),
                identity_type: "workload-identity".to_owned(),
                token_file: token_file(),
                ..AuthStatus::default()
            },
            Some(visitor) => AuthStatus {
                authenticated: true,
                claims: visitor.claims.clone(),
                expires_at: Some(AN_HOUR_LATER),
                last_refresh: None,
                tenant_id: visitor.tenant_id.clone(),
                identity_type: "user".to_owned(),
                client_id: "c-1".to_owned(),
                token_file: String::new(),
                scopes: visitor.scopes.clone(),
                reason: String::new(),
                flow: visitor.flow.clone(),
                hostname: visitor.hostname.clone(),
            },
        })
    }

    fn token(&self, _: &Host<'_>, handler: &str, request: AccessRequest) -> Result<Token, Error> {
        if request.scope == "echo" {
            return Ok(echo::token(&request));
        }
        self.at(handler, |door| {
            let Some(visitor) = &door.visitor else { return Err(Error::new("not authenticated")) };
            let known = door.tokens.iter().find(|token| token.scope == request.scope);
            if let Some(known) = known.filter(|_| !request.force_refresh) {
                return Ok(known.clone());
            }
            door.issued += 1;
            let token = Token {
                access_token: format!("token-{}-{}", door.issued, request.scope),
                token_type: String::new(),
                expires_at: (request.scope != "forever").then_some(AN_HOUR_LATER),
                scope: request.scope,
                cached_at: Some(NOW),
                flow: visitor.flow.clone(),
                session_id: "sess-1".to_owned(),
            };
            door.tokens.retain(|known| known.scope != token.scope);
            door.tokens.push(token.clone());
            Ok(token)
        })?
    }

    fn list_cached_tokens(
        &self,
        _: &Host<'_>,
        handler: &str,
        profile: Option<&str>,
    ) -> Result<Vec<CachedToken>, Error> {
        find_account(handler, profile)?;
        if (handler, profile) == ("side", Some("kept")) {
            let token_kind = "access".to_owned();
            return Ok(vec![CachedToken {
                handler: handler.to_owned(),
                token_kind,
                ..CachedToken::default()
            }]);
        }
        self.at(handler, |door| {
            let hostname = door.visitor.as_ref().map(|visitor| visitor.hostname.clone()).unwrap_or_default();
            let cached = |token: &Token| CachedToken {
                handler: handler.to_owned(),
                token_kind: "access".to_owned(),
                scope: token.scope.clone(),
                token_type: token.token_type.clone(),
                flow: token.flow.clone(),
                expires_at: token.expires_at,
                cached_at: token.cached_at,
                is_expired: has_expired(token),
                session_id: token.session_id.clone(),
                fingerprint: "0123456789ab".to_owned(),
                hostname: hostname.clone(),
            };
            door.tokens.iter().map(cached).collect()
        })
    }

    fn purge_expired_tokens(
        &self,
        _: &Host<'_>,
        handler: &str,
        profile: Option<&str>,
    ) -> Result<usize, Error> {
        find_account(handler, profile)?;
        self.at(handler, |door| {
            let before = door.tokens.len();
            door.tokens.retain(|token| !has_expired(token));
            before - door.tokens.len()
        })
    }

    fn detect_available_flows(&self, _: &Host<'_>, handler: &str) -> Result<Vec<FlowAvailability>, Error> {
        self.at(handler, |_| {
            let flow = |flow, available, reason: &str| {
                let reason = reason.to_owned();
                FlowAvailability { flow, available, reason }
            };
            vec![
                flow(Flow::DEVICE_CODE, true, ""),
                flow(Flow::INTERACTIVE, false, "no browser"),
                flow(Flow::PAT, true, ""),
            ]
        })
    }

    fn activate_server_mode(&self, _: &Host<'_>, settings: &Json) -> Result<(), Error> {
        let settings: Option<Map<String, Value>> = settings.parse().ok();
        match settings.is_some_and(|settings| settings.contains_key("port")) {
            true => Ok(()),
            false => Err(Error::new("no port")),
        }
    }
}

/// Shows the codes that a tenant is shown, and returns who enters them.
fn device_code(host: &Host<'_>, prompts: &Prompts<'_>, tenant_id: &str) -> Result<String, Error> {
    match tenant_id {
        "refuse" => return Err(Error::new("login refused")),
        "remark" => {
            let remark = Diagnostic::error("nobody is home").detail("ring twice");
            return Err(Refusal::new("login refused").diagnostic(remark).into());
        }
        "crash" => crash(),
        "flood" => (0..10_000).for_each(|n| show(prompts, PAGE, &format!("F-{n:05}"))),
        "astray" => show(prompts, "http://door.example/device", "ABCD-1234"),
        _ => show(prompts, PAGE, "ABCD-1234"),
    }
    if tenant_id == "two-prompts" {
        show(prompts, PAGE, "EFGH-5678");
    }
    if tenant_id == "never" {
        while !host.cancelled() {
            std::thread::sleep(Duration::from_millis(20));
        }
        return Err(Error::new("login cancelled"));
    }
    Ok("ada".to_owned())
}

#[expect(clippy::print_stderr, reason = "the last words of a plugin are what it prints")]
fn crash() -> ! {
    eprintln!("the door fell on me");
    std::process::exit(3)
}

fn show(prompts: &Prompts<'_>, page: &str, code: &str) {
    prompts.device_code(DeviceCodePrompt {
        user_code: code.to_owned(),
        verification_uri: page.to_owned(),
        message: format!("Enter {code}"),
    });
}

/// Refuses the account that one of the handlers cannot find.
fn find_account(handler: &str, profile: Option<&str>) -> Result<(), Error> {
    match (handler, profile) {
        ("side", Some("lost")) => Err(Error::new("side lost that account")),
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "what a guest finds in its environment is the question")]
fn token_file() -> String {
    std::env::var("DOOR_TOKEN_FILE").unwrap_or_default()
}

fn has_expired(token: &Token) -> bool {
    token.scope.starts_with("old")
}

portcullis_sdk::export_auth_handler!(Doorman);

#[cfg(test)]
mod tests {
    use portcullis_sdk::{PromptError, PromptService, Unavailable};

    use super::*;

    /// A person who remembers the codes and answers as `lin`.
    #[derive(Default)]
    struct Lin(Mutex<Vec<String>>);

    impl PromptService for Lin {
        fn device_code(&self, prompt: DeviceCodePrompt) {
            self.0.lock().unwrap().push(prompt.user_code);
        }

        fn auth_response(&self, request: ResponseRequest) -> Result<String, PromptError> {
            assert_eq!(request.redirect_uri, "http://127.0.0.1:8765/");
            Ok("lin".to_owned())
        }
    }

    const HOST: &Unavailable = &Unavailable;

    fn login(
        doorman: &Doorman,
        flow: &str,
        tenant_id: &str,
    ) -> (Result<Option<String>, String>, Vec<String>) {
        let flow = (!flow.is_empty()).then(|| Flow::new(flow));
        let (tenant_id, callback_port) = (tenant_id.to_owned(), Some(8765));
        let request = LoginRequest { flow, tenant_id, callback_port, ..LoginRequest::default() };
        let lin = Lin::default();
        let (host, prompts) = (Host::from_service(HOST), Prompts::from_service(&lin));
        let result = doorman.login(&host, &prompts, "door", request);
        let result = result.map(|result| result.claims.map(|claims| claims.username)).map_err(message);
        (result, lin.0.into_inner().unwrap())
    }

    fn message(error: Error) -> String {
        match error {
            Error::Refused(refusal) => refusal.message,
            Error::Unimplemented => "unimplemented".to_owned(),
        }
    }

    fn check(flow: &str, tenant_id: &str, result: Result<Option<&str>, &str>, codes: &[&str]) {
        let (found, seen) = login(&Doorman::default(), flow, tenant_id);
        assert_eq!(found, result.map(|name| name.map(str::to_owned)).map_err(str::to_owned));
        assert_eq!(seen, codes, "{flow}, {tenant_id}");
    }

    #[test]
    fn every_login_ends_as_it_is_written() {
        check("", "", Ok(Some("ada")), &["ABCD-1234"]);
        check("device_code", "two-prompts", Ok(Some("ada")), &["ABCD-1234", "EFGH-5678"]);
        check("", "no-claims", Ok(None), &["ABCD-1234"]);
        check("", "refuse", Err("login refused"), &[]);
        check("interactive", "", Err("the host asks nobody"), &[]);
        check("pat", "", Err("host GetSecret: secret store not available"), &[]);
        check("magic", "", Err("flow not supported: magic"), &[]);
        let (_, flood) = login(&Doorman::default(), "", "flood");
        assert_eq!((flood.len(), flood.last().map(String::as_str)), (10_000, Some("F-09999")));
    }

    #[test]
    fn a_host_that_asks_is_asked() {
        let doorman = Doorman::default();
        let configuration = Configuration { prompts_for_response: true, ..Configuration::default() };
        doorman.configure(&Host::from_service(HOST), "door", configuration).unwrap();
        assert_eq!(login(&doorman, "interactive", "").0, Ok(Some("lin".to_owned())));
    }

    #[test]
    fn a_setting_makes_the_configuration_fail() {
        let configured = |settings: &str, profile: Option<&str>| {
            let settings = Json::from_text(settings).fields("settings").unwrap();
            let profile = profile.map(str::to_owned);
            let configuration = Configuration { settings, profile, ..Configuration::default() };
            Doorman::default().configure(&Host::from_service(HOST), "door", configuration).map_err(message)
        };
        let refused = Err("configure refused".to_owned());
        assert_eq!(configured(r#"{"fail": true}"#, None), refused);
        assert_eq!(configured(r#"{"fail": "work"}"#, Some("work")), refused);
        assert_eq!(configured(r#"{"fail": "work"}"#, None), Ok(()));
    }

    #[test]
    fn tokens_are_kept_by_scope_until_they_are_purged_or_refreshed() {
        let (doorman, host) = (Doorman::default(), Host::from_service(HOST));
        let token = |scope: &str, force_refresh| {
            let request =
                AccessRequest { scope: scope.to_owned(), force_refresh, ..AccessRequest::default() };
            let token = doorman.token(&host, "door", request);
            token.map(|token| token.access_token).map_err(message)
        };
        assert_eq!(token("a", false), Err("not authenticated".to_owned()));
        login(&doorman, "", "").0.unwrap();
        for (scope, force_refresh, expected) in [
            ("a", false, "token-1-a"),
            ("a", false, "token-1-a"),
            ("a", true, "token-2-a"),
            ("old", false, "token-3-old"),
        ] {
            assert_eq!(token(scope, force_refresh).as_deref(), Ok(expected));
        }
        let cached = doorman.list_cached_tokens(&host, "door", None).unwrap();
        let expired = cached.iter().map(|token| (token.scope.as_str(), token.is_expired));
        assert_eq!(expired.collect::<Vec<_>>(), [("a", false), ("old", true)]);
        assert_eq!(doorman.purge_expired_tokens(&host, "door", None).unwrap(), 1);
        assert_eq!(doorman.list_cached_tokens(&host, "door", None).unwrap().len(), 1);

        doorman.logout(&host, "door", &Account::default()).unwrap();
        assert_eq!(token("a", false), Err("not authenticated".to_owned()));
        assert!(doorman.logout(&host, "side", &Account::default()).is_err());
    }

    #[test]
    fn a_server_needs_a_port() {
        let (doorman, host) = (Doorman::default(), Host::from_service(HOST));
        let activate = |settings: &str| doorman.activate_server_mode(&host, &Json::from_text(settings));
        assert_eq!(activate(r#"{"port":1}"#), Ok(()));
        for bad in ["{}", "[]", "null", "{", ""] {
            assert_eq!(activate(bad).map_err(message), Err("no port".to_owned()), "{bad}");
        }
    }
}
