//! The rooms together, over directories of files that a fake backend runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use portcullis_contract::{
    Access, Backend, BackendName, Digest, FsGrant, Grants, HostError, InstanceReuse, Json, Kind, Limits,
    PluginName, PluginSpec, SecretGrant, chain,
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::description::Description;
use super::*;
use crate::fake::{Answer, FakeBackend, Log, World};
use crate::policy::Policy;

mod auth;
mod identity;
mod starting;
mod stopping;
mod wrapped;

const SECOND: Duration = Duration::from_secs(1);

/// A directory, a world and a host over both.
struct House {
    dir: tempfile::TempDir,
    world: Arc<World>,
}

impl House {
    /// Files are components when their name says so, and programs otherwise; each with its providers.
    fn new(files: &[(&str, &str)]) -> Self {
        let house = Self { dir: tempfile::tempdir().unwrap(), world: Arc::default() };
        files.iter().for_each(|(name, providers)| house.write(name, providers));
        house
    }

    fn write(&self, name: &str, providers: &str) {
        let head: &[u8] = if name.ends_with(".wasm") { b"\0asm\x0d\0\x01\0" } else { b"\x7fELF----" };
        let path = self.dir.path().join("plugins").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, [head, providers.as_bytes()].concat()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(name)
    }

    fn setup(&self) -> Setup {
        let backends = [BackendName::Component, BackendName::Process];
        let backend = |name| Arc::new(FakeBackend(name, Arc::clone(&self.world))) as Arc<dyn Backend>;
        let mut setup = Setup::new(backends.map(backend).into());
        setup.directories = vec![self.dir.path().join("plugins")];
        setup.descriptors = Some(self.dir.path().join("cache"));
        setup.services = Arc::new(|_| None);
        setup.configuration.binary_name = "portcullis".to_owned();
        // The fake takes all of the grace that it is given.
        setup.patience.grace = Duration::ZERO;
        setup
    }

    fn host(&self) -> Host {
        Host::new(self.setup())
    }

    fn launches(&self) -> Vec<String> {
        self.world.log().into_iter().filter(|l| l.starts_with("launch")).collect()
    }

    async fn run(&self, host: &Host, name: &str) -> Result<String, String> {
        let request = Run { input: Some(Json::from_text("{\"a\":1.0}")), ..Run::default() };
        let ran = host.run(&Wanted::Named(name.to_owned()), Describe::Trusted, request, None).await;
        ran.map(|r| r.output.data.into_string()).map_err(|e| chain(&e))
    }
}

fn offers(listing: &Listing) -> Vec<String> {
    let mut all = Vec::new();
    for listed in &listing.plugins {
        let name = &listed.file.name;
        match &listed.offers {
            Offers::NotYetDescribed => all.push(format!("{name}: ?")),
            Offers::Failed(error) => all.push(format!("{name}: {}", chain(error))),
            Offers::AuthHandlers(offers) => all.extend(offers.iter().map(|o| {
                let taken = if o.taken_by.is_some() { " taken" } else { "" };
                let problem = o.problem.as_deref().map(|p| format!(" {p}")).unwrap_or_default();
                format!("{name}: auth {}{taken}{problem}", o.info.name)
            })),
            Offers::Providers(offers) => all.extend(offers.iter().map(|o| {
                let taken = if o.taken_by.is_some() { " taken" } else { "" };
                match &o.descriptor {
                    Ok(descriptor) => format!("{name}: {}{taken}", descriptor.name),
                    Err(why) => format!("{name}: {why}"),
                }
            })),
        }
    }
    all
}

