//! From options and environment to a host that can be asked.
//!
//! Nothing is started here. What a plugin may touch comes from the policy file and from the options of the
//! person who types, and from nowhere else.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use portcullis::compile::Worker;
use portcullis::component::{CacheOptions, ComponentOptions};
use portcullis::host::services::{Person, Services};
use portcullis::host::{Asker, Describe, PluginSettings, ServiceFactory, Setup, Wanted, WantedBy};
use portcullis::policy::{Policy, every_secret};
use portcullis::process::ProcessOptions;
use portcullis::secrets::{FileStore, SecretStore};
use portcullis::{Host, Options};
use portcullis_contract::{Configuration, Environment, HostService, Kind, Prints, quoted};

use crate::errors::NO_DIRECTORY;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::progress::Shown;
use crate::{COMPILE_WORKER, Session, progress, shim, wrapped};

/// The program that compiles components: the running one, even if an update has replaced its file.
const OURSELVES: &str = "/proc/self/exe";

/// Options of every command that looks for plugins.
#[derive(Args, Debug)]
pub(crate) struct PluginArgs {
    /// Directory to look for plugins in; may be given several times (default: those in PORTCULLIS_PLUGIN_DIR)
    #[arg(long = "plugin-dir", value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    plugin_dirs: Vec<PathBuf>,

    /// File that says what plugins may touch, how much they may use, and what they are told
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Start native plugins that nobody asked for by name, to learn what they offer
    #[arg(long)]
    describe: bool,
}

/// What a native plugin sees of the environment, as somebody types it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EnvArg {
    /// What most programs need, and what the policy names
    Usual,
    /// All of it
    Inherit,
}

impl From<EnvArg> for Environment {
    fn from(typed: EnvArg) -> Self {
        match typed {
            EnvArg::Usual => Self::Usual,
            EnvArg::Inherit => Self::Inherit,
        }
    }
}

/// What the person who types grants for one run.
#[derive(Debug, Default)]
pub(crate) struct Personal {
    /// A file of secrets; naming it grants all of them.
    pub(crate) secrets: Option<SecretsFile>,
    /// Whom auth handlers may ask during a login.
    pub(crate) person: Option<Arc<dyn Person>>,
    /// Where what plugins print goes, if anybody is to see it.
    pub(crate) prints: Option<Arc<dyn Prints>>,
    /// The account that is meant, of several that an auth handler keeps.
    pub(crate) profile: Option<String>,
    /// How a child is run, where it differs from the policy.
    pub(crate) environment: Option<Environment>,
    /// What a child reads, where it differs from the policy.
    pub(crate) stdin: Option<portcullis_contract::Stdin>,
}

/// A file of secrets, and whom all of them are granted to. To other plugins, which are started only because these ask
/// for something, it is a store like any other.
#[derive(Clone, Debug)]
pub(crate) struct SecretsFile {
    pub(crate) path: PathBuf,
    pub(crate) granted_to: GrantedTo,
}

/// Whom a file of secrets is granted to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GrantedTo {
    /// The plugin of this kind that was named.
    Named(Kind),
    /// Every auth handler: none was named.
    AuthHandlers,
}

impl GrantedTo {
    fn includes(self, asker: &Asker<'_>) -> bool {
        match self {
            Self::Named(kind) => asker.kind == kind && asker.wanted_by == WantedBy::Caller,
            Self::AuthHandlers => asker.kind == Kind::AuthHandler,
        }
    }
}

impl PluginArgs {
    /// Returns the options of who looks in no directory.
    pub(crate) fn of_policy(policy: Option<PathBuf>) -> Self {
        Self { plugin_dirs: Vec::new(), policy, describe: false }
    }

    pub(crate) fn describe(&self) -> Describe {
        if self.describe { Describe::All } else { Describe::Trusted }
    }

    /// Returns the directories to look in. One without a name is none.
    fn directories(&self, session: &Session) -> Vec<PathBuf> {
        let named = self.plugin_dirs.iter().filter(|dir| !dir.as_os_str().is_empty());
        let named: Vec<_> = named.cloned().collect();
        if named.is_empty() { session.environment.plugin_dirs.clone() } else { named }
    }

