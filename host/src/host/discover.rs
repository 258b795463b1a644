//! Directories to candidates: which files may be plugins, and of which sort.
//!
//! A file is told by its first bytes, never by its name (DESIGN of the house: looking is not
//! running). Nothing here starts anything or reads more of a file than its head; who may be started,
//! and when, is for [`Host`](super::Host) to decide.

use std::io;
use std::path::PathBuf;

use portcullis_contract::{BackendName, PluginName};
use thiserror::Error;

/// A file that may be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// What the plugin is called: the file's name without its last extension.
    pub name: PluginName,
    /// What would run it.
    pub backend: BackendName,
}

/// Why the directories could not be looked through.
#[derive(Debug, Error)]
pub enum DiscoverError {
    /// There is something, and it does not say what.
    #[error("failed to stat plugin directory {}", dir.display())]
    Stat {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not tell what lies in it.
    #[error("failed to read plugin directory {}", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
