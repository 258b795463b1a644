//! What a file says of the component in it: which one it is, what it may touch, what it offers.
//!
//! The written form is JSON. Unknown keys are refused, because one could be a limit. It mirrors the contract's types,
//! which have no written form of their own.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use portcullis_contract::{
    Access, Digest, FsGrant, Grants, HttpAuthority, IdentityGrant, InstanceReuse, Kind, Limits, NamePattern,
    PluginName, SecretGrant,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a file says of the component in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The version of portcullis that wrote it.
    pub version: String,
    /// What the plugin is called.
    pub name: PluginName,
    /// What it is for.
    pub kind: Kind,
    /// The digest of the component before it was compiled.
    pub component: Digest,
    /// The interfaces that it imports, in its own order.
    pub imports: Vec<String>,
    /// What the compiled component depends on: the component backend's fingerprint.
    pub engine: String,
    /// The class of the component, by the component backend's number.
    pub class: u8,
    /// How its instances are used.
    pub instances: InstanceReuse,
    /// What it may touch.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// What it offers, each in a few words for people.
    pub offers: Vec<String>,
    /// What it says of itself, as a host keeps it.
    pub description: String,
}

impl Manifest {
    pub(crate) fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written::from(self))
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(serde_json::from_slice::<Written>(text)?.into())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    portcullis: String,
    name: String,
    #[serde(with = "KindWord")]
    kind: Kind,
    component: Text<Digest>,
    imports: Vec<String>,
    engine: String,
    class: u8,
    #[serde(with = "InstancesWord")]
    instances: InstanceReuse,
    grants: WrittenGrants,
    limits: WrittenLimits,
    offers: Vec<String>,
    description: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Kind", rename_all = "kebab-case")]
enum KindWord {
    Provider,
    AuthHandler,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "InstanceReuse", rename_all = "kebab-case")]
