//! What a host tells the plugin that it starts, in a handful of environment variables.
//!
//! They are read once, by [`Invitation::read`], and passed on as values; code outside this module never reads the
//! environment. Everything here is pure.

#[cfg(test)]
mod fuzz;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Cookie;
use crate::handshake::read_bool;
use crate::transport::Ports;

/// Variables of the protocol, besides the cookie. What the plugin starts in turn must not see them.
const VARIABLES: [&str; 7] = [
    "PLUGIN_MIN_PORT",
    "PLUGIN_MAX_PORT",
    "PLUGIN_PROTOCOL_VERSIONS",
    "PLUGIN_MULTIPLEX_GRPC",
    "PLUGIN_CLIENT_CERT",
    "PLUGIN_UNIX_SOCKET_DIR",
    "PLUGIN_UNIX_SOCKET_GROUP",
];

/// What the host said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Invitation {
    /// The versions of the application's protocol that it speaks, as far as they are numbers.
    pub(super) versions: Vec<u32>,
    /// What else was in that list.
    pub(super) no_versions: Vec<String>,
    /// Whether it asked for multiplexing.
    pub(super) multiplex: Multiplex,
    /// Its certificate in PEM, if it wants TLS.
    pub(super) certificate: Option<String>,
    /// Where sockets are to be, if it says.
    pub(super) directory: Option<PathBuf>,
    /// The group that may connect to them, if it says.
    pub(super) group: Option<String>,
    /// The system's own place for temporary files.
    pub(super) temporary: PathBuf,
    ports: (Option<OsString>, Option<OsString>),
}

/// Whether a host asked for multiplexing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Multiplex {
    /// It does not know multiplexing, and the line must have no field for it.
    #[default]
    Unheard,
    /// It knows multiplexing, and does not want it.
    Off,
    /// It wants it.
    On,
}

/// Why the plugin does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NotInvited {
    /// The application's cookie has no name or no value.
    #[error("this plugin was built without a cookie, and no host can start it")]
    NoCookie,
    /// The cookie is missing or wrong: no host of this plugin started it.
    #[error("the cookie is missing or wrong")]
    WrongCookie,
}

impl Invitation {
    /// Reads the variables of a process, and checks that a host of ours set them.
    ///
    /// If a variable is there twice the first one counts, as in C libraries.
    pub(super) fn read(variables: &[(OsString, OsString)], cookie: &Cookie) -> Result<Self, NotInvited> {
        if cookie.key.is_empty() || cookie.value.is_empty() {
            return Err(NotInvited::NoCookie);
        }
        if raw(variables, &cookie.key).is_none_or(|found| *found != *cookie.value) {
            return Err(NotInvited::WrongCookie);
        }
        Ok(Self::without_cookie(variables))
    }

    /// Reads the variables of a process that no host started: where its sockets go, and the versions if any.
    pub(super) fn without_host(variables: &[(OsString, OsString)]) -> Self {
        let Self { versions, temporary, .. } = Self::without_cookie(variables);
        Self { versions, temporary, ..Self::default() }
    }

    /// Reads the variables, whoever set them.
    fn without_cookie(variables: &[(OsString, OsString)]) -> Self {
        let filled = |key| raw(variables, key).filter(|value| !value.is_empty());
        // Text that is not UTF-8 is no number, certificate or group; whoever reads it says so.
        let text = |key| filled(key).map(|value| value.to_string_lossy().into_owned());
        let (mut versions, mut no_versions) = (Vec::new(), Vec::new());
        for element in text("PLUGIN_PROTOCOL_VERSIONS").iter().flat_map(|list| list.split(',')) {
            match element.parse() {
                Ok(version) => versions.push(version),
                Err(_) => no_versions.push(element.to_owned()),
            }
        }
        Self {
            versions,
            no_versions,
            multiplex: text("PLUGIN_MULTIPLEX_GRPC").map_or(Multiplex::Unheard, |text| multiplex(&text)),
            certificate: text("PLUGIN_CLIENT_CERT"),
            directory: filled("PLUGIN_UNIX_SOCKET_DIR").map(PathBuf::from),
            group: text("PLUGIN_UNIX_SOCKET_GROUP"),
            temporary: filled("TMPDIR").map_or_else(|| Path::new("/tmp").to_owned(), PathBuf::from),
            ports: (filled("PLUGIN_MIN_PORT").cloned(), filled("PLUGIN_MAX_PORT").cloned()),
        }
    }

