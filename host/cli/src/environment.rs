//! What the environment says: the only place that reads it.
//!
//! Everything else gets values. A variable that is empty counts as not set.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::path::{Path, PathBuf};

use crate::path;

/// What the environment says.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Where plugins are looked for when no option says so; `PORTCULLIS_PLUGIN_DIR`, separated like `PATH`.
    pub(crate) plugin_dirs: Vec<PathBuf>,
    /// For what can be made again: `PORTCULLIS_CACHE_DIR`, or `portcullis` in the user's cache directory.
    pub(crate) cache: Option<PathBuf>,
    /// For what cannot: `PORTCULLIS_DATA_DIR`, or `portcullis` in the user's data directory.
    pub(crate) data: Option<PathBuf>,
    /// The shim to wrap components with, instead of the one that this build carries: `PORTCULLIS_SHIM`.
    pub(crate) shim: Option<PathBuf>,
    /// How much is logged: `PORTCULLIS_LOG_LEVEL`, or `PORTCULLIS_DEBUG`.
    pub(crate) log_level: Option<String>,
    /// In which form: `PORTCULLIS_LOG_FORMAT`.
    pub(crate) log_format: Option<String>,
    /// Whether somebody asked for no colours: `NO_COLOR`.
    pub(crate) no_color: bool,
    /// Whether a person can be asked on stdin.
    pub(crate) stdin_is_terminal: bool,
    /// Whether a person reads what goes to stdout.
    pub(crate) stdout_is_terminal: bool,
    /// Whether a person reads what goes to stderr.
    pub(crate) stderr_is_terminal: bool,
    /// All variables: what plugins get is taken from them.
    pub(crate) variables: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Returns the value of a variable.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// Returns the directory that we are in, as `PWD` names it.
    pub(crate) fn here(&self) -> io::Result<PathBuf> {
        self.variable("PWD").map_or_else(std::env::current_dir, |pwd| Ok(pwd.into()))
    }

    /// Takes `PWD` away unless it names the directory that we are in. Plugins start there, and some believe it.
    pub(crate) fn correct_pwd(&mut self) {
        self.variables.retain(|(name, value)| name != "PWD" || path::leads_here(Path::new(value)));
    }

    /// Sets a variable for plugins that are started later.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.into(), value.into()));
    }

    /// Reads the environment of this process.
    pub(crate) fn read() -> Self {
        let mut environment = Self::from_variables(std::env::vars_os().collect());
        environment.stdin_is_terminal = stdin().is_terminal();
        environment.stdout_is_terminal = stdout().is_terminal();
        environment.stderr_is_terminal = stderr().is_terminal();
        environment
    }

    fn from_variables(mut variables: Vec<(OsString, OsString)>) -> Self {
        // Of one that is there twice every other program takes the first.
        let mut seen = HashSet::new();
        variables.retain(|(name, _)| seen.insert(name.clone()));
        let get = |name: &str| {
            variables.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value)
        };
        let text = |name: &str| get(name).and_then(|value| value.to_str()).map(str::to_owned);
        // The XDG rules have relative paths ignored.
        let absolute = |name: &str| get(name).map(Path::new).filter(|path| path.is_absolute());
        let directory = |own: &str, xdg: &str, below_home: &str| {
            get(own).map(PathBuf::from).or_else(|| {
                let base = absolute(xdg)
                    .map(Path::to_owned)
                    .or_else(|| absolute("HOME").map(|home| home.join(below_home)))?;
                Some(base.join("portcullis"))
            })
        };
        let debug = text("PORTCULLIS_DEBUG").filter(|value| value != "0" && value != "false");
        Self {
            plugin_dirs: get("PORTCULLIS_PLUGIN_DIR")
                .map(|paths| std::env::split_paths(paths).filter(|p| !p.as_os_str().is_empty()).collect())
                .unwrap_or_default(),
            cache: directory("PORTCULLIS_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
            data: directory("PORTCULLIS_DATA_DIR", "XDG_DATA_HOME", ".local/share"),
            shim: get("PORTCULLIS_SHIM").map(PathBuf::from),
            log_level: text("PORTCULLIS_LOG_LEVEL").or(debug.map(|_| "debug".to_owned())),
            log_format: text("PORTCULLIS_LOG_FORMAT"),
            no_color: get("NO_COLOR").is_some() || get("TERM").is_some_and(|term| term == "dumb"),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            variables,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::from_variables(variables.iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    fn check_cache(variables: &[(&str, &str)], expected: Option<&str>) {
        assert_eq!(environment(variables).cache.as_deref(), expected.map(Path::new), "{variables:?}");
    }

    #[test]
    fn directories_follow_xdg_and_can_be_named() {
        check_cache(&[], None);
        check_cache(&[("HOME", "/h")], Some("/h/.cache/portcullis"));
        check_cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")], Some("/c/portcullis"));
        check_cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")], Some("/h/.cache/portcullis"));
        check_cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")], Some("/h/.cache/portcullis"));
        check_cache(&[("HOME", "/h"), ("PORTCULLIS_CACHE_DIR", "c")], Some("c"));
    }

    #[test]
    fn of_a_variable_that_is_there_twice_the_first_counts() {
        let variables = environment(&[("A", "1"), ("B", "2"), ("A", "3")]).variables;
        assert_eq!(variables, [("A", "1"), ("B", "2")].map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn plugin_directories_are_separated_like_a_path() {
        let found = environment(&[("PORTCULLIS_PLUGIN_DIR", "/a::b")]).plugin_dirs;
        assert_eq!(found, [PathBuf::from("/a"), PathBuf::from("b")]);
    }

    #[test]
    fn the_log_level_has_two_names() {
        let level = |variables: &[(&str, &str)]| environment(variables).log_level;
        assert_eq!(level(&[]), None);
        assert_eq!(level(&[("PORTCULLIS_DEBUG", "1")]).as_deref(), Some("debug"));
        assert_eq!(level(&[("PORTCULLIS_DEBUG", "false")]), None);
        assert_eq!(
            level(&[("PORTCULLIS_DEBUG", "1"), ("PORTCULLIS_LOG_LEVEL", "info")]).as_deref(),
            Some("info")
        );
    }
}
