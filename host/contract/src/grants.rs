//! What a plugin may touch: pure questions, pure answers.
//!
//! The default grants nothing. A grant comes from a policy file or a person at a terminal, never
//! over a plugin's channel.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// What a plugin may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The secrets.
    pub secrets: SecretGrant,
    /// The user's identities; `None` grants none.
    pub identity: Option<IdentityGrant>,
    /// The authorities that it may reach by HTTP.
    pub http: Vec<HttpAuthority>,
    /// The directories.
    pub fs: Vec<FsGrant>,
    /// The variables of our environment, by name.
    pub env: Vec<String>,
}

impl Grants {
    /// Returns whether the plugin was granted anything that it gets by calls to the host: secrets or identities.
    #[must_use]
    pub fn host_calls(&self) -> bool {
        self.identity.is_some() || !self.secrets.read.is_empty() || !self.secrets.write.is_empty()
    }

    /// Returns whether an HTTP request to that place is granted. The case of host names does not matter.
    #[must_use]
    pub fn allows_http(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.http.iter().any(|a| {
            a.scheme.eq_ignore_ascii_case(scheme) && a.host.eq_ignore_ascii_case(host) && a.port == port
        })
    }
}

/// The secrets that a plugin may read, and those that it may set and delete. Permission to write includes none to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretGrant {
    /// What it may get and list.
    pub read: Vec<NamePattern>,
    /// What it may set and delete.
    pub write: Vec<NamePattern>,
}

impl SecretGrant {
    /// Returns whether the plugin may get a secret, or see its name.
    #[must_use]
    pub fn may_read(&self, name: &str) -> bool {
        self.read.iter().any(|p| p.matches(name))
    }

    /// Returns whether the plugin may set or delete a secret.
    #[must_use]
    pub fn may_write(&self, name: &str) -> bool {
        self.write.iter().any(|p| p.matches(name))
    }
}

/// The identities that a plugin may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityGrant {
    /// The auth handlers, by exact name. The text `*` is no pattern and no name, but [`EVERY`](Self::EVERY) one: whoever
    /// takes names from elsewhere refuses it. The host's default handler is granted under its own name only.
    pub handlers: Vec<String>,
    /// Whether it may get access tokens, too.
    pub token: bool,
}

impl IdentityGrant {
    /// In the place of a name: every handler, the default one without its name included. No policy can say it.
    pub const EVERY: &str = "*";

    /// Returns whether the plugin may ask this handler for the user's identity.
    #[must_use]
    pub fn covers(&self, handler: &str) -> bool {
        self.handlers.iter().any(|name| name == Self::EVERY || (name == handler && !handler.is_empty()))
    }
}

/// A pattern of names, in which `*` stands for any text, dots included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Returns whether the pattern matches a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first match is as good as any: it leaves the most text for the rest.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// Returns the pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The pattern as it was written.
impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no pattern or authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PatternError(&'static str);

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError("an empty pattern matches nothing; write \"*\" to mean every name"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A place that a plugin may reach by HTTP: `https://host` or `http://host:port`, without a path.
///
/// A host name has to resolve to a public address. An address, or `localhost`, may be a private one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAuthority {
    /// `http` or `https`.
    pub scheme: String,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port; 80 or 443 when none was written.
    pub port: u16,
}

impl FromStr for HttpAuthority {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        const MORE: PatternError =
            PatternError("an authority is a scheme, a host and perhaps a port: no path, user or *");

        let (scheme, default, rest) = if let Some(rest) = text.strip_prefix("https://") {
            ("https", 443, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            ("http", 80, rest)
        } else {
            return Err(PatternError("an authority starts with \"https://\" or \"http://\""));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // What stands before a host may have a colon of its own.
        if rest.contains(['@', '/']) {
            return Err(MORE);
        }
        let (host, port) = host_and_port(rest)?;
        let port = match port {
            None => default,
            // `parse` would accept a sign.
            Some(port) => Some(port)
                .filter(|port| !port.starts_with('+'))
                .and_then(|port| port.parse().ok())
                .ok_or(PatternError("a port is a number from 0 to 65535"))?,
        };
        if host.is_empty() {
            return Err(PatternError("an authority names a host"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !host.chars().all(plain) {
            return Err(MORE);
        }
        Ok(Self { scheme: scheme.to_owned(), host: host.to_owned(), port })
    }
}

/// Splits host and port. Only an address in brackets has colons of its own.
fn host_and_port(text: &str) -> Result<(&str, Option<&str>), PatternError> {
    let Some((host, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))));
    };
    if host.parse::<Ipv6Addr>().is_err() {
        return Err(PatternError("what stands in brackets is not an IPv6 address"));
    }
    match after.strip_prefix(':') {
        None if !after.is_empty() => {
            Err(PatternError("after an address in brackets comes a port or nothing"))
        }
        port => Ok((host, port)),
    }
}

impl fmt::Display for HttpAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]")?
        } else {
            write!(f, "{scheme}://{host}")?
        }
        let usual = if scheme == "https" { 443 } else { 80 };
        if *port == usual { Ok(()) } else { write!(f, ":{port}") }
    }
}

/// A directory that a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsGrant {
    /// Where it is.
    pub host: PathBuf,
    /// Where the plugin finds it.
    pub guest: String,
    /// What it may do there.
    pub access: Access,
}

/// What a plugin may do in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read, create, change and delete.
    Write,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        let parsed: NamePattern = pattern.parse().unwrap();
        assert_eq!(parsed.matches(name), expected, "{pattern:?} and {name:?}");
    }

    #[test]
    fn a_star_stands_for_any_text_and_everything_else_for_itself() {
        check("github.token", "github.token", true);
        check("github.token", "github.tokens", false);
        check("github.token", "a.github.token", false);
        check("github.*", "github.token", true);
        check("github.*", "github.", true);
        check("github.*", "github", false);
        check("*", "", true);
        check("*.token", "a.b.token", true);
        check("a*b*c", "abc", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*bc*c", "abc", false);
        check("ab*ba", "aba", false);
    }

    #[test]
    fn a_handler_is_granted_by_its_name_and_only_a_host_grants_every_one() {
        let check = |granted: &str, handler: &str, expected: bool| {
            let grant = IdentityGrant { handlers: vec![granted.to_owned()], token: false };
            assert_eq!(grant.covers(handler), expected, "{granted:?} and {handler:?}");
        };
        check("door", "door", true);
        check("door", "side", false);
        check("door", "", false);
        check("", "", false);
        check(IdentityGrant::EVERY, "door", true);
        check(IdentityGrant::EVERY, "", true);
    }

    fn check_authority(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<HttpAuthority>();
        assert_eq!(
            parsed.as_ref().map(ToString::to_string).ok().as_deref(),
            expected,
            "{text:?}: {parsed:?}"
        );
    }

    #[test]
    fn an_authority_is_a_scheme_a_host_and_perhaps_a_port() {
        check_authority("https://api.github.com", Some("https://api.github.com"));
        check_authority("https://api.github.com:443/", Some("https://api.github.com"));
        check_authority("http://127.0.0.1:8080", Some("http://127.0.0.1:8080"));
        check_authority("http://[::1]:80", Some("http://[::1]"));
        for bad in [
            "",
            "api.github.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u@a",
            "https://*.a",
            "http://a:b",
            "http://a:+80",
            "http://[::1]:+80",
        ] {
            check_authority(bad, None);
        }
        // It is not the port that is wrong.
        let error = "https://me:hunter2@a.example".parse::<HttpAuthority>().unwrap_err();
        assert!(error.to_string().ends_with("no path, user or *"), "{error}");
    }
}