    /// Returns the ports that a TCP listener may have. None named means whichever the system gives.
    pub(super) fn ports(&self) -> Result<Ports, PortsError> {
        let port = |text: &Option<OsString>| match text {
            None => Ok(0),
            Some(text) => text
                .to_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| PortsError::NoPort { text: text.to_string_lossy().into_owned() }),
        };
        let (first, last) = (port(&self.ports.0)?, port(&self.ports.1)?);
        Ports::new(first, last).ok_or(PortsError::Empty { first, last })
    }
}

/// Why the host's ports cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PortsError {
    /// A bound is not a port.
    #[error("the host's bound {text:?} is not a port")]
    NoPort {
        /// The bound.
        text: String,
    },
    /// The bounds leave no port.
    #[error("there is no port from {first} to {last}")]
    Empty {
        /// The lowest port.
        first: u16,
        /// The highest one.
        last: u16,
    },
}

/// Returns `variables` without what the protocol put there: what a child of the plugin should be given.
///
/// A child that is a plugin itself would take the host's certificate or its wish for multiplexing for its own
/// host's (protocol spec 3.4).
pub(super) fn for_children(variables: &[(OsString, OsString)], cookie: &Cookie) -> Vec<(OsString, OsString)> {
    let ours = |key: &OsString| *key == *cookie.key || VARIABLES.iter().any(|variable| key == variable);
    variables.iter().filter(|(key, _)| !ours(key)).cloned().collect()
}

/// Chooses the version: the highest that both sides know, or else our lowest, which the host then refuses in its
/// own words. `None` if we have none at all.
pub(super) fn choose(ours: impl Iterator<Item = u32> + Clone, theirs: &[u32]) -> Option<u32> {
    ours.clone().filter(|version| theirs.contains(version)).max().or_else(|| ours.min())
}

/// Reads the wish for multiplexing; what is no truth value is no wish.
fn multiplex(text: &str) -> Multiplex {
    if read_bool(text) == Some(true) { Multiplex::On } else { Multiplex::Off }
}

