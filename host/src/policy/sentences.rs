//! Grants and limits in words: what a person reads before they let a plugin in.
//!
//! A sentence is marked as held only if this program enforces it. A native plugin runs with all rights of the user
//! who started it; what its policy says about files and the network is then only a wish, and the sentence says so.
//!
//! A sentence is one line, whatever stands in the names and paths in it.

use portcullis_contract::{
    Access, Amount, BackendName, Environment, Grants, IdentityGrant, Kind, Limits, NamePattern, RunAs,
    visible_line,
};

/// A sentence about what a plugin may do, without a subject: "may read secrets matching github.*".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The sentence, without a full stop: one line that is fit for a terminal.
    pub text: String,
    /// Whether this program enforces it.
    pub held: bool,
}

/// What auth handlers may do without being granted it: logging people in is what they are for.
const OF_AUTH_HANDLERS: [&str; 2] = [
    "may show codes, and ask whoever is at the terminal for an answer, while somebody logs in",
    "may take as long over a login as its caller allows",
];

/// Says in words what a plugin of a kind may touch and how much it may use, grants first.
#[must_use]
pub fn sentences(
    kind: Kind,
    grants: &Grants,
    limits: &Limits,
    run_as: &RunAs,
    backend: BackendName,
) -> Vec<Line> {
    let mut lines = Vec::new();
    secrets(grants, &mut lines);
    identity(grants.identity.as_ref(), &mut lines);
    match backend {
        BackendName::Component => sandboxed(grants, &mut lines),
        BackendName::Process => native(grants, run_as, &mut lines),
    }
    amounts(limits, backend, &mut lines);
    if kind == Kind::AuthHandler {
        lines.extend(OF_AUTH_HANDLERS.map(held));
    }
    for line in &mut lines {
        line.text = visible_line(&line.text);
    }
    lines
}

fn held(text: impl Into<String>) -> Line {
    Line { text: text.into(), held: true }
}

fn not_held(text: impl Into<String>) -> Line {
    Line { text: text.into(), held: false }
}

fn secrets(grants: &Grants, lines: &mut Vec<Line>) {
    let named = |patterns: &[NamePattern]| {
        if patterns.iter().any(|p| p.as_str() == "*") {
            return "every secret".to_owned();
        }
        let patterns: Vec<_> = patterns.iter().map(NamePattern::as_str).collect();
        format!("secrets matching {}", listed(&patterns))
    };
    let secrets = &grants.secrets;
    if !secrets.read.is_empty() {
        lines.push(held(format!("may read {}", named(&secrets.read))));
    }
    if !secrets.write.is_empty() {
        lines.push(held(format!("may set and delete {}", named(&secrets.write))));
    }
    if secrets.read.is_empty() && secrets.write.is_empty() {
        lines.push(held("may ask for no secret"));
    }
}

fn identity(grant: Option<&IdentityGrant>, lines: &mut Vec<Line>) {
    let Some(IdentityGrant { handlers, token }) = grant.filter(|grant| !grant.handlers.is_empty()) else {
        lines.push(held("may ask for no identity and no token"));
        return;
    };
    let handlers = listed(handlers);
    lines.push(held(format!("may ask who is logged in with {handlers}")));
    lines.push(held(if *token {
        format!("may have access tokens of {handlers}")
    } else {
        "may have no access token".to_owned()
    }));
}

fn sandboxed(grants: &Grants, lines: &mut Vec<Line>) {
    if grants.http.is_empty() {
        lines.push(held("may reach nothing on the network"));
    } else {
        let places: Vec<_> = grants.http.iter().map(ToString::to_string).collect();
        lines.push(held(format!("may reach {}, and nothing else on the network", listed(&places))));
    }
    if grants.fs.is_empty() {
        lines.push(held("may open no file"));
    }
    for fs in &grants.fs {
        let deed = match fs.access {
            Access::Read => "read",
            Access::Write => "read and change",
        };
        lines.push(held(format!(
            "may {deed} what is in {}, which it sees as {}",
            fs.host.display(),
            fs.guest
        )));
    }
    lines.push(held(if grants.env.is_empty() {
        "sees no environment variable".to_owned()
    } else {
        format!("sees of the environment {}", listed(&grants.env))
    }));
}

fn native(grants: &Grants, run_as: &RunAs, lines: &mut Vec<Line>) {
    lines.push(not_held(
        "is a native program and has the rights of the user who runs it: it may open every file that the user \
         may, reach every network, start programs that outlive it",
    ));
    if !grants.http.is_empty() {
        let places: Vec<_> = grants.http.iter().map(ToString::to_string).collect();
        lines.push(not_held(format!("cannot be held to {} on the network", listed(&places))));
    }
    if !grants.fs.is_empty() {
        let places: Vec<_> = grants.fs.iter().map(|fs| fs.host.display().to_string()).collect();
        lines.push(not_held(format!("cannot be held to {} on the disk", listed(&places))));
    }
    lines.push(held(match (run_as.environment, grants.env.as_slice()) {
        (Environment::Inherit, _) => "is handed all of the environment".to_owned(),
        (Environment::Usual, []) => "is handed the usual part of the environment".to_owned(),
        (Environment::Usual, names) => {
            format!("is handed the usual part of the environment and {}", listed(names))
        }
    }));
}

fn amounts(limits: &Limits, backend: BackendName, lines: &mut Vec<Line>) {
    let resolved = limits.resolve(backend);
    let component = backend == BackendName::Component;
    let mut may = |text: String| lines.push(held(text));
    if let Some(memory) = resolved.memory {
        let what = if component { "memory in an instance" } else { "address space in each process" };
        may(format!("may use {} of {what}", Amount::Bytes(memory)));
    }
    if let (Some(cpu), true) = (resolved.cpu, component) {
        may(format!("may compute for {} a call", Amount::Time(cpu)));
    }
    if let Some(wall) = resolved.wall {
        may(format!("may take {} a call", Amount::Time(wall)));
    }
    if let Some(output) = resolved.output {
        // What a child writes outside a stream belongs to no call; it goes to its log.
        let what = if component { "a call" } else { "a streamed call" };
        may(format!("may print {} {what}", Amount::Bytes(output)));
    }
    if let Some(handles) = resolved.handles {
        may(if component {
            format!("may have files, streams and requests open, at most {handles}")
        } else {
            format!("may have files open, at most {handles} in each process")
        });
    }
    may(format!("may send and be sent {} at once", Amount::Bytes(resolved.message)));
    let calls = if resolved.concurrency == 1 { "call" } else { "calls" };
    may(format!("may serve {} {calls} at a time", resolved.concurrency));
    if component {
        return;
    }
    // The kernel counts the time of a process, not of a call.
    if let Some(cpu) = resolved.cpu {
        lines.push(not_held(format!("cannot be held to {} of processor time a call", Amount::Time(cpu))));
    }
    let mut free = Vec::new();
    for (name, limited) in [
        ("memory", resolved.memory.is_some()),
        ("processor time", resolved.cpu.is_some()),
        ("the time of a call", resolved.wall.is_some()),
        ("what it prints", resolved.output.is_some()),
    ] {
        if !limited {
            free.push(name);
        }
    }
    if !free.is_empty() {
        lines.push(not_held(format!("has no limit on {}", listed(&free))));
    }
}

/// Joins names as one says them: "a, b and c".
fn listed(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
