//! The shim: the program that stands before a component in a wrapped file.
//!
//! This command carries one, if it was built with it. A person may name another, which is then trusted as this
//! one would be: what is wrapped with it is believed when plugins are listed.

use std::borrow::Cow;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use portcullis::component::FINGERPRINT;
use portcullis::{ShimSource, open_regular};
use portcullis_bundle::{Bundle, Mark};

use crate::Session;

/// The shim in this command.
#[cfg(carries_shim)]
const CARRIED: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/shim")));
#[cfg(not(carries_shim))]
const CARRIED: Option<&[u8]> = None;

/// A shim that components can be wrapped with.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) program: Cow<'static, [u8]>,
    /// Whether components that import wasi:http run in it.
    pub(crate) http: bool,
}

/// A guess: many times what a shim with everything in it takes. A larger one would not be read.
const LARGEST: u64 = 256 << 20;

/// What to say when there is none.
const NOT_CARRIED: &str = "this build of portcullis carries no shim, the program that a wrapped component runs in; \
                           build one by itself (cargo build --profile shim -p portcullis-shim --target-dir target/shim) \
                           and name it in PORTCULLIS_SHIM";

/// Returns the shim to wrap with.
pub(crate) fn find(session: &Session) -> anyhow::Result<Shim> {
    find_named(session.environment.shim.as_deref())
}

fn find_named(named: Option<&Path>) -> anyhow::Result<Shim> {
    let program = match (named, CARRIED) {
        (Some(path), _) => {
            let program = read(path).with_context(|| format!("PORTCULLIS_SHIM: {}", path.display()))?;
            Cow::Owned(program)
        }
        (None, Some(carried)) => Cow::Borrowed(carried),
        (None, None) => bail!(NOT_CARRIED),
    };
    let Some(Mark { engine, http }) = Mark::find(&program) else {
        match named {
            Some(path) => {
                bail!(
                    "PORTCULLIS_SHIM: {} is no shim of portcullis, or one of another version",
                    path.display()
                )
            }
            None => bail!(NOT_CARRIED),
        }
    };
    if engine != FINGERPRINT {
        bail!(
            "the shim was built for {engine:?}, and this command compiles for {FINGERPRINT:?}; build both anew"
        );
    }
    Ok(Shim { program, http })
}

/// Reads the shim that a person names.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let about = file.metadata()?;
    if about.len() > LARGEST {
        bail!("it is larger than {} MiB", LARGEST >> 20);
    }
    let mut program = Vec::new();
    // What grows meanwhile is not followed.
    (&file).take(about.len()).read_to_end(&mut program)?;
    if !matches!(Bundle::read(&file), Ok(None)) {
        bail!("it is a wrapped component, and no bare shim");
    }
    Ok(program)
}

/// Returns where the shim comes from for components that are to have a process of their own.
pub(crate) fn source(session: &Session) -> ShimSource {
    let named = session.environment.shim.clone();
    ShimSource::new(move || {
        let shim = find_named(named.as_deref());
        shim.map(|shim| shim.program.into_owned())
            .map_err(|error| std::io::Error::other(format!("{error:#}")))
    })
}
