//! Components in processes of their own: wrapped on the spot, and then run as any native plugin is.
//!
//! A crash of the engine then costs one child and nothing else. (A guest that broke out of the engine would have the
//! rights of that child, which are its user's.) What the component may touch and how much it may use is in the wrapped
//! file and enforced by the child; what it asks of us is granted here, as always. The file is removed as soon as the
//! child runs, or by the next such launch if the host was killed. The [`PluginInfo`](portcullis_contract::PluginInfo) of
//! such a plugin is that of a child.

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_bundle::{Durability, Existing, Manifest, Parts, write};
use portcullis_contract::{
    AuthHandler, Backend, BackendName, Grants, IdentityGrant, Isolation, Kind, LaunchError, Limits,
    PluginSpec, Provider, RunAs,
};
use portcullis_goplugin::temporary_dir;
use rustix::fs::{Access, access};

use crate::blocking::blocking;
use crate::component::{ComponentBackend, FINGERPRINT, Inspection};
use crate::leftovers::{self, NEWBORN};
use crate::policy::{self, every_secret};
use crate::process::{ProcessBackend, ProcessOptions};

/// Begins the names of the directories that hold files wrapped on the spot.
const PREFIX: &str = "portcullis-apart-";

/// What to do about a place where nothing can be put or run.
const ADVICE: &str = "`TMPDIR`, or the `runtime_dir` of `ProcessOptions`, names another directory";

/// What a message may hold beside the text that the limit is about, as the shim has it. With less, one at its limit
/// would get through a sandbox and not through a process.
const WRAPPING: u64 = 1 << 20;

/// Where the shim, a whole program, comes from. It is read when a component is to be isolated.
#[derive(Clone)]
pub struct ShimSource(Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>);

impl ShimSource {
    /// Makes a source that calls `read` for the bytes of the shim.
    pub fn new(read: impl Fn() -> io::Result<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for ShimSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShimSource")
    }
}

/// Runs components in sandboxes here, or in processes of their own where their policy says so.
#[derive(Debug)]
pub(super) struct Isolating {
    component: ComponentBackend,
    process: ProcessBackend,
    shim: Option<ShimSource>,
    directory: Option<PathBuf>,
}

/// How a wrapped component is started. Its file is removed when this is dropped.
struct Apart {
    spec: PluginSpec,
    _directory: Directory,
}

/// A directory that only we may enter: the component may be nobody else's to read. It is removed when it is dropped, and by
/// the next launch if we are killed.
struct Directory {
    made: tempfile::TempDir,
    /// The directory, under flock while it is in use.
    _lock: File,
}

impl Isolating {
    pub(super) fn new(
        component: ComponentBackend,
        mut process: ProcessOptions,
        shim: Option<ShimSource>,
    ) -> Self {
        // They narrow what somebody wrapped. What is wrapped here may what a component in a sandbox may.
        process.environment.retain(|(name, _)| {
            name != policy::DENY && !name.as_encoded_bytes().starts_with(policy::LIMIT.as_bytes())
        });
        let directory = process.runtime_dir.clone();
        Self { component, process: ProcessBackend::new(process), shim, directory }
    }

    /// Returns the source of the shim, if a component is to be isolated and can be.
    fn shim(&self, spec: &PluginSpec) -> Option<&ShimSource> {
        self.shim.as_ref().filter(|_| spec.run_as.isolation == Isolation::Process)
    }

    /// Wraps a component of the wanted kind, and refuses another.
    async fn apart(&self, shim: &ShimSource, spec: PluginSpec, wanted: Kind) -> Result<Apart, LaunchError> {
        let (path, digest) = (spec.path.clone(), spec.digest);
        let check = move |found: &Inspection| {
            LaunchError::check_digest(&path, digest, found.digest)?;
            match found.kind {
                Some(kind) if kind != wanted => Err(LaunchError::OtherKind { wanted }),
                _ => Ok(()),
            }
        };
        let compiled = self.component.precompile(&spec.path, check).await?;
        let PluginSpec { name, grants, limits, run_as, host, prints, .. } = spec;
        let of_child = limits_of_child(&limits);
        let manifest = Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.clone(),
            kind: compiled.kind,
            component: compiled.digest,
            imports: compiled.imports,
            engine: FINGERPRINT.to_owned(),
            class: compiled.class,
            instances: run_as.instances,
            // Which secrets and identities it may ask for is decided here, where what would allow more is told. Of
            // secrets that may be more than its policy says.
            grants: Grants { secrets: every_secret(), identity: Some(every_identity()), ..grants.clone() },
            limits,
            // It is run at once, so nobody needs these.
            offers: Vec::new(),
            description: String::new(),
        };
        let (parent, shim) = (self.directory.clone(), shim.clone());
        // Ours and not the thread's that writes into it: we may be given up, and the process end, before that is done.
        let made = blocking(move || {
            let parent = parent.unwrap_or_else(temporary_dir);
            let told = |error: io::Error| {
                let text = format!("cannot create a directory in {}: {error}; {ADVICE}", parent.display());
                io::Error::new(error.kind(), text)
            };
            Directory::create(&parent).map_err(told)
        });
        let directory = made.await.map_err(LaunchError::failed)?;
        // Not the plugin's name, which its author chose.
        let path = directory.made.path().join("plugin");
        let place = path.clone();
        let written = blocking(move || {
            let program = shim.0()?;
            let parts = Parts { program: &program, image: &compiled.image, manifest: &manifest };
            let written =
                write(&place, &parts, Existing::Replace, Durability::Passing).map_err(io::Error::other)?;
            check_that_it_runs(&place)?;
            Ok::<_, io::Error>(written.file)
        });
        let digest = written.await.map_err(LaunchError::failed)?;
        let spec = PluginSpec {
            // Checked at the start: whoever may write to that directory, as a component with a grant, could replace the
            // file.
            digest: Some(digest),
            grants,
            limits: of_child,
            // How it is run as a child is ours to say: options about native plugins are not about this one.
            run_as: RunAs::default(),
            host,
            prints,
            ..PluginSpec::new(name, path)
        };
        Ok(Apart { spec, _directory: directory })
    }
}

