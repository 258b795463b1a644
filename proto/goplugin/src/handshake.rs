//! What both sides agree on before they connect: the cookie, the versions, the one line.
//!
//! The line is all that a child tells us about itself before we connect, and anything may have printed
//! it. So it is parsed once, here, into a [`Handshake`], which cannot hold a value that makes no sense;
//! code outside this module never sees the text.
//!
//! Everything here is pure. Reading the line, and giving up on it, is the client's business.

#[cfg(test)]
mod fuzz;

use std::collections::BTreeSet;
use std::fmt;

use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::identity::{self, CertificateError};
use crate::transport::{Address, AddressError};

/// The version of the handshake itself. There has only ever been one.
const CORE: i64 = 1;

/// How much of an unrecognised line an error quotes.
const QUOTED: usize = 512;

/// Texts up to this length in the field of the certificate are not certificates: plugins from before go-plugin 1.0
/// put them there, and hosts ignore them (protocol spec 5.4).
const NOT_A_CERTIFICATE: usize = 50;

/// The variable by which a plugin knows that a host started it.
///
/// It only keeps people from starting plugins by hand: it is not a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The name of the environment variable.
    pub key: String,
    /// The value that the plugin expects.
    pub value: String,
}

impl Cookie {
    /// Joins the two halves.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// The versions of the application's own protocol that one side speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(BTreeSet<u32>);

impl Versions {
    /// Tells whether `version` is among them.
    #[must_use]
    pub fn contains(&self, version: u32) -> bool {
        self.0.contains(&version)
    }
}

impl<const N: usize> From<[u32; N]> for Versions {
    fn from(versions: [u32; N]) -> Self {
        Self(versions.into())
    }
}

impl FromIterator<u32> for Versions {
    fn from_iter<I: IntoIterator<Item = u32>>(versions: I) -> Self {
        Self(versions.into_iter().collect())
    }
}

/// Writes the list as `PLUGIN_PROTOCOL_VERSIONS` carries it: decimal, commas, no spaces.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, version) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{version}")?;
        }
        Ok(())
    }
}

/// What a host offered to a plugin, and so expects in its line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The versions it was offered.
    pub versions: Versions,
    /// Whether it got our certificate, and has to show its own.
    pub certificate: bool,
    /// Whether all connections are to go over one socket.
    pub multiplexing: bool,
}

/// What a plugin said in its one line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    version: u32,
    address: Address,
    certificate: Option<CertificateDer<'static>>,
}

impl Handshake {
    /// Reads the line of a plugin that was started as `expected` says.
    ///
    /// The checks and their order are upstream's (protocol spec 5.4), so that a line with two faults
    /// is refused for the same one.
    pub fn parse(line: &str, expected: &Expected) -> Result<Self, HandshakeError> {
        let unrecognised = || HandshakeError::Unrecognised { text: quote(line) };
        let mut fields = line.trim().split('|');
        let mut required = || fields.next().ok_or_else(unrecognised);
        let (core, version, network, address) = (required()?, required()?, required()?, required()?);

        // A line whose first field is no number is somebody's table, not another version of ours.
        let core: i64 = core.parse().map_err(|_not_a_number| unrecognised())?;
        if core != CORE {
            return Err(HandshakeError::CoreVersion { found: core });
        }
        let version =
            version.parse().ok().filter(|version| expected.versions.contains(*version)).ok_or_else(|| {
                HandshakeError::Version { found: quote(version), offered: expected.versions.clone() }
            })?;
        let address = Address::parse(network, address)
            .map_err(|error| HandshakeError::Address { text: quote(address), error })?;
        // Field 5 is optional; plugins that leave it out are older than gRPC in go-plugin.
        match fields.next() {
            Some("grpc") => {}
            None | Some("netrpc") => return Err(HandshakeError::NetRpc { version }),
            Some(other) => return Err(HandshakeError::Protocol { found: quote(other), version }),
        }
        let shown = fields.next().filter(|text| text.len() > NOT_A_CERTIFICATE);
        let certificate = match (shown, expected.certificate) {
            (None, false) => None,
            (None, true) => return Err(HandshakeError::NoCertificate),
            (Some(_), false) => return Err(HandshakeError::Certificate),
            (Some(text), true) => {
                Some(identity::read_field(text).map_err(|error| HandshakeError::BadCertificate { error })?)
            }
        };
        if expected.multiplexing {
            let answer = fields.next().ok_or(HandshakeError::NoMultiplexing)?;
            match read_bool(answer) {
                Some(true) => {}
                Some(false) => return Err(HandshakeError::NoMultiplexing),
                None => return Err(HandshakeError::Multiplexing { found: quote(answer) }),
            }
        }
        Ok(Self { version, address, certificate })
    }