    /// Says that nothing was found, and where.
    pub(crate) fn nothing_found(&self, session: &Session, what: &str) -> String {
        match &self.directories(session)[..] {
            [] => NO_DIRECTORY.to_owned(),
            directories => {
                let named = |dir: &PathBuf| match (dir.is_dir(), dir.exists()) {
                    (true, _) => dir.display().to_string(),
                    (false, true) => format!("{} (it is no directory)", dir.display()),
                    (false, false) => format!("{} (there is no such directory)", dir.display()),
                };
                let directories: Vec<_> = directories.iter().map(named).collect();
                format!("no {what} in {}", directories.join(", "))
            }
        }
    }
}

/// Makes a host of everything that was said.
pub(crate) fn host(session: &Session, plugins: &PluginArgs, personal: &Personal) -> Result<Host, Failure> {
    let policy = match &plugins.policy {
        Some(path) => Policy::load(path).or_exit(Exit::Configuration)?,
        None => Policy::default(),
    };
    let store = match &personal.secrets {
        Some(file) => Some(FileStore::open(&file.path).or_exit(Exit::Configuration)?),
        None => None,
    };
    let environment = &session.environment;
    let mut setup = Setup::new(portcullis::backends(backends(session))?);
    setup.directories = plugins.directories(session);
    policy.trusted_dirs().clone_into(&mut setup.trusted);
    setup.labels = policy.labels();
    setup.descriptors = environment.cache.as_ref().map(|cache| cache.join("descriptors"));
    setup.policy = Arc::new(move |digest| PluginSettings::of(&policy, digest));
    (setup.environment, setup.stdin) = (personal.environment, personal.stdin);
    setup.services = services(store.map(|store| Arc::new(store) as Arc<dyn SecretStore>), personal);
    setup.configuration = Configuration {
        quiet: session.quiet,
        no_color: session.no_color,
        binary_name: "portcullis".to_owned(),
        profile: personal.profile.clone(),
        prompts_for_response: personal.person.is_some(),
        ..Configuration::default()
    };
    setup.wrapped = Some(wrapped::known(session));
    setup.prints.clone_from(&personal.prints);
    Ok(Host::new(setup))
}

pub(crate) fn backends(session: &Session) -> Options {
    let environment = &session.environment;
    let variables = environment.variables.iter();
    let texts = variables.filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
    let shown = match environment.stderr_is_terminal && !session.quiet {
        true => Shown::Terminal,
        false => Shown::Nowhere,
    };
    Options {
        process: ProcessOptions { environment: environment.variables.clone(), ..ProcessOptions::default() },
        component: ComponentOptions {
            // Whoever makes one call and ends gains nothing from a pool.
            slots: 0,
            cache: match (&environment.cache, &environment.data) {
                (Some(cache), Some(data)) => {
                    Some(CacheOptions { directory: cache.join("components"), key_directory: data.clone() })
                }
                _ => None,
            },
            worker: Some(Worker { program: OURSELVES.into(), args: vec![COMPILE_WORKER.into()] }),
            on_compile: Some(progress::listener(shown)),
            environment: texts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..ComponentOptions::default()
        },
        shim: Some(shim::source(session)),
    }
}

/// Every plugin gets a host service, so that one without grants is told the same by both backends.
fn services(store: Option<Arc<dyn SecretStore>>, personal: &Personal) -> ServiceFactory {
    let granted_to = personal.secrets.as_ref().map(|file| file.granted_to);
    let person = personal.person.clone();
    Arc::new(move |asker: &Asker<'_>| {
        let mut grants = asker.spec.grants.clone();
        if granted_to.is_some_and(|whom| whom.includes(asker)) {
            grants.secrets = every_secret();
        }
        let identity = Arc::clone(&asker.identity);
        let services = Services::new(asker.spec.name.clone(), &grants, store.clone(), Some(identity));
        let services = match &person {
            Some(person) if asker.kind == Kind::AuthHandler => services.with_person(Arc::clone(person)),
            _ => services,
        };
        Some(Arc::new(services) as Arc<dyn HostService>)
    })
}

/// Reads the path of a file or the name of a provider or an auth handler. As in shells, a path has a slash in it.
pub(crate) fn wanted(text: &OsStr) -> anyhow::Result<Wanted> {
    if text.as_encoded_bytes().contains(&b'/') {
        return Ok(Wanted::File(text.into(), None));
    }
    let name =
        text.to_str().with_context(|| format!("{text:?} is no name: to mean a file, write ./ before it"))?;
    Ok(Wanted::Named(name.to_owned()))
}