#[tokio::test]
async fn listing_starts_no_program_and_asks_components_with_nothing_granted() {
    let house = House::new(&[("a.wasm", "one two"), ("native", "three"), ("z.wasm", "two")]);
    let mut setup = house.setup();
    let granted = FsGrant { host: "/".into(), guest: "/".to_owned(), access: Access::Write };
    let settings = PluginSettings {
        grants: Grants {
            fs: vec![granted],
            secrets: SecretGrant { read: vec!["*".parse().unwrap()], write: vec![] },
            ..Grants::default()
        },
        ..PluginSettings::default()
    };
    let kept = settings.clone();
    setup.policy = Arc::new(move |_| settings.clone());
    let host = Host::new(setup);

    let listing = host.list(Describe::Trusted).await.unwrap();

    assert_eq!(offers(&listing), ["a: one", "a: two", "native: ?", "z: two taken"]);
    assert_eq!(house.launches(), ["launch a", "launch z"]);
    let mut specs = std::mem::take(&mut *house.world.specs.lock().unwrap());
    assert!(specs.iter().all(|s| s.grants == Grants::default() && s.host.is_none()));
    assert_eq!(listing.plugins[0].settings, kept);

    // Looking twice asks nobody twice, not even a host of another day.
    let again = house.host().list(Describe::Trusted).await.unwrap();
    assert_eq!(offers(&again), offers(&listing));
    assert_eq!(house.launches(), Vec::<String>::new());

    // What runs gets what the policy gives.
    assert!(house.run(&host, "one").await.is_ok());
    specs = std::mem::take(&mut *house.world.specs.lock().unwrap());
    assert_eq!(specs[0].grants, kept.grants);
}

#[tokio::test]
async fn a_host_with_nothing_but_a_policy_gives_plugins_what_that_grants() {
    let house = House::new(&[("one.wasm", "one"), ("two.wasm", "two"), ("native", "three")]);
    let digest = Digest::from_sha256(Sha256::digest(fs::read(house.path("one.wasm")).unwrap()).into());
    let text = format!(
        "trusted-dirs = [\"plugins\"]\n[plugin.it]\ndigests = [\"{digest}\"]\n\
         secrets = {{ read = [\"app.*\"] }}\nidentity = {{ handlers = [\"door\"] }}\n"
    );
    let policy = Policy::parse(&text, &house.dir.path().join("policy.toml")).unwrap();
    let mut setup = Setup::new(house.setup().backends).with_policy(policy);
    setup.directories = house.setup().directories;
    setup.patience = house.setup().patience;
    let host = Host::new(setup);

    house.run(&host, "three").await.expect("its directory is trusted");
    house.run(&host, "one").await.unwrap();
    house.run(&host, "two").await.unwrap();
    let specs = std::mem::take(&mut *house.world.specs.lock().unwrap());
    let spec = |name: &str| specs.iter().rfind(|s| s.name.as_str() == name && s.host.is_some()).unwrap();
    let (granted, bare) = (spec("one"), spec("two"));
    assert_eq!(granted.grants.secrets.read, ["app.*".parse().unwrap()]);
    assert_eq!(bare.grants, Grants::default());

    let ask = async |spec: &PluginSpec| {
        let host = spec.host.as_ref().unwrap();
        (host.auth_identity("door", "").await.unwrap_err(), host.get_secret("app.x").await.unwrap_err())
    };
    let no_secrets = HostError::NO_SECRETS;
    assert_eq!(
        ask(bare).await,
        (HostError::Denied("auth handler \"door\" is not in the allowed set".to_owned()), no_secrets.clone())
    );
    assert_eq!(
        ask(granted).await,
        (HostError::Failed("get auth identity: auth handler not found: door".to_owned()), no_secrets)
    );
}

#[tokio::test]
async fn programs_are_described_where_that_was_allowed() {
    let house = House::new(&[("native", "three")]);
    let listing = house.host().list(Describe::All).await.unwrap();
    assert_eq!(offers(&listing), ["native: three"]);

    let house = House::new(&[("native", "three")]);
    let mut setup = house.setup();
    setup.trusted = vec![house.dir.path().join("plugins/../plugins")];
    let listing = Host::new(setup).list(Describe::Trusted).await.unwrap();
    assert_eq!(offers(&listing), ["native: three"]);
}

#[tokio::test]
async fn a_name_is_looked_for_among_what_was_asked_for_only() {
    let files = [("x.wasm", "x"), ("scafctl-plugin-echo", "echo"), ("other", "hidden"), ("late", "late")];
    let house = House::new(&files);
    let host = house.host();

    assert_eq!(house.run(&host, "echo").await.as_deref(), Ok("{\"a\":1.0}"));
    let echo = "launch scafctl-plugin-echo";
    assert_eq!(house.launches(), ["launch x", echo, echo]);

    let said = house.run(&host, "hidden").await.unwrap_err();
    let left_out = [house.path("late"), house.path("other")].map(|p| p.display().to_string()).join(", ");
    let why = "not started to be asked, for want of --describe";
    assert_eq!(said, format!("provider \"hidden\" not found ({why}: {left_out})"));
    assert_eq!(house.launches(), Vec::<String>::new());

    let wanted = Wanted::Named("hidden".to_owned());
    assert!(host.find(&wanted, Describe::All).await.is_ok());
}

