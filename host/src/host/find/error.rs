//! Why a plugin, or what it offers, was not found or cannot be used.

use std::path::PathBuf;

use portcullis_contract::{HandlerName, Kind, LaunchError, PluginName, visible_line, visible_list};
use thiserror::Error;

use super::super::UnusableFile;
use super::super::discover::{Candidate, DiscoverError};

/// Why a plugin or provider was not found, or cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// The directories could not be searched.
    #[error("failed to discover plugins")]
    Discover(#[source] DiscoverError),
    /// The directories could not be searched for auth handlers, all of which were to be started.
    #[error("failed to discover auth handler plugins")]
    DiscoverAuthHandlers(#[source] DiscoverError),
    /// Nobody offers it.
    #[error("provider {name:?} not found{}", left_out_text(left_out))]
    NotFound {
        /// What was wanted.
        name: String,
        /// Native programs that were not started to find out what they offer.
        left_out: Vec<PathBuf>,
        /// The directories that were searched; `None` where a file was named.
        searched: Option<Vec<PathBuf>>,
    },
    /// Nobody offers an auth handler of the name.
    #[error("auth handler not found: {name}{}", left_out_text(left_out))]
    NoHandler {
        /// What was wanted.
        name: String,
        /// The auth handlers that there are.
        known: Vec<HandlerName>,
        /// Native programs that nobody asked what they offer.
        left_out: Vec<PathBuf>,
        /// The directories that were searched; `None` where a file was named.
        searched: Option<Vec<PathBuf>>,
    },
    /// The plugin that was meant offers other providers.
    #[error("{plugin} offers no provider {name:?} that can be used, but {}", names.join(", "))]
    NotOffered {
        /// The plugin.
        plugin: PluginName,
        /// What was wanted.
        name: String,
        /// What it offers.
        names: Vec<String>,
    },
    /// The plugin offers several, and none was named.
    #[error("{plugin} offers several {}: {}; name one of them", plural(*kind), names.join(", "))]
    Ambiguous {
        /// The plugin.
        plugin: PluginName,
        /// What for.
        kind: Kind,
        /// What it offers.
        names: Vec<String>,
    },
    /// The file can never be a plugin.
    #[error(transparent)]
    Unusable(#[from] UnusableFile),
    /// The file cannot be read.
    #[error("cannot read {}", visible_line(&path.display().to_string()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The plugin runs, and offers nothing that can be used.
    #[error("plugin {} offers no {} that can be used: {reason}", visible_line(plugin.as_str()), singular(*kind))]
    Useless {
        /// The plugin.
        plugin: PluginName,
        /// What for.
        kind: Kind,
        /// Why, for each.
        reason: String,
    },
    /// The plugin advertises the provider, and cannot say what it is like.
    #[error("plugin {} cannot describe its provider {name:?}: {reason}", visible_line(plugin.as_str()))]
    Undescribed {
        /// The plugin.
        plugin: PluginName,
        /// The provider.
        name: String,
        /// Why.
        reason: String,
    },
    /// The host is being stopped.
    #[error("the host is shut down")]
    Stopping,
    /// It did not start.
    #[error("plugin {}", visible_line(file.name.as_str()))]
    Launch {
        /// The plugin's file.
        file: Box<Candidate>,
        /// Why.
        #[source]
        source: LaunchError,
    },
}

impl FindError {
    /// Says why the plugin in a file did not start.
    pub(in super::super) fn launch(file: &Candidate, source: LaunchError) -> Self {
        Self::Launch { file: Box::new(file.clone()), source }
    }

    /// Says that nobody offers something of that kind, which auth handlers there are, which programs were not asked, and
    /// which directories were searched.
    pub(in super::super) fn nobody(
        kind: Kind,
        name: &str,
        known: Vec<HandlerName>,
        left_out: Vec<PathBuf>,
        searched: Option<Vec<PathBuf>>,
    ) -> Self {
        let name = name.to_owned();
        match kind {
            Kind::Provider => Self::NotFound { name, left_out, searched },
            Kind::AuthHandler => Self::NoHandler { name, known, left_out, searched },
        }
    }
}

fn left_out_text(left_out: &[PathBuf]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let paths = visible_list(left_out.iter().map(|path| path.display()));
    format!(" (not started to be asked, for want of --describe: {paths})")
}

fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Provider => "provider",
        Kind::AuthHandler => "auth handler",
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Provider => "providers",
        Kind::AuthHandler => "auth handlers",
    }
}
