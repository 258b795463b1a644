//! What plugins are told of who is logged in, by handlers of the same host.

use portcullis_contract::{
    Call, Environment, HandlerName, HostService, IdentityGrant, Isolation, RunAs, SecretGrant, Stdin,
    TokenRequest,
};

use super::super::failures::PAUSE;
use super::super::services::{HandlerScope, SecretScope, Services};
use super::*;

/// A host whose plugins all may ask all handlers that these tests have.
fn host(house: &House) -> Host {
    let mut setup = house.setup();
    let handlers = ["door", "side", "out", "nobody"].map(str::to_owned).to_vec();
    let grants = Grants {
        identity: Some(IdentityGrant { handlers, token: true }),
        secrets: SecretGrant::default(),
        ..Grants::default()
    };
    setup.policy = Arc::new(move |_| PluginSettings { grants: grants.clone(), ..PluginSettings::default() });
    setup.services = Arc::new(|asker: &Asker<'_>| {
        let identity = Arc::clone(&asker.identity);
        let services = Services::new(asker.spec.name.clone(), &asker.spec.grants, None, Some(identity));
        Some(Arc::new(services) as Arc<dyn HostService>)
    });
    Host::new(setup)
}

/// Starts a provider and returns what it may ask.
async fn asker(house: &House, host: &Host) -> Arc<dyn HostService> {
    assert!(house.run(host, "one").await.is_ok());
    let specs = house.world.specs.lock().unwrap();
    let spec = specs.iter().rev().find(|spec| spec.host.is_some()).expect("the provider runs");
    Arc::clone(spec.host.as_ref().unwrap())
}

