//! The policy: a file in which a person says what each plugin may touch, how much it may use, and its settings.
//!
//! The digests in a table, and nothing else, decide to which files it applies; its name is a label for people. A
//! plugin that no table names gets the default, which grants nothing. A policy is read as a whole or not at all: an
//! unknown key is an error, because a misspelled grant or limit must not be dropped silently.
//!
//! [`Policy`] only answers questions. The host, the backends and [`host::services`](crate::host::services) act on the
//! answers.

mod amounts;
mod read;
mod sentences;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_contract::{Digest, Grants, Limits, NamePattern, RunAs, SecretGrant, Settings};
use rustix::fs::OFlags;
use thiserror::Error;

pub use sentences::{Line, sentences};

/// The variable by which an environment takes grants from a wrapped component.
pub const DENY: &str = "PORTCULLIS_DENY";
/// Begins the names of those by which it lowers limits, of a wrapped component or a native plugin that heeds them.
pub const LIMIT: &str = "PORTCULLIS_LIMIT_";

/// In bytes. A guess; a policy that large would name more plugins than anybody has.
const LARGEST_FILE: u64 = 4 << 20;

/// What a policy file says. The default is the empty policy, which grants nothing to anyone.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    plugins: Vec<PluginPolicy>,
    by_digest: HashMap<Digest, usize>,
    trusted_dirs: Vec<PathBuf>,
}

/// What a policy has for one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginPolicy {
    /// The name of its table, which is a label for people.
    pub label: String,
    /// The files that it applies to, one for each platform.
    pub digests: Vec<Digest>,
    /// What the plugin may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// How it is run.
    pub run_as: RunAs,
    /// Its settings.
    pub settings: Settings,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// Relative paths in it start at the directory of the file. A file that everybody may write to is refused.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, or everything that is wrong with what it says.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
        // A pipe would make us wait for whoever writes to it, if anybody does.
        let mut options = File::options();
        let options = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if about.file_type().is_fifo() {
            return Err(unreadable(io::Error::other("it is a pipe; write the policy to a file")));
        }
        if about.is_file() && about.mode() & 0o002 != 0 {
            return Err(PolicyError::Exposed { path: path.to_owned(), mode: about.mode() & 0o7777 });
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(unreadable(io::Error::other(format!("it is larger than {LARGEST_FILE} bytes"))));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text, path),
            Err(error) => Err(PolicyError::Invalid(read::no_text(error.as_bytes(), path))),
        }
    }

    /// Reads the text of a policy. `file` is where it came from: errors name it, and relative paths
    /// start in its directory. Opens nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the text.
    pub fn parse(text: &str, file: &Path) -> Result<Self, PolicyError> {
        let whole = std::path::absolute(file)
            .map_err(|source| PolicyError::Unreadable { path: file.to_owned(), source })?;
        let base = whole.parent().unwrap_or(Path::new("/"));
        read::read(text, file, base).map_err(PolicyError::Invalid)
    }

    /// Returns what the policy has for the plugin whose file has that digest.
    #[must_use]
    pub fn for_digest(&self, digest: &Digest) -> Option<&PluginPolicy> {
        self.by_digest.get(digest).and_then(|at| self.plugins.get(*at))
    }

    /// Returns the entries of all plugins, in the order of their labels.
    #[must_use]
    pub fn plugins(&self) -> &[PluginPolicy] {
        &self.plugins
    }

    /// Returns the labels of all entries.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        self.plugins.iter().map(|plugin| plugin.label.clone()).collect()
    }

    /// Returns the directories whose native programs may be started only to find out what they offer.
    #[must_use]
    pub fn trusted_dirs(&self) -> &[PathBuf] {
        &self.trusted_dirs
    }
}

/// Returns the grant of every secret of a store: what naming a secrets file for a run means, and never
/// a default.
#[must_use]
pub fn every_secret() -> SecretGrant {
    let all: NamePattern = "*".parse().expect("a star is a pattern");
    SecretGrant { read: vec![all.clone()], write: vec![all] }
}

/// Reads a size as a policy writes it: `64MiB`.
///
/// # Errors
///
/// Why it is not a size, in a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    amounts::size(text)
}

/// Reads a duration as a policy writes it: `30s`.
///
/// # Errors
///
/// Why it is not a duration, in a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    amounts::duration(text)
}

/// Why a policy cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody may write the file, and so could grant themselves anything.
    #[error(
        "the policy {path} can be written by everybody (mode {mode:04o}); run: chmod o-w {path}",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text of the file is not a valid policy.
    #[error("{0}")]
    Invalid(Problems),
}

/// Everything that is wrong with a policy, in the order of the text. Shown one to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// The first of them; never empty.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Problem { line, column, text }) in self.problems.iter().enumerate() {
            let before = if at == 0 { "" } else { "\n" };
            write!(f, "{before}{}:{line}:{column}: {text}", self.path.display())?;
        }
        if self.more > 0 {
            write!(f, "\n{}: and {} more", self.path.display(), self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