    /// Describes a plugin that was not started by us and has no line.
    pub(crate) fn known(version: u32, address: Address) -> Self {
        Self { version, address, certificate: None }
    }

    /// Returns the application version that the plugin chose.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns where the plugin listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Returns the certificate that the plugin showed, which is there if it was asked for.
    pub(crate) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }
}

/// Why a line is not a handshake that we can use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The line is not that of a plugin: the program is not one, or something printed before the plugin did.
    #[error("the first line of its output is not a handshake: {text:?}")]
    Unrecognised {
        /// The line, shortened.
        text: String,
    },
    /// The first line is too long.
    #[error("the first line of its output is longer than {limit} bytes: {text:?}")]
    TooLong {
        /// How long it may be.
        limit: usize,
        /// How it begins.
        text: String,
    },
    /// The plugin uses another version of the handshake itself.
    #[error("speaks version {found} of the handshake, and this host version {CORE}")]
    CoreVersion {
        /// The version it named.
        found: i64,
    },
    /// Host and plugin have no version of the application's protocol in common.
    #[error("speaks protocol version {found}, and this host {offered}")]
    Version {
        /// The version it named.
        found: String,
        /// The versions it was offered.
        offered: Versions,
    },
    /// The plugin named an address that nobody can connect to.
    #[error("its address {text:?} cannot be used: {error}")]
    Address {
        /// The address it named.
        text: String,
        /// What is wrong with it.
        error: AddressError,
    },
    /// The plugin speaks the older flavour of go-plugin.
    #[error(
        "speaks \"netrpc\" in protocol version {version}, and this host only \"grpc\": \
         it has to be built with a gRPC server"
    )]
    NetRpc {
        /// The version it chose; others of the same plugin may speak gRPC.
        version: u32,
    },
    /// The plugin speaks neither flavour of go-plugin.
    #[error("speaks {found:?} in protocol version {version}, and this host only \"grpc\"")]
    Protocol {
        /// The flavour it named.
        found: String,
        /// The version it chose.
        version: u32,
    },
    /// The plugin requires TLS, which we did not ask for.
    #[error("wants a TLS connection that this host did not ask for")]
    Certificate,
    /// The plugin shows no certificate, although it was asked for one.
    #[error("does not answer with a certificate, and AutoMTLS was asked for")]
    NoCertificate,
    /// The plugin's certificate is not valid.
    #[error("its certificate cannot be used: {error}")]
    BadCertificate {
        /// What is wrong with it.
        error: CertificateError,
    },
    /// The plugin does not support multiplexing.
    #[error("does not support multiplexing, which go-plugin has since version 1.6")]
    NoMultiplexing,
    /// The plugin's field for multiplexing is neither true nor false.
    #[error("says neither yes nor no to multiplexing, but {found:?}")]
    Multiplexing {
        /// What it says.
        found: String,
    },
}

impl HandshakeError {
    /// Tells whether only a go-plugin plugin would say this.
    pub(crate) fn is_of_a_plugin(&self) -> bool {
        !matches!(self, Self::Unrecognised { .. } | Self::TooLong { .. })
    }
}

