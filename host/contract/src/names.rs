//! Names, each parsed once at the edge and then trusted.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Shows a name as its text, and compares it with one.
macro_rules! reads_as_text {
    ($name:ident) => {
        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == **other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Defines names that somebody else chose, and that are accepted unchecked.
macro_rules! taken_as_it_is {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// Takes a name as it is.
            #[must_use]
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the name as text, owned.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        reads_as_text!($name);
    )*};
}

taken_as_it_is! {
    /// The name of a plugin: what its file is called, without the last extension (contract spec 4.1).
    PluginName;
    /// The name under which a plugin offers a provider. Plugins choose it freely.
    ProviderName;
    /// The name under which a plugin offers an auth handler. Plugins choose it freely.
    HandlerName;
}

/// Defines a vocabulary: the contract knows some words, and a plugin may use others (contract spec 3.10).
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $constant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Cow<'static, str>);

        impl $name {
            $($(#[$word_doc])* pub const $constant: Self = Self(Cow::Borrowed($word));)*
            /// Every word that the contract knows.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$constant),*];

            /// Takes a word as it is.
            #[must_use]
            pub fn new(word: impl Into<String>) -> Self {
                Self(Cow::Owned(word.into()))
            }

            /// Returns the word as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the word as text, owned.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0.into_owned()
            }

            /// Returns whether the contract knows this word.
            #[must_use]
            pub fn is_known(&self) -> bool {
                Self::ALL.contains(self)
            }
        }

        reads_as_text!($name);
    };
}

vocabulary! {
    /// A mode in which a provider can be called. Unknown ones pass through: only descriptors are checked.
    ///
    /// The constants are no patterns: compare with `==`, or match [`as_str`](Self::as_str).
    Capability {
        /// Produces a value.
        FROM = "from",
        /// Changes a value.
        TRANSFORM = "transform",
        /// Judges a value.
        VALIDATION = "validation",
        /// Obtains a token.
        AUTHENTICATION = "authentication",
        /// Changes the world.
        ACTION = "action",
        /// Keeps the state of a solution. Only in later versions of the contract.
        STATE = "state",
        /// Reads and changes the configuration of clusters. Only in later versions of the contract.
        KUBECONFIG = "kubeconfig",
    }
}

vocabulary! {
    /// A way of logging in. Unknown ones pass through.
    ///
    /// The constants are no patterns: compare with `==`, or match [`as_str`](Self::as_str).
    Flow {
        /// A person types a code into a page that is open elsewhere.
        DEVICE_CODE = "device_code",
        /// A browser on this machine.
        INTERACTIVE = "interactive",
        /// An application with a secret or a certificate of its own.
        SERVICE_PRINCIPAL = "service_principal",
        /// The platform that runs the program vouches for it.
        WORKLOAD_IDENTITY = "workload_identity",
        /// A personal access token that a person made before.
        PAT = "pat",
        /// The metadata service of the machine.
        METADATA = "metadata",
        /// The credentials that Google's `gcloud` command has stored.
        GCLOUD_ADC = "gcloud_adc",
        /// Another program's token, exchanged on behalf of its user.
        ON_BEHALF_OF = "obo",
        /// An app that is installed on GitHub.
        GITHUB_APP = "github_app",
        /// An OAuth2 client on its own behalf.
        CLIENT_CREDENTIALS = "client_credentials",
    }
}

vocabulary! {
    /// A part of a request that an auth handler supports. Hosts refuse requests with what a handler does not list. Unknown ones
    /// pass through.
    AuthCapability {
        /// Scopes at login.
        SCOPES_ON_LOGIN = "scopes_on_login",
        /// A scope with every token, on which hosts then insist.
        SCOPES_ON_TOKEN_REQUEST = "scopes_on_token_request",
        /// The tenant.
        TENANT_ID = "tenant_id",
        /// The host name at login.
        HOSTNAME = "hostname",
        /// A token of somebody else's that stands for a login.
        FEDERATED_TOKEN = "federated_token",
        /// The port that a browser comes back to.
        CALLBACK_PORT = "callback_port",
        /// The flow.
        FLOW_OVERRIDE = "flow_override",
        /// The host name with every token. Only in later versions of the contract.
        TOKEN_HOSTNAME = "token_hostname",
        /// The host name as one login of several. Only in later versions of the contract.
        INSTANCE_HOSTNAME = "instance_hostname",
    }
}

/// What a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It offers providers.
    Provider,
    /// It offers auth handlers.
    AuthHandler,
}

impl Kind {
    /// Returns the variable in which a host puts the cookie of such plugins, and the cookie (contract spec 2.1).
    #[must_use]
    pub const fn cookie(self) -> (&'static str, &'static str) {
        match self {
            Self::Provider => ("SCAFCTL_PLUGIN", "scafctl_provider_plugin"),
            Self::AuthHandler => ("SCAFCTL_AUTH_PLUGIN", "scafctl_auth_handler_plugin"),
        }
    }

    /// Returns the versions of the handshake that such plugins speak (contract spec 1.9 and 2.1).
    ///
    /// Later auth plugins speak 2 and nothing else, older ones 1; a plugin of both chooses 2. The messages are the same in
    /// both: one of version 1 knows fewer calls.
    #[must_use]
    pub const fn versions(self) -> &'static [u32] {
        match self {
            Self::Provider => &[1],
            Self::AuthHandler => &[1, 2],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provider => "provider",
            Self::AuthHandler => "auth-handler",
        })
    }
}

/// What runs a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendName {
    /// A go-plugin child process.
    Process,
    /// A WASI component in a sandbox.
    Component,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Component => "component",
        })
    }
}

/// The SHA-256 of a plugin's file. Written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the 32 bytes of a SHA-256.
    #[must_use]
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits, without the prefix.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits are a digit"));
            text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits are a digit"));
            text
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a digest is \"sha256:\" and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").ok_or(DigestError)?.as_bytes();
        let (pairs, rest) = hex.as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(DigestError);
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(DigestError),
        };
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_what_it_writes_and_nothing_else() {
        let digest = Digest::from_sha256(std::array::from_fn(|i| (i * 8 + 3) as u8));
        assert_eq!(digest.to_string().parse(), Ok(digest));

        let upper = digest.to_string().to_uppercase().replace("SHA256", "sha256");
        for bad in ["", "sha256:", &digest.to_hex(), &format!("{digest}0"), &upper, "sha512:00"] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestError), "{bad:?}");
        }
    }
}
