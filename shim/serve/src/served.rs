//! A plugin to be served, and its options.
//!
//! The order is go-plugin's: the cookie is checked before anything else; the plugin is launched once it is known that a
//! host started the process; and the host gets the address once the plugin has said what it offers. If the plugin does
//! not start, standard error says why, and a host shows that.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_contract::{AuthHandler, CallError, Kind, LaunchError, Provider, tree};
use portcullis_goplugin::log::{Entry, Level, LogLayer};
use portcullis_goplugin::{
    Calls, Capture, Cookie, Logs, Outcome, Panics, Parent, Serve, ServeError, Services, Session, TestServing,
};
use serde_json::Value;
use tonic::service::Routes;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::host_service::RemoteHost;
use crate::surroundings::Surroundings;
use crate::{auth, provider};

/// The target under which our backends log a plugin's own lines.
const GUEST: &str = "portcullis::plugin";

/// What a guest does makes this warn, as often as it likes. What there is to say of its requests is said by us, bounded.
const HEARSAY: &str = "wasmtime_wasi_http";

/// The crates that carry calls, which log every frame below a warning, and what runs guests, which logs the texts that
/// they pass, secrets in addresses among them.
const CARRIERS: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "wasmtime"];

/// How a plugin is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The environment of the process. By default the one that it was started with.
    pub variables: Vec<(OsString, OsString)>,
    /// The text for a person who starts the program by hand. A sentence or two about plugins by default.
    pub notice: Option<String>,
    /// The largest request, in bytes. 4 MiB by default, as upstream; a larger one is refused with `ResourceExhausted`.
    pub message_limit: usize,
    /// The largest answer of the host, in bytes. 64 MiB by default; the wire itself sets no limit.
    pub answer_limit: usize,
    /// Whether the process's own prints are captured. [`Capture::Nothing`] by default: what a plugin prints through
    /// [`Surroundings`] does not depend on it.
    pub capture: Capture,
    /// How long calls that are under way may go on once the plugin is told to end. Zero by default, as upstream.
    pub grace: Duration,
    /// What to do when the process that started this one ends. [`Parent::Follow`] by default, unlike upstream: hosts
    /// give no sign when they die, and no host of this contract attaches to a plugin that is left.
    pub parent: Parent,
    /// How many threads [`run`](Served::run) has for calls; `None` is one for each processor. [`Calls::Together`] has one
    /// more.
    pub threads: Option<NonZeroUsize>,
    /// Which of them a call runs on. [`Calls::Spread`] by default.
    pub calls: Calls,
    /// Which of the library's own lines go to the log. [`LevelFilter::INFO`] by default.
    pub log: LevelFilter,
    /// The lowest level of the plugin's own lines that go to the log. All by default: the host chooses what it shows.
    pub guest_log: Level,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            notice: None,
            message_limit: 4 << 20,
            answer_limit: 64 << 20,
            capture: Capture::Nothing,
            grace: Duration::ZERO,
            parent: Parent::Follow,
            threads: None,
            calls: Calls::Spread,
            log: LevelFilter::INFO,
            guest_log: Level::Trace,
        }
    }
}

/// A plugin to be served.
pub struct Served {
    /// How it is served.
    pub options: Options,
    launch: Launch,
}

type Launching<T> = Pin<Box<dyn Future<Output = Result<T, LaunchError>> + Send>>;

/// Makes the plugin, once a host has started the process.
enum Launch {
    Provider(Box<dyn FnOnce(Surroundings) -> Launching<Arc<dyn Provider>> + Send>),
    AuthHandler(Box<dyn FnOnce(Surroundings) -> Launching<Arc<dyn AuthHandler>> + Send>),
}

impl Served {
    /// Describes a plugin that offers providers, and is served with the default options.
    ///
    /// `launch` is called once it is known that a host started the process, and not at all otherwise. A plugin that
    /// started but cannot say what it offers ([`LaunchError::Undescribed`]) is served all the same, and every call to
    /// it fails with the reason, as in Go.
    pub fn provider<F, L>(launch: F) -> Self
    where
        F: FnOnce(Surroundings) -> L + Send + 'static,
        L: Future<Output = Result<Arc<dyn Provider>, LaunchError>> + Send + 'static,
    {
        let launch = Launch::Provider(Box::new(move |around| Box::pin(launch(around))));
        Self { options: Options::default(), launch }
    }

    /// Describes a plugin that offers auth handlers, in the same way as [`provider`](Self::provider).
    ///
    /// It offers both versions of the auth handlers' handshake, with the same calls in each; the host chooses.
    pub fn auth_handler<F, L>(launch: F) -> Self
    where
        F: FnOnce(Surroundings) -> L + Send + 'static,
        L: Future<Output = Result<Arc<dyn AuthHandler>, LaunchError>> + Send + 'static,
    {
        let launch = Launch::AuthHandler(Box::new(move |around| Box::pin(launch(around))));
        Self { options: Options::default(), launch }
    }