/// Does the same where `option` may choose one of several that a file offers. With a name it is refused.
pub(crate) fn wanted_of(text: &OsStr, option: &str, chosen: Option<&str>) -> anyhow::Result<Wanted> {
    match (wanted(text)?, chosen) {
        (Wanted::File(path, _), chosen) => Ok(Wanted::File(path, chosen.map(str::to_owned))),
        (named, None) => Ok(named),
        (Wanted::Named(name), Some(_)) => {
            bail!(
                "{option} chooses among what a file offers, and {} has no slash in it: it is a name",
                quoted(&name)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use portcullis::host::services::{IdentityError, IdentityService, IdentitySource};
    use portcullis_contract::{AuthHandlers, Claims, PluginName, PluginSpec, Token, TokenRequest};

    use super::*;

    fn check(text: &str, provider: Option<&str>, expected: Wanted) {
        assert_eq!(wanted_of(OsStr::new(text), "--provider", provider).unwrap(), expected, "{text:?}");
    }

    #[test]
    fn a_file_is_told_from_a_name_by_its_slash() {
        check("echo", None, Wanted::Named("echo".to_owned()));
        check("echo.wasm", None, Wanted::Named("echo.wasm".to_owned()));
        check("./echo", None, Wanted::File("./echo".into(), None));
        check("/p/echo.wasm", Some("raw"), Wanted::File("/p/echo.wasm".into(), Some("raw".to_owned())));
        let of_file = wanted_of(OsStr::from_bytes(b"./\xff"), "--provider", None).unwrap();
        assert_eq!(of_file, Wanted::File(OsStr::from_bytes(b"./\xff").into(), None));
        let error = wanted_of(OsStr::from_bytes(b"\xff"), "--provider", None).unwrap_err();
        assert_eq!(error.to_string(), r#""\xFF" is no name: to mean a file, write ./ before it"#);
        let error = wanted_of(OsStr::new("echo"), "--provider", Some("raw")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--provider chooses among what a file offers, and \"echo\" has no slash in it: it is a name"
        );
    }

    #[tokio::test]
    async fn naming_a_secrets_file_grants_it_to_whom_it_was_named_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "{\"x\":\"1\"}").unwrap();
        let spec = PluginSpec::new(PluginName::new("p"), "/nowhere");
        let check = async |granted_to: GrantedTo, kind, wanted_by, expected: bool| {
            let store = FileStore::open(file.path()).unwrap();
            let secrets = Some(SecretsFile { path: file.path().to_owned(), granted_to });
            let factory = services(Some(Arc::new(store)), &Personal { secrets, ..Personal::default() });
            let asker = Asker { spec: &spec, kind, wanted_by, identity: Arc::new(Nobody) };
            let host = factory(&asker).unwrap();
            let is_granted = host.get_secret("x").await.is_ok();
            assert_eq!(is_granted, expected, "{granted_to:?}: {kind}, {wanted_by:?}");
        };
        check(GrantedTo::Named(Kind::Provider), Kind::Provider, WantedBy::Caller, true).await;
        check(GrantedTo::Named(Kind::Provider), Kind::AuthHandler, WantedBy::Plugin, false).await;
        check(GrantedTo::Named(Kind::AuthHandler), Kind::AuthHandler, WantedBy::Caller, true).await;
        check(GrantedTo::Named(Kind::AuthHandler), Kind::AuthHandler, WantedBy::Plugin, false).await;
        check(GrantedTo::AuthHandlers, Kind::AuthHandler, WantedBy::Plugin, true).await;
        check(GrantedTo::AuthHandlers, Kind::Provider, WantedBy::Caller, false).await;
    }

    /// A host on which nobody is logged in.
    #[derive(Debug)]
    struct Nobody;

    #[async_trait::async_trait]
    impl IdentitySource for Nobody {
        fn offers(&self, _: IdentityService) -> bool {
            false
        }

        async fn handlers(&self) -> Result<AuthHandlers, IdentityError> {
            Ok(AuthHandlers::default())
        }

        async fn identity(&self, _: &str, _: &str) -> Result<Option<Claims>, IdentityError> {
            Ok(None)
        }

        async fn token(&self, _: &TokenRequest) -> Result<Token, IdentityError> {
            Ok(Token::default())
        }

        async fn groups(&self, _: &str) -> Result<Vec<String>, IdentityError> {
            Ok(Vec::new())
        }
    }
}
