//! What a file is, and whether it may be run: read once, checked, never executed here.
//!
//! The imports of a component say all that it could ever ask for, its exports what it is. Both are read from the
//! outermost layer of the file. Of modules and nested components only the parts are counted.

use std::fmt;
use std::io::Read;
use std::path::Path;

use portcullis_contract::{Digest, Kind, LaunchError, visible_line};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmparser::{Chunk, Parser, Payload};

use crate::component::link::is_linked;
use crate::magic::Magic;
use crate::regular;

mod layer;

use layer::{Layer, TooManyParts, declared};

/// The largest file that is read. The largest components that people make hold a whole browser
/// engine, and a tenth of this.
const LARGEST: u64 = 256 << 20;

/// The most imports and exports together. A guess: real components have dozens. Each takes a few bytes of the file, and
/// many more of our memory.
const MOST_NAMES: usize = 10_000;

/// The versions of our own package that a component may be built for.
const OURS: &[&str] = &["0.1.0"];

/// Refuses what by its first eight bytes is no component.
fn sniff(head: &[u8]) -> Result<(), Unfit> {
    match Magic::of(head) {
        Magic::Component => Ok(()),
        Magic::CoreModule => Err(Unfit::CoreModule),
        Magic::UnknownWasm => Err(Unfit::UnknownVersion),
        Magic::CutWasm => Err(Unfit::CutShort),
        _ => Err(Unfit::NotWasm),
    }
}

/// What a component says of itself without being run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The digest of the file.
    pub digest: Digest,
    /// The kind of plugin that it is; `None` when it exports neither of our worlds, or both.
    pub kind: Option<Kind>,
    /// The interfaces that it imports, in its own order.
    pub imports: Vec<String>,
    /// The interfaces that it exports, in its own order.
    pub exports: Vec<String>,
}

/// Reads the imports and exports of a component. Neither compiles nor runs it.
///
/// # Errors
///
/// [`LaunchError::Unreadable`], or [`LaunchError::Unfit`] when it is no component.
pub fn inspect(path: &Path) -> Result<Inspection, LaunchError> {
    Ok(Source::new(path)?.inspection)
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// What a worker would compile.
    #[cfg(feature = "compile")]
    pub(crate) bytes: Vec<u8>,
    pub(crate) inspection: Inspection,
}

/// Why a file can never be run by this backend. Says what to do about it.
#[derive(Debug, Error)]
enum Unfit {
    #[error(
        "it is a core WebAssembly module, not a component: build it for wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    #[error("it is WebAssembly of an unknown version: build it with a current toolchain")]
    UnknownVersion,
    #[error("it is not a WebAssembly component")]
    NotWasm,
    #[error("it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("it is damaged")]
    Damaged(#[from] wasmparser::BinaryReaderError),
    #[error("it is cut short; copy it again")]
    CutShort,
    #[error("it has more than {MOST_NAMES} imports and exports")]
    TooManyNames,
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    #[error("it imports {}, which no plugin gets: {}", visible_line(.0), .1)]
    Import(String, Hint),
    #[error(
        "it exports no interface of portcullis:plugin: call `export!` or `export_auth_handler!` of the SDK, or build it for \
         one of the worlds provider-plugin and auth-handler-plugin"
    )]
    NoWorld,
    #[error("it exports {}, which is not known here: build it for portcullis:plugin@0.1.0", visible_line(.0))]
    UnknownWorld(String),
    #[error("it exports both {0} and {1}: a plugin is a provider or an auth handler")]
    BothWorlds(String, String),
}

/// What to do about an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Version,
    Interface(Kind),
    Wasi,
    Other,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "build it for a version of portcullis:plugin that this host knows (0.1.0)",
            Self::Interface(Kind::Provider) => {
                "a provider may import secrets, identity, output, control and log"
            }
            Self::Interface(Kind::AuthHandler) => {
                "an auth handler may import secrets, identity, prompts, control and log"
            }
            Self::Wasi => "build it for WASI 0.2",
            Self::Other => "a component may import portcullis:plugin and WASI 0.2 and nothing else",
        })
    }
}

