//! The backends of this build.
//!
//! Only this file and `apart` below it name them. Everywhere else a backend is a `dyn Backend`.

use std::error::Error;
use std::sync::Arc;

use portcullis_contract::{Backend, BackendName};

#[cfg(all(feature = "process", feature = "compile"))]
mod apart;

#[cfg(all(feature = "process", feature = "compile"))]
pub use apart::ShimSource;

/// The options of the backends of this build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The options of all child processes.
    #[cfg(feature = "process")]
    pub process: crate::process::ProcessOptions,
    /// The options of all components.
    #[cfg(feature = "component")]
    pub component: crate::component::ComponentOptions,
    /// The shim that runs components in processes of their own. Without it, those that are to run so do not.
    #[cfg(all(feature = "process", feature = "compile"))]
    pub shim: Option<ShimSource>,
}

/// A backend could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the {backend} backend")]
pub struct SetupError {
    backend: BackendName,
    source: Box<dyn Error + Send + Sync>,
}

/// Returns every backend that was compiled in. None starts a plugin before it is asked to.
///
/// Hosts may share them, and many should: the component backend has a thread and, with the usual number of slots and
/// components of every size, takes a tebibyte of address space. A process has room for about a hundred of those.
///
/// # Errors
///
/// Which of them could not be set up, and why.
pub fn backends(options: Options) -> Result<Vec<Arc<dyn Backend>>, SetupError> {
    let Options {
        #[cfg(feature = "process")]
        process,
        #[cfg(feature = "component")]
        component,
        #[cfg(all(feature = "process", feature = "compile"))]
        shim,
    } = options;
    #[cfg(feature = "component")]
    let component = crate::component::ComponentBackend::new(component)
        .map_err(|error| SetupError { backend: BackendName::Component, source: error.into() })?;
    #[cfg(all(feature = "process", feature = "compile"))]
    let component = apart::Isolating::new(component, process.clone(), shim);
    Ok(vec![
        #[cfg(feature = "process")]
        Arc::new(crate::process::ProcessBackend::new(process)),
        #[cfg(feature = "component")]
        Arc::new(component),
    ])
}
