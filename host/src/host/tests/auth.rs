//! Auth handlers in the rooms: found, started, registered, ended.

use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use portcullis_contract::{
    Account, Call, HandlerName, Isolation, LoginRequest, PromptError, ResponseRequest, Settings,
};
use tokio::time::Instant;

use super::services::{Person, Services};
use super::*;
use crate::fake::{Event, apart};

fn named(name: &str) -> Wanted {
    Wanted::Named(name.to_owned())
}

async fn found(host: &Host, wanted: &Wanted) -> Result<Vec<String>, String> {
    let handler = host.find_auth_handler(wanted, Describe::Trusted).await;
    handler.map(|h| vec![h.name().to_string(), h.plugin.info().name.to_string()]).map_err(|e| chain(&e))
}

#[tokio::test]
async fn a_listing_tells_auth_handlers_from_providers_and_remembers_which_is_which() {
    let files =
        [("a.wasm", "auth:door side"), ("b.wasm", "one"), ("c.wasm", "auth:door \"\""), ("native", "auth:x")];
    let house = House::new(&files);

    let listing = house.host().list(Describe::Trusted).await.unwrap();

    let expected = [
        "a: auth door",
        "a: auth side",
        "b: one",
        "c: auth door taken",
        "c: auth  handler name cannot be empty",
        "native: ?",
    ];
    assert_eq!(offers(&listing), expected);
    let specs = std::mem::take(&mut *house.world.specs.lock().unwrap());
    assert!(specs.iter().all(|s| s.grants == Grants::default() && s.host.is_none()));
    house.launches();

    let again = house.host().list(Describe::All).await.unwrap();
    assert_eq!(offers(&again)[5], "native: auth x");
    // Only what nobody knew was asked, as the one kind and then as the other.
    assert_eq!(house.launches(), ["launch native", "launch native as an auth handler"]);
}

#[tokio::test]
async fn a_name_is_looked_for_among_handlers_and_only_who_offers_it_stays() {
    let house =
        House::new(&[("one.wasm", "door"), ("scafctl-plugin-door", "auth:door"), ("other", "auth:hidden")]);
    let host = house.host();

    assert_eq!(found(&host, &named("door")).await.unwrap(), ["door", "scafctl-plugin-door"]);
    let plugin = "scafctl-plugin-door";
    let as_handler = |name: &str| format!("launch {name} as an auth handler");
    let expected = [as_handler("one"), "launch one".to_owned(), as_handler(plugin), as_handler(plugin)];
    assert_eq!(house.launches(), expected);

    let said = found(&host, &named("hidden")).await.unwrap_err();
    let left_out = house.path("other").display().to_string();
    let expected = format!(
        "auth handler not found: hidden (not started to be asked, for want of --describe: {left_out})"
    );
    assert_eq!(said, expected);
    let error = host.find_auth_handler(&named("hidden"), Describe::Trusted).await.unwrap_err();
    let FindError::NoHandler { known, .. } = error else { panic!("{error}") };
    assert_eq!(known, [HandlerName::new("door")]);
}

#[tokio::test(start_paused = true)]
async fn providers_are_registered_and_then_configured_and_auth_handlers_the_other_way_round() {
    // item 74
    let house = House::new(&[("a.wasm", "one"), ("b.wasm", "auth:door")]);
    let host = house.host();
    *house.world.configuring.lock().unwrap() = 2 * SECOND;

    let one = named("one");
    let (provider, ()) = tokio::join!(host.find(&one, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        assert!(host.registry().get("one").is_some());
    });
    let door = HandlerName::new("door");
    let wanted = named("door");
    let (handler, ()) = tokio::join!(host.find_auth_handler(&wanted, Describe::Trusted), async {
        tokio::time::sleep(SECOND).await;
        assert!(!host.auth_registry().has(&door));
    });

    assert!(provider.is_ok() && handler.is_ok());
    assert!(host.auth_registry().has(&door));
}

