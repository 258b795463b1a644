//! Why a plugin was not found or a run failed, in upstream's sentences and exit codes.
//!
//! Names that others chose, of files or of what plugins offer, stand within these sentences and never begin a line.

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use portcullis::host::{FailedCall, FindError, RunError};
use portcullis::open_regular;
use portcullis_bundle::Bundle;
use portcullis_contract::{
    Amount, BackendName, CallError, Kind, LaunchError, LimitHit, LimitName, PluginInfo, quoted, visible_line,
    visible_list,
};

use crate::exit::{Exit, Failure};
use crate::{describe, progress};

/// What is wrong where nothing can be found.
pub(crate) const NO_DIRECTORY: &str =
    "no directory to look in; name one with --plugin-dir or PORTCULLIS_PLUGIN_DIR";

/// Returns how the command ends when something was not found or cannot be used.
pub(crate) fn find(error: FindError) -> Failure {
    match error {
        FindError::NotFound { name, left_out, searched } => {
            let mut text = format!(
                "provider {} not found (use 'portcullis list' to list available providers)",
                quoted(&name)
            );
            if Path::new(&name).is_file() {
                text += &format!("; there is a file of that name: to mean it, write ./{name}");
            }
            text += &left_out_text("; ", &left_out);
            text += &nowhere_text(searched.as_deref());
            Failure { exit: Exit::NotFound, problem: anyhow!(text) }
        }
        FindError::Launch { source: LaunchError::Unreadable { ref source, .. }, .. }
            if source.kind() == ErrorKind::NotFound =>
        {
            Failure { exit: Exit::NotFound, problem: error.into() }
        }
        // Upstream takes the name of a handler for an input like any other.
        FindError::NoHandler { name, known, left_out, searched } => {
            let mut text = match known.as_slice() {
                [] => format!("unknown auth handler: {name} (no handlers registered)"),
                known => format!("unknown auth handler: {name} (registered: [{}])", joined(known, " ")),
            };
            text += &left_out_text("; ", &left_out);
            text += &nowhere_text(searched.as_deref());
            Failure { exit: Exit::InvalidInput, problem: anyhow!(text) }
        }
        FindError::NotOffered { plugin, name, names } => {
            let plugin = visible_line(plugin.as_str());
            let problem = anyhow!(
                "{plugin} offers no provider {} that can be used, but {}",
                quoted(&name),
                listed(&names)
            );
            Failure { exit: Exit::NotFound, problem }
        }
        FindError::Ambiguous { plugin, kind, names } => {
            let (all, option) = match kind {
                Kind::Provider => ("providers", "--provider"),
                Kind::AuthHandler => ("auth handlers", "--handler"),
            };
            let plugin = visible_line(plugin.as_str());
            let problem =
                anyhow!("{plugin} offers several {all}: {}; choose one with {option}", listed(&names));
            Failure { exit: Exit::InvalidInput, problem }
        }
        FindError::Launch { ref file, source: LaunchError::OtherKind { wanted } } => {
            let (what, instead) = match wanted {
                Kind::Provider => {
                    ("provider", "if it is an auth handler, log in with it by 'portcullis auth login'")
                }
                Kind::AuthHandler => ("auth handler", "if it is a provider, execute it by 'portcullis run'"),
            };
            let plugin = visible_line(file.name.as_str());
            let problem = anyhow!("plugin {plugin} is no {what}; {instead}");
            Failure { exit: Exit::Failed, problem }
        }
        // Upstream's code for a file that "was not found or could not be parsed".
        FindError::Discover(_)
        | FindError::DiscoverAuthHandlers(_)
        | FindError::Unreadable { .. }
        | FindError::Unusable(_) => Failure { exit: Exit::NotFound, problem: error.into() },
        other => limited(other.into(), None).into(),
    }
}

/// Returns `before` and which programs were not asked, or nothing if there are none.
pub(crate) fn left_out_text(before: &str, left_out: &[PathBuf]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let files = visible_list(left_out.iter().map(|path| path.display()));
    format!(
        "{before}nobody knows what these native plugins offer, and --describe would start them to ask: {files}"
    )
}

/// Says which of the directories that were searched there are not.
fn nowhere_text(searched: Option<&[PathBuf]>) -> String {
    let Some(searched) = searched else { return String::new() };
    let missing: Vec<_> = searched.iter().filter(|dir| !dir.is_dir()).map(|dir| dir.display()).collect();
    match (searched, &missing[..]) {
        ([], _) => format!("; {NO_DIRECTORY}"),
        (_, []) => String::new(),
        (_, missing) => format!("; there is no directory {}", listed(missing)),
    }
}