#[tokio::test]
async fn a_program_that_only_bears_the_name_is_given_nothing_and_does_not_stay() {
    let house = House::new(&[("evil-github", "evil"), ("good-github", "github")]);
    let mut setup = house.setup();
    let grants = Grants {
        secrets: SecretGrant { read: vec!["*".parse().unwrap()], write: vec![] },
        ..Grants::default()
    };
    let settings = PluginSettings { grants: grants.clone(), ..PluginSettings::default() };
    setup.policy = Arc::new(move |_| settings.clone());
    let host = Host::new(setup);

    assert!(house.run(&host, "github").await.is_ok());

    let (evil, good) = ("evil-github", "good-github");
    let asked = |name| [format!("launch {name}"), format!("shutdown {name} 0ns"), format!("drop {name}")];
    let run = [format!("launch {good}"), "configure github as portcullis".to_owned()];
    assert_eq!(house.world.log(), [&asked(evil)[..], &asked(good)[..], &run[..]].concat());
    let specs = std::mem::take(&mut *house.world.specs.lock().unwrap());
    let granted: Vec<_> = specs.iter().map(|s| (s.name.as_str(), s.grants == grants)).collect();
    assert_eq!(granted, [(evil, false), (good, false), (good, true)]);
    assert!(host.registry().get("evil").is_none());
}

/// Ctrl-C and time that runs out are such other things.
#[test]
fn who_waits_for_something_else_waits_for_no_directory_and_no_note() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let house = House::new(&[("a.wasm", "a")]);
        let host = house.host();
        assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["a: a"]);
        let (release, held_up) = std::sync::mpsc::channel::<()>();
        let _the_disk = tokio::task::spawn_blocking(move || held_up.recv());
        let (name, known) = (Wanted::Named("a".to_owned()), Wanted::File(house.path("a.wasm"), None));
        assert!(timeout(Duration::ZERO, host.list(Describe::Trusted)).await.is_err());
        assert!(timeout(Duration::ZERO, host.find(&name, Describe::Trusted)).await.is_err());
        assert!(timeout(Duration::ZERO, host.inspect(&known, Describe::Trusted)).await.is_err());
        drop(release);
        assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["a: a"]);
    });
}

#[tokio::test]
async fn what_was_described_once_is_found_without_asking_the_others() {
    let house = House::new(&[("a.wasm", "a"), ("b.wasm", "b"), ("c", "c")]);
    house.host().list(Describe::All).await.unwrap();
    house.launches();

    assert!(house.run(&house.host(), "c").await.is_ok());
    assert!(house.run(&house.host(), "b").await.is_ok());
    assert_eq!(house.launches(), ["launch c", "launch b"]);
}

#[tokio::test]
async fn what_is_kept_and_cannot_be_read_is_kept_anew_by_whoever_runs_the_plugin() {
    let house = House::new(&[("native", "three")]);
    let file = Wanted::File(house.path("native"), None);
    assert!(house.host().find(&file, Describe::Trusted).await.is_ok());
    for kept in fs::read_dir(house.dir.path().join("cache")).unwrap() {
        fs::write(kept.unwrap().path(), "{}").unwrap();
    }
    let host = house.host();
    assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["native: ?"]);

    assert!(host.find(&file, Describe::Trusted).await.is_ok());
    assert_eq!(offers(&host.list(Describe::Trusted).await.unwrap()), ["native: three"]);
}

#[tokio::test]
async fn a_plugin_is_started_and_configured_once_however_many_ask() {
    // Contract item 115.
    let house = House::new(&[("a.wasm", "one two")]);
    let host = house.host();
    house.host().list(Describe::Trusted).await.unwrap();
    house.world.log();

    let (first, second) = tokio::join!(house.run(&host, "one"), house.run(&host, "two"));

    assert!(first.is_ok() && second.is_ok());
    let expected = ["launch a", "configure one as portcullis", "configure two as portcullis"];
    assert_eq!(house.world.log(), expected);
}

