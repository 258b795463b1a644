//! The component, served: launched in its sandbox once a host asks, with that host behind its policy.
//!
//! It is supervised as in a host of ours: supervision enforces the limit on the time of a call, around everything that
//! the call waits for.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use portcullis::component::{ComponentBackend, ComponentOptions, PrepareAhead};
use portcullis::supervise::{AuthHandlerKind, ProviderKind, launch};
use portcullis::{Narrowed, log_level};
use portcullis_bundle::Manifest;
use portcullis_contract::{
    AuthHandler, BackendName, CallError, InstanceReuse, Kind, LaunchError, PluginSpec, Provider, RunAs,
    StopReason, chain,
};
use portcullis_serve::{Calls, Outcome, Served, Surroundings};

use crate::own::Own;
use crate::page;
use crate::prints::ToHost;

/// The size up to which a message is read even if the policy allows less: the default limit.
const LARGEST_MESSAGE: u64 = 64 << 20;

/// What a message may hold beside the text that the limit is about. With too little here, a message at its limit is
/// refused in other words.
const WRAPPING: u64 = 1 << 20;

/// How long the component may take to say what it offers. Its limits end it long before, and its host after a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most threads for calls. A guess: hosts seldom ask more of one plugin than four processors can do.
const MOST_THREADS: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

/// Which lines of ours go to the host's log. The component's own all do.
const LOG_LEVEL: &str = "PORTCULLIS_LOG_LEVEL";

/// How many instances wait for calls, and how many spent ones to be dropped; see the component backend.
const WAITING: u32 = 2;

/// Serves the component in the file until its host ends it. Started by a person, it explains itself instead.
pub(crate) fn serve(own: Own, program: &str, variables: Vec<(OsString, OsString)>) -> Outcome {
    let notice = page::notice(&own, program, &variables);
    let calls = calls(&own);
    let threads = threads(instances(own.manifest()), own.limits.resolve(BackendName::Component).concurrency);
    // What is too large for the component is refused by its sandbox, in the words of a limit. This one only bounds what
    // is read at all.
    let message = own.limits.resolve(BackendName::Component).message.max(LARGEST_MESSAGE);
    let message = usize::try_from(message.saturating_add(WRAPPING)).unwrap_or(usize::MAX);
    let mut served = match own.manifest().kind {
        Kind::Provider => Served::provider(async move |around: Surroundings| {
            let (backend, spec) = prepare(&own, &around)?;
            let launched =
                launch::<ProviderKind>(Arc::new(backend), spec, PATIENCE).await.map_err(to_tell)?;
            Ok(Arc::new(launched) as Arc<dyn Provider>)
        }),
        Kind::AuthHandler => Served::auth_handler(async move |around: Surroundings| {
            let (backend, spec) = prepare(&own, &around)?;
            let launched =
                launch::<AuthHandlerKind>(Arc::new(backend), spec, PATIENCE).await.map_err(to_tell)?;
            Ok(Arc::new(launched) as Arc<dyn AuthHandler>)
        }),
    };
    served.options.notice = Some(notice);
    let level = variables.iter().find(|(name, level)| name == LOG_LEVEL && !level.is_empty());
    // A host filters them, too, but they cost time. What is no level changes nothing: no log is worth a plugin.
    if let Some(level) = level.and_then(|(_, level)| log_level(level.to_str()?)) {
        served.options.log = level;
    }
    served.options.variables = variables;
    served.options.threads = Some(threads);
    served.options.calls = calls;
    served.options.message_limit = message;
    served.options.answer_limit = message;
    served.run()
}

/// Has a component that did not start tell so whoever asks what it offers. Of a program that ends, a host has no more
/// than a line of its log, and does not know a limit in it.
fn to_tell(error: LaunchError) -> LaunchError {
    match error {
        LaunchError::Failed(source) => LaunchError::Undescribed(match source.downcast::<CallError>() {
            Ok(error) => *error,
            Err(source) => CallError::Stopped(StopReason::Lost { reason: chain(source.as_ref()) }),
        }),
        other => other,
    }
}

/// Makes the backend, and says how the component is to be launched in it.
fn prepare(own: &Own, around: &Surroundings) -> Result<(ComponentBackend, PluginSpec), LaunchError> {
    let manifest = own.manifest();
    let (name, grants, limits) = (manifest.name.clone(), own.grants.clone(), own.limits.clone());
    let variables = around.environment().iter();
    let granted = variables.filter(|(key, _)| grants.env.iter().any(|name| *key == **name));
    let text = |text: &OsString| text.to_str().map(str::to_owned);
    let options = ComponentOptions {
        slots: slots(instances(manifest), limits.resolve(BackendName::Component).concurrency),
        environment: granted.filter_map(|(key, value)| Some((text(key)?, text(value)?))).collect(),
        prepared: PrepareAhead::Always,
        ..ComponentOptions::default()
    };
    let image = own.image().map_err(LaunchError::failed)?;
    let backend = ComponentBackend::of_image(image, options).map_err(LaunchError::failed)?;
    let host = Narrowed::new(name.clone(), &grants, around.host());
    let spec = PluginSpec {
        digest: Some(manifest.component),
        grants,
        limits,
        run_as: RunAs { instances: manifest.instances, ..RunAs::default() },
        host: Some(Arc::new(host)),
        prints: Some(Arc::new(ToHost { stdout: around.stdout(), stderr: around.stderr() })),
        ..PluginSpec::new(name, "/proc/self/exe")
    };
    Ok((backend, spec))
}

/// Returns how instances are used. An auth handler has one, whatever its policy says.
fn instances(manifest: &Manifest) -> InstanceReuse {
    match manifest.kind {
        Kind::Provider => manifest.instances,
        Kind::AuthHandler => InstanceReuse::Single,
    }
}

/// Returns which threads calls run on: any, if instances are made beside them that would hold up the one for all.
fn calls(own: &Own) -> Calls {
    let slow = own.image().is_ok_and(|image| image.starts_slowly());
    if slow && instances(own.manifest()) == InstanceReuse::PerCall { Calls::Spread } else { Calls::Together }
}

/// Returns how many threads calls are spread over: no more than can run at once, and [`MOST_THREADS`] at most. Each costs
/// time at the start, and memory.
fn threads(instances: InstanceReuse, concurrency: u32) -> NonZeroUsize {
    let calls = match instances {
        InstanceReuse::PerCall => concurrency,
        InstanceReuse::Pooled(instances) => concurrency.min(instances.into()),
        InstanceReuse::Single => 1,
    };
    let calls = usize::try_from(calls).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
    if calls == NonZeroUsize::MIN {
        return calls;
    }
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    calls.min(MOST_THREADS).min(processors)
}

/// Returns how many slots the pool needs: setting up unused slots would take longer than anything else at a start.
fn slots(instances: InstanceReuse, concurrency: u32) -> u16 {
    match instances {
        InstanceReuse::PerCall => {
            u16::try_from(concurrency.saturating_add(WAITING)).unwrap_or(u16::MAX).min(1_000)
        }
        // Instances that are kept are allocated outside of the pools.
        InstanceReuse::Single | InstanceReuse::Pooled(_) => 0,
    }
}