/// Joins names that others chose.
fn listed(names: &[impl ToString]) -> String {
    joined(names, ", ")
}

fn joined(names: &[impl ToString], between: &str) -> String {
    let names: Vec<_> = names.iter().map(|name| visible_line(&name.to_string())).collect();
    names.join(between)
}

/// Returns how the command ends when a run gave no result.
pub(crate) fn run(error: RunError) -> Failure {
    let exit = match error {
        RunError::Find(error) => return find(error),
        RunError::Request(_) => Exit::InvalidInput,
        RunError::TimedOut { .. } => Exit::TimedOut,
        _ => Exit::Failed,
    };
    let problem = limited(error.into(), None);
    if exit == Exit::TimedOut && progress::is_unfinished() {
        // The next try begins anew: with as little time it never ends.
        let problem = anyhow!(
            "{problem:#}; its component was being compiled, which happens once and may take a minute: give it a longer \
             --timeout"
        );
        return Failure { exit, problem };
    }
    Failure { exit, problem }
}

/// Adds to an error about a limit where to raise it: the defaults are too low for some plugins. Which plugin it
/// was the error of a run or a start says itself.
pub(crate) fn limited(problem: anyhow::Error, plugin: Option<&PluginInfo>) -> anyhow::Error {
    let reached = |cause: &(dyn Error + 'static)| match cause.downcast_ref::<CallError>() {
        Some(CallError::Limit(LimitHit { which, allowed, .. })) => Some((*which, *allowed)),
        _ => None,
    };
    let Some((which, allowed)) = problem.chain().find_map(reached) else { return problem };
    let named = problem.chain().find_map(file_of).or(plugin.map(of_plugin));
    let native = named.filter(|(backend, _)| *backend == BackendName::Process).map(|(_, path)| path);
    anyhow!("{problem:#}; {}", more(which, allowed, native))
}

/// Returns the file of the plugin that an error names, and what runs it.
fn file_of<'e>(cause: &'e (dyn Error + 'static)) -> Option<(BackendName, &'e Path)> {
    if let Some(FailedCall { plugin, .. }) = cause.downcast_ref::<FailedCall>() {
        return Some(of_plugin(plugin));
    }
    match cause.downcast_ref::<FindError>() {
        Some(FindError::Launch { file, .. }) => Some((file.backend, file.path.as_path())),
        _ => None,
    }
}

fn of_plugin(plugin: &PluginInfo) -> (BackendName, &Path) {
    (plugin.backend, plugin.path.as_path())
}