#[tokio::test]
async fn a_file_that_changed_is_not_run_under_the_old_files_grants() {
    let house = House::new(&[("a.wasm", "one")]);
    house.host().list(Describe::Trusted).await.unwrap();
    let path = house.path("a.wasm");
    let cache = Descriptors::new(Some(house.dir.path().join("cache")));
    let old = cache.digest(&path).unwrap();

    // As large as before, and with the time that it had: only the content tells.
    let meta = fs::metadata(&path).unwrap();
    house.write("a.wasm", "two");
    fs::File::options().write(true).open(&path).unwrap().set_modified(meta.modified().unwrap()).unwrap();

    let host = house.host();
    let wanted = Wanted::File(path.clone(), None);
    let provider = host.find(&wanted, Describe::Trusted).await.unwrap();
    assert_eq!(provider.name(), "two");
    assert_ne!(provider.plugin.info().digest, old);
}

#[tokio::test]
async fn a_file_that_changed_is_described_as_what_it_is_now() {
    let house = House::new(&[("a.wasm", "one")]);
    let path = house.path("a.wasm");
    let cache = Descriptors::new(Some(house.dir.path().join("cache")));
    let now = cache.compute(&path).unwrap();
    // What is remembered of the file is of another day, though it looks as it did.
    let old = Digest::from_sha256([7; 32]);
    for entry in fs::read_dir(house.dir.path().join("cache")).unwrap() {
        let entry = entry.unwrap().path();
        let kept = fs::read_to_string(&entry).unwrap();
        fs::write(&entry, kept.replace(&now.to_string(), &old.to_string())).unwrap();
    }
    assert_eq!(cache.digest(&path), Some(old));

    let mut setup = house.setup();
    let label = |digest: &Digest| PluginSettings { label: Some(digest.to_string()), ..Default::default() };
    setup.policy = Arc::new(label);
    let listing = Host::new(setup).list(Describe::Trusted).await.unwrap();

    assert_eq!(offers(&listing), ["a: one"]);
    let listed = &listing.plugins[0];
    assert_eq!((listed.digest, &listed.settings), (now, &label(&now)));
}

/// Contract items 77 and 78.
#[tokio::test]
async fn a_name_taken_twice_belongs_to_the_first() {
    let house = House::new(&[("a.wasm", "same own"), ("b.wasm", "same")]);
    let host = house.host();
    let first =
        host.find(&Wanted::File(house.path("a.wasm"), Some("same".to_owned())), Describe::Trusted).await;
    let second = host.find(&Wanted::File(house.path("b.wasm"), None), Describe::Trusted).await;

    // Who names the file gets the file; who names the provider gets the first.
    let named = host.find(&Wanted::Named("same".to_owned()), Describe::Trusted).await.unwrap();
    assert!(Arc::ptr_eq(&named, &first.unwrap()));
    assert_eq!(second.unwrap().plugin.info().name.as_str(), "b");

    let whole = host.find(&Wanted::File(house.path("a.wasm"), None), Describe::Trusted).await;
    assert_eq!(whole.unwrap_err().to_string(), "a offers several providers: same, own; name one of them");
}

