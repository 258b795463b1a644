//! What the program prints for a person who starts it by hand.
//!
//! Names, paths and variables are others' words: they stand within our lines and never begin one.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use portcullis::policy::{self, Line};
use portcullis_bundle::Manifest;
use portcullis_contract::{BackendName, InstanceReuse, Kind, RunAs, visible_line};

use crate::mark;
use crate::own::Own;

/// What somebody asks of the program, by its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What the program knows of itself.
    Known(Page),
    /// Whether the file is whole, for which all of it is read.
    Verify,
}

/// What can be printed without reading the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// What it is.
    Help,
    /// The versions of it and of portcullis.
    Version,
    /// What the component may touch.
    Policy,
}

impl Question {
    /// Reads an argument. Hosts may pass any; one that is not a question is ignored.
    pub(crate) fn parse(argument: &OsStr) -> Option<Self> {
        match argument.to_str()? {
            "--help" | "-h" => Some(Self::Known(Page::Help)),
            "--version" | "-V" => Some(Self::Known(Page::Version)),
            "--policy" => Some(Self::Known(Page::Policy)),
            "--verify" => Some(Self::Verify),
            _ => None,
        }
    }
}

/// Returns the text for a question.
pub(crate) fn answer(asked: Page, own: &Own, program: &str) -> String {
    match asked {
        Page::Help => help(own, program),
        Page::Version => version(own.manifest()),
        Page::Policy => may(own, ""),
    }
}

/// Returns the text that explains the program to somebody who is not its host. It begins as go-plugin's own plugins do.
///
/// A host of another kind, which starts every file to see whether it is a plugin of its own, gets only the first
/// sentences, because they end up in its log. It is recognized by a variable that all hosts set.
pub(crate) fn notice(own: &Own, program: &str, variables: &[(OsString, OsString)]) -> String {
    let brief = "This program is a plugin: another program, its host, starts it and talks to it.\n\
                 Put it where its host looks for plugins, and use it from there.\n";
    if variables.iter().any(|(name, _)| name == "PLUGIN_PROTOCOL_VERSIONS") {
        return brief.to_owned();
    }
    format!("{brief}\n{}", help(own, program))
}

fn help(own: &Own, program: &str) -> String {
    let manifest = own.manifest();
    let what = match manifest.kind {
        Kind::Provider => "providers",
        Kind::AuthHandler => "auth handlers",
    };
    let mut text = format!(
        "It is {:?}, a WebAssembly component in a sandbox, and offers the {what} {}.\n\nThe component\n{}",
        manifest.name.as_str(),
        visible_line(&manifest.offers.join(", ")),
        may(own, "  - ")
    );
    let _ = write!(
        text,
        "\nTo ask it something: {} --version, --policy or --verify\n\
         To take from what it may: PORTCULLIS_DENY=fs,env,http,identity,secrets (or all), and\n\
         PORTCULLIS_LIMIT_MEMORY, _CPU, _WALL, _MESSAGE, _OUTPUT, _HANDLES and _CONCURRENCY, in its environment\n\
         To have its host's log tell of each call: PORTCULLIS_LOG_LEVEL=debug, there too\n",
        visible_line(program)
    );
    text
}

fn version(manifest: &Manifest) -> String {
    format!(
        "{} ({})\nwrapped by portcullis {}\ncomponent {}\ncompiled for {}\n",
        visible_line(manifest.name.as_str()),
        visible_line(&manifest.offers.join(", ")),
        visible_line(&manifest.version),
        manifest.component,
        mark::fingerprint(),
    )
}

/// Returns the sentence that everything in the file is as it was written.
pub(crate) fn whole(own: &Own) -> String {
    format!("whole: the program, the component {} and its policy\n", own.manifest().component)
}

/// Returns what the component may do, one sentence to a line.
fn may(own: &Own, before: &str) -> String {
    let instances = own.manifest().instances;
    let run_as = RunAs { instances, ..RunAs::default() };
    let kind = own.manifest().kind;
    let lines = policy::sentences(kind, &own.grants, &own.limits, &run_as, BackendName::Component);
    let mut text: String = lines.into_iter().map(|Line { text, .. }| format!("{before}{text}\n")).collect();
    let kept = match (kind, instances) {
        (Kind::Provider, InstanceReuse::PerCall) => "has a fresh instance for every call",
        (Kind::Provider, InstanceReuse::Pooled(_)) => "has instances that are kept, and remember",
        (Kind::Provider, InstanceReuse::Single) | (Kind::AuthHandler, _) => {
            "has one instance, which remembers"
        }
    };
    let _ = writeln!(text, "{before}{kept}");
    for taken in &own.narrowed {
        let _ = writeln!(text, "{before}was narrowed by {}", visible_line(taken));
    }
    text
}