#[tokio::test]
async fn what_refuses_to_be_configured_is_registered_and_can_be_called() {
    let house = House::new(&[("a.wasm", "one"), ("b.wasm", "auth:door")]);
    let host = house.host();
    house.world.refuses_configuration.store(true, SeqCst);
    // item 75
    assert!(house.run(&host, "one").await.is_ok());
    // item 76
    let door = host.find_auth_handler(&named("door"), Describe::Trusted).await.unwrap();
    assert!(host.auth_registry().has(door.name()));
    assert!(door.login(&Call::default(), LoginRequest::default(), None).await.is_ok());
}

#[tokio::test]
async fn each_is_told_what_all_are_and_what_its_policy_has_for_it() {
    fn settings<const N: usize>(said: [(&str, &str); N]) -> Settings {
        said.map(|(name, text)| (name.to_owned(), Json::from_text(text))).into()
    }
    for isolation in [Isolation::Sandbox, Isolation::Process] {
        let house = House::new(&[("a.wasm", "one"), ("b.wasm", "auth:door")]);
        let mut setup = house.setup();
        setup.configuration.settings = settings([("x", "1"), ("y", "1")]);
        let mut own =
            PluginSettings { settings: settings([("y", "2"), ("z", "3")]), ..PluginSettings::default() };
        own.run_as.isolation = isolation;
        // Nobody's policy knows the file that is made to run a component apart.
        setup.policy = Arc::new(
            move |digest: &Digest| {
                if *digest == apart() { PluginSettings::default() } else { own.clone() }
            },
        );
        let host = Host::new(setup);

        assert!(house.run(&host, "one").await.is_ok());
        assert!(host.find_auth_handler(&named("door"), Describe::Trusted).await.is_ok());

        let log = house.world.log();
        let told: Vec<_> = log.into_iter().filter(|line| line.starts_with("configure")).collect();
        let line = |name: &str| format!(r#"configure {name} as portcullis with {{"x":1,"y":2,"z":3}}"#);
        assert_eq!(told, ["one", "door"].map(line), "{isolation:?}");
    }
}

#[tokio::test]
async fn a_handlers_name_belongs_to_the_first_and_files_are_asked_for_by_themselves() {
    let house = House::new(&[
        ("a.wasm", "auth:door own"),
        ("b.wasm", "auth:door \"\" side side"),
        ("c.wasm", "auth:\"\""),
    ]);
    let host = house.host();
    let file = |name: &str, handler: Option<&str>| Wanted::File(house.path(name), handler.map(str::to_owned));

    // items 78 and 141
    assert_eq!(found(&host, &file("a.wasm", Some("door"))).await.unwrap(), ["door", "a"]);
    assert_eq!(found(&host, &file("b.wasm", Some("door"))).await.unwrap(), ["door", "b"]);
    assert_eq!(found(&host, &named("door")).await.unwrap(), ["door", "a"]);
    assert_eq!(host.auth_registry().names(), ["door", "own", "side"].map(HandlerName::new));

    let several = found(&host, &file("b.wasm", None)).await.unwrap_err();
    assert_eq!(several, "b offers several auth handlers: door, side; name one of them");
    let useless = found(&host, &file("c.wasm", None)).await.unwrap_err();
    assert_eq!(useless, "plugin c offers no auth handler that can be used: handler name cannot be empty");
    let nobody = found(&host, &file("a.wasm", Some("x"))).await.unwrap_err();
    assert_eq!(nobody, "auth handler not found: x");
}

#[tokio::test]
async fn what_is_kept_of_handlers_and_cannot_be_read_is_kept_anew_by_whoever_runs_the_plugin() {
    let house = House::new(&[("native", "auth:door")]);
    let file = Wanted::File(house.path("native"), None);
    assert!(found(&house.host(), &file).await.is_ok());
    for kept in fs::read_dir(house.dir.path().join("cache")).unwrap() {
        fs::write(kept.unwrap().path(), "{}").unwrap();
    }
    let host = house.host();
    assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["native: ?"]);

    assert!(found(&host, &file).await.is_ok());
    assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["native: auth door"]);
}

