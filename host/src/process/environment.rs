//! What a child sees of our environment, and is told by it.

use std::ffi::{OsStr, OsString};

use portcullis_contract::{Environment, Grants, Limits};

use crate::policy;

/// Variables that most programs need, those by which a login opens a browser, and those that say where a file is which
/// a plugin would otherwise change somewhere else. The last one only narrows what a wrapped component may do.
const USUAL: [&str; 24] = [
    "PATH",
    "PWD",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TERM",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS",
    "BROWSER",
    "KUBECONFIG",
    "DOCKER_CONFIG",
    policy::DENY,
];

/// The same, by how their names begin.
const USUAL_FAMILIES: [&str; 4] = ["LC_", "XDG_", "SSL_CERT_", policy::LIMIT];

/// Returns what a child sees of our environment.
pub(super) fn seen(
    ours: &[(OsString, OsString)],
    how: Environment,
    grants: &Grants,
) -> Vec<(OsString, OsString)> {
    let is_seen = |name: &OsStr| match how {
        Environment::Inherit => true,
        Environment::Usual => {
            USUAL.iter().any(|usual| name == *usual)
                || USUAL_FAMILIES.iter().any(|f| name.as_encoded_bytes().starts_with(f.as_bytes()))
                || grants.env.iter().any(|granted| name == granted.as_str())
        }
    };
    ours.iter().filter(|(name, _)| is_seen(name)).cloned().collect()
}

/// Tells a child the limits on memory, processor time and handles that it holds itself to. One that our own environment
/// names stays beside ours; the lower of the two holds.
pub(super) fn tell_limits(limits: &Limits, environment: &mut Vec<(OsString, OsString)>) {
    let memory = limits.memory.map(|bytes| format!("{bytes}B"));
    let cpu = limits.cpu.map(|time| format!("{}ms", time.as_millis().max(1)));
    let handles = limits.handles.map(|count| count.to_string());
    for (limit, amount) in [("MEMORY", memory), ("CPU", cpu), ("HANDLES", handles)] {
        let Some(amount) = amount else { continue };
        let name = format!("{}{limit}", policy::LIMIT);
        match environment.iter_mut().find(|(known, _)| *known == *name) {
            Some((_, told)) if told.is_empty() => *told = amount.into(),
            Some((_, told)) => told.push(format!(",{amount}")),
            None => environment.push((name.into(), amount.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_what_is_usual_and_what_was_granted() {
        let names = |how, granted: &[&str]| {
            let ours = "PATH LC_ALL LC XDG_DATA_HOME SSL_CERT_FILE https_proxy DISPLAY AWS_KEY A".split(' ');
            let ours: Vec<_> = ours.map(|name| (OsString::from(name), OsString::from("v"))).collect();
            let grants =
                Grants { env: granted.iter().map(|g| (*g).to_owned()).collect(), ..Grants::default() };
            let seen = seen(&ours, how, &grants).into_iter();
            seen.map(|(name, _)| name.into_string().expect("it is text")).collect::<Vec<_>>().join(" ")
        };
        let usual = "PATH LC_ALL XDG_DATA_HOME SSL_CERT_FILE https_proxy DISPLAY";
        assert_eq!(names(Environment::Usual, &[]), usual);
        assert_eq!(names(Environment::Usual, &["A", "B"]), format!("{usual} A"));
        assert_eq!(
            names(Environment::Inherit, &[]),
            "PATH LC_ALL LC XDG_DATA_HOME SSL_CERT_FILE https_proxy DISPLAY AWS_KEY A"
        );
    }
}