enum InstancesWord {
    PerCall,
    Single,
    Pooled(u16),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrants {
    read_secrets: Vec<Text<NamePattern>>,
    write_secrets: Vec<Text<NamePattern>>,
    identity: Option<WrittenIdentity>,
    http: Vec<Text<HttpAuthority>>,
    fs: Vec<WrittenDirectory>,
    env: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIdentity {
    handlers: Vec<String>,
    token: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDirectory {
    host: PathBuf,
    guest: String,
    #[serde(with = "AccessWord")]
    access: Access,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Access", rename_all = "kebab-case")]
enum AccessWord {
    Read,
    Write,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimits {
    memory: Option<u64>,
    cpu_ns: Option<u64>,
    wall_ns: Option<u64>,
    message: Option<u64>,
    output: Option<u64>,
    handles: Option<u32>,
    concurrency: Option<u32>,
}

/// Something that is written as its text.
#[derive(Clone)]
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

fn texts<T: Clone>(values: &[T]) -> Vec<Text<T>> {
    values.iter().cloned().map(Text).collect()
}

fn values<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|Text(value)| value).collect()
}

impl From<&Manifest> for Written {
    fn from(manifest: &Manifest) -> Self {
        let Manifest { grants, limits, .. } = manifest;
        // More than five centuries are as good as five.
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            portcullis: manifest.version.clone(),
            name: manifest.name.as_str().to_owned(),
            kind: manifest.kind,
            component: Text(manifest.component),
            imports: manifest.imports.clone(),
            engine: manifest.engine.clone(),
            class: manifest.class,
            instances: manifest.instances,
            grants: WrittenGrants {
                read_secrets: texts(&grants.secrets.read),
                write_secrets: texts(&grants.secrets.write),
                identity: grants.identity.as_ref().map(|identity| WrittenIdentity {
                    handlers: identity.handlers.clone(),
                    token: identity.token,
                }),
                http: texts(&grants.http),
                fs: grants.fs.iter().map(WrittenDirectory::from).collect(),
                env: grants.env.clone(),
            },
            limits: WrittenLimits {
                memory: limits.memory,
                cpu_ns: limits.cpu.map(nanos),
                wall_ns: limits.wall.map(nanos),
                message: limits.message,
                output: limits.output,
                handles: limits.handles,
                concurrency: limits.concurrency,
            },
            offers: manifest.offers.clone(),
            description: manifest.description.clone(),
        }
    }
}

impl From<&FsGrant> for WrittenDirectory {
    fn from(grant: &FsGrant) -> Self {
        Self { host: grant.host.clone(), guest: grant.guest.clone(), access: grant.access }
    }
}

impl From<Written> for Manifest {
    fn from(written: Written) -> Self {
        let Written { grants, limits, .. } = written;
        Self {
            version: written.portcullis,
            name: PluginName::new(written.name),
            kind: written.kind,
            component: written.component.0,
            imports: written.imports,
            engine: written.engine,
            class: written.class,
            instances: written.instances,
            grants: Grants {
                secrets: SecretGrant {
                    read: values(grants.read_secrets),
                    write: values(grants.write_secrets),
                },
                identity: grants
                    .identity
                    .map(|WrittenIdentity { handlers, token }| IdentityGrant { handlers, token }),
                http: values(grants.http),
                fs: grants
                    .fs
                    .into_iter()
                    .map(|WrittenDirectory { host, guest, access }| FsGrant { host, guest, access })
                    .collect(),
                env: grants.env,
            },
            limits: Limits {
                memory: limits.memory,
                cpu: limits.cpu_ns.map(Duration::from_nanos),
                wall: limits.wall_ns.map(Duration::from_nanos),
                message: limits.message,
                output: limits.output,
                handles: limits.handles,
                concurrency: limits.concurrency,
            },
            offers: written.offers,
            description: written.description,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: "0.1.0".to_owned(),
            name: PluginName::new("echo"),
            kind: Kind::AuthHandler,
            component: Digest::from_sha256([7; 32]),
            imports: vec!["wasi:cli/environment@0.2.0".to_owned()],
            engine: "an engine".to_owned(),
            class: 2,
            instances: InstanceReuse::Pooled(3),
            grants: Grants {
                secrets: SecretGrant {
                    read: vec!["a.*".parse().unwrap()],
                    write: vec!["*".parse().unwrap()],
                },
                identity: Some(IdentityGrant { handlers: vec!["door".to_owned()], token: true }),
                http: vec!["http://[::1]:80".parse().unwrap(), "https://a.b:8443".parse().unwrap()],
                fs: vec![FsGrant { host: "/srv".into(), guest: "/in".to_owned(), access: Access::Write }],
                env: vec!["LANG".to_owned()],
            },
            limits: Limits {
                memory: Some(u64::MAX),
                cpu: Some(Duration::from_nanos(1)),
                wall: None,
                message: Some(1),
                output: None,
                handles: Some(1),
                concurrency: Some(8),
            },
            offers: vec!["echo 1.2.3".to_owned()],
            description: "{\"version\":2}".to_owned(),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = manifest();
        assert_eq!(Manifest::parse(&manifest.to_text().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn what_is_not_known_is_refused_and_so_is_what_is_missing() {
        let text = String::from_utf8(manifest().to_text().unwrap()).unwrap();
        let check = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            assert!(Manifest::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        };
        check("\"class\":2", "\"class\":2,\"gpu\":1");
        check("\"memory\":", "\"memroy\":");
        check("\"class\":2,", "");
        check("\"class\":2", "\"class\":256");
        check("sha256:", "md5:");
        check("https://a.b", "ftp://a.b");
        check("auth-handler", "handler");
        check("\"a.*\"", "\"\"");
    }

    #[test]
    fn a_path_that_is_no_text_is_not_written() {
        use std::os::unix::ffi::OsStringExt as _;
        let mut manifest = manifest();
        manifest.grants.fs[0].host = std::ffi::OsString::from_vec(vec![0xff]).into();
        assert!(manifest.to_text().is_err());
    }
}