/// Says where a limit can be raised. A native plugin may have reached one of its own; the file of a wrapped one says
/// which it has.
fn more(which: LimitName, allowed: Amount, native: Option<&Path>) -> String {
    let policy = format!("a policy can allow more: {which}, in [plugin.NAME.limits]");
    let Some(file) = native.and_then(|path| open_regular(path).ok()) else { return policy };
    match Bundle::read(&file) {
        Ok(Some(wrapped)) => {
            let own = describe::limits(&wrapped.manifest().limits.resolve(BackendName::Component));
            let which = which.to_string();
            if own.get(which.as_str()) == Some(&allowed.to_string()) {
                return format!("the limit is part of its file; wrap it again, and {policy}");
            }
            format!("{policy}, unless the limit is that of PORTCULLIS_LIMIT_{}", which.to_uppercase())
        }
        Ok(None) | Err(_) => format!("{policy}, unless the limit is the plugin's own"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis::host::discover::Candidate;
    use portcullis::host::{ExecuteError, UnusableFile};
    use portcullis_contract::{Digest, PluginName, Refusal};

    use super::*;

    fn failed(error: CallError, backend: BackendName, path: PathBuf) -> RunError {
        let (name, kind, digest) = (PluginName::new("echo"), Kind::Provider, Digest::from_sha256([0; 32]));
        let plugin = Box::new(PluginInfo { name, kind, backend, path, digest });
        let took = Duration::ZERO;
        let call = FailedCall { provider: "echo".to_owned(), plugin, error, took };
        RunError::Execution(ExecuteError::Call(call))
    }

    fn file(name: &str) -> Box<Candidate> {
        let (path, name, backend) = (PathBuf::from(name), PluginName::new(name), BackendName::Component);
        Box::new(Candidate { path, name, backend })
    }

    fn check(error: RunError, exit: Exit, text: &str) {
        let Failure { exit: found, problem } = run(error);
        assert_eq!((found, crate::exit::chain(&problem).as_str()), (exit, text));
    }

    #[test]
    fn every_failure_has_upstreams_code() {
        check(
            RunError::Find(FindError::NotFound {
                name: "nosuch".to_owned(),
                left_out: vec![],
                searched: None,
            }),
            Exit::NotFound,
            "provider \"nosuch\" not found (use 'portcullis list' to list available providers)",
        );
        check(
            RunError::Find(FindError::NotFound {
                name: "nosuch".to_owned(),
                left_out: vec!["d/x".into()],
                searched: Some(vec!["/".into()]),
            }),
            Exit::NotFound,
            "provider \"nosuch\" not found (use 'portcullis list' to list available providers); nobody knows what \
             these native plugins offer, and --describe would start them to ask: d/x",
        );
        let nowhere = |searched: &[&str]| FindError::NotFound {
            name: "nosuch".to_owned(),
            left_out: vec![],
            searched: Some(searched.iter().map(PathBuf::from).collect()),
        };
        check(
            RunError::Find(nowhere(&[])),
            Exit::NotFound,
            "provider \"nosuch\" not found (use 'portcullis list' to list available providers); no directory to look \
             in; name one with --plugin-dir or PORTCULLIS_PLUGIN_DIR",
        );
        check(
            RunError::Find(nowhere(&["/", "/no/where"])),
            Exit::NotFound,
            "provider \"nosuch\" not found (use 'portcullis list' to list available providers); there is no directory \
             /no/where",
        );
        let names = vec!["one\nlogged in".to_owned(), "two".to_owned()];
        let several =
            FindError::Ambiguous { plugin: PluginName::new("p\u{1b}"), kind: Kind::Provider, names };
        check(RunError::Find(several), Exit::InvalidInput, {
            "p\\u{1b} offers several providers: one\\nlogged in, two; choose one with --provider"
        });
        check(RunError::Request("no".to_owned()), Exit::InvalidInput, "no");
        let refused = CallError::Refused(Refusal::new("no"));
        check(
            failed(refused, BackendName::Component, PathBuf::new()),
            Exit::Failed,
            "provider execution failed: provider execution failed: echo: provider execution failed: no",
        );
        let [asked, allowed] = [65, 64].map(|mib| Amount::Bytes(mib << 20));
        let limit = || CallError::Limit(LimitHit { which: LimitName::Memory, asked, allowed });
        check(
            failed(limit(), BackendName::Component, PathBuf::new()),
            Exit::Failed,
            "provider execution failed: provider execution failed: echo: limit memory reached: asked 65MiB, allowed \
             64MiB; a policy can allow more: memory, in [plugin.NAME.limits]",
        );
        let native = std::env::current_exe().unwrap();
        check(
            failed(limit(), BackendName::Process, native),
            Exit::Failed,
            "provider execution failed: provider execution failed: echo: limit memory reached: asked 65MiB, allowed \
             64MiB; a policy can allow more: memory, in [plugin.NAME.limits], unless the limit is the plugin's own",
        );
        let source = LaunchError::failed(limit());
        check(
            RunError::Find(FindError::Launch { file: file("p"), source }),
            Exit::Failed,
            "plugin p: did not start: limit memory reached: asked 65MiB, allowed 64MiB; a policy can allow more: memory, \
             in [plugin.NAME.limits]",
        );
        let limit = Duration::from_secs(1);
        check(RunError::TimedOut { limit }, Exit::TimedOut, "no answer within 1s");
    }

    #[test]
    fn a_file_that_is_not_there_is_not_found() {
        let source = LaunchError::Unreadable { path: "x".into(), source: ErrorKind::NotFound.into() };
        let error = FindError::Launch { file: file("x"), source };
        assert_eq!(find(error).exit, Exit::NotFound);
    }

    #[test]
    fn a_name_with_a_line_break_in_it_begins_no_line() {
        let name = "x\nforged";
        let (plugin, path, digest) =
            (PluginName::new(name), PathBuf::from(name), Digest::from_sha256([0; 32]));
        let gone = || std::io::Error::from(ErrorKind::PermissionDenied);
        let launch = |source| FindError::Launch { file: file(name), source };
        for error in [
            launch(LaunchError::OtherKind { wanted: Kind::Provider }),
            launch(LaunchError::failed(CallError::Gone)),
            launch(LaunchError::Unreadable { path: path.clone(), source: gone() }),
            launch(LaunchError::Changed { path: path.clone(), expected: digest, found: digest }),
            UnusableFile { path: path.clone(), reason: "it is empty".to_owned() }.into(),
            FindError::Unreadable { path: path.clone(), source: gone() },
            FindError::Useless {
                plugin: plugin.clone(),
                kind: Kind::Provider,
                reason: "it names none".to_owned(),
            },
        ] {
            let told = format!("{:#}", find(error).problem);
            assert!(told.contains("x\\nforged") && !told.contains('\n'), "{told}");
        }
    }
}