/// Checks that a program can be run where it was put: on many servers /tmp is mounted `noexec`.
fn check_that_it_runs(path: &Path) -> io::Result<()> {
    access(path, Access::EXEC_OK).map_err(|errno| {
        let error = io::Error::from(errno);
        io::Error::new(error.kind(), format!("{} cannot be run: {error}; {ADVICE}", path.display()))
    })
}

impl Directory {
    /// Makes one in `base`, and removes the abandoned ones there.
    fn create(base: &Path) -> io::Result<Self> {
        sweep(base);
        let ours = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix(PREFIX).permissions(ours.clone()).tempdir_in(base)?;
        // A umask may have taken the right to enter from us, too.
        std::fs::set_permissions(made.path(), ours)?;
        let lock = File::open(made.path())?;
        // Where locks do not work, no other launch can lock it either, and so none removes it.
        let _held = lock.try_lock();
        Ok(Self { made, _lock: lock })
    }
}

/// Removes the directories in `base` of this user's hosts that were killed during a launch.
fn sweep(base: &Path) {
    for (path, about) in leftovers::old(base, PREFIX, NEWBORN) {
        let abandoned =
            about.is_dir() && File::open(&path).is_ok_and(|directory| directory.try_lock().is_ok());
        if abandoned && let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::debug!(path = %path.display(), %error, "what a killed host left stays");
        }
    }
}

fn every_identity() -> IdentityGrant {
    IdentityGrant { handlers: vec![IdentityGrant::EVERY.to_owned()], token: true }
}

/// Returns the limits of the child that runs a component. The component's own are in the file; as limits of a process
/// they would mean something else. Only messages that may be larger than usual have to get through the process, too.
fn limits_of_child(own: &Limits) -> Limits {
    let usual = Limits::default().resolve(BackendName::Process).message;
    let message = own.resolve(BackendName::Component).message.max(usual).saturating_add(WRAPPING);
    Limits { message: Some(message), ..Limits::default() }
}

#[async_trait]
impl Backend for Isolating {
    fn name(&self) -> BackendName {
        BackendName::Component
    }

    async fn launch_provider(&self, spec: PluginSpec) -> Result<Arc<dyn Provider>, LaunchError> {
        let Some(shim) = self.shim(&spec) else { return self.component.launch_provider(spec).await };
        let apart = self.apart(shim, spec, Kind::Provider).await?;
        self.process.launch_provider(apart.spec.clone()).await
    }

    async fn launch_auth_handler(&self, spec: PluginSpec) -> Result<Arc<dyn AuthHandler>, LaunchError> {
        let Some(shim) = self.shim(&spec) else { return self.component.launch_auth_handler(spec).await };
        let apart = self.apart(shim, spec, Kind::AuthHandler).await?;
        self.process.launch_auth_handler(apart.spec.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use portcullis_contract::Resolved;

    use super::*;

    fn check(own: Limits, message: u64) {
        let expected = Limits::default().resolve(BackendName::Process);
        let found = limits_of_child(&own).resolve(BackendName::Process);
        assert_eq!(found, Resolved { message, ..expected }, "{own:?}");
    }

    #[test]
    fn what_a_killed_host_left_is_removed_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let aged = |path: &Path| {
            let long_ago = SystemTime::now() - Duration::from_secs(3600);
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let living = Directory::create(base.path()).unwrap();
        let [dead, newborn, stranger] = ["portcullis-apart-dead", "portcullis-apart-newborn", "stranger"]
            .map(|name| {
                let path = base.path().join(name);
                std::fs::create_dir(&path).unwrap();
                std::fs::write(path.join("plugin"), "a program").unwrap();
                path
            });
        for old in [living.made.path(), &dead, &stranger] {
            aged(old);
        }
        let next = Directory::create(base.path()).unwrap();

        assert!(!dead.exists());
        assert!([living.made.path(), next.made.path(), &newborn, &stranger].iter().all(|path| path.exists()));
        drop((living, next));
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 2);
    }

    #[test]
    fn nobody_else_may_read_what_a_component_was_made_into() {
        let base = tempfile::tempdir().unwrap();
        let directory = Directory::create(base.path()).unwrap();
        let about = directory.made.path().metadata().unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o700);
    }

    /// Mounting with `noexec` takes root. A file that is not executable is refused in the same way.
    #[test]
    fn where_no_program_can_be_run_another_directory_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("plugin");
        std::fs::write(&program, "a program").unwrap();
        let error = check_that_it_runs(&program).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with(&program.display().to_string()), "{error}");
        assert!(error.to_string().contains("`TMPDIR`"), "{error}");
    }

    #[test]
    fn a_child_is_held_to_nothing_and_takes_what_its_component_does() {
        let message = |message| Limits { message: Some(message), ..Limits::default() };
        check(message(128 << 20), 129 << 20);
        check(message(1 << 10), 65 << 20);
        let cpu = Some(Duration::from_secs(1));
        let (memory, one) = (Some(1 << 20), Some(1));
        check(Limits { memory, cpu, handles: one, concurrency: one, ..Limits::default() }, 65 << 20);
    }
}
