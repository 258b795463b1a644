//! The checklist of contract spec 13, items 145 to 168, through the trait that plugins are served by.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use portcullis_contract::NamePattern;

use super::*;
use crate::fake::Log;

mod person;

/// A store in memory, or one that always fails.
#[derive(Debug, Default)]
struct Memory {
    entries: Mutex<BTreeMap<String, String>>,
    broken: bool,
}

impl Memory {
    fn of<const N: usize>(entries: [(&str, &str); N]) -> Self {
        let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { entries: Mutex::new(entries.into()), broken: false }
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> Result<T, StoreError> {
        if self.broken {
            return Err(StoreError::Read("/home/user/secrets.json is in flames".into()));
        }
        Ok(f(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[async_trait]
impl SecretStore for Memory {
    async fn secret(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.with(|entries| entries.get(name).cloned())
    }

    async fn set(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.with(|entries| _ = entries.insert(name.to_owned(), value.to_owned()))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.with(|entries| _ = entries.remove(name))
    }

    async fn names(&self) -> Result<Vec<String>, StoreError> {
        self.with(|entries| entries.keys().cloned().collect())
    }
}

/// Knows everybody, or fails.
#[derive(Debug)]
struct People {
    broken: bool,
    groups: bool,
}

impl People {
    fn say<T>(&self, answer: T) -> Result<T, IdentityError> {
        if self.broken { Err(IdentityError("nobody is in".to_owned())) } else { Ok(answer) }
    }
}

#[async_trait]
impl IdentitySource for People {
    fn offers(&self, service: IdentityService) -> bool {
        self.groups || service != IdentityService::Groups
    }

    async fn handlers(&self) -> Result<AuthHandlers, IdentityError> {
        let names = ["gitlab", "github", "entra"].map(str::to_owned).to_vec();
        self.say(AuthHandlers { names, default: "entra".to_owned() })
    }

    async fn identity(&self, handler: &str, scope: &str) -> Result<Option<Claims>, IdentityError> {
        self.say(Some(Claims { subject: format!("{handler}/{scope}"), ..Claims::default() }))
    }

    async fn token(&self, request: &TokenRequest) -> Result<Token, IdentityError> {
        self.say(Token { access_token: format!("token of {}", request.handler), ..Token::default() })
    }

    async fn groups(&self, handler: &str) -> Result<Vec<String>, IdentityError> {
        self.say(vec![format!("group of {handler}")])
    }
}

fn services(
    secrets: Option<Memory>,
    identity: Option<People>,
    secret_scope: SecretScope,
    handler_scope: HandlerScope,
) -> Services {
    let secrets = secrets.map(|store| Arc::new(store) as Arc<dyn SecretStore>);
    let identity = identity.map(|source| Arc::new(source) as Arc<dyn IdentitySource>);
    Services::new(PluginName::new("github"), &Grants::default(), secrets, identity)
        .scoped(secret_scope, handler_scope)
}

fn keeper(entries: Option<Memory>, scope: SecretScope) -> Services {
    services(entries, None, scope, HandlerScope::Granted(None))
}

fn guard(identity: Option<People>, scope: HandlerScope) -> Services {
    services(None, identity, SecretScope::Granted(SecretGrant::default()), scope)
}

fn patterns(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn granted(read: &[&str], write: &[&str]) -> SecretScope {
    SecretScope::Granted(SecretGrant { read: patterns(read), write: patterns(write) })
}

fn everything() -> SecretScope {
    SecretScope::Prefix(String::new())
}

fn allowlist(names: &[&str]) -> HandlerScope {
    HandlerScope::Allowlist(names.iter().map(|name| (*name).to_owned()).collect())
}

fn may_ask(names: &[&str], token: bool) -> HandlerScope {
    let handlers = names.iter().map(|name| (*name).to_owned()).collect();
    HandlerScope::Granted(Some(IdentityGrant { handlers, token }))
}

const ALL_THERE: People = People { broken: false, groups: true };

/// What a plugin asks.
#[derive(Clone, Copy, Debug)]
enum Ask<'a> {
    Secret(&'a str),
    Set(&'a str, &'a str),
    Delete(&'a str),
    List(&'a str),
    Identity(&'a str),
    Token(&'a str),
    Groups(&'a str),
    Handlers,
}

async fn answer(services: &Services, ask: Ask<'_>) -> Result<String, HostError> {
    match ask {
        Ask::Secret(name) => services.get_secret(name).await.map(|value| value.unwrap_or("none".to_owned())),
        Ask::Set(name, value) => services.set_secret(name, value).await.map(|()| "done".to_owned()),
        Ask::Delete(name) => services.delete_secret(name).await.map(|()| "done".to_owned()),
        Ask::List(pattern) => services.list_secrets(pattern).await.map(|names| names.join(" ")),
        Ask::Identity(handler) => {
            services.auth_identity(handler, "s").await.map(|claims| claims.unwrap_or_default().subject)
        }
        Ask::Token(handler) => {
            let request = TokenRequest { handler: handler.to_owned(), ..TokenRequest::default() };
            services.auth_token(&request).await.map(|token| token.access_token)
        }
        Ask::Groups(handler) => services.auth_groups(handler).await.map(|groups| groups.join(" ")),
        Ask::Handlers => {
            let AuthHandlers { names, default } = services.auth_handlers().await;
            Ok(format!("{} default {default:?}", names.join(" ")))
        }
    }
}

/// Errors start with the expected text.
fn check(services: &Services, ask: Ask<'_>, expected: Result<&str, &str>) {
    let answer = answer(services, ask);
    let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer);
    match (found, expected) {
        (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{ask:?}"),
        (Err(found), Err(wanted)) => {
            let text = found.to_string();
            let same = if wanted.ends_with(": ") { text.starts_with(wanted) } else { text == wanted };
            assert!(same, "{ask:?}: {text:?}, expected {wanted:?}");
        }
        (found, wanted) => panic!("{ask:?}: {found:?}, expected {wanted:?}"),
    }
}

const OUTSIDE: &str = "access denied: secret name outside allowed scope";

#[test]
fn without_a_store_every_secret_call_says_so_before_it_looks_at_a_name() {
    // Item 145.
    let none = keeper(None, everything());
    for ask in [Ask::Secret(""), Ask::Set("a b", "v"), Ask::Delete(".."), Ask::List("("), Ask::Secret("a")] {
        check(&none, ask, Err("secret store not available"));
    }
}

#[test]
fn a_name_is_refused_in_upstreams_order_and_words() {
    let all = keeper(Some(Memory::default()), everything());
    let nothing = keeper(Some(Memory::default()), granted(&[], &[]));
    let refused = |name: &str, error: &str| {
        // Item 154: what is wrong with a name comes before whether it was granted.
        for services in [&all, &nothing] {
            check(services, Ask::Secret(name), Err(error));
            check(services, Ask::Set(name, "v"), Err(error));
            check(services, Ask::Delete(name), Err(error));
        }
    };
    // Item 146.
    refused("", "secret name must not be empty");
    // Item 147.
    refused(&"a".repeat(257), "secret name exceeds maximum length of 256");
    refused(&" ".repeat(257), "secret name exceeds maximum length of 256");
    refused(&"\u{e9}".repeat(129), "secret name exceeds maximum length of 256");
    // Item 148.
    for name in ["a b", "a:b", "caf\u{e9}", "a\n", "a\0", "a..b c", "\u{202e}a", "a*"] {
        refused(name, "secret name contains invalid characters");
    }
    // Item 149.
    for name in ["a..b", "..", "../a", "a/.."] {
        refused(name, "secret name must not contain path traversal sequences");
    }
    // Items 147, 150, 155.
    for name in [&"a".repeat(256), "a/b", "-", "_", ".", "Z9"] {
        check(&all, Ask::Secret(name), Ok("none"));
        check(&nothing, Ask::Secret(name), Err(OUTSIDE));
    }
}

#[test]
fn nothing_granted_is_nothing_given() {
    let nothing = keeper(Some(Memory::of([("a", "1")])), SecretScope::Granted(SecretGrant::default()));
    for ask in [Ask::Secret("a"), Ask::Set("a", "2"), Ask::Delete("a")] {
        check(&nothing, ask, Err(OUTSIDE));
    }
    check(&nothing, Ask::List(""), Ok(""));
    check(&nothing, Ask::List("a"), Ok(""));
}

#[test]
fn reading_and_writing_are_granted_apart() {
    let store = Memory::of([("github.token", "1"), ("gitlab.token", "2"), ("scratch.a", "3")]);
    let some = keeper(Some(store), granted(&["github.*"], &["scratch.*"]));
    check(&some, Ask::Secret("github.token"), Ok("1"));
    check(&some, Ask::Secret("gitlab.token"), Err(OUTSIDE));
    check(&some, Ask::Secret("scratch.a"), Err(OUTSIDE));
    check(&some, Ask::Set("github.token", "4"), Err(OUTSIDE));
    check(&some, Ask::Delete("github.token"), Err(OUTSIDE));
    check(&some, Ask::Set("scratch.b", "5"), Ok("done"));
    check(&some, Ask::Delete("scratch.a"), Ok("done"));
    check(&some, Ask::List(""), Ok("github.token"));
}

#[test]
fn upstreams_prefix_is_there_for_hosts_that_want_it() {
    let entries = [("app", "1"), ("app.a", "2"), ("application", "3"), ("other", "4")];
    let app = keeper(Some(Memory::of(entries)), SecretScope::Prefix("app".to_owned()));
    // Items 151 and 152.
    check(&app, Ask::Secret("other"), Err(OUTSIDE));
    check(&app, Ask::Secret("App.a"), Err(OUTSIDE));
    check(&app, Ask::Secret("app"), Ok("1"));
    check(&app, Ask::Secret("application"), Ok("3"));
    // Item 158.
    check(&app, Ask::List(""), Ok("app app.a application"));
    check(&app, Ask::List("other"), Ok(""));
    // Item 153.
    let all = keeper(Some(Memory::of(entries)), everything());
    check(&all, Ask::Secret("other"), Ok("4"));
    check(&all, Ask::List(""), Ok("app app.a application other"));
}

#[test]
fn a_secret_that_is_not_there_is_no_error() {
    // Items 155 and 156.
    let all = keeper(Some(Memory::default()), everything());
    check(&all, Ask::Secret("a"), Ok("none"));
    check(&all, Ask::Delete("a"), Ok("done"));
    check(&all, Ask::Set("a", ""), Ok("done"));
    check(&all, Ask::Secret("a"), Ok(""));
    check(&all, Ask::Set("a", "\u{0}\u{1f600}"), Ok("done"));
    check(&all, Ask::Secret("a"), Ok("\u{0}\u{1f600}"));
}

#[test]
fn a_store_that_fails_is_said_to_and_nothing_of_this_machine() {
    // Item 157.
    let broken = keeper(Some(Memory { broken: true, ..Memory::default() }), everything());
    check(&broken, Ask::Secret("a/b"), Err("get secret \"a/b\": the store cannot be read"));
    check(&broken, Ask::Set("a", "v"), Err("set secret \"a\": the store cannot be read"));
    check(&broken, Ask::Delete("a"), Err("delete secret \"a\": the store cannot be read"));
    check(&broken, Ask::List(""), Err("list secrets: the store cannot be read"));
    // Items 160 and 161: a pattern is looked at after the listing.
    check(&broken, Ask::List("("), Err("list secrets: the store cannot be read"));
}

#[test]
fn a_list_is_narrowed_by_a_pattern() {
    let entries = [("a.one", "1"), ("a.two", "2"), ("b.one", "3")];
    let all = keeper(Some(Memory::of(entries)), everything());
    // Items 159 to 161.
    check(&all, Ask::List("one"), Ok("a.one b.one"));
    check(&all, Ask::List("^a\\."), Ok("a.one a.two"));
    check(&all, Ask::List(&"a?".repeat(128)), Ok("a.one a.two b.one"));
    check(&all, Ask::List(&"a".repeat(257)), Err("pattern too long: max 256 characters"));
    check(&all, Ask::List("("), Err("invalid pattern: "));
    // Item 158: the scope cuts first, whatever the pattern says.
    let some = keeper(Some(Memory::of(entries)), granted(&["a.*"], &[]));
    check(&some, Ask::List(".*|b"), Ok("a.one a.two"));
}

#[test]
fn a_hundred_thousand_names_and_the_worst_pattern_do_not_hold_a_thread() {
    let store = Memory::default();
    for n in 0..100_000 {
        store.with(|entries| entries.insert(format!("{}{n}", "a".repeat(20)), String::new())).unwrap();
    }
    let all = keeper(Some(store), everything());
    let names = all.list_secrets("^a+7$");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(names).unwrap().len(), 1);

    // Polled once it does one turn, however much is left.
    let mut slow = all.list_secrets("(.*a){8}[^0-9]{40}(x+x+)+y");
    assert!(runtime.block_on(async { (&mut slow).now_or_never() }).is_none());
}

#[test]
fn without_a_source_of_identities_each_call_says_so_before_it_looks_at_the_grant() {
    // Item 165.
    for scope in [allowlist(&[]), may_ask(&[], false)] {
        let none = guard(None, scope);
        check(&none, Ask::Identity("x"), Err("auth identity not available"));
        check(&none, Ask::Token("x"), Err("auth token service not available"));
        check(&none, Ask::Groups("x"), Err("auth groups not available"));
        // Item 166.
        check(&none, Ask::Handlers, Ok(" default \"\""));
    }
    let no_groups = guard(Some(People { broken: false, groups: false }), may_ask(&[], false));
    check(&no_groups, Ask::Groups("x"), Err("auth groups not available"));
}

#[test]
fn an_empty_allowlist_is_upstreams_way_to_allow_everything() {
    // Item 162.
    let all = guard(Some(ALL_THERE), allowlist(&[]));
    check(&all, Ask::Identity(""), Ok("/s"));
    check(&all, Ask::Identity("x"), Ok("x/s"));
    check(&all, Ask::Token("x"), Ok("token of x"));
    check(&all, Ask::Groups("x"), Ok("group of x"));
    check(&all, Ask::Handlers, Ok("gitlab github entra default \"entra\""));
}

#[test]
fn a_handler_that_was_not_granted_is_denied_in_upstreams_words() {
    // Items 163 and 164.
    for scope in [allowlist(&["github", "entra"]), may_ask(&["github", "entra"], true)] {
        let some = guard(Some(ALL_THERE), scope);
        for (name, quoted) in
            [("", "\"\""), ("gitlab", "\"gitlab\""), ("GitHub", "\"GitHub\""), ("a\n", "\"a\\n\"")]
        {
            let denied = format!("access denied: auth handler {quoted} is not in the allowed set");
            check(&some, Ask::Identity(name), Err(&denied));
            check(&some, Ask::Token(name), Err(&denied));
            check(&some, Ask::Groups(name), Err(&denied));
        }
        check(&some, Ask::Identity("github"), Ok("github/s"));
        check(&some, Ask::Token("entra"), Ok("token of entra"));
        // Item 167.
        check(&some, Ask::Handlers, Ok("github entra default \"entra\""));
    }
    let one = guard(Some(ALL_THERE), allowlist(&["github"]));
    check(&one, Ask::Handlers, Ok("github default \"\""));
}

#[test]
fn no_identity_is_granted_unless_it_is_said_and_no_token_either() {
    let none = guard(Some(ALL_THERE), HandlerScope::Granted(None));
    for ask in [Ask::Identity("github"), Ask::Token("github"), Ask::Groups("github")] {
        check(&none, ask, Err("access denied: auth handler \"github\" is not in the allowed set"));
    }
    check(&none, Ask::Handlers, Ok(" default \"\""));

    let no_token = guard(Some(ALL_THERE), may_ask(&["github"], false));
    check(&no_token, Ask::Identity("github"), Ok("github/s"));
    check(
        &no_token,
        Ask::Token("github"),
        Err("access denied: access tokens of auth handler \"github\" were not granted"),
    );
}

#[test]
fn a_source_that_fails_is_quoted_and_a_list_of_handlers_is_then_empty() {
    // Items 166 and 168.
    let broken = guard(Some(People { broken: true, groups: true }), allowlist(&[]));
    check(&broken, Ask::Identity("x"), Err("get auth identity: nobody is in"));
    check(&broken, Ask::Token("x"), Err("get auth token: nobody is in"));
    check(&broken, Ask::Groups("x"), Err("get auth groups: nobody is in"));
    check(&broken, Ask::Handlers, Ok(" default \"\""));
}

#[test]
fn that_there_is_no_store_is_said() {
    let services = Services::new(PluginName::new("github"), &Grants::default(), None, None);
    let said = logged(&services, &[Ask::Secret("a")]);
    assert!(said[0].contains("this host has no store of secrets"), "{said:?}");
}

/// Returns what is logged while a plugin asks, but for what it asks.
fn logged(services: &Services, asks: &[Ask<'_>]) -> Vec<String> {
    all_logged(services, asks).into_iter().filter(|line| !line.contains("asked by the plugin")).collect()
}

fn all_logged(services: &Services, asks: &[Ask<'_>]) -> Vec<String> {
    Log::of(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for ask in asks {
            _ = runtime.block_on(answer(services, *ask));
        }
    })
}

#[test]
fn what_a_plugin_asks_is_logged_without_what_it_says_or_gets() {
    let services = keeper(Some(Memory::of([("a", "hunter2")])), everything());
    let lines = all_logged(&services, &[Ask::Secret("a"), Ask::Set("a", "hunter3"), Ask::Groups("entra")]);
    let said =
        ["call=\"get_secret\" asked=a", "call=\"set_secret\" asked=a", "call=\"auth_groups\" asked=entra"];
    assert_eq!(lines.len(), said.len(), "{lines:?}");
    for (line, said) in lines.iter().zip(said) {
        assert!(line.contains(said) && !line.contains("hunter"), "{line}");
    }
}

#[test]
fn a_denial_is_logged_with_what_would_allow_it_and_never_with_a_value() {
    let store = Memory::of([("github.token", "hunter2")]);
    let strict = services(Some(store), Some(ALL_THERE), granted(&["a"], &["b"]), may_ask(&["entra"], false));
    let check = |ask, parts: &[&str]| {
        let lines = logged(&strict, &[ask]);
        assert_eq!(lines.len(), 1, "{ask:?}: {lines:?}");
        for part in parts {
            assert!(lines[0].contains(part), "{ask:?}: {lines:?} lacks {part:?}");
        }
        assert!(!lines[0].contains("hunter"), "{ask:?}: {lines:?}");
    };
    check(
        Ask::Secret("github.token"),
        &[
            "plugin=github",
            "get_secret",
            r#"secrets = { read = [\"a\", \"github.token\"], write = [\"b\"] }"#,
        ],
    );
    check(
        Ask::Set("github.token", "hunter3"),
        &["set_secret", r#"secrets = { read = [\"a\"], write = [\"b\", \"github.token\"] }"#],
    );
    check(Ask::Delete("github.token"), &["delete_secret", "write"]);
    check(
        Ask::Identity("gitlab"),
        &["auth_identity", r#"identity = { handlers = [\"entra\", \"gitlab\"], token = false }"#],
    );
    check(Ask::Groups(""), &["auth_groups", "names its auth handler"]);
    check(Ask::Token("entra"), &["auth_token", "identity = { handlers = [\\\"entra\\\"], token = true }"]);
    let long = "x".repeat(100_000);
    assert!(logged(&strict, &[Ask::Identity(&long)])[0].len() < 2_000);
    assert!(logged(&strict, &[Ask::Secret("a"), Ask::List(""), Ask::Handlers]).is_empty());
}

#[test]
fn a_plugin_that_keeps_asking_does_not_flood_the_log() {
    let strict = keeper(Some(Memory::default()), granted(&[], &[]));
    let broken = keeper(Some(Memory { broken: true, ..Memory::default() }), everything());
    let asks = vec![Ask::Secret("a"); 1000];
    for services in [strict, broken] {
        assert_eq!(logged(&services, &asks).len(), 101);
    }
}

#[test]
fn what_went_wrong_with_a_store_is_for_the_log_alone() {
    let broken = keeper(Some(Memory { broken: true, ..Memory::default() }), everything());
    let lines = logged(&broken, &[Ask::Set("a", "hunter2")]);
    assert!(lines.len() == 1 && lines[0].contains("in flames") && !lines[0].contains("hunter2"), "{lines:?}");
    assert!(!format!("{broken:?}").contains("hunter"));
}