#[tokio::test]
async fn a_plugin_of_neither_kind_is_said_to_be_for_another_host() {
    let house = House::new(&[("provider-time", "for another host")]);
    let why = "plugin provider-time: not a plugin that can be run: it is for another host, and neither a provider nor \
               an auth-handler";
    assert_eq!(found(&house.host(), &named("time")).await.unwrap_err(), why);
    assert_eq!(house.run(&house.host(), "time").await.unwrap_err(), why);
    assert_eq!(offers(&house.host().list(Describe::All).await.unwrap()), [format!("provider-time: {why}")]);
}

#[tokio::test]
async fn a_plugin_of_the_other_kind_is_not_used() {
    let house = House::new(&[("a.wasm", "one"), ("b.wasm", "auth:door")]);
    let host = house.host();
    let wanted = Wanted::File(house.path("a.wasm"), None);
    assert_eq!(found(&host, &wanted).await.unwrap_err(), "plugin a: it is a plugin, but no auth-handler");
    assert!(host.find(&wanted, Describe::Trusted).await.is_ok());
    // Nor is one that is up already.
    assert_eq!(found(&host, &wanted).await.unwrap_err(), "plugin a: it is a plugin, but no auth-handler");
    let said = house.run(&host, "door").await.unwrap_err();
    assert_eq!(said, "provider \"door\" not found");
}

#[tokio::test]
async fn all_handlers_are_started_but_not_what_nobody_knows() {
    let house = House::new(&[
        ("a.wasm", "auth:door"),
        ("b.wasm", "one"),
        ("native", "auth:x"),
        ("z.wasm", "auth:door z"),
    ]);
    let host = house.host();
    let all = host.auth_handlers(Describe::Trusted).await.unwrap();
    let names: Vec<_> = all.handlers.iter().map(|h| h.name().as_str()).collect();
    assert_eq!(names, ["door", "z"]);
    assert_eq!(all.left_out, [house.path("native")]);
    assert!(all.failed.is_empty());

    let all = host.auth_handlers(Describe::All).await.unwrap();
    assert_eq!(all.handlers.len(), 3);
}