fn raw<'a>(variables: &'a [(OsString, OsString)], key: &str) -> Option<&'a OsString> {
    variables.iter().find(|(found, _)| found == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(key, value)| (OsString::from(key), OsString::from(value))).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Invitation {
        Invitation::without_cookie(&variables(pairs))
    }

    fn check_cookie(pairs: &[(&str, &str)], key: &str, value: &str, expected: Option<NotInvited>) {
        let found = Invitation::read(&variables(pairs), &Cookie::new(key, value));
        assert_eq!(found.err(), expected, "{pairs:?} {key:?} {value:?}");
    }

    #[test]
    fn only_the_very_cookie_lets_in() {
        check_cookie(&[("KEY", "value")], "KEY", "value", None);
        for pairs in [&[][..], &[("KEY", "")], &[("KEY", "Value")], &[("KEY", " value")], &[("key", "value")]]
        {
            check_cookie(pairs, "KEY", "value", Some(NotInvited::WrongCookie)); // P-01, P-03
        }
    }

    #[test]
    fn a_cookie_that_is_empty_lets_nobody_in() {
        check_cookie(&[("", "value")], "", "value", Some(NotInvited::NoCookie)); // P-02
        check_cookie(&[("KEY", "")], "KEY", "", Some(NotInvited::NoCookie));
    }

    #[test]
    fn what_is_no_version_is_passed_over() {
        let found = read(&[("PLUGIN_PROTOCOL_VERSIONS", "9,x,3, 4,-1,4294967296,")]);
        assert_eq!(found.versions, [9, 3]); // P-06
        assert_eq!(found.no_versions, ["x", " 4", "-1", "4294967296", ""]);
        assert!(read(&[]).versions.is_empty());
    }

    fn check_choice(ours: &[u32], theirs: &[u32], expected: Option<u32>) {
        assert_eq!(choose(ours.iter().copied(), theirs), expected, "{ours:?} {theirs:?}");
    }

    #[test]
    fn the_highest_version_that_both_know_is_chosen() {
        check_choice(&[2, 3, 5], &[1, 2], Some(2)); // P-04
        check_choice(&[2, 3, 5], &[3, 2, 9], Some(3));
        check_choice(&[5, 3, 2], &[2, 5, 3], Some(5));
    }

    #[test]
    fn without_a_common_version_the_lowest_is_named() {
        check_choice(&[2, 3, 5], &[9], Some(2)); // P-05
        check_choice(&[5, 3], &[], Some(3));
        check_choice(&[], &[1], None);
    }

    #[test]
    fn multiplexing_is_asked_for_as_go_writes_it() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(read(&[("PLUGIN_MULTIPLEX_GRPC", text)]).multiplex, Multiplex::On); // P-13
        }
        for text in ["0", "f", "F", "FALSE", "false", "False", "tRUE", "yes", " true", "2"] {
            assert_eq!(read(&[("PLUGIN_MULTIPLEX_GRPC", text)]).multiplex, Multiplex::Off);
        }
        for found in [read(&[("PLUGIN_MULTIPLEX_GRPC", "")]), read(&[])] {
            assert_eq!(found.multiplex, Multiplex::Unheard); // P-12
        }
    }

    #[test]
    fn an_empty_variable_is_none() {
        let empty = read(&[
            ("PLUGIN_CLIENT_CERT", ""),
            ("PLUGIN_UNIX_SOCKET_DIR", ""),
            ("PLUGIN_UNIX_SOCKET_GROUP", ""),
            ("TMPDIR", ""),
        ]);
        assert_eq!(empty, read(&[]));
        assert_eq!(empty.temporary, Path::new("/tmp"));
    }

    #[test]
    fn sockets_go_where_the_host_says() {
        let said = read(&[("PLUGIN_UNIX_SOCKET_DIR", "/run/x"), ("TMPDIR", "/var/tmp")]);
        assert_eq!(said.directory.as_deref(), Some(Path::new("/run/x"))); // P-16
        assert_eq!(said.temporary, Path::new("/var/tmp"));
    }

    fn check_ports(first: Option<&str>, last: Option<&str>, expected: Result<(u16, u16), PortsError>) {
        let bounds = [("PLUGIN_MIN_PORT", first), ("PLUGIN_MAX_PORT", last)];
        let pairs: Vec<_> = bounds.iter().filter_map(|(key, text)| text.map(|text| (*key, text))).collect();
        let found = read(&pairs).ports().map(|ports| (ports.first(), ports.last()));
        assert_eq!(found, expected, "{first:?} {last:?}");
    }

    #[test]
    fn ports_are_those_that_the_host_names() {
        check_ports(Some("10000"), Some("25000"), Ok((10000, 25000)));
        check_ports(Some("0"), Some("1"), Ok((0, 1)));
        check_ports(None, None, Ok((0, 0))); // P-19
    }

    #[test]
    fn ports_that_are_none_are_refused() {
        check_ports(Some("2"), Some("1"), Err(PortsError::Empty { first: 2, last: 1 })); // P-20
        for text in ["x", "-1", "70000", " 1"] {
            check_ports(Some(text), Some("9"), Err(PortsError::NoPort { text: text.to_owned() }));
        }
    }

    #[test]
    fn what_is_no_text_is_no_invitation_to_panic() {
        let odd = OsString::from_vec(vec![0xff]);
        let keys = VARIABLES.iter().chain(&["KEY"]);
        let variables: Vec<_> = keys.map(|key| (OsString::from(key), odd.clone())).collect();
        let found = Invitation::without_cookie(&variables);
        assert_eq!((found.versions.len(), found.multiplex), (0, Multiplex::Off));
        assert!(matches!(found.ports(), Err(PortsError::NoPort { .. })));
        let refused = Invitation::read(&variables, &Cookie::new("KEY", "value"));
        assert_eq!(refused, Err(NotInvited::WrongCookie));
    }

    #[test]
    fn children_get_what_is_not_the_protocols() {
        let mut all = variables(&[("KEY", "value"), ("PATH", "/bin"), ("PLUGIN_OF_MINE", "1")]);
        all.extend(VARIABLES.iter().map(|key| (OsString::from(key), OsString::from("x"))));
        let left = for_children(&all, &Cookie::new("KEY", "value"));
        assert_eq!(left, variables(&[("PATH", "/bin"), ("PLUGIN_OF_MINE", "1")])); // P-14
    }
}
