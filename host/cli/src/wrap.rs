//! `portcullis wrap`: a component becomes a native plugin.
//!
//! It is compiled here, in the worker and the cache of every run, and asked in its sandbox what it offers. Both are
//! written behind the shim with what the policy says of it, so that whoever gets the file needs nothing else.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use indicatif::HumanBytes;
use portcullis::Host;
use portcullis::component::{ComponentBackend, FINGERPRINT, Precompiled};
use portcullis::host::discover::{self, Candidate, plugin_name};
use portcullis::host::{Describe, FindError, Listed, Offers, Wanted};
use portcullis_bundle::{Bundle, Durability, Existing, Manifest, Parts, WriteError, write};
use portcullis_contract::{BackendName, visible_line};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::output::complain_or_end;
use crate::setup::{Personal, PluginArgs};
use crate::signals::Signals;
use crate::{Session, ending, errors, setup, shim, wrapped};

/// Options of `wrap`.
#[derive(Args, Debug)]
pub(crate) struct WrapArgs {
    /// The component
    #[arg(value_name = "FILE")]
    component: PathBuf,

    /// File whose table for this component says what it may touch, and how much it may use; without one nothing is
    /// granted, and the usual limits hold
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The file to write (default: scafctl-plugin- and the name of the component's file)
    #[arg(short, long, value_name = "NAME")]
    output: Option<PathBuf>,

    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub(crate) async fn main(session: &Session, args: WrapArgs, signals: &mut Signals) -> Result<Exit, Failure> {
    let WrapArgs { component, policy, output, force } = args;
    let output = output.unwrap_or_else(|| format!("scafctl-plugin-{}", plugin_name(&component)).into());
    if output == Path::new("-") {
        let problem =
            anyhow!("-o -: a plugin is written to a file and not to stdout; ./- is a file of that name");
        return Err(problem).or_exit(Exit::InvalidInput);
    }
    let existing = if force { Existing::Replace } else { Existing::Keep };
    check_component(&component)?;
    check_output(&component, &output, existing)?;
    let shim = shim::find(session)?;

    let host = setup::host(session, &PluginArgs::of_policy(policy.clone()), &Personal::default())?;
    let backend = ComponentBackend::new(setup::backends(session).component)?;
    signals.listen()?;
    // Dropping it ends the compile worker and the component.
    let (compiled, listed) = match ending::after(look(&host, &backend, &component), &host, signals).await {
        Ok(looked) => looked?,
        Err(exit) => return Ok(exit),
    };
    if !shim.http && compiled.imports.iter().any(|import| import.starts_with("wasi:http/")) {
        return Err(anyhow!("the component imports wasi:http, and the shim was built without HTTP").into());
    }
    let manifest = manifest(&component, &compiled, &listed, policy.as_deref())?;

    // Runs to its end despite signals: it takes a moment, and only then cleans up after itself.
    let written = tokio::task::spawn_blocking(move || {
        let parts = Parts { program: &shim.program, image: &compiled.image, manifest: &manifest };
        let fingerprint = write(&output, &parts, existing, Durability::Lasting)?.fingerprint;
        let length = output.metadata().map(|meta| meta.len()).unwrap_or_default();
        Ok((output, length, fingerprint))
    });
    let (output, length, fingerprint) = written.await?.map_err(write_failed)?;
    if let Err(error) = wrapped::remember(session, fingerprint) {
        tracing::warn!("`list` will not know that the file was wrapped here: {error}");
    }
    let told = match session.quiet {
        true => String::new(),
        false => {
            format!("wrote {} ({})\n", visible_line(&output.display().to_string()), HumanBytes(length))
        }
    };
    Ok(complain_or_end(told, signals).await.unwrap_or(Exit::Done))
}

/// Refuses what is no component, without reading all of it.
fn check_component(path: &Path) -> Result<(), Failure> {
    let candidate = discover::examine(path).map_err(|unusable| errors::find(unusable.into()))?;
    if candidate.backend == BackendName::Component {
        return Ok(());
    }
    let is_wrapped = File::open(path).is_ok_and(|file| matches!(Bundle::read(&file), Ok(Some(_)) | Err(_)));
    let what = if is_wrapped {
        "wrapped already; name the component that it was made of"
    } else {
        "a native program; only components are wrapped"
    };
    Err(anyhow!("{}: {what}", path.display())).or_exit(Exit::InvalidInput)
}

/// Refuses early what would be refused at the end.
fn check_output(component: &Path, output: &Path, existing: Existing) -> Result<(), Failure> {
    let directory = directory_of(output);
    let cannot_write = || format!("cannot write {}", output.display());
    let about = directory.metadata().with_context(|| format!("the directory {}", directory.display()));
    if !about.with_context(cannot_write)?.is_dir() {
        return Err(anyhow!("{}: {} is no directory", cannot_write(), directory.display()).into());
    }
    let Ok(there) = output.symlink_metadata() else { return Ok(()) };
    if !there.is_file() {
        return Err(write_failed(WriteError::NoFile { path: output.to_owned() }));
    }
    if existing == Existing::Keep {
        return Err(write_failed(WriteError::Exists { path: output.to_owned() }));
    }
    let same = component.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()));
    if same {
        return Err(anyhow!("{} is the component itself", output.display())).or_exit(Exit::InvalidInput);
    }
    Ok(())
}

