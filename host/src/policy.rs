//! The policy: a file in which a person says what each plugin may touch, how much it may use, and what it is told.
//!
//! What a table applies to is decided by the digests in it and by nothing else; its name is a label
//! for people. What no table names gets the default, which grants nothing. A policy is read as a
//! whole or not at all: an unknown key is an error, because a grant or a limit that was misspelled
//! and silently dropped is worse than none.
//!
//! [`Policy`] only answers questions. What the answers lead to is the business of the host, of the
//! backends and of [`host::services`](crate::host::services).

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

/// In bytes. A guess; a policy that large would name more plugins than anybody has.
const LARGEST_FILE: u64 = 4 << 20;

/// What a policy file says. The default is the empty policy, which grants nothing to anyone.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    plugins: Vec<PluginPolicy>,
    by_digest: HashMap<Digest, usize>,
    trusted_dirs: Vec<PathBuf>,
}

/// What a policy says of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginPolicy {
    /// What people call it: the name of its table.
    pub label: String,
    /// The files that it applies to, one for each platform.
    pub digests: Vec<Digest>,
    /// What the plugin may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// How it is run.
    pub run_as: RunAs,
    /// What it is told before it is called.
    pub settings: Settings,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// Relative paths in it start where the file is. A file that everybody may write is refused.
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

    /// Returns what is said of the plugin whose file has that digest.
    #[must_use]
    pub fn for_digest(&self, digest: &Digest) -> Option<&PluginPolicy> {
        self.by_digest.get(digest).and_then(|at| self.plugins.get(*at))
    }

    /// Returns everything that is said of plugins, in the order of their labels.
    #[must_use]
    pub fn plugins(&self) -> &[PluginPolicy] {
        &self.plugins
    }

    /// Returns the directories in which any native file may be started to be described.
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
/// Why it is none, in a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    amounts::size(text)
}

/// Reads a duration as a policy writes it: `30s`.
///
/// # Errors
///
/// Why it is none, in a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    amounts::duration(text)
}

/// Why there is no policy.
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
    /// The file says something that cannot be.
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