/// Returns the address in a line, if that can be read, whatever else is wrong with the line.
pub(crate) fn address_in(line: &str) -> Option<Address> {
    let mut fields = line.trim().split('|').skip(2);
    Address::parse(fields.next()?, fields.next()?).ok()
}

/// Reads a truth value in any of the spellings that Go has for it.
pub(crate) fn read_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Shortens what a plugin printed to what an error can carry.
pub(crate) fn quote(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(u32, &str), HandshakeError>) {
        check_with(&expecting(false, false), line, expected);
    }

    fn expecting(certificate: bool, multiplexing: bool) -> Expected {
        Expected { versions: Versions::from([1, 5]), certificate, multiplexing }
    }

    fn check_with(asked: &Expected, line: &str, expected: Result<(u32, &str), HandshakeError>) {
        let found = Handshake::parse(line, asked);
        let expected = expected.map(|(version, address)| (version, address.to_owned()));
        assert_eq!(found.map(|h| (h.version(), h.address().to_string())), expected, "{line:?}");
    }

    fn unrecognised(text: &str) -> Result<(u32, &str), HandshakeError> {
        Err(HandshakeError::Unrecognised { text: text.to_owned() })
    }

    #[test]
    fn a_line_of_five_six_or_more_fields_is_read() {
        check("1|1|unix|/tmp/plugin455262699|grpc|\n", Ok((1, "/tmp/plugin455262699"))); // H-14, H-20
        check("1|5|tcp|127.0.0.1:10000|grpc", Ok((5, "127.0.0.1:10000")));
        check("1|5|tcp|127.0.0.1:10000|grpc||true|more|fields", Ok((5, "127.0.0.1:10000")));
    }

    #[test]
    fn white_space_around_the_line_is_nothing() {
        check(" \t1|1|unix|/tmp/p|grpc|\r\n", Ok((1, "/tmp/p"))); // H-13
    }

    #[test]
    fn what_is_not_a_handshake_is_quoted() {
        check("", unrecognised(""));
        check("hello, world", unrecognised("hello, world")); // H-15
        check("1|1|unix", unrecognised("1|1|unix"));
        check("| a | b | c | d |", unrecognised("| a | b | c | d |"));
        check("1 |1|unix|/tmp/p|grpc", unrecognised("1 |1|unix|/tmp/p|grpc"));
    }

    #[test]
    fn another_core_version_is_refused_as_such() {
        check("2|1|unix|/tmp/p|grpc", Err(HandshakeError::CoreVersion { found: 2 })); // H-16
        check("-1|1|unix|/tmp/p|grpc", Err(HandshakeError::CoreVersion { found: -1 }));
    }

    #[test]
    fn a_version_that_was_not_offered_is_refused_with_both_sides_named() {
        let refused = |found: &str| {
            Err(HandshakeError::Version { found: found.to_owned(), offered: Versions::from([5, 1]) })
        };
        check("1|2|unix|/tmp/p|grpc", refused("2")); // H-17
        check("1|x|unix|/tmp/p|grpc", refused("x"));
        check("1|99999999999999|unix|/tmp/p|grpc", refused("99999999999999"));
        let text = HandshakeError::Version { found: "2".to_owned(), offered: Versions::from([5, 1]) };
        assert_eq!(text.to_string(), "speaks protocol version 2, and this host 1,5");
    }

    #[test]
    fn an_address_that_nobody_could_dial_is_refused() {
        let refused = |text: &str, error| Err(HandshakeError::Address { text: text.to_owned(), error });
        check("1|1|vsock|3:9|grpc", refused("3:9", AddressError::Network { found: "vsock".to_owned() })); // H-18
        check("1|1|tcp|localhost|grpc", refused("localhost", AddressError::Port));
        check("1|1|unix||grpc", refused("", AddressError::Empty));
    }

    #[test]
    fn net_rpc_is_refused_by_name() {
        check("1|5|unix|/tmp/p", Err(HandshakeError::NetRpc { version: 5 })); // H-19
        check("1|5|unix|/tmp/p|netrpc|", Err(HandshakeError::NetRpc { version: 5 }));
        check("1|5|unix|/tmp/p|", Err(HandshakeError::Protocol { found: String::new(), version: 5 }));
        check("1|5|unix|/tmp/p|GRPC", Err(HandshakeError::Protocol { found: "GRPC".to_owned(), version: 5 }));
    }

    #[test]
    fn a_certificate_that_was_not_asked_for_is_refused_and_a_short_text_passed_over() {
        let line = |length: usize| format!("1|1|unix|/tmp/p|grpc|{}", "A".repeat(length));
        check(&line(50), Ok((1, "/tmp/p"))); // H-21
        check(&line(51), Err(HandshakeError::Certificate));
    }

    #[test]
    fn a_certificate_that_was_asked_for_is_read_with_and_without_padding() {
        let provider = crate::identity::provider();
        // Until its length needs padding, which depends on the signature.
        let field = loop {
            let field = crate::identity::Identity::generate(provider.clone()).unwrap().to_field();
            if !field.len().is_multiple_of(4) {
                break field;
            }
        };
        let asked = expecting(true, false);
        let padding = "=".repeat(4 - field.len() % 4);
        for text in [field.clone(), format!("{field}{padding}")] {
            let line = format!("1|1|unix|/tmp/p|grpc|{text}|false");
            let shown = Handshake::parse(&line, &asked).unwrap(); // H-22
            assert_eq!(shown.certificate(), Some(&crate::identity::read_field(&field).unwrap()));
        }
        let bad = |error| Err(HandshakeError::BadCertificate { error });
        check_with(
            &asked,
            &format!("1|1|unix|/tmp/p|grpc|{}", "!".repeat(60)),
            bad(CertificateError::Base64),
        );
        check_with(&asked, &format!("1|1|unix|/tmp/p|grpc|{}", "A".repeat(60)), bad(CertificateError::Der));
    }

    #[test]
    fn a_certificate_that_was_asked_for_has_to_be_there() {
        for end in ["", "|", "||true", "|AAAA|true"] {
            let line = format!("1|1|unix|/tmp/p|grpc{end}");
            check_with(&expecting(true, true), &line, Err(HandshakeError::NoCertificate)); // H-23
        }
    }

    #[test]
    fn multiplexing_that_was_asked_for_has_to_be_granted() {
        let asked = expecting(false, true);
        for (end, expected) in [
            ("||true", Ok((1, "/tmp/p"))),
            ("||1|more", Ok((1, "/tmp/p"))),
            ("", Err(HandshakeError::NoMultiplexing)), // H-24
            ("|", Err(HandshakeError::NoMultiplexing)),
            ("||false", Err(HandshakeError::NoMultiplexing)),
            ("||yes", Err(HandshakeError::Multiplexing { found: "yes".to_owned() })),
            ("||", Err(HandshakeError::Multiplexing { found: String::new() })),
        ] {
            check_with(&asked, &format!("1|1|unix|/tmp/p|grpc{end}"), expected);
        }
    }

    #[test]
    fn truth_has_twelve_spellings() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(read_bool(text), Some(true)); // P-13
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(read_bool(text), Some(false));
        }
        for text in ["", "yes", "tRUE", " true", "2"] {
            assert_eq!(read_bool(text), None);
        }
    }

    #[test]
    fn a_long_line_is_quoted_in_part() {
        check(&"ä".repeat(600), unrecognised(&format!("{}...", "ä".repeat(512))));
    }

    #[test]
    fn versions_are_written_as_the_variable_wants_them() {
        assert_eq!(Versions::from([6, 5, 5]).to_string(), "5,6"); // H-02
        assert_eq!(Versions::default().to_string(), "");
    }
}