/// Has a component compiled, and asks it what it offers.
async fn look(
    host: &Host,
    backend: &ComponentBackend,
    path: &Path,
) -> Result<(Precompiled, Listed), Failure> {
    let failed = |source| {
        let (path, name, backend) = (path.to_owned(), plugin_name(path), BackendName::Component);
        errors::find(FindError::Launch { file: Box::new(Candidate { path, name, backend }), source })
    };
    let compiled = backend.precompile(path, |_| Ok(())).await.map_err(failed)?;
    let wanted = Wanted::File(path.to_owned(), None);
    let listed = host.inspect(&wanted, Describe::Trusted).await.map_err(errors::find)?;
    if listed.digest != compiled.digest {
        return Err(anyhow!("{} changed while it was read", path.display()).into());
    }
    Ok((compiled, listed))
}

/// Says everything that the shim has to know.
fn manifest(
    path: &Path,
    compiled: &Precompiled,
    listed: &Listed,
    policy: Option<&Path>,
) -> Result<Manifest, Failure> {
    let said = &listed.settings;
    if let Some(policy) = policy
        && said.label.is_none()
    {
        let (policy, path, digest) = (policy.display(), path.display(), compiled.digest);
        let silent = anyhow!("{policy} says nothing of {path}; name it in a table: digests = [\"{digest}\"]");
        return Err(silent).or_exit(Exit::Configuration);
    }
    if !said.settings.is_empty() {
        tracing::warn!("the settings are not part of the file: its host sends its own");
    }
    let description = listed.description().map_err(|problem| anyhow!(problem));
    Ok(Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: plugin_name(path),
        kind: compiled.kind,
        component: compiled.digest,
        imports: compiled.imports.clone(),
        engine: FINGERPRINT.to_owned(),
        class: compiled.class,
        instances: said.run_as.instances,
        grants: said.grants.clone(),
        limits: said.limits.clone(),
        offers: offers(listed),
        description: description.with_context(|| format!("{} cannot be wrapped", path.display()))?,
    })
}

/// Returns what a plugin offers, each in a few words.
fn offers(listed: &Listed) -> Vec<String> {
    match &listed.offers {
        Offers::Providers(offers) => {
            let described = offers.iter().filter_map(|offer| offer.descriptor.as_ref().ok());
            described.map(|d| format!("{} {}", d.name, d.version).trim().to_owned()).collect()
        }
        Offers::AuthHandlers(offers) => offers.iter().map(|offer| offer.info.name.to_string()).collect(),
        Offers::NotYetDescribed | Offers::Failed(_) => Vec::new(),
    }
}

fn directory_of(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_failed(error: WriteError) -> Failure {
    match error {
        // An error without an OS code is about the temporary file, whose name nobody knows.
        WriteError::Unwritable { path, source } if source.raw_os_error().is_none() => {
            let directory = directory_of(&path).display();
            anyhow!("cannot write {}: the directory {directory}: {}", path.display(), source.kind()).into()
        }
        WriteError::Exists { .. } => {
            Failure { exit: Exit::InvalidInput, problem: anyhow!("{error}; --force replaces it") }
        }
        WriteError::NoFile { .. } => Failure { exit: Exit::InvalidInput, problem: error.into() },
        other => other.into(),
    }
}
