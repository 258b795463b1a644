//! What a plugin asks of its host, and what it is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis::contract::{
    AuthHandlers, CallError, Claims, Configuration, Grants, IdentityGrant, SecretGrant, Token, TokenRequest,
    chain,
};
use portcullis::host::services::{IdentityError, IdentityService, IdentitySource};
use portcullis::secrets::FileStore;
use portcullis_tests::auth::refusal;
use portcullis_tests::{Door, TestHost, TestPlugin, TestResult, assert_matches, generous};
use serde_json::{Value, json};
use test_case::test_case;

/// Two accounts, as an auth registry would know them.
#[derive(Debug)]
struct Accounts;

#[async_trait]
impl IdentitySource for Accounts {
    fn offers(&self, _: IdentityService) -> bool {
        true
    }

    async fn handlers(&self) -> Result<AuthHandlers, IdentityError> {
        Ok(AuthHandlers { names: vec!["github".to_owned(), "entra".to_owned()], default: "entra".to_owned() })
    }

    async fn identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, IdentityError> {
        assert_ne!(scope, "nowhere", "there is no such place");
        let claims = Claims {
            issuer: format!("https://{handler}.example"),
            subject: scope.to_owned(),
            email: "ada@example.com".to_owned(),
            issued_at: Some(1_700_000_000),
            ..Claims::default()
        };
        Ok(Some(claims))
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, IdentityError> {
        if request.force_refresh {
            return Err(IdentityError("the well is dry".to_owned()));
        }
        Ok(Token {
            access_token: format!("{}-{}-{}", request.handler, request.scope, request.min_valid_for),
            token_type: "Bearer".to_owned(),
            expires_at: Some(1_800_000_000),
            ..Token::default()
        })
    }

    async fn groups(&self, _: &str) -> Result<Vec<String>, IdentityError> {
        Ok(vec!["hikers".to_owned(), "bakers".to_owned()])
    }
}

fn grants() -> Grants {
    let pattern = |text: &str| text.parse().expect("a pattern");
    Grants {
        secrets: SecretGrant { read: vec![pattern("app.*")], write: vec![pattern("app.scratch")] },
        identity: Some(IdentityGrant { handlers: vec!["github".to_owned()], token: true }),
        ..Grants::default()
    }
}

/// Starts the keeper in a host that has secrets and accounts.
async fn keeper(host: &mut TestHost) -> Result<TestPlugin, Box<dyn std::error::Error>> {
    keeper_of(host, r#"{"app.one":"1","app.two":"zwei 𝄞","other":"hidden"}"#).await
}

async fn keeper_of(host: &mut TestHost, secrets: &str) -> Result<TestPlugin, Box<dyn std::error::Error>> {
    let file = host.scratch().join("secrets.json");
    fs::write(&file, secrets)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let store = Arc::new(FileStore::open(&file)?);
    host.grants = grants();
    host.offer("keeper", Some(store), Some(Arc::new(Accounts)));
    let plugin = host.launch("keeper").await?;
    plugin.configure("keeper", &Configuration::default()).await?;
    Ok(plugin)
}

async fn ask(plugin: &TestPlugin, input: Value) -> Result<Value, CallError> {
    let output = plugin.execute("keeper", &input.to_string()).await?;
    Ok(serde_json::from_str(output.data.as_str()).expect("the keeper answers JSON"))
}

async fn refused(plugin: &TestPlugin, input: Value) -> String {
    refusal(ask(plugin, input).await)
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn granted_secrets_are_read_listed_set_and_deleted(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = keeper(&mut host).await?;
    let get = async |name: &str| ask(&plugin, json!({"operation": "get", "name": name})).await;

    assert_eq!(get("app.two").await?, json!({"found": true, "value": "zwei 𝄞"}));
    // Contract item 155.
    assert_eq!(get("app.none").await?, json!({"found": false, "value": ""}));
    // Contract items 158 and 159.
    let names = ask(&plugin, json!({"operation": "list", "pattern": "o"})).await?;
    assert_eq!(names, json!({"names": ["app.one", "app.two"]}));

    ask(&plugin, json!({"operation": "set", "name": "app.scratch", "value": "new"})).await?;
    assert_eq!(get("app.scratch").await?, json!({"found": true, "value": "new"}));
    for _ in 0..2 {
        // Contract item 156: the second time there is nothing to delete.
        ask(&plugin, json!({"operation": "delete", "name": "app.scratch"})).await?;
    }
    assert_eq!(get("app.scratch").await?, json!({"found": false, "value": ""}));
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_too_large_is_refused_in_the_words_of_the_limit(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.limits.message = Some(1 << 10);
    let plugin = keeper_of(&mut host, &json!({"app.large": "x".repeat(4 << 10)}).to_string()).await?;
    let error =
        ask(&plugin, json!({"operation": "get", "name": "app.large"})).await.expect_err("it is large");
    let said = chain(&error);
    assert!(said.ends_with("limit message reached: asked 4.1KiB, allowed 1KiB"), "{said}");
    Ok(())
}

/// Contract items 146, 148, 149, 151 and 161: the sentences are upstream's.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_secret_is_refused_in_upstreams_words(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = keeper(&mut host).await?;
    let outside = "access denied: secret name outside allowed scope";
    for (operation, name, sentence) in [
        ("get", "", "host GetSecret: secret name must not be empty"),
        ("get", "a b", "host GetSecret: secret name contains invalid characters"),
        ("get", "a..b", "host GetSecret: secret name must not contain path traversal sequences"),
        ("get", "other", &format!("host GetSecret: {outside}")),
        ("set", "app.one", &format!("host SetSecret: {outside}")),
        ("delete", "app.one", &format!("host DeleteSecret: {outside}")),
    ] {
        let input = json!({"operation": operation, "name": name, "value": "x"});
        assert_eq!(refused(&plugin, input).await, sentence, "{operation} {name:?}");
    }
    let refusal = refused(&plugin, json!({"operation": "list", "pattern": "("})).await;
    assert!(refusal.starts_with("host ListSecrets: invalid pattern: "), "{refusal}");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_identity_is_known_and_no_other(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = keeper(&mut host).await?;

    let claims = ask(&plugin, json!({"operation": "identity", "handler": "github", "scope": "me"})).await?;
    assert_eq!(claims["claims"]["issuer"], "https://github.example");
    assert_eq!(claims["claims"]["subject"], "me");
    assert_eq!(claims["claims"]["issuedAt"], 1_700_000_000);
    // A plugin of Go's shows what came, which is its zero time.
    let no_time = if matches!(door, Door::Process) { -62_135_596_800_i64 } else { 0 };
    assert_eq!(claims["claims"]["expiresAt"], no_time);

    let request = json!({"operation": "token", "handler": "github", "scope": "repo", "minValidFor": 90});
    let token = ask(&plugin, request).await?;
    assert_eq!(token["accessToken"], "github-repo-90");
    assert_eq!(token["tokenType"], "Bearer");
    assert_eq!(token["expiresAt"], 1_800_000_000);

    let groups = ask(&plugin, json!({"operation": "groups", "handler": "github"})).await?;
    assert_eq!(groups, json!({"groups": ["hikers", "bakers"]}));

    // Contract item 167.
    let handlers = ask(&plugin, json!({"operation": "handlers"})).await?;
    assert_eq!(handlers, json!({"names": ["github"], "default": ""}));

    // Contract items 163, 164 and 168.
    let denied = |name: &str| format!("access denied: auth handler \"{name}\" is not in the allowed set");
    let [long, cut] = [1_000, 256].map(|length| "x".repeat(length));
    for (operation, handler, sentence) in [
        ("identity", "entra", format!("host GetAuthIdentity: {}", denied("entra"))),
        ("identity", long.as_str(), format!("host GetAuthIdentity: {}", denied(&format!("{cut}...")))),
        ("identity", "", format!("host GetAuthIdentity: {}", denied(""))),
        ("token", "entra", format!("host GetAuthToken: {}", denied("entra"))),
        ("groups", "entra", format!("host GetAuthGroups: {}", denied("entra"))),
    ] {
        assert_eq!(refused(&plugin, json!({"operation": operation, "handler": handler})).await, sentence);
    }
    let dry = json!({"operation": "token", "handler": "github", "forceRefresh": true});
    assert_eq!(refused(&plugin, dry).await, "host GetAuthToken: get auth token: the well is dry");
    Ok(())
}

/// Contract items 145 and 165. The broker is served all the same: the host said what it has, nothing.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_has_nothing_says_so(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    host.grants = grants();
    host.offer("keeper", None, None);
    let plugin = host.launch("keeper").await?;
    plugin.configure("keeper", &Configuration::default()).await?;
    for (operation, sentence) in [
        ("get", "host GetSecret: secret store not available"),
        ("list", "host ListSecrets: secret store not available"),
        ("identity", "host GetAuthIdentity: auth identity not available"),
        ("token", "host GetAuthToken: auth token service not available"),
        ("groups", "host GetAuthGroups: auth groups not available"),
    ] {
        assert_eq!(refused(&plugin, json!({"operation": operation, "handler": "github"})).await, sentence);
    }
    let handlers = ask(&plugin, json!({"operation": "handlers"})).await?;
    assert_eq!(handlers["default"], "");
    Ok(())
}

#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callbacks_at_once_get_their_own_answers(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = keeper(&mut host).await?;
    let calls = (0..50).map(|n| {
        let plugin = plugin.clone();
        tokio::spawn(async move {
            let scope = format!("scope-{n}");
            let input = json!({"operation": "identity", "handler": "github", "scope": scope});
            (ask(&plugin, input).await, scope)
        })
    });
    for answer in generous(futures_util::future::join_all(calls)).await {
        let (answer, scope) = answer?;
        assert_matches!(answer, Ok(claims) if claims["claims"]["subject"] == scope.as_str());
    }
    Ok(())
}

/// A fault of ours, in what a plugin asks.
#[cfg_attr(go_peers, test_case(Door::Process; "process"))]
#[test_case(Door::Native; "native")]
#[test_case(Door::Component; "component")]
#[test_case(Door::Shim; "shim")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_host_ends_one_call_and_says_so(door: Door) -> TestResult {
    let mut host = TestHost::new(door);
    let plugin = keeper(&mut host).await?;
    let identity = |scope: &str| json!({"operation": "identity", "handler": "github", "scope": scope});
    let said = chain(&ask(&plugin, identity("nowhere")).await.expect_err("the host panics"));
    assert!(said.contains("panic") && said.contains("there is no such place"), "{said}");
    assert_eq!(ask(&plugin, identity("me")).await?["claims"]["subject"], "me");
    Ok(())
}