async fn token(asker: &dyn HostService, handler: &str, scope: &str) -> Result<String, String> {
    let (handler, scope) = (handler.to_owned(), scope.to_owned());
    let request = TokenRequest { handler, scope, ..TokenRequest::default() };
    asker.auth_token(&request).await.map(|token| token.access_token).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_handler_is_started_when_a_plugin_first_asks_for_it() {
    let house = House::new(&[("a.wasm", "auth:door"), ("one.wasm", "one"), ("x-side", "auth:side")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    assert!(host.auth_registry().names().is_empty());
    house.launches();

    assert_eq!(token(asker.as_ref(), "door", "").await.as_deref(), Ok("token of door"));
    assert_eq!(token(asker.as_ref(), "door", "").await.as_deref(), Ok("token of door"));
    let once = ["launch a as an auth handler", "launch a as an auth handler"];
    assert_eq!(house.launches(), once, "once to be asked what it offers, once to stay");

    // One that is called so is asked, though it is native.
    let claims = asker.auth_identity("side", "ignored").await.unwrap().unwrap();
    assert_eq!(claims.subject, "side-1");
    assert_eq!(host.auth_registry().names(), ["door", "side"].map(HandlerName::new));
}

#[tokio::test]
async fn the_list_has_what_is_known_and_what_was_granted() {
    // items 166 and 167
    let house = House::new(&[("a.wasm", "auth:door hidden"), ("one.wasm", "one"), ("x-side", "auth:side")]);
    let plain = host(&house);
    let first = asker(&house, &plain).await;
    assert_eq!(first.auth_handlers().await.names, ["door"]);
    assert_eq!(first.auth_handlers().await.default, "");

    let with_default = host_with_default(&house, "door");
    let second = asker(&house, &with_default).await;
    assert_eq!(second.auth_handlers().await.default, "door");
    // item 163
    let said = second.auth_identity("", "").await.unwrap_err().to_string();
    assert_eq!(said, "access denied: auth handler \"\" is not in the allowed set");
}

#[tokio::test]
async fn a_plugin_that_names_no_account_means_that_of_its_host() {
    let house = House::new(&[("a.wasm", "auth:door"), ("one.wasm", "one")]);
    let mut setup = host(&house).rooms.setup.clone();
    setup.configuration.profile = Some("work".to_owned());
    let host = Host::new(setup);
    let asker = asker(&house, &host).await;
    assert_eq!(token(asker.as_ref(), "door", "profile").await.as_deref(), Ok("work"));
    let [handler, scope, own] = ["door", "profile", "own"].map(str::to_owned);
    let request = TokenRequest { handler, scope, profile: Some(own), ..TokenRequest::default() };
    assert_eq!(asker.auth_token(&request).await.unwrap().access_token, "own");
}

fn host_with_default(house: &House, default: &str) -> Host {
    let mut setup = host(house).rooms.setup.clone();
    setup.default_handler = Some(HandlerName::new(default));
    Host::new(setup)
}

#[tokio::test]
async fn nobody_logged_in_is_nobody_and_no_error() {
    let house = House::new(&[("a.wasm", "auth:out"), ("one.wasm", "one")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    assert_eq!(asker.auth_identity("out", "").await, Ok(None));
}

#[tokio::test]
async fn what_fails_is_said_in_upstreams_words_and_groups_are_not_to_be_had() {
    let house = House::new(&[("a.wasm", "auth:door"), ("bad.wasm", "auth:side"), ("one.wasm", "one")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    // item 168
    let refused = "get auth token: plugin auth handler door get-token: not authenticated";
    assert_eq!(token(asker.as_ref(), "door", "refuse").await, Err(refused.to_owned()));
    let missing = "get auth token: auth handler not found: nobody";
    assert_eq!(token(asker.as_ref(), "nobody", "").await, Err(missing.to_owned()));
    let missing = HostError::Failed("get auth identity: auth handler not found: nobody".to_owned());
    assert_eq!(asker.auth_identity("nobody", "").await, Err(missing));
    // item 165
    let groups = asker.auth_groups("door").await.unwrap_err().to_string();
    assert_eq!(groups, "auth groups not available");

    house.world.launches.lock().unwrap().push_back(None);
    let said = token(asker.as_ref(), "side", "").await;
    assert_eq!(said, Err("get auth token: auth handler \"side\" cannot be used".to_owned()));
}

#[tokio::test]
async fn a_name_that_nobody_can_have_is_not_remembered() {
    let house = House::new(&[("one.wasm", "one")]);
    let mut setup = house.setup();
    setup.services = Arc::new(|asker: &Asker<'_>| {
        let everything = (SecretScope::Prefix(String::new()), HandlerScope::Allowlist(Vec::new()));
        let services = Services::granted(asker, None).scoped(everything.0, everything.1);
        Some(Arc::new(services) as Arc<dyn HostService>)
    });
    let host = Host::new(setup);
    let asker = asker(&house, &host).await;
    for (length, remembered) in [(256, true), (257, false)] {
        let name = "x".repeat(length);
        assert!(token(asker.as_ref(), &name, "").await.is_err());
        let found = host.rooms.unusable.recall(&HandlerName::new(&name), |_| ()).is_some();
        assert_eq!(found, remembered, "{length}");
    }
}

#[test]
fn a_handler_that_keeps_failing_does_not_flood_the_log() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let lines = Log::of(|| {
        runtime.block_on(async {
            let house = House::new(&[("a.wasm", "auth:door"), ("one.wasm", "one")]);
            let host = host(&house);
            let asker = asker(&house, &host).await;
            for _ in 0..1_000 {
                assert!(token(asker.as_ref(), "door", "none").await.is_err());
            }
        });
    });
    let failures = lines.iter().filter(|line| line.contains("an auth handler gave no answer"));
    assert_eq!(failures.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_start_is_not_started_for_every_question() {
    let house = House::new(&[("one.wasm", "one"), ("side.wasm", "auth:side")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    house.launches();
    house.world.launches.lock().unwrap().extend([None, None]);
    let unusable = Err("get auth token: auth handler \"side\" cannot be used".to_owned());

    for _ in 0..3 {
        assert_eq!(token(asker.as_ref(), "side", "").await, unusable);
    }
    assert_eq!(house.launches(), ["launch side as an auth handler"]);

    tokio::time::sleep(PAUSE).await;
    assert_eq!(token(asker.as_ref(), "side", "").await, unusable);
    tokio::time::sleep(PAUSE).await;
    assert_eq!(token(asker.as_ref(), "side", "").await.as_deref(), Ok("token of side"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_was_described_and_does_not_start_is_not_started_for_every_question() {
    let house = House::new(&[("one.wasm", "one"), ("side.wasm", "auth:side")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    assert_eq!(asker.auth_handlers().await.names, ["side"]);
    house.launches();
    house.world.launches.lock().unwrap().push_back(None);

    for _ in 0..3 {
        let unusable = Err("get auth token: auth handler \"side\" cannot be used".to_owned());
        assert_eq!(token(asker.as_ref(), "side", "").await, unusable);
    }
    assert_eq!(house.launches(), ["launch side as an auth handler"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_described_is_not_started_for_every_list_of_handlers() {
    let house = House::new(&[("bad.wasm", "auth:side"), ("one.wasm", "one")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    house.launches();
    house.world.launches.lock().unwrap().push_back(None);

    for _ in 0..3 {
        assert_eq!(asker.auth_handlers().await.names, Vec::<String>::new());
    }
    assert_eq!(house.launches(), ["launch bad as an auth handler"]);
    // Whoever looks meanwhile is told the same.
    let listing = host.list(Describe::Trusted).await.unwrap();
    assert_eq!(offers(&listing), ["bad: plugin bad: did not start: the fake does not start", "one: one"]);

    tokio::time::sleep(PAUSE).await;
    assert_eq!(asker.auth_handlers().await.names, ["side"]);
}

#[tokio::test]
async fn a_host_that_keeps_nothing_between_runs_asks_plugins_once_for_all_lists_of_handlers() {
    let house = House::new(&[("a.wasm", "auth:door"), ("one.wasm", "one")]);
    let host = Host::new(Setup { descriptors: None, ..host(&house).rooms.setup.clone() });
    let asker = asker(&house, &host).await;
    house.launches();

    for _ in 0..2 {
        assert_eq!(asker.auth_handlers().await.names, ["door"]);
    }
    assert_eq!(house.launches(), ["launch a as an auth handler"]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_leads_back_to_its_asker_is_refused_and_never_waited_for() {
    let house = House::new(&[("a.wasm", "auth:door"), ("b.wasm", "auth:side"), ("one.wasm", "one")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;

    assert_eq!(token(asker.as_ref(), "door", "via side").await.as_deref(), Ok("door via token of side"));

    let said = token(asker.as_ref(), "door", "via door").await.unwrap_err();
    let circle = "get auth token: auth handler \"door\" would wait for the plugin that asks: it is offered by that \
        plugin, or asks something of it";
    let outer = "get auth token: plugin auth handler door get-token:";
    assert_eq!(said, format!("{outer} {circle}"));

    // The other asks back while it is asked.
    let side = host.auth_registry().get(&HandlerName::new("side")).unwrap();
    let path = side.plugin.info().path.clone();
    let _open = host.rooms.waits.begin(&house.path("a.wasm"), &path).unwrap();
    let access = portcullis_contract::AccessRequest { scope: "via door".to_owned(), ..Default::default() };
    let said = chain(&side.token(&Call::default(), access).await.unwrap_err());
    assert_eq!(said, format!("plugin auth handler side get-token: {circle}"));
}

#[tokio::test(start_paused = true)]
async fn a_question_leads_back_to_its_asker_through_plugins_that_run_apart() {
    let house = House::new(&[("a.wasm", "auth:door"), ("b.wasm", "auth:side"), ("one.wasm", "one")]);
    let mut setup = host(&house).rooms.setup.clone();
    let policy = Arc::clone(&setup.policy);
    setup.policy = Arc::new(move |digest: &Digest| {
        let mut settings = policy(digest);
        settings.run_as.isolation = Isolation::Process;
        settings
    });
    let host = Host::new(setup);
    let asker = asker(&house, &host).await;
    assert_eq!(token(asker.as_ref(), "door", "via side").await.as_deref(), Ok("door via token of side"));

    let circle = "would wait for the plugin that asks";
    let said = token(asker.as_ref(), "door", "via door").await.unwrap_err();
    assert!(said.contains(circle), "{said}");

    let side = host.auth_registry().get(&HandlerName::new("side")).unwrap();
    let _open = host.rooms.waits.begin(&house.path("a.wasm"), &house.path("b.wasm")).unwrap();
    let access = portcullis_contract::AccessRequest { scope: "via door".to_owned(), ..Default::default() };
    let said = chain(&side.token(&Call::default(), access).await.unwrap_err());
    assert!(said.contains(circle), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_question_does_not_keep_a_host_that_was_dropped() {
    let house = House::new(&[("a.wasm", "auth:door"), ("one.wasm", "one")]);
    let host = host(&house);
    let asker = asker(&house, &host).await;
    let waiting = {
        let asker = Arc::clone(&asker);
        tokio::spawn(async move { token(asker.as_ref(), "door", "hang").await })
    };
    // Nothing else is left to do before the plugin hangs.
    tokio::time::sleep(SECOND).await;
    house.world.log();

    drop(host);

    let over = || Err("get auth token: the host is shut down".to_owned());
    assert_eq!(waiting.await.unwrap(), over());
    assert_eq!(token(asker.as_ref(), "door", "").await, over());
    let mut log = house.world.log();
    log.sort();
    assert_eq!(log, ["drop a", "drop one"]);
}

#[tokio::test]
async fn what_is_said_for_the_plugin_that_was_named_is_not_for_a_handler_that_it_asks_for() {
    let house = House::new(&[("a.wasm", "auth:door"), ("b.wasm", "auth:side"), ("one.wasm", "one")]);
    let mut setup = host(&house).rooms.setup.clone();
    setup.environment = Some(Environment::Inherit);
    setup.stdin = Some(Stdin::Inherit);
    let (services, started) = (Arc::clone(&setup.services), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&started);
    setup.services = Arc::new(move |asker: &Asker<'_>| {
        let RunAs { environment, stdin, .. } = asker.spec.run_as;
        let name = asker.spec.name.to_string();
        seen.lock().unwrap().push((name, asker.wanted_by, environment, stdin));
        services(asker)
    });
    let host = Host::new(setup);
    let asker = asker(&house, &host).await;
    assert!(token(asker.as_ref(), "door", "").await.is_ok());
    let side = Wanted::Named("side".to_owned());
    assert!(host.find_auth_handler(&side, Describe::Trusted).await.is_ok());

    let by_caller = |name: &str| (name.to_owned(), WantedBy::Caller, Environment::Inherit, Stdin::Inherit);
    let by_plugin = ("a".to_owned(), WantedBy::Plugin, Environment::Usual, Stdin::Null);
    assert_eq!(*started.lock().unwrap(), [by_caller("one"), by_plugin, by_caller("b")]);
}

#[tokio::test]
async fn what_a_person_says_of_a_plugin_wins_over_its_policy() {
    let house = House::new(&[("one.wasm", "one")]);
    let check = async |said: Option<Environment>, expected: Environment| {
        let mut setup = host(&house).rooms.setup.clone();
        let run_as = RunAs { environment: Environment::Inherit, ..RunAs::default() };
        setup.policy =
            Arc::new(move |_| PluginSettings { run_as: run_as.clone(), ..PluginSettings::default() });
        setup.environment = said;
        asker(&house, &Host::new(setup)).await;
        let specs = house.world.specs.lock().unwrap();
        assert_eq!(specs.last().unwrap().run_as.environment, expected, "{said:?}");
    };
    check(None, Environment::Inherit).await;
    check(Some(Environment::Usual), Environment::Usual).await;
}