    /// Returns what the plugin is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.launch {
            Launch::Provider(_) => Kind::Provider,
            Launch::AuthHandler(_) => Kind::AuthHandler,
        }
    }

    /// Serves until the end, in a runtime of its own: the whole of a plugin's `main`.
    ///
    /// Blocking work that calls have left behind does not keep the process alive.
    pub fn run(self) -> Outcome {
        let lines = LogLayer::stderr();
        self.log_for_the_host(match self.options.calls {
            Calls::Spread => lines,
            Calls::Together => lines.waiting_aside(),
        });
        self.into_serve().run()
    }

    /// Serves until the end, in the caller's runtime, which needs I/O and time.
    ///
    /// See [`portcullis_goplugin::Serve::serve`].
    pub async fn serve(self) -> Outcome {
        self.log_for_the_host(LogLayer::stderr());
        self.into_serve().serve().await
    }

    /// Serves in the background, without a host that started this process: a host attaches to it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being served, the plugin's own launch included.
    pub async fn serve_in_test(self) -> Result<TestServing, ServeError> {
        self.into_serve().serve_in_test().await
    }

    /// Sends everything that is logged to the host, unless the program has set up a log of its own.
    fn log_for_the_host(&self, lines: LogLayer) {
        let Options { log, guest_log, .. } = self.options;
        let levels = Targets::new()
            .with_default(log)
            .with_targets(CARRIERS.map(|name| (name, log.min(LevelFilter::WARN))))
            .with_target(HEARSAY, log.min(LevelFilter::ERROR))
            .with_target(GUEST, guest_log);
        let lines = lines.rewriting(as_the_plugin_logged_it);
        let subscriber = tracing_subscriber::registry().with(lines).with(levels);
        let _has_one = tracing::subscriber::set_global_default(subscriber);
    }

    fn into_serve(self) -> Serve {
        let kind = self.kind();
        let Self { options, launch } = self;
        let (variable, value) = kind.cookie();
        let sizes = Sizes { message: options.message_limit, answer: options.answer_limit };
        let least = options.guest_log;
        // Only one of the versions is served, so the plugin is launched once.
        let launch = Arc::new(Mutex::new(Some(launch)));
        let services = |_: &u32| {
            let launch = Arc::clone(&launch);
            Services::made_by(move |session| async move {
                let launch = launch.lock().unwrap_or_else(PoisonError::into_inner).take();
                let launch = launch.ok_or("the plugin has been launched")?;
                launch.make(session, sizes, least).await
            })
        };
        Serve {
            notice: options.notice,
            versions: kind.versions().iter().map(|version| (*version, services(version))).collect(),
            variables: options.variables,
            message_limit: options.message_limit,
            capture: options.capture,
            grace: options.grace,
            parent: options.parent,
            threads: options.threads,
            calls: options.calls,
            logs: Logs::Elsewhere,
            panics: Panics::ForHosts,
            ..Serve::new(Cookie::new(variable, value))
        }
    }
}

/// How large messages may be.
#[derive(Clone, Copy)]
struct Sizes {
    message: usize,
    answer: usize,
}

impl Launch {
    /// Launches the plugin, and makes a service of it.
    async fn make(
        self,
        session: Session,
        sizes: Sizes,
        least: Level,
    ) -> Result<Routes, Box<dyn Error + Send + Sync>> {
        let host = RemoteHost::over(session.broker().clone(), sizes.answer);
        let around = Surroundings::new(session, host.clone(), least);
        Ok(match self {
            Self::Provider(launch) => provider::routes(came_up(launch(around).await)?, host, sizes.message),
            Self::AuthHandler(launch) => auth::routes(came_up(launch(around).await)?, host, sizes.message),
        })
    }
}

/// Separates a plugin that started but cannot say what it offers from one that did not start.
fn came_up<T>(launched: Result<T, LaunchError>) -> Result<Result<T, CallError>, LaunchError> {
    match launched {
        Ok(plugin) => Ok(Ok(plugin)),
        Err(LaunchError::Undescribed(error)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// Turns a backend's event about the plugin's log into the line that a native plugin would have written: the plugin is
/// the logger, and its fields are fields.
fn as_the_plugin_logged_it(mut entry: Entry) -> Entry {
    if entry.target.as_deref() != Some(GUEST) {
        return entry;
    }
    for (key, value) in std::mem::take(&mut entry.fields) {
        match (key.as_str(), value) {
            ("plugin", Value::String(name)) => entry.target = Some(name),
            ("fields", Value::String(text)) => match tree(&text) {
                Ok(Value::Object(fields)) => entry.fields.extend(fields),
                _ => entry.fields.push((key, text.into())),
            },
            (_, value) => entry.fields.push((key, value)),
        }
    }
    entry
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("kind", &self.kind())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(target: &str, fields: &[(&str, Value)], expected: (&str, &[(&str, Value)])) {
        let owned = |fields: &[(&str, Value)]| -> Vec<_> {
            fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
        };
        let entry = Entry::plain(Level::Info, "hi");
        let found = as_the_plugin_logged_it(Entry {
            target: Some(target.to_owned()),
            fields: owned(fields),
            ..entry
        });
        assert_eq!((found.target.as_deref(), found.fields), (Some(expected.0), owned(expected.1)));
    }

    #[test]
    fn what_the_plugin_logs_reads_as_if_it_had_written_the_line() {
        let plugin = ("plugin", json!("p"));
        let fields = |text: &str| [plugin.clone(), ("fields", json!(text))];
        check(GUEST, &fields(r#"{"plugin":"q","n":1}"#), ("p", &[("n", json!(1)), ("plugin", json!("q"))]));
        // `serde_json` itself would take this for the JSON in it.
        let odd = json!({"$serde_json::private::RawValue": "[1]"});
        check(GUEST, &fields(&json!({"odd": odd}).to_string()), ("p", &[("odd", odd)]));
        check(GUEST, &fields("none"), ("p", &[("fields", json!("none"))]));
        check(GUEST, &[plugin.clone(), ("stream", json!("stdout"))], ("p", &[("stream", json!("stdout"))]));
        check("portcullis", &fields("{}"), ("portcullis", &fields("{}")));
    }
}