#[tokio::test]
async fn upstreams_discovery_of_auth_handlers_starts_everything_as_one() {
    // item 70
    let house = House::new(&[("a.wasm", "auth:a"), ("b", "b"), ("c", "auth:a c")]);
    let all = house.host().start_every_auth_handler().await.unwrap();
    assert_eq!(all.iter().map(|h| h.name().as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(house.launches(), ["a", "b", "c"].map(|name| format!("launch {name} as an auth handler")));

    let mut setup = house.setup();
    setup.directories = vec![PathBuf::from("/").join("x".repeat(300))];
    let said = chain(&Host::new(setup).start_every_auth_handler().await.unwrap_err());
    assert!(
        said.starts_with("failed to discover auth handler plugins: failed to stat plugin directory"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_login_is_limited_by_its_caller_and_any_other_call_by_its_plugin_as_well() {
    let house = House::new(&[("a.wasm", "auth:door")]);
    let mut setup = house.setup();
    let limits = Limits { wall: Some(5 * SECOND), ..Limits::default() };
    setup.policy = Arc::new(move |_| PluginSettings { limits: limits.clone(), ..PluginSettings::default() });
    let host = Host::new(setup);
    let door = host.find_auth_handler(&named("door"), Describe::Trusted).await.unwrap();
    let slow = || {
        let script = vec![Event::Wait(600 * SECOND), Event::Result];
        house.world.logins.lock().unwrap().push_back(script);
    };

    slow();
    assert!(door.login(&Call::default(), LoginRequest::default(), None).await.is_ok());
    slow();
    let call = Call { deadline: Some((Instant::now() + 7 * SECOND).into_std()) };
    let said = chain(&door.login(&call, LoginRequest::default(), None).await.unwrap_err());
    assert_eq!(said, "plugin auth handler door login: login stream error: no answer within 7s");

    let access = || portcullis_contract::AccessRequest { scope: "hang".to_owned(), ..Default::default() };
    let said = chain(&door.token(&Call::default(), access()).await.unwrap_err());
    assert_eq!(said, "plugin auth handler door get-token: limit wall reached: asked more, allowed 5s");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_died_is_started_again_and_told_what_it_had_been_told() {
    let house = House::new(&[("a.wasm", "auth:door")]);
    let host = house.host();
    let door = host.find_auth_handler(&named("door"), Describe::Trusted).await.unwrap();
    house.world.logins.lock().unwrap().push_back(vec![Event::Prompt("A"), Event::Die]);
    house.world.log();

    let said = chain(&door.login(&Call::default(), LoginRequest::default(), None).await.unwrap_err());
    let died = "the plugin stopped before it answered: exit status 3";
    assert_eq!(said, format!("plugin auth handler door login: login stream error: {died}"));
    assert!(door.status(&Call::default(), &Default::default()).await.is_ok());

    let expected = [
        "login door",
        "shutdown a 0ns",
        "drop a",
        "launch a as an auth handler",
        "configure door as portcullis",
    ];
    assert_eq!(house.world.log(), expected);
}

#[tokio::test(start_paused = true)]
async fn auth_handlers_are_stopped_with_all_the_others() {
    let house = House::new(&[("a.wasm", "auth:door"), ("b.wasm", "one")]);
    let host = Host::new(Setup { patience: Patience::default(), ..house.setup() });
    let door = host.find_auth_handler(&named("door"), Describe::Trusted).await.unwrap();
    house.run(&host, "one").await.unwrap();
    house.world.log();

    host.stop_all().await;

    let mut log = house.world.log();
    log.sort();
    assert_eq!(log, ["drop a", "drop b", "shutdown a 2s", "shutdown b 2s"]);
    let said = chain(&door.login(&Call::default(), LoginRequest::default(), None).await.unwrap_err());
    assert_eq!(said, "plugin auth handler door login: login RPC failed: the plugin is shut down");
    assert_eq!(
        found(&host, &Wanted::File(house.path("a.wasm"), None)).await.unwrap_err(),
        "the host is shut down"
    );
}

/// Says yes.
#[derive(Debug)]
struct Obliging;

#[async_trait]
impl Person for Obliging {
    async fn auth_response(&self, _: &PluginName, _: &ResponseRequest) -> Result<String, PromptError> {
        Ok("yes".to_owned())
    }
}

#[tokio::test]
async fn a_person_is_asked_while_they_log_in_and_for_that_handler_alone() {
    let house = House::new(&[("a.wasm", "auth:door side")]);
    let mut setup = house.setup();
    setup.services =
        Arc::new(|asker| Some(Arc::new(Services::granted(asker, None).with_person(Arc::new(Obliging)))));
    let host = Host::new(setup);
    let door = host.find_auth_handler(&named("door"), Describe::Trusted).await.unwrap();
    let account = Account { profile: Some("ask".to_owned()), ..Account::default() };
    let asked = || house.world.log().into_iter().filter(|line| line.starts_with("asked")).collect::<Vec<_>>();
    let refused = r#"asked for door: nobody is logging in with "door""#;

    // A login that waits for its turn is none yet.
    let waits = door.plugin.login(&Call::default(), door.name(), LoginRequest::default());
    door.status(&Call::default(), &account).await.unwrap();
    assert_eq!(asked(), [refused]);
    drop(waits);

    let script = vec![Event::Ask("door"), Event::Ask("side"), Event::Result];
    house.world.logins.lock().unwrap().push_back(script);
    door.login(&Call::default(), LoginRequest::default(), None).await.unwrap();
    assert_eq!(asked(), ["asked for door: yes", r#"asked for side: nobody is logging in with "side""#]);

    door.status(&Call::default(), &account).await.unwrap();
    assert_eq!(asked(), [refused]);
}