impl Source {
    pub(crate) fn new(path: &Path) -> Result<Self, LaunchError> {
        let unreadable = |source| LaunchError::Unreadable { path: path.to_owned(), source };
        let mut file = regular::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.len() > LARGEST {
            return Err(LaunchError::unfit(Unfit::TooLarge));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1);
        file.by_ref().take(LARGEST).read_to_end(&mut bytes).map_err(unreadable)?;
        sniff(&bytes).map_err(LaunchError::unfit)?;
        let digest = Digest::from_sha256(Sha256::digest(&bytes).into());
        let (imports, exports) = outermost(&bytes).map_err(LaunchError::unfit)?;
        let kind = match worlds(&exports)[..] {
            [(kind, _)] => Some(kind),
            _ => None,
        };
        Ok(Self {
            #[cfg(feature = "compile")]
            bytes,
            inspection: Inspection { digest, kind, imports, exports },
        })
    }

    /// Checks that it is a plugin of that kind, and imports only what plugins of that kind may.
    pub(crate) fn check(&self, wanted: Kind) -> Result<(), LaunchError> {
        let Inspection { imports, exports, .. } = &self.inspection;
        match worlds(exports)[..] {
            [(kind, _)] if kind == wanted => {}
            [_] => return Err(LaunchError::OtherKind { wanted }),
            [(_, one), (_, other), ..] => {
                return Err(LaunchError::unfit(Unfit::BothWorlds(one.to_owned(), other.to_owned())));
            }
            [] => {
                let near = exports.iter().find(|name| name.starts_with("portcullis:plugin/"));
                return Err(LaunchError::unfit(near.cloned().map_or(Unfit::NoWorld, Unfit::UnknownWorld)));
            }
        }
        let refused =
            imports.iter().find_map(|name| Some(Unfit::Import(name.clone(), refusal(name, wanted)?)));
        refused.map_or(Ok(()), |unfit| Err(LaunchError::unfit(unfit)))
    }
}

/// Returns the exports that make a plugin of a component, and what they make of it.
fn worlds(exports: &[String]) -> Vec<(Kind, &str)> {
    exports.iter().filter_map(|name| Some((kind(name)?, name.as_str()))).collect()
}

/// Returns our interfaces that a plugin of that kind may import.
fn services(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Provider => &["types", "secrets", "identity", "output", "control", "log"],
        Kind::AuthHandler => &["types", "secrets", "identity", "prompts", "control", "log"],
    }
}

/// Returns what an export makes of a component.
fn kind(export: &str) -> Option<Kind> {
    let (interface, version) = export.strip_prefix("portcullis:plugin/")?.split_once('@')?;
    match interface {
        _ if !OURS.contains(&version) => None,
        "provider" => Some(Kind::Provider),
        "auth-handler" => Some(Kind::AuthHandler),
        _ => None,
    }
}

/// Returns why an import is refused to a plugin of that kind.
fn refusal(import: &str, kind: Kind) -> Option<Hint> {
    let Some((package, rest)) = import.split_once('/') else { return Some(Hint::Other) };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    match package.split_once(':') {
        Some(("portcullis", "plugin")) if !OURS.contains(&version) => Some(Hint::Version),
        Some(("portcullis", "plugin")) if !services(kind).contains(&interface) => Some(Hint::Interface(kind)),
        Some(("portcullis", "plugin")) => None,
        Some(("wasi", package)) if is_linked(package) => {
            let is_0_2 = version.strip_prefix("0.2.").is_some_and(|patch| patch.parse::<u32>().is_ok());
            (!is_0_2).then_some(Hint::Wasi)
        }
        _ => Some(Hint::Other),
    }
}

type Names = Vec<String>;