#[tokio::test]
async fn what_cannot_be_a_plugin_says_what_to_do() {
    let house = House::new(&[("bad.wasm", "bad")]);
    fs::write(house.path("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    fs::write(house.path("text"), b"hello").unwrap();
    house.world.launches.lock().unwrap().push_back(None);
    let host = house.host();

    let core = house.run(&host, "core").await.unwrap_err();
    assert!(core.contains("a core WebAssembly module, not a component"), "{core}");
    let text = host.find(&Wanted::File(house.path("text"), None), Describe::Trusted).await.unwrap_err();
    assert!(text.to_string().ends_with("neither a component nor a program; name a plugin's file"), "{text}");
    let missing = host.find(&Wanted::File(house.path("no"), None), Describe::Trusted).await.unwrap_err();
    assert!(missing.to_string().contains("No such file"), "{missing}");

    house.world.launches.lock().unwrap().push_back(None);
    let failed = house.run(&host, "bad").await.unwrap_err();
    assert_eq!(failed, "plugin bad: did not start: the fake does not start");
    assert_eq!(house.run(&host, "nobody").await, Err("provider \"nobody\" not found".to_owned()));
}

/// Contract item 77.
#[tokio::test]
async fn a_descriptor_that_is_of_no_use_is_told_and_not_run() {
    let house = House::new(&[("a.wasm", "a")]);
    *house.world.descriptor.lock().unwrap() = Some(|d| d.version = "latest".to_owned());
    let host = house.host();

    let listing = host.list(Describe::Trusted).await.unwrap();
    let reason = "failed to get provider descriptor: plugin \"a\" has invalid semver version \"latest\": invalid semantic version";
    assert_eq!(offers(&listing), [format!("a: {reason}")]);

    let run = host.find(&Wanted::File(house.path("a.wasm"), None), Describe::Trusted).await.unwrap_err();
    let useless = "plugin a offers no provider that can be used: a";
    assert_eq!(run.to_string(), format!("{useless}: {reason}"));
}

#[tokio::test]
async fn of_very_many_that_are_of_no_use_the_first_are_told() {
    let names: Vec<_> = (0..1000).map(|n| format!("p{n}")).collect();
    let house = House::new(&[("a.wasm", &names.join(" "))]);
    *house.world.descriptor.lock().unwrap() = Some(|d| d.version.clear());
    let run = house.host().find(&Wanted::File(house.path("a.wasm"), None), Describe::Trusted).await;
    let said = run.unwrap_err().to_string();
    assert!(said.contains("p19: ") && !said.contains("p20: "), "{said}");
    assert!(said.ends_with("; and 980 more"), "{said}");
}

#[test]
fn of_very_many_whose_names_are_taken_the_first_are_warned_of() {
    let names: Vec<_> = (0..1000).map(|n| format!("p{n}")).collect();
    for kind in ["", "auth:"] {
        let offered = kind.to_owned() + &names.join(" ");
        let house = House::new(&[("a.wasm", &offered), ("b.wasm", &offered)]);
        let logged = Log::of(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let host = house.host();
            match kind {
                "" => assert_eq!(runtime.block_on(host.start_everything()).unwrap().len(), 1000),
                _ => assert_eq!(runtime.block_on(host.start_every_auth_handler()).unwrap().len(), 1000),
            }
        });
        let lines = |part: &str| logged.iter().filter(|line| line.contains(part)).count();
        assert_eq!((lines("not registered"), lines("further warnings are left out")), (100, 1), "{kind:?}");
    }
}

/// Contract items 67 and 70.
#[tokio::test]
async fn upstreams_discovery_starts_everything() {
    let house = House::new(&[("a.wasm", "a"), ("b", "b"), ("c", "a")]);
    let all = house.host().start_everything().await.unwrap();
    assert_eq!(all.iter().map(|p| p.name()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(house.launches(), ["launch a", "launch b", "launch c"]);
}

#[tokio::test(start_paused = true)]
async fn a_runs_timeout_is_around_all_of_it() {
    let house = House::new(&[("a.wasm", "a")]);
    let host = house.host();
    let wanted = Wanted::File(house.path("a.wasm"), None);
    let request = || Run { timeout: Some(5 * SECOND), ..Run::default() };
    house.world.launches.lock().unwrap().push_back(Some(9 * SECOND));
    let said = host.run(&wanted, Describe::Trusted, request(), None).await.unwrap_err();
    assert_eq!(said.to_string(), "no answer within 5s");

    house.world.next([Answer::Hang]);
    let said = host.run(&wanted, Describe::Trusted, request(), None).await.unwrap_err();
    assert_eq!(said.to_string(), "no answer within 5s");
    assert!(host.run(&wanted, Describe::Trusted, request(), None).await.is_ok());
}

#[tokio::test]
async fn patience_may_have_no_end() {
    let house = House::new(&[("a.wasm", "a"), ("b", "b")]);
    let patience =
        Patience { process_launch: Duration::MAX, component_launch: Duration::MAX, grace: Duration::ZERO };
    let host = Host::new(Setup { patience, ..house.setup() });
    for name in ["a", "b"] {
        assert!(house.run(&host, name).await.is_ok(), "{name}");
    }
}

#[test]
fn what_a_policy_says_of_another_file_is_told_once_in_the_life_of_a_host() {
    let house = House::new(&[("a.wasm", "one")]);
    let logged = Log::of(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = Host::new(Setup { labels: vec!["a".to_owned()], ..house.setup() });
        for _ in 0..2 {
            assert_eq!(runtime.block_on(host.list(Describe::Trusted)).unwrap().plugins.len(), 1);
            runtime.block_on(house.run(&host, "one")).unwrap();
        }
    });
    assert_eq!(logged.iter().filter(|line| line.contains("is for another file")).count(), 1);
}
