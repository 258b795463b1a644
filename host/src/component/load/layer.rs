//! How many instances and functions a component has, together with the components nested in it.
//!
//! What is instantiated ten times counts ten times, and that multiplies with every layer: a few hundred bytes can make
//! millions of instances. The engine lays all of them out when it compiles, when it loads and when it makes an instance,
//! in memory of ours that no limit counts. So they are counted first, and a module that declares much counts for more.

use thiserror::Error;
use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    Instance, Parser,
};

/// The most parts of a component and all those in it: instances, functions, and so many [bytes](PART) of declarations.
/// A guess: those that hold whole language engines have a thousand.
const MOST_PARTS: u64 = 10_000;

/// The bytes of a module's declarations that count as a part. Each may become 16 of ours in every instance: so many take
/// the elements that the module keeps for later.
const PART: u64 = 1 << 10;

/// How many components may lie around another one. A guess: tools make three or four.
const DEEPEST: usize = 100;

/// A component has too many parts.
#[derive(Debug, Error)]
#[error(
    "its components and modules, instantiated by each other, come to more than {MOST_PARTS} instances, functions and \
     KiB of declarations"
)]
pub(super) struct TooManyParts;

/// One of the components that are nested in each other, as far as it was read.
pub(super) struct Layer {
    pub(super) parser: Parser,
    /// How many parts it has when it is instantiated.
    parts: u64,
    /// The same for each component that it can instantiate, by index.
    components: Vec<u64>,
    /// The same for each module.
    modules: Vec<u64>,
}

impl Layer {
    pub(super) fn new(parser: Parser) -> Self {
        Self { parser, parts: 0, components: Vec::new(), modules: Vec::new() }
    }

    /// Goes on with a component nested in this one, and pushes this one to `around`.
    pub(super) fn enter(&mut self, parser: Parser, around: &mut Vec<Self>) -> Result<(), TooManyParts> {
        if around.len() == DEEPEST {
            return Err(TooManyParts);
        }
        around.push(std::mem::replace(self, Self::new(parser)));
        Ok(())
    }

    /// Goes on with the component around this one, which has ended. Returns whether there is one.
    pub(super) fn leave(&mut self, around: &mut Vec<Self>) -> Result<bool, TooManyParts> {
        let Some(outer) = around.pop() else { return Ok(false) };
        let inner = std::mem::replace(self, outer);
        self.hold(ComponentExternalKind::Component, inner.parts)?;
        Ok(true)
    }

    /// Counts parts of its own.
    pub(super) fn add(&mut self, parts: u64) -> Result<(), TooManyParts> {
        self.parts = self.parts.saturating_add(parts);
        if self.parts > MOST_PARTS { Err(TooManyParts) } else { Ok(()) }
    }

    /// Notes a module that makes so many bytes of [declarations](declared).
    pub(super) fn module(&mut self, declared: u64) -> Result<(), TooManyParts> {
        self.hold(ComponentExternalKind::Module, declared / PART)
    }

    /// Counts an instance of a module.
    pub(super) fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), TooManyParts> {
        self.add(1)?;
        match instance {
            Instance::Instantiate { module_index, .. } => {
                self.add(self.of(ComponentExternalKind::Module, *module_index))
            }
            Instance::FromExports(_) => Ok(()),
        }
    }

    /// Counts an instance, and all that comes with it.
    pub(super) fn instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), TooManyParts> {
        self.add(1)?;
        match instance {
            ComponentInstance::Instantiate { component_index, .. } => {
                self.add(self.of(ComponentExternalKind::Component, *component_index))
            }
            ComponentInstance::FromExports(_) => Ok(()),
        }
    }

    /// Notes another name for something that may be a component or a module.
    pub(super) fn alias(&mut self, alias: &ComponentAlias<'_>, around: &[Self]) -> Result<(), TooManyParts> {
        let (kind, count, index) = match alias {
            ComponentAlias::InstanceExport { kind, .. } => return self.given(*kind),
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                (ComponentExternalKind::Component, *count, *index)
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                (ComponentExternalKind::Module, *count, *index)
            }
            _ => return Ok(()),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let outer = match count.checked_sub(1) {
            None => Some(&*self),
            Some(further) => around.iter().rev().nth(further),
        };
        let parts = outer.map_or(0, |outer| outer.of(kind, index));
        self.hold(kind, parts)
    }

    /// Notes an export, which is another name for what is exported.
    pub(super) fn export(&mut self, kind: ComponentExternalKind, index: u32) -> Result<(), TooManyParts> {
        self.hold(kind, self.of(kind, index))
    }

    /// Notes an import. What is imported may be of any size, so instantiating it is refused; no tool makes such a
    /// component.
    pub(super) fn given(&mut self, kind: ComponentExternalKind) -> Result<(), TooManyParts> {
        self.hold(kind, u64::MAX)
    }

    /// Returns how many parts a component or module has; 0 for a wrong index, which the compiler refuses.
    fn of(&self, kind: ComponentExternalKind, index: u32) -> u64 {
        let list = if kind == ComponentExternalKind::Module { &self.modules } else { &self.components };
        let parts = usize::try_from(index).ok().and_then(|index| list.get(index));
        parts.copied().unwrap_or(0)
    }

    /// Notes what can be instantiated, if it is that. It counts as a part, so that the lists are bounded, too.
    fn hold(&mut self, kind: ComponentExternalKind, parts: u64) -> Result<(), TooManyParts> {
        match kind {
            ComponentExternalKind::Component => self.components.push(parts),
            ComponentExternalKind::Module => self.modules.push(parts),
            _ => return Ok(()),
        }
        self.add(1)
    }
}

/// Returns how many bytes of a module declare what each of its instances has: all but its code, its data, and what no
/// engine reads.
pub(super) fn declared(module: &[u8]) -> wasmparser::Result<u64> {
    const CUSTOM: u8 = 0;
    const CODE: u8 = 10;
    const DATA: u8 = 11;
    const HEADER: usize = 8;

    let mut reader = BinaryReader::new(module, 0);
    reader.read_bytes(HEADER)?;
    let mut bytes: u64 = 0;
    while !reader.eof() {
        let id = reader.read_u8()?;
        let mut section = reader.read_reader()?;
        bytes += match id {
            CUSTOM | CODE => 0,
            // An instance notes where each piece of data is.
            DATA => u64::from(section.read_var_u32()?),
            _ => u64::try_from(section.bytes_remaining()).unwrap_or(u64::MAX),
        };
    }
    Ok(bytes)
}