/// Reads the imports and exports of a component itself, and counts what is nested in it.
fn outermost(mut rest: &[u8]) -> Result<(Names, Names), Unfit> {
    let (mut imports, mut exports) = (Names::new(), Names::new());
    let mut left = MOST_NAMES;
    let mut keep = |names: &mut Names, name: &str| {
        left = left.checked_sub(1).ok_or(Unfit::TooManyNames)?;
        names.push(name.to_owned());
        Ok::<_, Unfit>(())
    };
    let mut around = Vec::new();
    let mut layer = Layer::new(Parser::new(0));
    loop {
        let Chunk::Parsed { consumed, payload } = layer.parser.parse(rest, true)? else {
            return Ok((imports, exports));
        };
        let mut skipped = consumed;
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    layer.given(import.ty.kind())?;
                    if around.is_empty() {
                        keep(&mut imports, import.name.name)?;
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    layer.export(export.kind, export.index)?;
                    if around.is_empty() {
                        keep(&mut exports, export.name.name)?;
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    layer.alias(&alias?, &around)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    layer.instance(&instance?)?;
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    layer.core_instance(&instance?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => layer.add(section.count().into())?,
            Payload::ModuleSection { unchecked_range, .. } => {
                skipped = consumed.saturating_add(unchecked_range.len());
                let module = rest.get(consumed..skipped).ok_or(Unfit::CutShort)?;
                layer.module(declared(module)?)?;
            }
            Payload::ComponentSection { parser, unchecked_range } => {
                if rest.len().saturating_sub(consumed) < unchecked_range.len() {
                    return Err(Unfit::CutShort);
                }
                layer.enter(parser, &mut around)?;
            }
            Payload::End(_) if !layer.leave(&mut around)? => return Ok((imports, exports)),
            _ => {}
        }
        rest = rest.get(skipped..).ok_or(Unfit::CutShort)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_for(kind: Kind, import: &str, expected: Option<Hint>) {
        assert_eq!(refusal(import, kind), expected, "{import}");
    }

    fn check(import: &str, expected: Option<Hint>) {
        check_for(Kind::Provider, import, expected);
        check_for(Kind::AuthHandler, import, expected);
    }

    #[test]
    fn a_component_may_import_our_package_and_wasi_0_2() {
        for good in [
            "portcullis:plugin/types@0.1.0",
            "portcullis:plugin/log@0.1.0",
            "wasi:cli/environment@0.2.0",
            "wasi:io/poll@0.2.12",
            "wasi:sockets/tcp@0.2.3",
        ] {
            check(good, None);
        }
        check("wasi:http/outgoing-handler@0.2.9", (!cfg!(feature = "http")).then_some(Hint::Other));
        check("portcullis:plugin/log@0.2.0", Some(Hint::Version));
        check("portcullis:plugin/log", Some(Hint::Version));
        check_for(Kind::AuthHandler, "portcullis:plugin/prompts@0.1.0", None);
        check_for(Kind::Provider, "portcullis:plugin/prompts@0.1.0", Some(Hint::Interface(Kind::Provider)));
        check_for(Kind::Provider, "portcullis:plugin/output@0.1.0", None);
        check_for(
            Kind::AuthHandler,
            "portcullis:plugin/output@0.1.0",
            Some(Hint::Interface(Kind::AuthHandler)),
        );
        check("wasi:cli/environment@0.3.0", Some(Hint::Wasi));
        check("wasi:cli/environment@0.2.0-rc", Some(Hint::Wasi));
        check("wasi:cli/environment", Some(Hint::Wasi));
        check("wasi:keyvalue/store@0.2.0", Some(Hint::Other));
        check("evil:cli/environment@0.2.0", Some(Hint::Other));
        check("log", Some(Hint::Other));
    }

    #[test]
    fn a_component_is_told_by_its_first_bytes() {
        assert!(sniff(b"\0asm\x0d\0\x01\0rest").is_ok());
        assert!(matches!(sniff(b"\0asm\x01\0\0\0"), Err(Unfit::CoreModule)));
        assert!(matches!(sniff(b"\0asm\x0c\0\x01\0"), Err(Unfit::UnknownVersion)));
        assert!(matches!(sniff(b"\0asm"), Err(Unfit::CutShort)));
        for other in [&b"\x7fELF\x02\x01\x01\0"[..], b""] {
            assert!(matches!(sniff(other), Err(Unfit::NotWasm)), "{other:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let whole = b"\0asm\x0d\0\x01\0";
        assert_eq!(outermost(whole).unwrap(), (Vec::new(), Vec::new()));
        for (tail, cut) in [(&[1, 0xff, 0xff, 3][..], true), (&[4, 200, 1, 0], true), (&[10, 5, 1], false)] {
            let error = outermost(&[&whole[..], tail].concat()).unwrap_err();
            assert_eq!(matches!(error, Unfit::CutShort), cut, "{tail:?}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_all_imports_is_not_read_to_its_end() {
        let head = b"\0asm\x0d\0\x01\0";
        // Each has the name `a`, and is a function of the first type.
        let import = [0, 1, b'a', 1, 0];
        // Five imports to a section, and the section's number, size and count.
        let section = [&[10, 26, 5][..], &import.repeat(5)].concat();
        let file = |sections| [&head[..], &section.repeat(sections)].concat();
        assert_eq!(outermost(&file(MOST_NAMES / 5)).unwrap().0.len(), MOST_NAMES);
        assert!(matches!(outermost(&file(MOST_NAMES / 5 + 1)), Err(Unfit::TooManyNames)));
    }

    #[test]
    fn a_component_that_multiplies_what_is_nested_in_it_is_refused() {
        let head = b"\0asm\x0d\0\x01\0";
        let around = |inner: &[u8], instances: &[u8]| {
            let size =
                [(inner.len() & 0x7f) | 0x80, inner.len() >> 7].map(|part| u8::try_from(part).unwrap());
            [&head[..], &[4], &size, inner, instances].concat()
        };
        // Each instantiates ten times what is nested in it.
        let ten = [&[5, 31, 10][..], &[0; 30]].concat();
        let layers =
            |instances: &[u8], count| (0..count).fold(head.to_vec(), |inner, _| around(&inner, instances));
        assert!(outermost(&layers(&ten, 3)).is_ok());
        assert!(matches!(outermost(&layers(&ten, 4)), Err(Unfit::TooManyParts(_))));
        // And these instantiate nothing.
        assert!(outermost(&layers(&[], 100)).is_ok());
        assert!(matches!(outermost(&layers(&[], 101)), Err(Unfit::TooManyParts(_))));
    }

    #[test]
    fn a_component_that_multiplies_a_large_module_is_refused() {
        let number = |n: usize| [(n & 0x7f) | 0x80, n >> 7].map(|part| u8::try_from(part).unwrap());
        let section = |id: u8, content: &[u8]| [&[id][..], &number(content.len()), content].concat();
        let is_refused = |id, instances| {
            let module = [&b"\0asm\x01\0\0\0"[..], &section(id, &[0; 10_000])].concat();
            let instances = [&number(instances)[..], &[0; 3].repeat(instances)].concat();
            let file = [&b"\0asm\x0d\0\x01\0"[..], &section(1, &module), &section(2, &instances)].concat();
            matches!(outermost(&file), Err(Unfit::TooManyParts(_)))
        };
        let [elements, code] = [9, 10];
        assert!(!is_refused(elements, 900));
        assert!(is_refused(elements, 1_000));
        // Instances share their code.
        assert!(!is_refused(code, 1_000));
    }

    #[test]
    fn a_component_of_two_worlds_is_of_neither_kind() {
        let exports = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let both = exports(&["portcullis:plugin/provider@0.1.0", "portcullis:plugin/auth-handler@0.1.0"]);
        assert_eq!(worlds(&both).len(), 2);
        assert_eq!(worlds(&both[1..]), [(Kind::AuthHandler, both[1].as_str())]);
        assert_eq!(worlds(&exports(&["wasi:cli/run@0.2.0", "portcullis:plugin/provider@9.0.0"])), []);
    }

    #[test]
    fn only_a_known_version_of_our_world_makes_a_plugin() {
        assert_eq!(kind("portcullis:plugin/provider@0.1.0"), Some(Kind::Provider));
        assert_eq!(kind("portcullis:plugin/auth-handler@0.1.0"), Some(Kind::AuthHandler));
        assert_eq!(kind("portcullis:plugin/provider@9.0.0"), None);
        assert_eq!(kind("wasi:cli/run@0.2.0"), None);
    }
}
